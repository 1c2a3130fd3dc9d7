import math

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.evaluation.video import temporal
from stereotalker_core.evaluation.video.pictures import strip
from stereotalker_core.evaluation.video.speed import expert_cost
from stereotalker_core.evaluation.video.temporal import (
    _STILL,
    disparity,
    disparity_right,
    flicker_ratio,
    outlier,
    seam_ratio,
    subject,
    yaw_sweep,
)
from stereotalker_core.video.rendering.nano import load_nano
from stereotalker_core.video.rendering.renderer import RenderedChunk
from stereotalker_core.video.rendering.windows import frame_windows


def noise(frames, amount, seed=0):
    return amount * torch.randn(frames, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_flicker_counts_only_where_the_truth_is_still():
    truth = noise(8, _STILL / 20)
    person = torch.ones(8, 1, 16, 16)
    assert flicker_ratio(truth, truth, person) == pytest.approx(1)
    assert flicker_ratio(3 * truth, truth, person) == pytest.approx(3, rel=1e-4)
    moving = truth.clone()
    moving[::2, :, :8] += 1.0  # a moving half: whatever ours does there is no flicker
    ours = moving.clone()
    ours[:, :, :8] += noise(8, 5.0, 1)[:, :, :8]
    assert flicker_ratio(ours, moving, person) == pytest.approx(1)


def test_seam_is_where_windows_overlap():
    truth, person = noise(28, 0.01), torch.ones(28, 1, 16, 16)
    plan = frame_windows(28, 16, 4)
    assert plan == [(0, 16), (12, 28)]
    even = truth + torch.arange(28.0).view(-1, 1, 1, 1) * 0.01
    assert seam_ratio(even, truth, person, plan) == pytest.approx(1, rel=1e-3)
    jump = even.clone()
    jump[14:] += 0.1
    assert seam_ratio(jump, truth, person, plan) > 2
    early = even.clone()
    early[5:] += 0.1
    assert seam_ratio(early, truth, person, plan) < 1


def test_seams_are_compared_with_the_same_frames_in_one_window(monkeypatch):
    body = HalfBody()
    person, renderer = subject(body, 1_500_003), load_nano()
    monkeypatch.setattr(temporal, "SEAM_FRAMES", 6)
    whole = temporal.clip_scores(renderer, person, 0.0, 6)["seam_ratio"]
    monkeypatch.setattr(temporal, "WINDOW", 4)
    cut = temporal.clip_scores(renderer, person, 0.0, 6)["seam_ratio"]
    assert whole != whole and 0.5 < cut < 2  # no number: one window has no seam


def test_outlier_is_the_largest_step_over_the_median():
    frames = torch.arange(6.0).view(-1, 1, 1, 1).expand(-1, 3, 4, 4).clone()
    assert outlier(frames) == pytest.approx(1)
    frames[3:] += 4
    assert outlier(frames) == pytest.approx(5)


def test_disparity_of_a_shifted_picture():
    left = torch.cat([torch.rand(3, 32, 96), torch.ones(1, 32, 96)])
    for shift in (-5, 0, 7):
        assert disparity(left, left.roll(-shift, -1)) == shift


def test_nano_turns_smoothly_and_sees_depth():
    body = HalfBody()
    person, renderer = subject(body, 1_500_003), load_nano()
    frames = yaw_sweep(renderer, person, 20.0)
    assert frames.shape == (10, 3, 256, 256) and outlier(frames) < 3
    assert strip(frames, 5).shape == (128, 640, 3)
    assert disparity_right(renderer, person) == 1


def test_drift_is_what_the_last_round_loses(monkeypatch):
    body = HalfBody()
    person = subject(body, 1_500_003)
    monkeypatch.setattr(temporal, "LOOP", 6)
    motion, cameras, truth = temporal.performance(person, 3, 0.0)
    rounds = []

    def stream(body, renderer, identity, motion, cameras, **options):
        assert len(motion) == len(cameras) == 12
        shown = truth.rgb[[0, 1, 2, 2, 1, 0]]
        for error in (0.02, 0.04):  # twice the error in the second round: 6 dB
            rounds.append(error)
            yield RenderedChunk(shown + error, torch.ones(6, 1, 256, 256))

    monkeypatch.setattr(temporal, "render_video", stream)
    assert temporal.identity_drift(None, person, 0.48) == pytest.approx(20 * math.log10(2), abs=1e-3)
    assert len(rounds) == 2


def test_expert_cost_is_a_small_ratio():
    cost = expert_cost(load_nano(), frames=2, repeats=3)["expert_cost_ratio"]
    assert cost["low"] <= cost["value"] <= cost["high"] and 0.7 < cost["value"] < 1.6
    assert math.isfinite(cost["high"])
