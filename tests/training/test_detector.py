import json

import numpy as np
import pytest
import torch

from stereotalker_core import checkpoint
from stereotalker_core.body.detector import BODY_POINTS, CHECKPOINT, FACE_POINTS, KeypointDetector
from stereotalker_core.body.model import HalfBody
from stereotalker_core.synthetic.portraits import make_portraits
from stereotalker_core.training.detector import Portraits, _forward, _inverse_similarity, loss
from stereotalker_core.training.loop import Schedule, fit, generator

TINY = KeypointDetector.Config(widths=(8, 8, 16, 16, 16), face_widths=(8, 8, 16, 16), size=64, face_size=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("portraits")
    make_portraits(HalfBody(), path, people=1, views=2, first_seed=700_000)
    return path


def test_portraits_show_what_they_say(folder):
    names = json.loads((folder / "meta.json").read_text())["names"]
    points, alpha = np.load(folder / "keypoints.npy"), np.load(folder / "alpha.npy")
    x, y = points[:, names.index("face.30")].astype(int).T
    assert (alpha[np.arange(2), y, x] == 255).all()  # the nose is on the person
    rgb = np.load(folder / "rgb.npy")
    assert rgb[alpha == 0].max() == 0 and not np.array_equal(rgb[0], rgb[1])


def test_similarity_and_its_inverse():
    matrix = _inverse_similarity(generator(0, 0), torch.tensor([30.0, 40.0]), torch.tensor([5.0, 6.0]), 0.5, 20)
    assert torch.allclose(_forward(matrix, torch.tensor([[30.0, 40.0]])), torch.tensor([[5.0, 6.0]]), atol=1e-4)
    points = torch.tensor([[12.0, 3.0], [50.0, 60.0]])
    out = _forward(matrix, points)
    back = torch.cat([out, torch.ones(2, 1)], 1) @ matrix.T
    assert torch.allclose(back, points, atol=1e-3)
    assert float((out[1] - out[0]).norm()) == pytest.approx(0.5 * float((points[1] - points[0]).norm()), rel=1e-3)


def test_batches_depend_on_the_step_alone(folder):
    data = Portraits(folder, TINY, batch=3, seed=4)
    first, again, other = data(2), data(2), data(3)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["image"], other["image"])
    assert first["image"].shape == (3, 3, 64, 64) and first["face"].shape == (3, 3, 32, 32)
    assert first["xy"].shape == (3, len(BODY_POINTS), 2) and first["face_xy"].shape == (3, len(FACE_POINTS), 2)
    assert float(first["image"].abs().max()) <= 1
    assert float(first["mask"].min()) >= 0 and float(first["mask"].max()) <= 1


def test_training_lowers_the_loss(folder, tmp_path):
    torch.manual_seed(0)
    data = Portraits(folder, TINY, batch=4)
    model = KeypointDetector(TINY)
    before = float(loss(model, data(0))[0].detach())
    model = fit(model, lambda step: data(step % 2), loss, Schedule(12, lr=3e-3, warmup=1, ema=0.5, amp=False), tmp_path)
    assert float(loss(model, data(0))[0].detach()) < before - 1


@pytest.mark.skipif(not CHECKPOINT.is_file(), reason="the trained detector is not in this checkout")
def test_shipped_weights_find_an_unseen_avatar(folder):
    model = checkpoint.load(KeypointDetector, CHECKPOINT)
    parts = loss(model, Portraits(folder, model.config, batch=8, seed=11)(0))[1]
    assert parts["mask_iou"] > 0.7 and parts["face_error"] < 0.12 and parts["person_accuracy"] > 0.7
