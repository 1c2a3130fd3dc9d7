"""Random performances: smooth, bounded, repeatable."""

import pytest
import torch

from stereotalker_core.geometry.skeleton import ARM_JOINTS, HAND_JOINTS, JOINT_INDEX
from stereotalker_core.synthetic.people.performance import random_motion


def test_same_generator_state_same_motion(half_body, heads):
    first, second = (random_motion(half_body, heads, 20, torch.Generator().manual_seed(5)) for _ in range(2))
    other = random_motion(half_body, heads, 20, torch.Generator().manual_seed(6))
    assert torch.equal(first.rotations, second.rotations) and torch.equal(first.expression, second.expression)
    assert not torch.equal(first.rotations, other.rotations)


def test_motion_is_smooth_and_moves(half_body, heads, rng):
    motion = random_motion(half_body, heads, 150, rng)
    step = torch.rad2deg((motion.rotations[1:] - motion.rotations[:-1]).norm(dim=-1))
    jerk = torch.rad2deg(motion.rotations.diff(n=2, dim=0).norm(dim=-1))
    # a quintic move of 18 frames peaks at 1.875 / 18 of its range a frame
    assert step.max() < 22 and jerk.max() < 6
    moving = step.amax(0)
    for names in (ARM_JOINTS["L"][2:4], ARM_JOINTS["R"][2:4], HAND_JOINTS["L"][3:4]):
        assert all(moving[JOINT_INDEX[n]] > 0.5 for n in names)


def test_expression_talks_and_blinks(half_body, heads, rng):
    expression = random_motion(half_body, heads, 250, rng).expression
    index = half_body.expression_index
    assert expression.min() >= 0 and expression.max() <= 1
    assert expression[:, index["jawOpen"]].max() > 0.2 and expression[:, index["jawOpen"]].min() < 0.05
    assert expression[:, index["eyeBlinkLeft"]].max() == 1
    assert torch.equal(expression[:, index["eyeBlinkLeft"]], expression[:, index["eyeBlinkRight"]])


def test_the_jaw_agrees_with_the_mouth_channels(half_body, heads, rng):
    expression = random_motion(half_body, heads, 100, rng).expression
    index = half_body.expression_index
    # mouthClose is a corrective of an open jaw and destroys a closed mouth
    assert (expression[:, index["mouthClose"]] <= expression[:, index["jawOpen"]]).all()


def test_empty_motion_is_refused(half_body, heads, rng):
    with pytest.raises(ValueError, match="at least one frame"):
        random_motion(half_body, heads, 0, rng)
