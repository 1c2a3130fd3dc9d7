"""Depth order of limbs: a hand that is seen in front of the trunk must not lie inside it.

Points and outlines do not determine depth, so a fit sinks clasped hands into the belly by a few centimetres; their
pixels would then be projected onto the belly. Hands that were detected, and their forearms, are pushed in front of the
trunk's surface, while everything but the arms is held fixed."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...geometry.projection import project
from ...perception.keypoints import Keypoints
from ...shapes import size_of
from ..model import HalfBody, Posed
from ..rasterize import rasterize
from ..shell_prior import load_shell_prior
from .fit_pose import Depth, PoseFit, Pull, fit_pose
from .fit_shell import outer_contour
from .outline import Outline
from .pose_parameters import Parameters

_TRUNK = ("torso", "hips", "neck")
_ARM_GROUPS = ("clavicle", "upperarm", "elbow", "lowerarm", "twist", "wrist", "finger")
_CLEARANCE = 0.012  # m before the trunk's surface at which the front of a limb must lie at least
_DOUBT = 0.006  # m
_EVERY = 6  # vertices of a limb of which one is held before the trunk
_ROUNDS = 2
_ITERATIONS = 5
_POINTS = 80  # of the arms' outline
_EDGE_SHARE = 0.02  # face heights: how well the outline of an arm is known
_FOREARM = ("lowerarm01", "lowerarm02", "wrist")


def arms_before_trunk(
    body: HalfBody,
    fit: PoseFit,
    keypoints: Keypoints,
    outline: Outline,
    shell: Tensor,
    expression: Tensor | None,
) -> PoseFit:
    """Move detected hands, and their forearms, out of the trunk.

    body: the half body.
    fit: the pose so far, fitted to points and outline.
    keypoints: the points it was fitted to; a hand counts as detected if they hold its points.
    outline: the person's mask at working resolution.
    shell: (V,) m, the thickness of hair and clothes in this fit.
    expression: (52,) as in `fit_pose`.

    Returns the fit, with the arms changed where a limb lay inside."""
    limbs = _limb_vertices(body, [side for side in "LR" if f"hand.{side}.0" in keypoints])
    if fit.shell is None or not len(limbs):
        return fit
    prior = load_shell_prior(str(outline.mask.device))
    hold, error = _other_groups(body, keypoints, expression), fit.error
    edge = max(1.0, _EDGE_SHARE * keypoints.face_height())
    keypoints = keypoints.subset(n for n in keypoints.names if n.startswith(("body.", "hand.")))  # what moves
    for _ in range(_ROUNDS):
        posed = fit.posed(body, shell)
        depth = _sunken(body, posed, fit, outline, limbs)
        if depth is None:
            return fit
        fit = fit_pose(
            body,
            keypoints,
            outline.size,
            start=fit,
            pull=_arm_outline(body, posed, fit, edge, outline),
            iterations=(0, _ITERATIONS),
            hold=hold,
            prior=prior,
            expression=expression,
            depth=depth,
        )
        fit = replace(fit, error=error)  # of all points, most of which did not move
    return fit


def _limb_vertices(body: HalfBody, sides: list[str]) -> Tensor:
    """Return the indices (M,) of a sample of the vertices of the hands and forearms of these sides."""
    bones = [body.bone_index[f"{bone}.{side}"] for side in sides for bone in _FOREARM]
    parts = [name for side in sides for name in (f"arm.{side}", f"hand.{side}")]
    hands = [f"hand.{side}" for side in sides]
    if not sides:
        return torch.zeros(0, dtype=torch.long, device=body.mean.device)
    fore = body.vertices_in(*parts) & (body.skin_weights[:, bones].sum(1) > 0.5)
    return (fore | body.vertices_in(*hands)).nonzero().squeeze(1)[::_EVERY]


def _sunken(body: HalfBody, posed: Posed, fit: PoseFit, outline: Outline, limbs: Tensor) -> Depth | None:
    """Return the depth limits that bring sunken limb vertices in front of the trunk; None where none lies inside it.

    limbs: (M,) indices of vertices to test; posed: the fitted body; outline: the person's mask."""
    points = project(posed.vertices, fit.world_to_camera[None], outline.intrinsics)
    parts = torch.tensor([body.part_index[name] for name in _TRUNK], device=limbs.device)
    trunk = body.triangles[torch.isin(body.triangle_part, parts)]
    surface = rasterize(points, trunk, size_of(outline.mask)).depth[0]
    pixel = points[0, limbs, :2]
    size = pixel.new_tensor([surface.shape[1], surface.shape[0]])
    inside = ((pixel >= 0) & (pixel < size)).all(1)
    cell = pixel.long().clamp_min(0).minimum(size.long() - 1)
    trunk_depth = surface[cell[:, 1], cell[:, 0]]
    ray = F.normalize(posed.vertices[0, limbs] - _eye(fit), dim=1)
    facing = (body.normals(posed.vertices)[0, limbs] * ray).sum(1) < 0
    before = inside & facing & (trunk_depth > 0)
    limit = trunk_depth - _CLEARANCE
    if not bool((before & (points[0, limbs, 2] > limit)).any()):
        return None
    return Depth(limbs[before], limit[before], torch.full_like(limit[before], _DOUBT))


def _eye(fit: PoseFit) -> Tensor:
    """Return the camera's position (3,) in the world."""
    return -fit.world_to_camera[:3, :3].T @ fit.world_to_camera[:3, 3]


def _other_groups(body: HalfBody, keypoints: Keypoints, expression: Tensor | None) -> tuple[str, ...]:
    """Return the names of a fit's parameter groups that belong to no arm; arguments as in `arms_before_trunk`."""
    hands = any(name.startswith("hand.") for name in keypoints.names)
    groups = Parameters(body, hands, 1, expression).slices
    return tuple(name for name in groups if not name.startswith(_ARM_GROUPS))


def _arm_outline(body: HalfBody, posed: Posed, fit: PoseFit, sigma: float, outline: Outline) -> Pull | None:
    """Return the mask's edge beside the arms as silhouette terms of a fit (see `follow_outline`); None for under 8
    points.

    body, fit, outline: as in `arms_before_trunk`; posed: the fitted body; sigma: uncertainty of the edge, px."""
    contour = outer_contour(body, posed, fit.world_to_camera, outline.intrinsics, outline.mask)
    keep = (contour.found & body.vertices_in("arm.L", "arm.R")[contour.vertices]).nonzero().squeeze(1)
    if len(keep) < 8:
        return None
    keep = keep[:: -(-len(keep) // _POINTS)]
    pixel = contour.pixel[keep] + contour.gap[keep, None] * contour.normal[keep]
    spread = torch.full_like(contour.gap[keep], sigma)
    return Pull(contour.vertices[keep], pixel / outline.factor, contour.normal[keep], spread)
