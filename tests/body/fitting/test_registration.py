"""The fitted surface moved onto what was seen: face points to a fraction of a pixel, outlines to the mask's edge."""

import math

import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.body.face_mesh import EYE_CONTOURS, FACE_OUTLINE
from stereotalker_core.body.fitting.fit_pose import PoseFit
from stereotalker_core.body.fitting.fit_shell import silhouette_iou
from stereotalker_core.body.fitting.registration import register_face, register_outline
from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.rasterize import rasterize
from stereotalker_core.geometry.projection import intrinsics_for, look_at, project

SIZE = (512, 512)


@pytest.fixture(scope="module")
def body():
    return HalfBody()


@pytest.fixture(scope="module")
def fit(body):
    """A fit of the mean body, the face looking into the camera, about 160 px high."""
    target = torch.tensor([0.0, -0.02, 0.55])
    camera = look_at(target, torch.zeros(1), torch.zeros(1), torch.full((1,), 2.1))[0]
    return PoseFit(
        torch.zeros(body.n_shape),
        torch.zeros(49, 3),
        torch.zeros(52),
        camera,
        intrinsics_for(0.62, 2.1, SIZE),
        torch.zeros(0),
        torch.zeros(0),
    )


def mesh_pixels(body, fit, offsets=None):
    vertices = fit.posed(body, offsets).vertices[0]
    at = (vertices[body.mesh_vertices] * body.mesh_weights[..., None]).sum(1)
    return project(at[None], fit.world_to_camera[None], fit.intrinsics)[0, :, :2]


@pytest.fixture(scope="module")
def target(body, fit):
    """Another face: a smooth difference of up to 4 px, other eyes, a mouth that is drawn wider."""
    mesh = mesh_pixels(body, fit).clone()
    middle = mesh.mean(0)
    away = (mesh - middle) / 80
    mesh += torch.stack([3 * torch.sin(2 * away[:, 1]), 2.5 * torch.cos(2 * away[:, 0])], 1)
    for contour in EYE_CONTOURS.values():
        eye = mesh[list(contour)]
        mesh[list(contour)] = eye.mean(0) + (eye - eye.mean(0)) * torch.tensor([1.0, 1.15]) + torch.tensor([0.8, -0.6])
    return mesh


@pytest.fixture(scope="module")
def moved(body, fit, target):
    return register_face(body, fit, target)


def test_mesh_points_come_to_lie_on_their_targets(body, fit, target, moved):
    before = (mesh_pixels(body, fit) - target).norm(dim=1)
    after = (mesh_pixels(body, fit, moved) - target).norm(dim=1)
    fine = [*EYE_CONTOURS["L"], *EYE_CONTOURS["R"]]
    inner = [i for i in range(468) if i not in FACE_OUTLINE]
    assert float(before[inner].mean()) > 2
    assert float(after[inner].mean()) < 0.3 and float(after[fine].mean()) < 0.3
    assert float(after[inner].quantile(0.99)) < 1.5


def test_nothing_moves_in_depth_nor_at_the_back_of_the_head(body, fit, moved):
    posed, plain = fit.posed(body, moved).vertices[0], fit.posed(body).vertices[0]
    view = fit.world_to_camera[2, :3]
    lids = body.vertices_in("face", "lips", "neck", "scalp") & (body.mean[:, 1] < -0.1)
    assert float(((posed - plain) @ view)[lids].abs().median()) < 1e-4
    back = body.mean[:, 1] > body.bone_mean[body.bone_index["head"], 1] + 0.05
    assert bool((back & body.vertices_in("scalp")).any()) and float(moved[back].abs().max()) < 1e-3
    assert float(moved[body.vertices_in("hand.L", "torso", "hips")].abs().max()) < 2e-3


@pytest.mark.parametrize("part", ["eye.L", "eye.R", "teeth.up", "teeth.low", "tongue"])
def test_eyes_and_teeth_move_as_solids(body, moved, part):
    field = moved[body.vertices_in(part)]
    assert float((field - field.mean(0)).abs().max()) < 1e-6
    assert float(field.norm(dim=1).mean()) > 5e-4  # and they do move


