"""Hands before the trunk: their points tell the place in the picture, and that they are seen tells the depth."""

import pytest
import torch

from stereotalker_core.body.fitting.fit_depth import arms_before_trunk
from stereotalker_core.body.fitting.fit_forearms import register_forearms
from stereotalker_core.body.fitting.fit_pose import fit_pose
from stereotalker_core.body.fitting.outline import follow_outline, outline_of
from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.rasterize import rasterize
from stereotalker_core.geometry.projection import intrinsics_for, look_at, project
from stereotalker_core.perception.keypoints import SPARSE_NAMES, Keypoints
from stereotalker_core.synthetic.movement.poses import ArmAngles, arm_pose, joint_heads

SIZE = (256, 256)


@pytest.fixture(scope="module")
def body():
    return HalfBody()


@pytest.fixture(scope="module")
def clasped(body):
    """Keypoints with hands, mask and camera of somebody whose hands meet before the belly."""
    heads = joint_heads(body, body.rest(torch.zeros(1, body.n_shape)))
    angles = ArmAngles(lower=25.0, forward=-20.0, elbow=40.0, twist=40.0)
    rotations = sum(arm_pose(heads, side, angles) for side in "LR")
    posed = body.pose(body.rest(torch.zeros(1, body.n_shape)), rotations, torch.zeros(1, 52))
    camera = look_at(torch.tensor([0.0, 0.0, 0.42]), torch.zeros(1), torch.zeros(1), torch.full((1,), 2.1))[0]
    intrinsics = intrinsics_for(1.1, 2.1, SIZE)
    pixels = project(posed.vertices, camera[None], intrinsics)
    mask = (rasterize(pixels, body.triangles, SIZE).depth > 0).float()
    names = tuple(n for n in SPARSE_NAMES if n in body.keypoint_index and not n.endswith(("hip", "ear")))
    points = project(body.keypoints(posed.vertices, posed.bones), camera[None], intrinsics)[0]
    xy = points[[body.keypoint_index[n] for n in names], :2]
    return Keypoints(names, xy, torch.full((len(names),), 1.0)), mask


@pytest.fixture(scope="module")
def fitted(body, clasped):
    keypoints, mask = clasped
    fit = fit_pose(body, keypoints, SIZE, iterations=(5, 8))
    outline = outline_of(mask, fit.intrinsics)
    return follow_outline(body, fit, keypoints, outline, None, rounds=1), outline


def hidden_hands(body, fit, shell):
    """Share of the pixels of both hands, seen alone, before which the trunk lies."""
    posed = fit.posed(body, shell)
    points = project(posed.vertices, fit.world_to_camera[None], fit.intrinsics)
    depth = []
    for names in (("hand.L", "hand.R"), ("torso", "hips")):
        ids = torch.tensor([body.part_index[name] for name in names])
        depth.append(rasterize(points, body.triangles[torch.isin(body.triangle_part, ids)], SIZE).depth[0])
    hands, trunk = depth
    return float(((trunk > 0) & (trunk < hands))[hands > 0].float().mean())


def test_hands_that_are_seen_come_out_of_the_trunk(body, clasped, fitted):
    fit, outline = fitted
    shell = torch.where(
        body.vertices_in("torso", "hips"), 0.05, 0.0
    )  # a coat that swallows the hands
    before = hidden_hands(body, fit, shell)
    assert before > 0.3
    moved = arms_before_trunk(body, fit, clasped[0], outline, shell, None)
    assert hidden_hands(body, moved, shell) < 0.3 * before
    rows = [k for k, name in enumerate(clasped[0].names) if name.startswith("hand.")]
    points = [
        project(body.keypoints(p.vertices, p.bones), fit.world_to_camera[None], fit.intrinsics)[0, :, :2]
        for p in (fit.posed(body), moved.posed(body))
    ]
    here = [body.keypoint_index[clasped[0].names[k]] for k in rows]
    assert float((points[0] - points[1])[here].norm(dim=1).mean()) < 4  # px: they stay where they were seen
    still = [body.keypoint_index[name] for name in clasped[0].names if name.startswith("face.")]
    assert float((points[0] - points[1])[still].norm(dim=1).max()) < 0.1


def test_nobody_is_moved_whose_hands_lie_before_the_trunk_or_were_not_seen(body, clasped, fitted):
    fit, outline = fitted
    slim = torch.where(body.vertices_in("torso", "hips"), -0.05, 0.0)
    assert arms_before_trunk(body, fit, clasped[0], outline, slim, None) is fit
    armless = clasped[0].subset(n for n in clasped[0].names if not n.startswith("hand."))
    coat = torch.where(body.vertices_in("torso", "hips"), 0.05, 0.0)
    assert arms_before_trunk(body, fit, armless, outline, coat, None) is fit


def test_a_forearm_goes_to_the_edge_between_skin_and_cloth(body, fitted):
    """The picture shows the arms thinner than the fit has them, before a trunk of another colour."""
    fit, outline = fitted
    ids = torch.tensor([body.part_index[name] for name in ("arm.L", "arm.R", "hand.L", "hand.R", "face")])
    skin = torch.isin(body.triangle_part, ids)
    thick = torch.where(body.vertices_in("arm.L", "arm.R"), 0.012, 0.0)
    normal = body.normals(body.rest(fit.shape[None]).vertices)[0]
    fore = body.skin_weights[:, [body.bone_index[f"lowerarm0{k}.{s}"] for k in (1, 2) for s in "LR"]].sum(1) > 0.5

    def shown(offsets):
        points = project(fit.posed(body, offsets).vertices, fit.world_to_camera[None], fit.intrinsics)
        triangle = rasterize(points, body.triangles, SIZE).triangle[0]
        return triangle, (triangle >= 0) & fore[body.triangles].all(1)[triangle.clamp_min(0)]

    triangle, truth = shown(torch.zeros_like(normal))
    cloth, bare = torch.tensor([-0.6, -0.4, 0.5]), torch.tensor([0.5, 0.1, -0.1])
    colour = torch.where(skin[triangle.clamp_min(0)][..., None], bare, cloth)
    image = torch.where((triangle >= 0)[..., None], colour, torch.tensor([0.9, 0.9, 0.9])).permute(2, 0, 1)
    offsets = normal * thick[:, None]
    after = register_forearms(body, fit, offsets, image, outline)
    wrong = [float((shown(o)[1] ^ truth).float().sum() / truth.sum()) for o in (offsets, after)]
    assert wrong[0] > 0.15 and wrong[1] < 0.8 * wrong[0]
    assert float((after - offsets)[body.vertices_in("torso")].abs().max()) == 0
    same = register_forearms(body, fit, offsets, torch.full_like(image, 0.2), outline)
    assert torch.equal(same, offsets)  # a picture of one colour has no such edge
