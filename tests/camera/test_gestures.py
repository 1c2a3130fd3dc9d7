"""Hands and frames: crops without hands have no gestures, half bodies have room for them."""

import dataclasses

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.camera.gestures import gestures_belong, hands_seen, staged, widened
from stereotalker_core.camera.trajectories import canonical_framing, fixed, framing_for
from stereotalker_core.geometry.projection import intrinsics_for, look_at, project
from stereotalker_core.geometry.skeleton import JOINT_INDEX
from stereotalker_core.records import Identity, Motion

ELBOW, WRIST = JOINT_INDEX["lowerarm01.L"], JOINT_INDEX["wrist.L"]


@pytest.fixture(scope="module")
def body() -> HalfBody:
    return HalfBody()


@pytest.fixture(scope="module")
def motion() -> Motion:
    """A raised left arm, then one that hangs."""
    rotations = torch.zeros(4, 49, 3)
    rotations[:2, ELBOW, 0] = -2.0
    rotations[2:, JOINT_INDEX["upperarm01.L"], 1] = 0.6
    return Motion(rotations, torch.zeros(4, 52))


def person(body: HalfBody, height: float, hands: bool):
    """Somebody whose photograph is `height` m high and shows hands or not."""
    own = canonical_framing(float(body.bone_mean[body.bone_index["head"], 2]))
    target = torch.tensor([0.0, -0.02, own.target[2] + own.height / 2 - height / 2])
    image = torch.zeros(3, 320, 320)
    return Identity(
        shape=torch.zeros(body.n_shape),
        shell=torch.zeros(body.n_vertices),
        rotations=torch.zeros(49, 3),
        expression=torch.zeros(52),
        world_to_camera=look_at(target, torch.zeros(1), torch.zeros(1), torch.tensor([2.4]))[0],
        intrinsics=intrinsics_for(height, 2.4, (320, 320)),
        portrait=image,
        mask=torch.ones(1, 320, 320),
        background=image,
        atlas=torch.zeros(3, 8, 8),
        visibility=torch.full((1, 8, 8), float(hands)),
        atlas_layout=2,
    )


def finger_rows(body, identity, motion, cameras):
    posed = body.pose(body.rest(identity.shape[None], identity.shell[None]), motion.rotations, motion.expression)
    points = body.keypoints(posed.vertices, posed.bones)
    chosen = [i for i, name in enumerate(body.keypoint_names) if name.startswith("hand.")]
    return project(points[:, chosen], cameras.world_to_camera, cameras.intrinsics)[..., :2]


def test_a_head_and_shoulder_crop_has_no_hands_and_a_half_body_has(body, motion):
    bust, half = person(body, 0.42, False), person(body, 0.86, False)
    for who, belongs in ((bust, False), (half, True)):
        cameras = fixed(framing_for(body, who), len(motion), size=(320, 320))
        assert gestures_belong(body, who, cameras) is belongs and not hands_seen(body, who)
        shown = staged(body, who, motion, cameras)
        assert torch.equal(shown.rotations, motion.rotations) is belongs
        if not belongs:
            assert float(finger_rows(body, who, shown, cameras)[..., 1].min()) > 320  # below the frame
        assert staged(body, who, motion, cameras, "on") is motion
        off = staged(body, who, motion, cameras, "off")
        assert float((off.rotations[:, ELBOW]).abs().max()) == 0 and torch.equal(off.expression, motion.expression)
    with pytest.raises(ValueError, match="hands 'maybe'"):
        staged(body, half, motion, cameras, "maybe")


def test_off_keeps_the_arms_of_a_photograph_that_shows_its_hands(body, motion):
    held = torch.zeros(49, 3)
    held[ELBOW, 0] = -1.0
    who = dataclasses.replace(person(body, 0.86, True), rotations=held)
    cameras = fixed(framing_for(body, who), len(motion), size=(320, 320))
    off = staged(body, who, motion, cameras, "off")
    assert torch.equal(off.rotations[:, ELBOW], held[ELBOW].expand(4, 3))


def test_a_half_body_gets_room_for_its_hands(body, motion):
    who = person(body, 0.6, True)
    own = framing_for(body, who)
    wide = widened(own, body, who, motion)
    cameras = fixed(wide, len(motion), size=(320, 320))
    assert float(finger_rows(body, who, motion, fixed(own, len(motion), size=(320, 320))).max()) > 320
    pixels = finger_rows(body, who, motion, cameras)
    assert wide.target[2] + wide.height / 2 == pytest.approx(own.target[2] + own.height / 2)  # the top stays
    limit = pytest.approx(own.height * 1.25)
    assert wide.height == limit or float(pixels.quantile(0.97)) <= 320
    assert own.height < wide.height <= own.height * 1.25 + 1e-9
    hidden = person(body, 0.6, False)
    assert widened(own, body, hidden, motion) == own  # nothing below the edge for hands that were not there
    half = framing_for(body, who, "half_body")
    assert widened(half, body, who, motion) == half
