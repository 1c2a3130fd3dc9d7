"""Frechet distance, beats, lag and the nearest-neighbour baseline against cases with a known answer."""

import numpy as np
import pytest
import torch

from stereotalker_core.evaluation.motion.motion_statistics import (
    BEAT_SIGMA,
    FeatureSpace,
    beat_alignment,
    frechet_distance,
    lag_milliseconds,
    motion_beats,
    motion_features,
    nearest_neighbour_motion,
    spread,
)
from stereotalker_core.geometry.skeleton import JOINT_INDEX
from stereotalker_core.records import Motion
from stereotalker_core.synthetic.speech.utterance import Utterance
from tests.motion.samples import make_motion


def test_frechet_distance_of_known_gaussians():
    x = torch.randn(40_000, 3, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    # N(0, 1) against N(m, s^2) in each axis: m^2 + (1 - s)^2
    assert frechet_distance(x, 2 * x + torch.tensor([1.0, 0.0, 0.0])) == pytest.approx(1 + 3, abs=0.06)


def test_distance_in_a_space_orders_sets():
    motions = [make_motion(60, seed) for seed in range(30)]
    features = torch.cat([motion_features(m) for m in motions])
    space = FeatureSpace(features[:15])
    still = motion_features(Motion(torch.zeros(200, 49, 3), torch.zeros(200, 52)))
    assert space.distance(features[15:]) < space.distance(still.repeat(2, 1))
    assert len(motion_features(make_motion(49))) == 0


def moving(stops: list[float], frames: int = 150) -> Motion:
    """A right elbow that swings, and stops at each of the given seconds."""
    rotations = torch.zeros(frames, 49, 3)
    t = torch.arange(frames) / 25
    angle = sum(0.5 * (1 + torch.tanh((t - s + 0.25) * 12)) * (-1) ** k for k, s in enumerate(stops))
    rotations[:, JOINT_INDEX["lowerarm01.R"], 0] = angle
    return Motion(rotations, torch.zeros(frames, 52))


def spoken(stresses: list[float]) -> Utterance:
    phones, words = [], []
    for s in stresses:
        phones.append(("aa", s, s + 0.2, 1))
        words.append(("x", s, s + 0.2))
    return Utterance(torch.zeros(96_000), tuple(words), tuple(phones), "x", "none", "none")


def test_beats_are_found_where_the_arm_stops():
    beats = motion_beats(moving([1.0, 2.2, 3.4]))
    assert len(beats) == 3 and np.allclose(beats, [1.0, 2.2, 3.4], atol=0.2)
    assert motion_beats(Motion(torch.zeros(50, 49, 3), torch.zeros(50, 52))) == []


def test_beats_on_stresses_score_more_than_beats_between_them():
    motion = moving([1.0, 2.2, 3.4])
    found = motion_beats(motion)
    on, count = beat_alignment(motion, spoken([b - 0.07 for b in found]))
    off, _ = beat_alignment(motion, spoken([b + 0.5 for b in found]))
    assert count == 3 and on > 0.95 and off < float(np.exp(-((0.3 / BEAT_SIGMA) ** 2) / 2)) + 0.05


def test_lag_is_found_between_frames():
    t = torch.arange(200) / 25
    curve = torch.sin(5 * t) + torch.sin(7.3 * t)
    for seconds in (0.0, 0.06, -0.1):
        late = torch.sin(5 * (t - seconds)) + torch.sin(7.3 * (t - seconds))
        assert lag_milliseconds(late, curve) == pytest.approx(1000 * seconds, abs=6)


def test_nearest_neighbour_copies_the_motion_of_the_same_sound():
    library = [(torch.rand(40, 5), make_motion(40, seed)) for seed in range(3)]
    copied = nearest_neighbour_motion(library[1][0][:35], library)
    assert len(copied) == 35 and torch.equal(copied.rotations, library[1][1].rotations[:35])


def test_spread_grows_with_the_difference():
    a, b = make_motion(20, 0), make_motion(20, 1)
    assert spread([a, a]) == 0 and spread([a, b]) > 0
