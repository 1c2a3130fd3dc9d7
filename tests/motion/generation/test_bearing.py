"""Turns of the head, glances, breathing: any part by itself, large enough, and eyes that stay on the viewer."""

import json

import pytest
import torch

from stereotalker_core.evaluation.motion.liveliness import head_yaw, head_yaw_range
from stereotalker_core.motion.arkit import ARKIT_INDEX
from stereotalker_core.motion.edit import PARTS
from stereotalker_core.motion.generation.bearing import REST_POSE, lowered, rest_pose, wander, with_bearing
from stereotalker_core.records import Motion
from stereotalker_core.synthetic.movement.rest_pose import hanging_arms


def still(frames: int) -> Motion:
    return Motion(torch.zeros(frames, 49, 3), torch.zeros(frames, 52))


@pytest.mark.parametrize("seed", [0, 3, 2**64 - 1])
def test_a_minute_turns_the_head_and_any_part_of_it_is_the_same(seed):
    quiet = (torch.arange(1500) % 70 < 8).float()
    whole = with_bearing(still(1500), seed, 0, quiet)
    assert 10 < head_yaw_range(whole) < 30
    assert float(head_yaw(whole).diff().abs().max()) < 3  # degrees a frame
    for first, count in ((0, 1), (333, 90), (1400, 100)):
        part = with_bearing(still(count), seed, first, quiet)
        torch.testing.assert_close(part.rotations, whole.rotations[first : first + count], atol=1e-5, rtol=0)
        torch.testing.assert_close(part.expression, whole.expression[first : first + count], atol=1e-5, rtol=0)


def test_turns_like_to_begin_in_pauses():
    quiet = torch.zeros(6000)
    quiet[20::58] = quiet[21::58] = quiet[22::58] = 1
    yaw = wander(1, 1, 0, 6000, quiet)[:, 0]
    moving = yaw.diff().abs() > 1e-7
    begins = (moving[1:] & ~moving[:-1]).nonzero()[:, 0] + 1
    assert len(begins) > 60
    assert float(sum(float(quiet[max(0, b - 1) : b + 3].max()) for b in begins.tolist())) > 0.9 * len(begins)


def test_eyes_turn_against_the_head():
    quiet = torch.zeros(3000)
    motion = with_bearing(still(3000), 0, 0, quiet)
    eyes = motion.expression[:, ARKIT_INDEX["eyeLookOutLeft"]] - motion.expression[:, ARKIT_INDEX["eyeLookInLeft"]]
    assert float(torch.corrcoef(torch.stack([eyes, head_yaw(motion).float()]))[0, 1]) < -0.6
    assert float(motion.expression.min()) >= 0 and float(motion.expression.max()) <= 1


def test_nothing_at_all_is_the_motion_itself():
    motion = still(50)
    assert with_bearing(motion, 0, 0, torch.zeros(50), 0, 0) is motion
    assert lowered(motion, torch.zeros(50)) is motion


def test_the_resting_arms_are_those_of_the_teacher():
    torch.testing.assert_close(rest_pose(), hanging_arms(), atol=1e-4, rtol=0)
    assert len(json.loads(REST_POSE.read_text())) == len(PARTS["hands"])
    half = lowered(still(2), torch.tensor([0.0, 1.0])).rotations[:, list(PARTS["hands"])]
    assert not half[0].any()
    torch.testing.assert_close(half[1], rest_pose(), atol=1e-5, rtol=0)
