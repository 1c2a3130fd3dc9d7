"""The rendered dataset: its arrays, and that a killed run continues to the same bytes."""

from dataclasses import replace

import numpy as np
import pytest

from stereotalker_core.body.regions import region_of_part
from stereotalker_core.synthetic.data.dataset import ARRAYS, BASELINES, CLIP, DatasetConfig, _parse_shards, generate

CONFIG = DatasetConfig(identities=2, clips=1, seed=4, size=32, shards=1)


TRAINING = {name: kind for name, kind in ARRAYS.items() if name not in BASELINES}


def load(folder, names=TRAINING):
    return {name: np.load(folder / f"{name}.npy") for name in names}


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def resumed(half_body, template, tmp_path_factory):
    """A run that is killed after one identity and started again."""
    out = tmp_path_factory.mktemp("resumed")

    def kill(done, total):
        raise Killed

    with pytest.raises(Killed):
        generate(out, CONFIG, progress=kill, body=half_body, template=template)
    folder = out / "train" / "00"
    assert not (folder / "DONE").exists()
    assert np.load(folder / "complete.npy").tolist() == [1, 0]
    seen = []
    first = np.load(folder / "rgb.npy")[:CLIP].copy()
    again = generate(out, CONFIG, progress=lambda *counts: seen.append(counts), body=half_body, template=template)
    assert again == [folder]
    assert seen == [(1, 2), (2, 2)]
    assert np.array_equal(np.load(folder / "rgb.npy")[:CLIP], first)
    return folder


def test_resumed_equals_uninterrupted(half_body, template, resumed, tmp_path):
    (folder,) = generate(tmp_path, CONFIG, body=half_body, template=template)
    assert (resumed / "DONE").exists()
    whole, parts = load(folder), load(resumed)
    for name in TRAINING:
        assert np.array_equal(whole[name], parts[name]), name


def test_shapes_and_bookkeeping(half_body, resumed):
    data, rows = load(resumed), 2 * CLIP
    for name, (dtype, tail) in TRAINING.items():
        count = 2 if name in ("portrait", "portrait_mask", "complete") else rows
        assert data[name].dtype == np.dtype(dtype)
        assert data[name].shape == (count, *(32 if n == "S" else n for n in tail))
    assert data["identity"].tolist() == [0] * CLIP + [1] * CLIP
    assert data["clip"].tolist() == [0] * CLIP + [1] * CLIP
    assert np.abs(data["yaw"]).max() <= 135 and np.isfinite(data["keypoints"]).all()


def test_guides_agree_with_the_truth(half_body, resumed):
    data = load(resumed)
    true_fit = data["perturbed"] == 0
    drawn, covered = data["part"] > 0, data["alpha"] > 127
    iou = (drawn & covered).sum((1, 2)) / (drawn | covered).sum((1, 2))
    assert iou[true_fit].min(initial=1.0) > 0.9 and iou.min() > 0.6
    coarse = region_of_part(half_body.part_names).numpy()[data["part"]]
    assert (coarse == data["region"]).mean() > 0.85
    assert (data["normal"][~drawn] == 128).all() and (data["visibility"][~drawn] == 0).all()


def test_validation_is_a_fixed_grid(half_body, template, tmp_path):
    config = DatasetConfig(split="val", identities=1, clips=2, seed=4, size=32, shards=1)
    (folder,) = generate(tmp_path, config, body=half_body, template=template)
    data = load(folder)
    np.testing.assert_allclose(data["yaw"], np.linspace(-87.5, 87.5, 16), atol=1e-4)
    assert not data["perturbed"].any()
    more = load(folder, BASELINES)
    assert (more["plain"] != data["lift"]).any()  # a light was found and taken off
    bare, drawn = more["bare"] > 0, data["part"] > 0
    assert bare.sum() < drawn.sum() and (bare & ~drawn).sum() < 0.05 * drawn.sum()


def test_splits_and_shards_never_share_an_identity():
    train = DatasetConfig(identities=7, shards=3)
    seeds = [s for shard in range(3) for s in train.seeds(shard)]
    val = DatasetConfig(split="val", identities=7, shards=1).seeds(0)
    assert len(set(seeds)) == 7 and not set(seeds) & set(val)


def test_bad_requests_are_named(half_body, template, resumed):
    with pytest.raises(ValueError, match="choose another folder"):
        generate(resumed.parents[1], replace(CONFIG, clips=2), body=half_body, template=template)
    with pytest.raises(ValueError, match="do not exist"):
        generate(resumed.parents[1], CONFIG, shards=[3], body=half_body, template=template)
    with pytest.raises(ValueError, match="split"):
        DatasetConfig(split="test")
    with pytest.raises(ValueError, match="multiple of 4"):
        DatasetConfig(size=50)
    assert _parse_shards("0,2/6") == ([0, 2], 6) and _parse_shards("6") == (None, 6)
