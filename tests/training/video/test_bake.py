"""Data and training of the bake: people repeat, a killed generation and a killed training go on exactly."""

import json

import numpy as np
import pytest
import torch

from stereotalker_core import checkpoint
from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.texture.rig import RIG_ATLAS, Rig
from stereotalker_core.synthetic.data import bake_data
from stereotalker_core.synthetic.people.portrait import reference_portrait, true_identity
from stereotalker_core.synthetic.people.template import Template
from stereotalker_core.training import loop
from stereotalker_core.training.loop import Schedule, fit
from stereotalker_core.training.video import bake, bake_photos
from stereotalker_core.video.networks.bake_network import BakeConfig, BakeNetwork

TINY = BakeConfig(widths=(8, 16, 16), heads=2, rank=2)


class KillError(Exception):
    """Stands for a kill signal."""


@pytest.fixture(scope="module")
def tables():
    body = HalfBody()
    return body, Rig(body), Template(body, RIG_ATLAS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three people, the last of them after a kill."""
    out = tmp_path_factory.mktemp("bake")

    def killer(done, total):
        if done == 2:
            raise KillError

    with pytest.raises(KillError):
        bake_data.generate(out, 3, progress=killer)
    assert len(bake_data.read(out)) == 2
    bake_data.generate(out, 3)
    return out


def test_a_killed_generation_goes_on_and_people_repeat(folder, tables):
    body, rig, template = tables
    people = bake_data.read(folder)
    assert people.shape == (3, len(rig.pixel), bake_data.CHANNELS)
    with torch.inference_mode():
        again = bake_data.packed(bake_data.draw_example(body, rig, template, bake_data.seed_of(2, 1)))
    assert np.abs(people[2].astype(int) - again.astype(int)).max() <= 1
    with pytest.raises(ValueError, match="take another one"):
        bake_data.generate(folder, 4)


def test_the_truth_is_what_the_portrait_shows(tables):
    """Where a true fit saw the person, paint under the found light is the lifted picture."""
    body, rig, template = tables
    with torch.inference_mode():
        avatar = bake_data.make_avatar(body, 3_100_002, template)
        portrait = reference_portrait(body, avatar, 5, 512)
        identity = true_identity(body, avatar, portrait, rig.lifter)
        truth = bake_data.true_texture(body, rig, avatar, identity)
        seen = rig.pictures(torch.cat([identity.atlas, identity.visibility]))
    shown = (seen[:, 3] > 0.95) & ~rig.inner
    error = (seen[shown, :3] - truth[shown].clamp(-1, 1)).square().mean() / 4
    assert float(-10 * torch.log10(error)) > 27


def test_a_killed_training_continues_exactly(folder, tables, tmp_path, monkeypatch):
    _, rig, _ = tables
    batches = bake.BakeBatches(rig, [bake_data.read(folder)], [1.0], batch=1)
    schedule = Schedule(4, 1e-3, 2, log_every=1, save_every=2, amp=False)

    def run(name):
        torch.manual_seed(0)
        return fit(BakeNetwork(TINY), batches, bake.loss_of(rig), schedule, tmp_path / name)

    whole = run("whole")
    log_row = loop.log_row

    def killer(folder, step, *rest):
        log_row(folder, step, *rest)
        if step == 3:
            raise KillError

    monkeypatch.setattr(loop, "log_row", killer)
    with pytest.raises(KillError):
        run("killed")
    monkeypatch.setattr(loop, "log_row", log_row)
    again = run("killed")
    for (name, a), b in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=1e-6), name
    curves = [
        [json.loads(line)["loss"] for line in (tmp_path / n / "log.jsonl").read_text().splitlines()]
        for n in ("whole", "killed")
    ]
    assert np.allclose(*curves, atol=1e-5)


def test_training_lowers_the_loss_on_one_person(folder, tables, tmp_path):
    _, rig, _ = tables
    batches = bake.BakeBatches(rig, [bake_data.read(folder)[:1]], [1.0], batch=1)
    same = batches(0)
    torch.manual_seed(0)
    model, loss = BakeNetwork(TINY), bake.loss_of(rig)
    before = float(loss(model, same)[0])
    fit(model, lambda step: same, loss, Schedule(12, 5e-3, 2, ema=0.0, amp=False), tmp_path)
    assert float(loss(model, same)[0]) < before - 0.05


def test_a_turn_takes_pixels_away_and_asks_for_them(tables):
    body, rig, template = tables
    with torch.inference_mode():
        avatar = bake_data.make_avatar(body, 11, template)
        portrait = reference_portrait(body, avatar, 5, 256)
        identity = true_identity(body, avatar, portrait, rig.lifter)
        examples = bake_photos.examples_of(body, rig, identity)
    assert len(examples) == len(bake_photos.TURNS)
    left = rig.position[:, 0] > 0.03
    for turn, example in zip(bake_photos.TURNS, examples, strict=True):
        hidden = example.visibility[:, 0] < 0.5
        assert int(hidden.sum()) > 500
        # a camera at the person's right (positive) does not see their left
        share = float(left[hidden].float().mean())
        assert share > 0.6 if turn > 0 else share < 0.4
        known = example.visibility[:, 0] > 0.98
        assert torch.allclose(example.lift[known], example.truth[known], atol=0.1)


def test_an_older_network_is_told_how_people_were_fitted_from_now_on(folder, tables, tmp_path):
    _, rig, _ = tables
    checkpoint.save(BakeNetwork(TINY), tmp_path / "old.safetensors", torch.float32)
    model = bake.started(tmp_path / "old.safetensors")
    assert model.config.fits and model.fit is not None
    fits = bake_data.read_fits(folder)
    assert fits.tolist() == [bake_data.fit_of(bake_data.seed_of(place, 1)) for place in range(3)]
    batch = bake.BakeBatches(rig, [bake_data.read(folder)], [1.0], batch=2, fits=[fits])(0)
    assert batch["fit"].shape == (2,) and set(batch["fit"].tolist()) <= set(fits.tolist())
    told = [batch[name] for name in ("lift", "visibility", "noise", "level")]
    with torch.no_grad():
        plain = BakeNetwork(TINY)
        plain.load_state_dict({k: v for k, v in model.state_dict().items() if k != "fit"})
        assert torch.allclose(model(rig, *told, fit=batch["fit"]), plain(rig, *told), atol=1e-5)
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        exact, registered = (model(rig, *told, fit=torch.full((2,), k)) for k in (0, 2))
        assert float((exact - registered).abs().max()) > 1e-4
        assert torch.equal(registered, model(rig, *told))  # what is not told is taken for a photograph
