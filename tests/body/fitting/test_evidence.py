"""What a fit starts from: the mask socket, hands in the picture, and a whole fit from nothing but a picture."""

import logging
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.body.fitting.fit import (
    agreeing_mask,
    fit_points,
    fit_portrait,
    gather_evidence,
    limbs_in_picture,
    mesh_of,
)
from stereotalker_core.body.fitting.fit_shell import silhouette_iou
from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.texture.texels import Lifter
from stereotalker_core.geometry.projection import project
from stereotalker_core.perception.keypoints import Keypoints
from stereotalker_core.perception.people import find_person, load_perception
from stereotalker_core.records import Cameras, Motion
from stereotalker_core.synthetic.people.avatar import make_avatar
from stereotalker_core.synthetic.people.portrait import reference_portrait
from stereotalker_core.video.guides.maps import render_guides


@pytest.fixture(scope="module")
def body():
    return HalfBody()


# ------------------------------------------------------------------ masks and hands, on made-up evidence
@pytest.fixture(scope="module")
def person():
    """A head and a body of 100 x 80 px as the perception gives them: coarse and soft."""
    mask = torch.zeros(1, 100, 80)
    mask[:, 10:50, 28:52], mask[:, 50:, 12:68] = 1, 1
    soft = F.avg_pool2d(mask[None], 5, 1, 2)[0]
    return SimpleNamespace(mask=soft, face_box=torch.tensor([30.0, 15.0, 50.0, 42.0])), mask


def test_a_mask_of_the_person_is_taken_as_it_is(person, caplog):
    seen, mask = person
    with caplog.at_level(logging.WARNING):
        assert agreeing_mask(mask, seen) is mask
    assert caplog.text == ""


def test_a_mask_of_the_background_is_turned_over_and_that_is_said(person, caplog):
    seen, mask = person
    with caplog.at_level(logging.WARNING):
        found = agreeing_mask(1 - mask, seen)
    assert torch.equal(found, mask) and "inverse" in caplog.text


def test_a_mask_that_leaves_the_face_out_is_refused(person):
    seen, mask = person
    without = mask.clone()
    without[:, :50] = 0
    with pytest.raises(ValueError, match="leaves the face out"):
        agreeing_mask(without, seen)


def test_points_tell_an_inverted_mask_where_nobody_was_looked_for(person, caplog):
    """Keypoints and a mask were both given: no network says where the person is."""
    _, mask = person
    points = keypoints_of(
        {"face.27": (40.0, 25.0), "iris.L": (44.0, 25.0), "iris.R": (36.0, 25.0), "face.8": (40.0, 40.0)}
    )
    assert gather_evidence(torch.zeros(3, 100, 80), points, mask, None, None).mask is mask
    with caplog.at_level(logging.WARNING):
        found = gather_evidence(torch.zeros(3, 100, 80), points, 1 - mask, None, None)
    assert torch.equal(found.mask, mask) and "inverse" in caplog.text and found.expression is None


def hand(side, wrist, angle, length):
    """21 points of a spread hand: the wrist, then four a finger."""
    points = {f"hand.{side}.0": wrist}
    for finger in range(5):
        turn = angle + (finger - 2) * 0.3
        for joint in range(4):
            reach = length * (0.5 + 0.25 * joint)
            points[f"hand.{side}.{4 * finger + joint + 1}"] = (
                wrist[0] + reach * math.cos(turn),
                wrist[1] + reach * math.sin(turn),
            )
    return points


def keypoints_of(points):
    return Keypoints(tuple(points), torch.tensor(list(points.values())), torch.ones(len(points)))


