"""Turntable strips: views side by side in the order asked for, of the person in the wanted pose."""

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.camera import trajectories
from stereotalker_core.records import Motion
from stereotalker_core.synthetic.people.avatar import make_avatar
from stereotalker_core.synthetic.people.portrait import reference_portrait, true_identity
from stereotalker_core.video.guides.maps import render_guides
from stereotalker_core.video.guides.turntable import turntable_strip


@pytest.fixture(scope="module")
def person():
    body = HalfBody()
    with torch.inference_mode():
        avatar = make_avatar(body, 7)
        return body, true_identity(body, avatar, reference_portrait(body, avatar, 3, size=128))


def test_views_stand_in_the_order_of_the_yaws(person):
    body, identity = person
    yaws = [-60.0, 0.0, 90.0]
    strip = turntable_strip(body, identity, yaws, size=64)
    assert strip.shape == (3, 64, 3 * 64) and float(strip.min()) >= -1 and float(strip.max()) <= 1
    for index, yaw in enumerate(yaws):
        alone = turntable_strip(body, identity, [yaw], size=64)
        # the plate behind the person is that of the front-most view, so only the person must agree
        assert (strip[..., 64 * index : 64 * (index + 1)] - alone).abs()[:, 16:48, 24:40].mean() < 0.02


def test_a_view_is_what_the_guides_show_from_there(person):
    body, identity = person
    bones = body.rest(identity.shape[None]).bones[0]
    framing = trajectories.canonical_framing(float(bones[body.bone_index["head"], 2]))
    motion = Motion(torch.full((2, 49, 3), 0.05), torch.zeros(2, 52))
    camera = trajectories.fixed(framing, 1, 35.0, 4.0, (64, 64))
    with torch.no_grad():
        expected = render_guides(body, identity, motion[:1], camera).lift[0]
    strip = turntable_strip(body, identity, [35.0], 4.0, 64, motion)
    assert ((strip - expected).abs() > 2e-3).float().mean() < 0.002  # two drawings: outlines up to rounding


def test_the_portrait_gives_the_pose_unless_a_motion_does(person):
    body, identity = person
    raised = Motion(identity.rotations[None] + 0.4, identity.expression[None])
    assert (
        turntable_strip(body, identity, [0.0], size=64) - turntable_strip(body, identity, [0.0], 0.0, 64, raised)
    ).any()


@pytest.mark.parametrize(
    ("yaws", "pitch", "size", "named"),
    [
        ([], 0, 64, "at least one"),
        ([0], 0, 100, "100"),
        ([0], 0, 1024, "1024"),
        ([200], 0, 64, "200"),
        ([0], 99, 64, "99"),
    ],
)
def test_what_cannot_be_shown_is_refused(person, yaws, pitch, size, named):
    with pytest.raises(ValueError, match=named):
        turntable_strip(*person, yaws, pitch, size)
