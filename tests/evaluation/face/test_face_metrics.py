"""The six metrics against the reference's numbers, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stereotalker_core.evaluation.face.face_metrics import FaceRegions, diversity, face_metrics, movement, random_orders

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "probtalk3d" / "metrics.npz"


def load():
    with np.load(GOLDEN) as file:
        g = {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}
    regions = FaceRegions(g["mouth"], g["upper"], g["template"])
    clips = [g["gt0"], g["gt1"]], [g["pred0"], g["pred1"]], [g["order0"].tolist(), g["order1"].tolist()]
    return g, clips, regions


def test_all_six_equal_the_reference():
    g, (truth, samples, orders), regions = load()
    for name, value in face_metrics(truth, samples, regions, orders).items():
        assert value == pytest.approx(float(g[name]), rel=1e-5), name


def test_a_longer_truth_is_cut_and_nine_samples_are_refused():
    _, (truth, samples, orders), regions = load()
    longer = [torch.cat([t, t[:2] + 1]) for t in truth]
    assert face_metrics(longer, samples, regions, orders) == face_metrics(truth, samples, regions, orders)
    with pytest.raises(ValueError, match="10 samples"):
        face_metrics(truth, [s[:9] for s in samples], regions, orders)
    with pytest.raises(ValueError, match="permutation"):
        diversity(samples[0], [0] * 10)


def test_perfect_samples_score_zero_and_orders_are_permutations():
    _, (truth, samples, _), regions = load()
    same = [t.expand(10, *t.shape) for t in truth]
    scores = face_metrics(truth, same, regions, random_orders(2))
    assert max(map(abs, scores.values())) < 1e-12
    assert all(sorted(order) == list(range(10)) for order in random_orders(3))
    mean, deviation = movement(truth[0])
    assert mean.shape == deviation.shape == (60,) and (mean > 0).all()
