"""Metrics of stage 1: the teacher itself scores full marks, nonsense does not; the whole runs on tiny networks."""

import math

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.evaluation.motion.evaluate import (
    HeldOut,
    arm_acceleration,
    closure_times,
    correlation,
    evaluate_motion,
    held_out,
    mouth_scores,
)
from stereotalker_core.evaluation.motion.meaning import arm_templates, shown_gestures
from stereotalker_core.motion.lips import lip_gap_weights
from stereotalker_core.records import Motion
from stereotalker_core.synthetic.movement.teacher import teach, teach_with_labels
from stereotalker_core.synthetic.speech.tts import available_engines
from stereotalker_core.synthetic.speech.utterance import Utterance
from tests.motion.samples import make_models, make_motion


def utterance() -> Utterance:
    phones, t = [], 0.0
    for name in ["sil", "m", "aa", "p", "iy", "b", "ow", "sil", "hh", "ah", "l", "ow", "sil"]:
        length = 0.4 if name == "sil" else 0.14
        phones.append((name, t, t + length, int(name in ("aa", "ow"))))
        t += length
    wave = 0.1 * torch.randn(int(t * 16_000), generator=torch.Generator().manual_seed(0))
    return Utterance(wave, (("mop", 0.4, 0.82), ("hello", 1.64, 2.2)), tuple(phones), "mop hello", "none", "none")


def test_the_teacher_scores_full_marks():
    item, gap = HeldOut(utterance(), "happy", "neutral"), lip_gap_weights(HalfBody())
    scores = mouth_scores(item, teach(None, item.utterance, 5, "neutral", "happy"), gap)
    assert scores["jaw_correlation"][0] == pytest.approx(1, abs=1e-3)
    assert scores["closure_recall"] == (1.0, 3) and scores["closure_false"][0] == 0


def test_nonsense_does_not():
    item, gap = HeldOut(utterance(), "neutral", "neutral"), lip_gap_weights(HalfBody())
    frames = len(teach(None, item.utterance, 0))
    still = Motion(torch.zeros(frames, 49, 3), torch.zeros(frames, 52))
    scores = mouth_scores(item, still, gap)
    assert scores["jaw_correlation"][0] == 0 and scores["closure_false"][0] == 1
    noise = make_motion(frames, scale=0.01)
    assert abs(mouth_scores(item, noise, gap)["jaw_correlation"][0]) < 0.5


def test_correlation_is_pearson():
    t = torch.arange(100) * 0.1
    a = torch.stack([t.sin(), t.sin(), torch.ones(100)], 1)
    b = torch.stack([2 * t.sin() + 1, -t.sin(), t], 1)
    torch.testing.assert_close(correlation(a, b), torch.tensor([1.0, -1.0, 0.0]), atol=1e-5, rtol=0)


def test_closures_are_found_in_their_middle():
    assert closure_times(utterance(), 65) == [int((0.4 + 0.07) * 25), int((0.68 + 0.07) * 25), int((0.96 + 0.07) * 25)]


def test_acceleration_sees_a_jump():
    motion = make_motion(20, scale=0.0)
    motion.rotations[10:] = 0.5
    acceleration = arm_acceleration(motion)
    assert acceleration.argmax() in (9, 10) and acceleration[:8].max() == 0


def test_a_taught_gesture_is_recognised():
    templates = arm_templates(HalfBody())
    spoken = utterance()
    motion, events = teach_with_labels(None, spoken, 0)
    greet = [e for e in events if e.gesture == "greet"]
    assert greet and "greet" in shown_gestures(motion, greet[0].stroke, templates)
    quiet, _ = teach_with_labels(None, spoken, 0, gesture_words=set())
    assert "greet" not in shown_gestures(quiet, greet[0].stroke, templates)


@pytest.mark.skipif(not available_engines(), reason="no speech engine is installed")
def test_held_out_speech_is_made_where_there_is_no_corpus(tmp_path):
    items = held_out(2, tmp_path)
    assert len(items) == 2 and all(i.audio.seconds > 0.5 for i in items)


@pytest.mark.skipif(not available_engines(), reason="no speech engine is installed")
def test_quick_evaluation_runs_and_every_metric_is_finite(monkeypatch, tmp_path):
    from stereotalker_core.evaluation.motion import evaluate as module
    from stereotalker_core.evaluation.motion import motion_statistics

    monkeypatch.setattr(motion_statistics, "WINDOW", 16)  # a few short utterances give too few windows of 2 s
    monkeypatch.setattr(motion_statistics, "STEP", 8)
    monkeypatch.setattr(module, "held_out", lambda count, data, seed: held_out(6, tmp_path, seed))
    whole, joined = module.meaning_metrics, module._join
    monkeypatch.setattr(module, "meaning_metrics", lambda models, options, count, seed: whole(models, options, 1, seed))
    monkeypatch.setattr(module, "_join", lambda items, seconds: joined(items, 8.0))
    found = evaluate_motion(make_models(), quick=True, data=tmp_path, steps=1, out=tmp_path / "plots")
    metrics = found["metrics"]
    assert sum(sum(counts.values()) for counts in found["voices"].values()) == 6
    assert {f"jaw_correlation_{engine}" for engine in found["voices"]} <= set(metrics)
    assert {"jaw_correlation", "closure_recall", "meaning_gain_text", "realtime_factor"} <= set(metrics)
    assert {"beat_alignment_ratio", "frechet_model", "frechet_no_audio", "seam_acceleration_ratio"} <= set(metrics)
    assert set(found["skipped"]) == {"real_closure_recall", "real_lag_ms"}  # there are no recordings in that folder
    assert {"meaning_text.png", "motion_metrics.png"} <= {p.name for p in (tmp_path / "plots").iterdir()}
    for row in metrics.values():
        assert all(math.isfinite(row[k]) for k in ("value", "low", "high"))
