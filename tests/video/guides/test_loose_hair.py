"""Loose hair: what the matte holds beyond the fitted head stays with it, behind the person, from every side."""

from dataclasses import replace

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.geometry.projection import project
from stereotalker_core.records import Cameras, Motion
from stereotalker_core.synthetic.people.avatar import make_avatar
from stereotalker_core.synthetic.people.portrait import canonical_cameras, reference_portrait, true_identity
from stereotalker_core.video.guides.loose_hair import LooseHair
from stereotalker_core.video.guides.maps import render_guides
from stereotalker_core.video.rendering.composite import composite, coverage, with_strands

SIDE = 256
RED = torch.tensor([1.0, -1.0, -1.0])[:, None]


@pytest.fixture(scope="module")
def person():
    body = HalfBody()
    avatar = make_avatar(body, 5)
    return body, true_identity(body, avatar, reference_portrait(body, avatar, 5, SIDE)).literal()


def own_view(identity):
    """The portrait's own camera and motion."""
    camera = Cameras(identity.world_to_camera[None], identity.intrinsics, torch.zeros(1), (SIDE, SIDE))
    return Motion(identity.rotations[None], identity.expression[None]), camera


def top(body, identity):
    """Where the crown lies in the portrait (x, y in px), and how many px a metre has there."""
    motion, camera = own_view(identity)
    posed = body.pose(body.rest(identity.shape[None], identity.shell[None]), motion.rotations)
    points = project(posed.vertices, camera.world_to_camera, camera.intrinsics)[0]
    crown = points[body.vertices_in("scalp")]
    return crown[crown[:, 1].argmin(), :2], float(camera.intrinsics[0, 0] / points[:, 2].mean())


def with_blob(body, identity, right, up, radius):
    """The same person with a red disc in portrait and matte; its middle in m from the crown."""
    (x, y), scale = top(body, identity)
    rows, columns = torch.meshgrid(*[torch.arange(SIDE) + 0.5] * 2, indexing="ij")
    disc = torch.hypot(columns - x - right * scale, rows - y + up * scale) < radius * scale
    portrait, mask = identity.portrait.clone(), identity.mask.clone()
    portrait[:, disc], mask[:, disc] = RED, 1.0
    return replace(identity, portrait=portrait, mask=mask), disc


def red(layer):
    """Opaque red pixels (T, H, W) of a layer (T, 4, H, W)."""
    return (layer[:, 3] > 0.5) & (layer[:, 0] > 0.4) & (layer[:, 1] < 0)


def test_from_its_own_view_the_tuft_is_the_photograph_s(person):
    """The plain twin: the portrait's pixels outside the fitted silhouette, cut out by the matte."""
    body, identity = person
    tufted, disc = with_blob(body, identity, 0.0, 0.0, 0.02)
    motion, camera = own_view(tufted)
    outside = disc & (render_guides(body, tufted, motion, camera).part[0, 0] == 0)
    drawn = red(LooseHair(body, tufted).layer(motion, camera))[0]
    assert int(outside.sum()) > 30
    assert float((drawn & outside).sum() / outside.sum()) > 0.85
    assert float((drawn & ~disc).sum()) < 0.1 * float(outside.sum())


@pytest.mark.parametrize("yaw", [-40.0, 30.0])
def test_it_turns_and_nods_with_the_head_and_grows_with_the_canvas(person, yaw):
    body, identity = person
    tufted, _ = with_blob(body, identity, 0.0, 0.0, 0.02)
    hair = LooseHair(body, tufted)
    cameras = canonical_cameras(body, tufted.shape, torch.tensor([yaw]), 2 * SIDE)
    rotations = torch.zeros(2, 49, 3)
    rotations[1, :4, 0] = 0.12  # spine to head: bow
    for i in range(2):
        motion = Motion(rotations[i : i + 1], torch.zeros(1, 52))
        found = red(hair.layer(motion, cameras))[0]
        person_there = render_guides(body, tufted, motion, cameras).part[0, 0] > 0
        rows = (found & ~person_there).nonzero()[:, 0].float()
        assert len(rows) > 100
        highest = person_there.any(1).nonzero()[0]
        scale = float(cameras.intrinsics[0, 0] / 2.4)
        assert -0.03 * scale < float(rows.mean() - highest) < 0.05 * scale  # at the top of the head, wherever it is


def test_the_person_hides_it_and_time_is_saved(person):
    body, identity = person
    tufted, disc = with_blob(body, identity, 0.0, 0.0, 0.02)
    motion, camera = own_view(tufted)
    inside = (render_guides(body, tufted, motion, camera).part > 0).float()
    hair = LooseHair(body, tufted)
    whole, culled = hair.layer(motion, camera), hair.layer(motion, camera, inside)
    assert not bool(culled[:, 3:][inside > 0].any())
    outside = (inside == 0).expand_as(whole)
    torch.testing.assert_close(culled[outside], whole[outside])
    frames = -torch.ones(1, 3, SIDE, SIDE)
    grey = torch.zeros(1, 3, SIDE, SIDE)
    torch.testing.assert_close(
        composite(frames, inside, grey, False, whole), composite(frames, inside, grey, False, culled)
    )
    assert float(composite(frames, inside, grey, True, whole)[0, 0][disc & (inside[0, 0] == 0)].mean()) > 0.7


def test_what_is_not_hair_stays_away(person):
    body, identity = person
    motion, camera = own_view(identity)
    shoulder, _ = with_blob(body, identity, 0.19, -0.27, 0.03)  # loose cloth does not turn with the head
    floating, _ = with_blob(body, identity, 0.0, 0.036, 0.006)  # something on the wall behind
    for wrong in (shoulder, floating):
        layer = LooseHair(body, wrong).layer(motion, camera)
        assert layer is None or not bool(red(layer).any())


def test_nobody_without_loose_hair_pays_for_it(person):
    body, identity = person
    motion, camera = own_view(identity)
    tight = replace(identity, mask=(render_guides(body, identity, motion, camera).part[0] > 0).float())
    assert LooseHair(body, tight).layer(motion, camera) is None
    alpha, grey = tight.mask[None], torch.zeros(1, 3, SIDE, SIDE)
    assert with_strands(alpha, None) is alpha
    torch.testing.assert_close(composite(grey, alpha, grey + 1, False), grey + 1 - coverage(alpha))


def test_alpha_holds_it(person):
    alpha = torch.tensor([0.0, 0.3, 1.0]).view(1, 1, 1, 3)
    strands = torch.tensor([0.5, 0.5, 0.0]).view(1, 1, 1, 3).expand(1, 4, 1, 3)
    found = coverage(with_strands(alpha, strands)).flatten()
    torch.testing.assert_close(found, torch.tensor([0.5, 1 - 0.5 * (2 / 3), 1.0]))
