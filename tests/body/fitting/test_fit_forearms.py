"""Forearms that point at the camera are as thick as an arm, not as the outline around hand and elbow."""

import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.body.fitting.fit_forearms import slender_forearms
from stereotalker_core.body.fitting.fit_pose import PoseFit
from stereotalker_core.body.model import HalfBody
from stereotalker_core.geometry.projection import intrinsics_for, look_at
from stereotalker_core.synthetic.movement.poses import ArmAngles, arm_pose, joint_heads

BODY = HalfBody()


def pose_with(twist):
    """The fit of somebody with bent elbows, forearms towards the camera (twist 0) or before the belly (90 degrees)."""
    heads = joint_heads(BODY, BODY.rest(torch.zeros(1, BODY.n_shape)))
    angles = ArmAngles(lower=45.0, forward=0.0, elbow=60.0, twist=twist)
    rotations = sum(arm_pose(heads, side, angles) for side in "LR")[0]
    camera = look_at(torch.tensor([0.0, 0.0, 0.42]), torch.zeros(1), torch.zeros(1), torch.full((1,), 2.1))[0]
    lens, none = intrinsics_for(1.1, 2.1, (256, 256)), torch.zeros(1)
    return PoseFit(torch.zeros(BODY.n_shape), rotations, torch.zeros(52), camera, lens, vector=none, error=none)


def pointing(fit):
    """Cosine between the left forearm and the camera's axis."""
    bones = fit.posed(BODY, torch.zeros(BODY.n_vertices, 3)).bones[0]
    elbow, wrist = (BODY.bone_index[f"{name}.L"] for name in ("lowerarm01", "wrist"))
    return float((F.normalize(bones[wrist] - bones[elbow], dim=0) @ fit.world_to_camera[2, :3]).abs())


def thickness(offsets, low, high):
    """Mean distance in m of the left forearm's surface from the bone, between two shares of its length."""
    elbow, wrist = (BODY.bone_mean[BODY.bone_index[f"{name}.L"]] for name in ("lowerarm01", "wrist"))
    points = (BODY.mean + offsets)[BODY.vertices_in("arm.L")] - elbow
    axis = F.normalize(wrist - elbow, dim=0)
    along = points @ axis / (wrist - elbow).norm()
    near = (along > low) & (along < high)
    return float((points - (points @ axis)[:, None] * axis).norm(dim=1)[near].mean())


@pytest.fixture(scope="module")
def swollen():
    return 0.03 * BODY.normals(BODY.mean[None])[0]


def test_a_wrist_towards_the_camera_is_not_swollen(swollen):
    fit = pose_with(0.0)
    assert pointing(fit) > 0.85
    after, bare = slender_forearms(BODY, fit, swollen), torch.zeros_like(swollen)
    assert thickness(swollen, 0.6, 0.95) - thickness(bare, 0.6, 0.95) > 0.025
    assert thickness(after, 0.6, 0.95) - thickness(bare, 0.6, 0.95) < 0.008
    others = ~BODY.vertices_in("arm.L", "arm.R", "hand.L", "hand.R")
    assert torch.equal(after[others], swollen[others])


def test_an_arm_across_the_picture_and_a_slim_one_stay(swollen):
    across = pose_with(90.0)
    assert pointing(across) < 0.5
    assert torch.equal(slender_forearms(BODY, across, swollen), swollen)
    slim = swollen / 10
    torch.testing.assert_close(slender_forearms(BODY, pose_with(0.0), slim), slim)