@pytest.mark.parametrize("size", [(200, 160), (1031, 777)])
def test_hands_are_painted_out_to_the_finger_tips(size):
    rows, columns = size
    scale = rows / 200
    points = hand("L", (90 * scale, 150 * scale), -math.pi / 2, 40 * scale)
    area = limbs_in_picture(keypoints_of(points), torch.zeros(1, rows, columns))
    assert area.shape == (1, rows, columns) and set(area.unique().tolist()) == {0.0, 1.0}
    for x, y in points.values():
        assert float(area[0, int(y), int(x)]) == 1
    tip = points["hand.L.12"]
    assert float(area[0, int(tip[1] - 0.06 * 40 * scale), int(tip[0])]) == 1  # the flesh beyond the last joint
    assert float(area[0, : int(tip[1] - 25 * scale)].max()) == 0 and float(area.mean()) < 0.15


def test_fingers_that_the_mask_holds_are_not_painted_out_once_more():
    points = hand("L", (90, 150), -math.pi / 2, 40)
    whole, missed = torch.ones(1, 200, 160), torch.ones(1, 200, 160)
    assert float(limbs_in_picture(keypoints_of(points), whole).max()) == 0
    x, y = points["hand.L.8"]
    missed[0, int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3] = 0
    area = limbs_in_picture(keypoints_of(points), missed)
    assert float(area[0, int(y), int(x)]) == 1 and 0 < float(area.mean()) < 0.03


def test_a_hand_that_was_not_wholly_seen_is_not_guessed():
    points = hand("R", (90, 150), -math.pi / 2, 40)
    del points["hand.R.8"]
    assert float(limbs_in_picture(keypoints_of(points), torch.zeros(1, 200, 160)).max()) == 0


def test_mesh_points_stand_for_the_68_and_doubt_the_outline():
    mesh = {f"mesh.{i}": (100 + 30 * math.cos(i), 100 + 40 * math.sin(i)) for i in range(478)}
    rest = {"face.8": (100.0, 140.0), "face.27": (100.0, 90.0), "iris.L": (110.0, 90.0), "body.nose": (100.0, 110.0)}
    points = fit_points(keypoints_of(mesh | rest))
    assert "face.8" not in points and "body.nose" not in points and "mesh.470" not in points
    assert "iris.L" in points and sum(n.startswith("mesh.") for n in points.names) == 468
    sigma = dict(zip(points.names, points.sigma.tolist(), strict=True))
    assert sigma["mesh.159"] < sigma["mesh.5"] < sigma["mesh.234"]  # a lid, the nose, the jaw line
    few = fit_points(keypoints_of(rest))  # nothing stands for the 68
    assert set(few.names) == {"face.8", "face.27", "iris.L"} and bool((few.sigma == 1).all())
    found = mesh_of(keypoints_of({k: v for k, v in mesh.items() if k != "mesh.7"} | rest))
    assert bool(found[7].isnan().all()) and int(found.isnan().sum()) == 2
    assert found[3].tolist() == pytest.approx(mesh["mesh.3"])


def test_a_wrist_alone_moves_no_arm():
    """Crops of head and shoulders come with invented wrists; those of an elbow or of a hand are seen."""
    face = {f"face.{i}": (100 + i, 100 + 2 * i) for i in range(68)}
    alone = {"body.left_wrist": (90.0, 150.0), "body.left_shoulder": (140.0, 150.0)}
    assert "body.left_wrist" not in fit_points(keypoints_of(face | alone))
    assert "body.left_shoulder" in fit_points(keypoints_of(face | alone))
    for seen in ({"body.left_elbow": (150.0, 190.0)}, {"hand.L.0": (90.0, 151.0)}):
        assert "body.left_wrist" in fit_points(keypoints_of(face | alone | seen))
    right = {"body.right_elbow": (50.0, 190.0), "hand.R.0": (90.0, 151.0)}
    assert "body.left_wrist" not in fit_points(keypoints_of(face | alone | right))


# ------------------------------------------------------------------ from a picture alone
@pytest.fixture(scope="module")
def networks():
    return load_perception()


@pytest.fixture(scope="module")
def portrait(body):
    return reference_portrait(body, make_avatar(body, 106), 106, 384)  # both hands before the body


