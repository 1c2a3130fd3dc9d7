"""Figures of how a body moves, on motions whose figures are known."""

import math

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.evaluation.motion.behaviour import spaced
from stereotalker_core.evaluation.motion.liveliness import (
    head_yaw,
    head_yaw_range,
    jerk_frames,
    joint_acceleration,
    open_share,
    rest_share,
)
from stereotalker_core.geometry.skeleton import JOINT_INDEX
from stereotalker_core.motion.arkit import ARKIT_INDEX
from stereotalker_core.motion.lips import lip_gap_weights
from stereotalker_core.records import Motion
from stereotalker_core.synthetic.speech.utterance import Utterance


def still(frames: int = 100) -> Motion:
    return Motion(torch.zeros(frames, 49, 3), torch.zeros(frames, 52))


def test_a_jump_of_twenty_degrees_is_two_jerk_frames():
    motion = still()
    motion.rotations[50:, JOINT_INDEX["lowerarm01.R"], 0] = math.radians(20)
    assert jerk_frames(motion) == 2 and float(joint_acceleration(motion).max()) == pytest.approx(20, abs=1e-3)
    motion.rotations[50:, JOINT_INDEX["lowerarm01.R"], 0] = math.radians(14)
    assert jerk_frames(motion) == 0


def test_a_rotation_past_half_a_turn_is_no_jump():
    motion = still()
    angle = torch.linspace(math.pi - 0.5, math.pi + 0.5, 100)
    wrapped = torch.where(angle > math.pi, angle - 2 * math.pi, angle)
    motion.rotations[:, JOINT_INDEX["wrist.L"], 2] = wrapped
    assert jerk_frames(motion) == 0


def test_rest_and_turns():
    body, motion = HalfBody(), still()
    assert rest_share(motion, body) == 1 and head_yaw_range(motion) == 0
    motion.rotations[:50, JOINT_INDEX["upperarm01.L"], 1] = torch.linspace(0, 1, 50)
    assert rest_share(motion, body) == pytest.approx(0.5, abs=0.02)
    motion.rotations[30:, JOINT_INDEX["head"], 2] = 0.2
    motion.rotations[60:, JOINT_INDEX["spine01"], 2] = 0.1
    assert float(head_yaw(motion)[-1]) == pytest.approx(math.degrees(0.3), abs=1e-3)
    assert head_yaw_range(motion) == pytest.approx(math.degrees(0.3), abs=1e-3)


def test_open_share_counts_only_frames_without_speech():
    gap, motion = lip_gap_weights(HalfBody()), still(10)
    motion.expression[5:, ARKIT_INDEX["jawOpen"]] = 0.6
    assert open_share(motion, torch.ones(10, dtype=torch.bool), gap) == (0.5, 10)
    assert open_share(motion, torch.arange(10) < 4, gap) == (0.0, 4)
    assert open_share(motion, torch.zeros(10, dtype=torch.bool), gap) == (0.0, 0)


def test_gaps_between_utterances_are_known_to_be_silent():
    phones = (("sil", 0.0, 0.2, 0), ("aa", 0.2, 0.8, 1), ("sil", 0.8, 1.0, 0))
    spoken = Utterance(torch.ones(16_000), (("a", 0.2, 0.8),), phones, "a", "espeak", "x")
    wave, quiet = spaced([spoken, spoken])
    assert len(wave) == round(16_000 * (3 * 1.6 + 2)) and len(quiet) == -(-len(wave) // 640)
    assert quiet[:35].all() and not quiet[round(1.9 * 25) : round(2.3 * 25)].any() and quiet[80:95].all()
