"""Blinks: at the asked rate, the same in any part of the stream; controls at 1 change nothing."""

import pytest
import torch

from stereotalker_core.motion.arkit import BLINK
from stereotalker_core.motion.controls import apply_controls, blink_curve
from stereotalker_core.motion.generation.sampling import MotionOptions
from tests.motion.samples import make_motion


@pytest.mark.parametrize("rate", [6, 15, 30])
def test_rate(rate):
    curve = blink_curve(0, rate, 0, 25 * 240, 25.0)
    blinks = int(((curve[1:] >= 0.9) & (curve[:-1] < 0.9)).sum())
    assert abs(blinks - 4 * rate) <= 0.15 * 4 * rate + 1
    assert blink_curve(0, 0, 0, 100, 25.0).abs().max() == 0


def test_any_part_is_the_part_of_the_whole():
    whole = blink_curve(3, 20, 0, 600, 25.0)
    for first, count in ((0, 10), (77, 100), (300, 300), (599, 1)):
        assert torch.equal(blink_curve(3, 20, first, count, 25.0), whole[first : first + count])


def test_controls_at_one_are_bitwise_nothing():
    motion, centre = make_motion(), make_motion(1, 5)
    out = apply_controls(motion, centre, 0, MotionOptions(blink_rate=None))
    assert torch.equal(out.rotations, motion.rotations) and torch.equal(out.expression, motion.expression)


def test_blink_rate_replaces_the_blinks_only():
    motion, centre = make_motion(), make_motion(1, 5)
    out = apply_controls(motion, centre, 0, MotionOptions(blink_rate=0))
    assert out.expression[:, list(BLINK)].abs().max() == 0
    others = [i for i in range(52) if i not in BLINK]
    assert torch.equal(out.expression[:, others], motion.expression[:, others])


def test_strength_zero_is_the_centre():
    motion, centre = make_motion(), make_motion(1, 5)
    out = apply_controls(motion, centre, 0, MotionOptions(motion_strength=0))
    torch.testing.assert_close(out.rotations, centre.rotations.expand_as(out.rotations))


def test_both_eyes_blink_together_by_default():
    motion, centre = make_motion(600), make_motion(1, 5)  # 24 s
    lids = apply_controls(motion, centre, 0, MotionOptions()).expression[:, list(BLINK)]
    assert torch.equal(lids[:, 0], lids[:, 1]) and lids.max() == 1 and lids.min() == 0