@pytest.fixture(scope="module")
def fitted(body, portrait, networks):
    return fit_portrait(body, portrait.image, networks=networks, lifter=Lifter(body, 512))


def test_a_picture_becomes_a_person(body, portrait, networks, fitted):
    """The silhouette lies on the true one, the face's surface on the points that the perception sees."""
    assert fitted.quality > 0.7 and fitted.atlas_layout == 2 and fitted.shell.shape == (body.n_vertices, 3)
    posed = body.pose(
        body.rest(fitted.shape[None], fitted.shell[None]), fitted.rotations[None], fitted.expression[None]
    )
    iou = silhouette_iou(body, posed, fitted.world_to_camera, fitted.intrinsics, portrait.mask)
    assert iou > 0.95
    at = (posed.vertices[0][body.mesh_vertices] * body.mesh_weights[..., None]).sum(1)
    pixel = project(at[None], fitted.world_to_camera[None], fitted.intrinsics)[0, :, :2]
    off = (pixel - mesh_of(find_person(portrait.image, networks).keypoints)).norm(dim=1)
    assert float(off.median()) < 0.5 and float(off.quantile(0.9)) < 2


def test_its_own_view_gives_the_picture_back(body, portrait, fitted):
    """Own pose, expression and camera, meant literally: what was seen is drawn where it was."""
    camera = Cameras(fitted.world_to_camera[None], fitted.intrinsics, torch.zeros(1), (384, 384))
    motion = Motion(fitted.rotations[None], fitted.expression[None])
    guides = render_guides(body, fitted.literal(), motion, camera)
    inside = (guides.part[0, 0] > 0) & (portrait.mask[0] > 0.99)
    error = (guides.lift[0] - portrait.image)[:, inside].square().mean() / 4
    assert float(-10 * torch.log10(error)) > 24
    assert float((guides.visibility[0, 0] > 0.9)[inside].float().mean()) > 0.5


def test_the_background_holds_no_hand(portrait, fitted):
    """The person goes as a whole; what was background and far from them stays."""
    person = portrait.mask[0] > 0.9
    far = F.max_pool2d(portrait.mask[None], 41, 1, 20)[0, 0] < 0.01
    assert float((fitted.background - portrait.image)[:, far].abs().max()) < 1e-5
    wall = portrait.background
    assert float((fitted.background - wall)[:, person].abs().mean()) < 0.15
    assert float((portrait.image - wall)[:, person].abs().mean()) > 0.3


def test_at_rest_lips_touch_and_the_head_is_held_as_it_was(body, fitted):
    motion = fitted.performed(Motion(torch.zeros(2, 49, 3), torch.zeros(2, 52)))
    assert torch.equal(motion.expression[0], fitted.rest_expression)
    vertices = body.rest(fitted.shape[None], fitted.shell[None]).vertices
    moved = body.express(vertices, motion.expression[:1])[0]
    at = (moved[body.mesh_vertices] * body.mesh_weights[..., None]).sum(1)
    width = float((at[61] - at[291]).norm())
    assert abs(float(at[13, 2] - at[14, 2])) < 0.06 * width
    assert torch.equal(motion.rotations[1], fitted.rest_rotations)


def test_an_inverted_mask_gives_the_same_person(body, portrait, networks, fitted, caplog):
    quick = {"networks": networks, "lifter": Lifter(body, 64), "iterations": (4, 6), "shell_iterations": 1}
    with caplog.at_level(logging.WARNING):
        found = fit_portrait(body, portrait.image, mask=1 - portrait.mask, **quick)
    assert "inverse" in caplog.text and torch.allclose(found.mask, portrait.mask)
    assert float((found.shape - fitted.shape).abs().mean()) < 0.5


def test_nobody_and_a_back_view_are_refused(body, networks):
    empty = torch.linspace(-1, 1, 128).expand(3, 96, 128)
    with pytest.raises(ValueError, match="no person found"):
        fit_portrait(body, empty, networks=networks)