def test_lids_keep_off_the_eyeballs(body, moved):
    for side in "LR":
        eye = body.vertices_in(f"eye.{side}")
        centre = body.bone_mean[body.bone_index[f"eye.{side}"]] + moved[eye].mean(0)
        radius = (body.mean[eye] + moved[eye] - centre).norm(dim=1).median()
        own = (body.mean[:, 0] > 0) == (side == "L")
        skin = body.vertices_in("face", "eyesocket") & own
        assert float((body.mean + moved - centre).norm(dim=1)[skin].min()) > radius - 1e-5


def test_a_missing_mesh_moves_nothing(body, fit, target):
    assert float(register_face(body, fit, torch.full((468, 2), math.nan)).abs().max()) == 0
    some = target.clone()
    some[50:] = math.nan
    assert float(register_face(body, fit, some).abs().max()) == 0
    half = target.clone()
    half[::2] = math.nan
    field = register_face(body, fit, half)
    assert bool(torch.isfinite(field).all()) and float(field.abs().max()) > 1e-3
    after = (mesh_pixels(body, fit, field) - target).norm(dim=1)
    seen = [i for i in range(1, 468, 2) if i not in FACE_OUTLINE]
    assert float(after[seen].mean()) < 0.3


def coverage(body, fit, offsets=None):
    points = project(fit.posed(body, offsets).vertices, fit.world_to_camera[None], fit.intrinsics)
    return (rasterize(points, body.triangles, SIZE).depth > 0).float()


@pytest.fixture(scope="module")
def parted(body, fit):
    """A mask with hair on the left side alone, one raised shoulder, and a little more all around."""
    hair, shoulder = torch.zeros(body.n_vertices, 3), torch.zeros(body.n_vertices, 3)
    left = (body.mean[:, 0] / 0.05).clamp(0, 1)[:, None]
    hair[:, :1] = 0.03 * left * body.vertices_in("scalp")[:, None]
    torso = body.vertices_in("torso") & (body.mean[:, 2] > 0.35)
    shoulder[:, 2:] = 0.02 * left * torso[:, None]
    return coverage(body, fit, hair + shoulder + 0.004 * body.normals(body.mean[None])[0])


def test_outline_is_followed_on_each_side_alone(body, fit, parted):
    zero = torch.zeros(body.n_vertices, 3)
    offsets = register_outline(body, fit, zero, parted, fit.intrinsics)
    before, after = (
        silhouette_iou(body, fit.posed(body, o), fit.world_to_camera, fit.intrinsics, parted) for o in (zero, offsets)
    )
    assert after > 0.985 and after > before + 0.01
    scalp = body.vertices_in("scalp")
    left, right = (
        offsets[scalp & side].norm(dim=1).mean() for side in (body.mean[:, 0] > 0.06, body.mean[:, 0] < -0.06)
    )
    assert left > 1.5 * right


def test_hands_eyes_and_teeth_never_follow_an_outline(body, fit, parted):
    offsets = register_outline(body, fit, torch.zeros(body.n_vertices, 3), parted, fit.intrinsics)
    fixed = body.vertices_in("hand.L", "hand.R", "eye.L", "eye.R", "lashes", "mouth", "tongue", "teeth.up", "teeth.low")
    assert float(offsets[fixed].abs().max()) == 0
    inner = (body.mean[body.mesh_vertices] * body.mesh_weights[..., None]).sum(1)[EYE_CONTOURS["L"][3]]
    face = (body.mean - inner).norm(dim=1) < 0.01
    assert float(offsets[face].abs().max()) < 2e-3  # what was registered to the face stays there


def test_an_arm_goes_no_further_than_its_reach(body, fit):
    """A mask far beside the arms belongs to something else: sleeves move up to 2 cm, not to it."""
    mask = coverage(body, fit)
    wide = F.max_pool2d(mask[None], 121, 1, 60)[0]  # 60 px are about 7 cm
    offsets = register_outline(body, fit, torch.zeros(body.n_vertices, 3), wide, fit.intrinsics)
    arms = body.vertices_in("arm.L", "arm.R") & (body.mean[:, 0].abs() > 0.25)
    assert float(offsets[arms].norm(dim=1).max()) < 0.03


def test_a_mask_that_fits_changes_nothing(body, fit):
    """Vertices just inside the rim are on the silhouette, too: pulled to the edge themselves, they would swell it."""
    zero = torch.zeros(body.n_vertices, 3)
    offsets = register_outline(body, fit, zero, coverage(body, fit), fit.intrinsics, rounds=8)
    assert float(offsets.norm(dim=1).max()) < 5e-4
