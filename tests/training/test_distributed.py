"""The loop for many devices: one process is `loop.fit`; accumulation, prefetch, resume, rotation."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from stereotalker_core.training.distributed import Scale, ahead, checkpoints, fit_distributed
from stereotalker_core.training.loop import Schedule, fit, generator

ROOT = Path(__file__).resolve().parents[2]
SCHEDULE = Schedule(steps=24, lr=1e-2, warmup=3, log_every=4, save_every=8, amp=False)


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.2), nn.Tanh(), nn.Linear(16, 1))


def batch(step: int) -> dict[str, torch.Tensor]:
    x = torch.from_numpy(generator(3, step).standard_normal((32, 4)).astype("float32"))
    return {"x": x, "y": x.sum(1, keepdim=True)}


def loss(model, data):
    value = (model(data["x"]) - data["y"]).square().mean()
    return value, {"mse": float(value.detach())}


def run(folder, batch=batch, schedule=SCHEDULE, **settings):
    trainable = settings.pop("trainable", lambda name: True)
    return fit_distributed(make_model(), batch, loss, schedule, Scale(**settings), folder, "cpu", trainable)


def curve(folder) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_one_process_is_the_plain_loop_with_its_ema(tmp_path):
    plain = fit(make_model(), batch, loss, SCHEDULE, tmp_path / "plain")
    scaled = run(tmp_path / "scaled")
    for a, b in zip(plain.state_dict().values(), scaled.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
    assert curve(tmp_path / "plain") == pytest.approx(curve(tmp_path / "scaled"), rel=1e-5)


def test_the_average_is_what_a_plain_recursion_gives(tmp_path):
    """EMA against its definition, from the raw weights that the checkpoints hold."""
    schedule = Schedule(steps=6, lr=1e-2, warmup=1, log_every=6, save_every=1, amp=False, ema=0.9)
    model = run(tmp_path, schedule=schedule, keep=6)
    from stereotalker_core.checkpoint import load_tensors

    smooth = make_model()[0].weight.detach()
    for step, path in enumerate(checkpoints(tmp_path), 1):
        keep = min(0.9, (1 + step) / (10 + step))
        smooth = keep * smooth + (1 - keep) * load_tensors(path)[0]["weight/0.weight"]
    torch.testing.assert_close(model[0].weight.detach(), smooth, atol=1e-6, rtol=0)


def test_accumulation_is_one_large_batch(tmp_path):
    """Four micro-batches of 32 rows = one batch of their 128 rows (no dropout: its noise differs by shape)."""

    def quiet(model, data):
        return loss(model.eval(), data)

    def large(step):
        parts = [batch(4 * step + k) for k in range(4)]
        return {key: torch.cat([p[key] for p in parts]) for key in parts[0]}

    one = fit_distributed(make_model(), large, quiet, SCHEDULE, Scale(), tmp_path / "one", "cpu")
    four = fit_distributed(make_model(), batch, quiet, SCHEDULE, Scale(micro_batches=4), tmp_path / "four", "cpu")
    for a, b in zip(one.parameters(), four.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_prefetching_changes_nothing_and_keeps_the_order(tmp_path):
    assert same(run(tmp_path / "a", micro_batches=2), run(tmp_path / "b", micro_batches=2, prefetch=3))
    assert [i for i, _ in ahead(batch, range(5), 2)] == list(range(5))


def test_a_killed_run_continues_exactly(tmp_path):
    whole = run(tmp_path / "whole", micro_batches=2)

    class KillError(Exception):
        pass

    def killing(index):
        if index == 2 * 19 + 1:  # in the middle of a step
            raise KillError
        return batch(index)

    with pytest.raises(KillError):
        run(tmp_path / "killed", killing, micro_batches=2)
    resumed = run(tmp_path / "killed", micro_batches=2)
    assert same(whole, resumed) and curve(tmp_path / "whole") == curve(tmp_path / "killed")


def test_a_process_that_is_really_killed_continues_exactly(tmp_path):
    """SIGKILL in the middle of a step, in a process of its own."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.training import test_distributed as t\n"
        "def batch(i):\n"
        "    if i == 19:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return t.batch(i)\n"
        "t.run(Path(sys.argv[1]), batch)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "killed")], cwd=ROOT, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-500:]
    assert checkpoints(tmp_path / "killed")[-1].name == "checkpoint-00000016.safetensors"
    assert same(run(tmp_path / "whole"), run(tmp_path / "killed"))
    assert curve(tmp_path / "whole") == curve(tmp_path / "killed")


def test_checkpoints_rotate_and_hold_only_what_learns(tmp_path):
    run(tmp_path, keep=2, trainable=lambda name: name.startswith("3."))
    found = checkpoints(tmp_path)
    assert [p.name for p in found] == ["checkpoint-00000016.safetensors", "checkpoint-00000024.safetensors"]
    from stereotalker_core.checkpoint import load_tensors

    tensors, _ = load_tensors(found[-1])
    assert {key.partition("/")[2] for key in tensors} == {"3.weight", "3.bias"}


def test_another_plan_parts_or_base_is_refused(tmp_path):
    run(tmp_path, trainable=lambda name: name.startswith("3."))
    with pytest.raises(ValueError, match="another plan"):
        run(tmp_path, micro_batches=2, trainable=lambda name: name.startswith("3."))
    with pytest.raises(ValueError, match="other parameters"):
        run(tmp_path, trainable=lambda name: name.startswith("3.weight"))
    other = make_model()
    nn.init.ones_(other[0].weight)
    with pytest.raises(ValueError, match="other frozen weights"):
        fit_distributed(other, batch, loss, SCHEDULE, Scale(), tmp_path, "cpu", lambda name: name.startswith("3."))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"micro_batches": 0}, "at least 1"),
        ({"precision": "fp8"}, "one of no, bf16, fp16"),
        ({"shard": "zero"}, "one of ddp, fsdp"),
        ({"precision": "fp16", "shard": "fsdp"}, "use bf16"),
    ],
)
def test_impossible_scales_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Scale(**settings)


def test_nothing_trainable_and_divergence_are_errors(tmp_path):
    with pytest.raises(ValueError, match="no parameter is trainable"):
        run(tmp_path / "a", trainable=lambda name: False)

    def explode(model, data):
        value, parts = loss(model, data)
        return value * float("inf"), parts

    with pytest.raises(FloatingPointError, match="step"):
        fit_distributed(make_model(), batch, explode, SCHEDULE, Scale(), tmp_path / "b", "cpu")
