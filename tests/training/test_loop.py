"""The training loop: it learns, and a killed run continues with exactly the same curve and weights."""

import json

import pytest
import torch
from torch import nn

from stereotalker_core.training.loop import Schedule, fit, generator


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.2), nn.Tanh(), nn.Linear(16, 1))


def batch(step: int) -> dict[str, torch.Tensor]:
    rng = generator(3, step)
    x = torch.from_numpy(rng.standard_normal((32, 4)).astype("float32"))
    return {"x": x, "y": x.sum(1, keepdim=True)}


def loss(model, data):
    value = (model(data["x"]) - data["y"]).square().mean()
    return value, {"mse": float(value.detach())}


SCHEDULE = Schedule(steps=60, lr=1e-2, warmup=5, log_every=10, save_every=20, amp=False)


def curve(run) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()]


def test_learns(tmp_path):
    fit(make_model(), batch, loss, SCHEDULE, tmp_path)
    losses = curve(tmp_path)
    assert losses[-1] < 0.3 * losses[0]


def test_resume_is_exact(tmp_path):
    whole = fit(make_model(), batch, loss, SCHEDULE, tmp_path / "whole")

    class KillError(Exception):
        pass

    def killing(step):
        if step == 53:
            raise KillError
        return batch(step)

    with pytest.raises(KillError):
        fit(make_model(), killing, loss, SCHEDULE, tmp_path / "killed")
    resumed = fit(make_model(), batch, loss, SCHEDULE, tmp_path / "killed")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")


def test_another_schedule_is_refused(tmp_path):
    fit(make_model(), batch, loss, SCHEDULE, tmp_path)
    with pytest.raises(ValueError, match="another schedule"):
        fit(make_model(), batch, loss, Schedule(steps=61), tmp_path)


def test_frozen_parameters_do_not_move(tmp_path):
    model = make_model()
    before = model[0].weight.clone()
    fit(model, batch, loss, Schedule(steps=10, amp=False), tmp_path, trainable=lambda name: name.startswith("3."))
    assert torch.equal(model[0].weight, before)


def test_divergence_is_an_error(tmp_path):
    def explode(model, data):
        value, parts = loss(model, data)
        return value * float("inf"), parts

    with pytest.raises(FloatingPointError, match="step"):
        fit(make_model(), batch, explode, SCHEDULE, tmp_path)
