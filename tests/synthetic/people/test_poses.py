"""Anatomical angles move the body where their names say."""

from dataclasses import fields

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.geometry.rotations import axis_angle_to_matrix
from stereotalker_core.geometry.skeleton import mirrored_joints
from stereotalker_core.synthetic.movement.poses import (
    ArmAngles,
    HandFrame,
    arm_pose,
    blend_angles,
    head_pose,
    joint_heads,
    rest_arms,
    spine_pose,
)


@pytest.fixture(scope="module")
def body():
    return HalfBody()


@pytest.fixture(scope="module")
def rest(body):
    return body.rest(torch.zeros(1, body.n_shape))


@pytest.fixture(scope="module")
def heads(body, rest):
    return joint_heads(body, rest)


def place(body, rest, rotations, bone):
    return body.pose(rest, rotations).bones[:, body.bone_index[bone]]


def both(heads, **angles):
    return sum(arm_pose(heads, side, ArmAngles(**angles)) for side in "LR")


def test_relaxed_arms_hang_beside_the_hips(body, rest, heads):
    wrist, shoulder = (place(body, rest, rest_arms(heads), n)[0] for n in ("wrist.L", "upperarm01.L"))
    assert wrist[2] < shoulder[2] - 0.4 and abs(wrist[0] - shoulder[0]) < 0.1


def test_forward_elbow_and_twist_directions(body, rest, heads):
    base = place(body, rest, both(heads, lower=25.0, elbow=40.0), "wrist.L")[0]
    forward = place(body, rest, both(heads, lower=25.0, elbow=40.0, forward=30.0), "wrist.L")[0]
    flexed = place(body, rest, both(heads, lower=25.0, elbow=80.0), "wrist.L")[0]
    twisted = place(body, rest, both(heads, lower=25.0, elbow=40.0, twist=30.0), "wrist.L")[0]
    assert forward[1] < base[1] - 0.05
    assert flexed[2] > base[2] + 0.05
    assert twisted[0] < base[0] - 0.05


ANGLES = [f.name for f in fields(ArmAngles)]


@pytest.mark.parametrize("name", ANGLES)
def test_left_and_right_are_mirror_images(heads, name):
    symmetric = (heads + heads[mirrored_joints()] * torch.tensor([-1.0, 1, 1])) / 2
    pose = both(symmetric, **{name: 23.0})[0]
    mirrored = pose[mirrored_joints()] * torch.tensor([1.0, -1, -1])  # a reflection turns axis vectors the other way
    torch.testing.assert_close(mirrored, pose, atol=1e-4, rtol=0)


def test_curl_brings_the_finger_tips_to_the_palm(body, rest, heads):
    palm = HandFrame(heads, "L").palm
    start = place(body, rest, arm_pose(heads, "L", ArmAngles(0, 0, 0, curl=0.0, thumb=0.0)), "finger3-3.L")[0]
    end = place(body, rest, arm_pose(heads, "L", ArmAngles(0, 0, 0, curl=60.0, thumb=0.0)), "finger3-3.L")[0]
    assert (end - start) @ palm > 0.02


def test_thumb_opposition_moves_it_across_the_palm(body, rest, heads):
    hand = HandFrame(heads, "L")
    start = place(body, rest, arm_pose(heads, "L", ArmAngles(0, 0, 0, curl=0.0, thumb=0.0)), "finger1-3.L")[0]
    end = place(body, rest, arm_pose(heads, "L", ArmAngles(0, 0, 0, curl=0.0, thumb=50.0)), "finger1-3.L")[0]
    assert (end - start) @ (hand.palm - hand.across) > 0.01


def test_shrug_lifts_the_shoulder_and_keeps_the_arm_direction(body, rest, heads):
    def direction(rotations):
        return place(body, rest, rotations, "lowerarm01.L")[0] - place(body, rest, rotations, "upperarm01.L")[0]

    plain, lifted = both(heads), both(heads, shrug=10.0)
    assert place(body, rest, lifted, "upperarm01.L")[0, 2] > place(body, rest, plain, "upperarm01.L")[0, 2] + 0.005
    torch.testing.assert_close(direction(lifted), direction(plain), atol=2e-3, rtol=0)


def test_head_and_spine_directions(body, rest):
    eye = place(body, rest, torch.zeros(1, 49, 3), "eye.L")[0]
    assert place(body, rest, head_pose(pitch=20.0), "eye.L")[0, 2] < eye[2] - 0.01
    assert place(body, rest, head_pose(yaw=20.0), "eye.L")[0, 0] > eye[0] + 0.01
    assert place(body, rest, head_pose(roll=20.0), "eye.L")[0, 0] > eye[0] + 0.01
    assert place(body, rest, spine_pose(pitch=10.0), "eye.L")[0, 1] < eye[1] - 0.02


def test_a_track_equals_its_frames_one_by_one(heads):
    elbow = torch.tensor([-20.0, 10.0, 55.0])
    track = arm_pose(heads, "R", ArmAngles(elbow=elbow, curl=torch.rand(3, 4) * 40))
    assert track.shape == (3, 49, 3)
    single = arm_pose(heads, "R", ArmAngles(elbow=10.0, curl=0.0))
    other = [i for i in range(49) if not torch.equal(single[0, i], torch.zeros(3))]
    elbow_joint = next(i for i in other if torch.allclose(track[1, i], single[0, i], atol=1e-6))
    assert elbow_joint in other and not torch.allclose(track[0], track[1])


def test_rotations_are_finite_and_proper(heads):
    matrix = axis_angle_to_matrix(both(heads, lower=-42.0, forward=70.0, elbow=90.0, twist=50.0, roll=70.0, curl=75.0))
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(matrix.shape[:-2]), atol=1e-4, rtol=0)


def test_blend_runs_between_the_two_poses():
    a, b = ArmAngles(elbow=0.0), ArmAngles(elbow=40.0, curl=torch.full((1, 4), 30.0))
    mixed = blend_angles(a, b, torch.tensor([0.0, 0.25, 1.0]))
    assert mixed.elbow.tolist() == [0.0, 10.0, 40.0] and mixed.curl.shape == (3, 4)


def test_bad_input_is_named(heads):
    with pytest.raises(ValueError, match="side must be"):
        arm_pose(heads, "left", ArmAngles())
    with pytest.raises(ValueError, match="expected"):
        arm_pose(heads[:3], "L", ArmAngles())
