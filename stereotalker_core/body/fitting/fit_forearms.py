"""Forearms as thick as the picture tells.

Registration of bare forearms: the border between skin and cloth inside the outline is an edge of the arm as well. The
mask shows only the outer side of an arm. Its inner side lies in front of the trunk; an arm drawn a centimetre too wide
there would take the shirt's pixels for its skin.

Forearms that point at the camera: the outline around them is that of the hand before and of the elbow behind, and says
nothing of their thickness. A shell that follows it makes wrists twice as thick, which shows when the arm moves."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...geometry.projection import project
from ...pixels.dilation import largest_around
from ...pixels.materials import unlike
from ...shapes import size_of
from ..model import HalfBody, Posed
from ..rasterize import rasterize
from .fit_pose import PoseFit
from .fit_shell import outer_contour
from .outline import Outline
from .registration import spread_moves

_BARE = 0.6  # share of the pixels of a forearm that are rather skin than cloth from which it is bare
_CONTRAST = 1.5  # steps between skin and cloth from which an edge between them can be seen
_NEAR = 0.08  # m around a forearm in which its edges are looked for
_REACH = 0.02  # m that an edge may be off
_FEW = 40  # px that make a median
_FOREARM = ("lowerarm01", "lowerarm02")
_ROUNDS = 2
_POINTING = (0.4, 0.65)  # cosine to the camera's axis from which a forearm points at it, and from which wholly
_THICKEST = (0.005, 0.003)  # m of cloth on such a forearm at the elbow and at the wrist
_ELBOW, _RAMP = 0.012, 0.4  # m more at the elbow itself, and the share of the forearm in which that ends
_HAND = 1.05  # lengths of the forearm from the elbow to the hand's own shape


def register_forearms(body: HalfBody, fit: PoseFit, offsets: Tensor, image: Tensor, outline: Outline) -> Tensor:
    """Move the edges of bare forearms to where the picture changes from skin to cloth.

    body: the half body.
    fit: shape, pose and camera of the picture.
    offsets: (V, 3) m in the rest pose, as fitted so far.
    image: the portrait (3, H, W) in [-1, 1].
    outline: the person's mask at working resolution.

    Returns new offsets (V, 3); the same ones where no bare forearm lies in front of clothes."""
    size = size_of(outline.mask)
    small = F.interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
    for _ in range(_ROUNDS):
        posed = fit.posed(body, offsets)
        points = project(posed.vertices, fit.world_to_camera[None], outline.intrinsics)
        front = rasterize(points, body.triangles, size).triangle[0]
        for side in "LR":
            offsets = _register(body, fit, posed, offsets, small, outline, front, side)
    return offsets


def slender_forearms(body: HalfBody, fit: PoseFit, offsets: Tensor) -> Tensor:
    """Limit how far the surface lies outside the body on forearms that point at the camera -> offsets (V, 3).

    body: the half body.
    fit: shape, pose and camera of the picture.
    offsets: (V, 3) m in the rest pose, as fitted so far."""
    rest = body.rest(fit.shape[None])
    bones, posed = rest.bones[0], fit.posed(body, torch.zeros_like(offsets)).bones[0]
    towards = fit.world_to_camera[2, :3]  # the camera's axis
    for side in "LR":
        elbow, wrist = (body.bone_index[f"{name}.{side}"] for name in ("lowerarm01", "wrist"))
        pointing = (F.normalize(posed[wrist] - posed[elbow], dim=0) @ towards).abs()
        share = ((pointing - _POINTING[0]) / (_POINTING[1] - _POINTING[0])).clamp(0, 1)
        if float(share) == 0:
            continue
        arm = body.vertices_in(f"arm.{side}", f"hand.{side}").nonzero().squeeze(1)
        length = (bones[wrist] - bones[elbow]).norm()
        axis = (bones[wrist] - bones[elbow]) / length
        away = rest.vertices[0, arm] - bones[elbow]
        along = away @ axis / length  # 0 at the elbow, 1 at the wrist
        away = F.normalize(away - (away @ axis)[:, None] * axis, dim=1)
        most = _THICKEST[0] + (_THICKEST[1] - _THICKEST[0]) * along.clamp(0, 1)
        most = most + _ELBOW * (1 - along / _RAMP).clamp(0, 1)
        beyond = ((offsets[arm] * away).sum(1) - most).clamp_min(0)
        beyond = beyond * ((along > 0) & (along < _HAND)) * share
        offsets = offsets.index_add(0, arm, -beyond[:, None] * away)
    return offsets


def _register(
    body: HalfBody,
    fit: PoseFit,
    posed: Posed,
    offsets: Tensor,
    image: Tensor,
    outline: Outline,
    front: Tensor,
    side: str,
) -> Tensor:
    """Register the arm of one side ("L" or "R") -> offsets (V, 3).

    front: (h, w) index of the triangle visible at each pixel of image (3, h, w). The others: see `register_forearms`.
    """
    bones = [body.bone_index[f"{bone}.{side}"] for bone in _FOREARM]
    fore = body.skin_weights[:, bones].sum(1) > 0.5
    drawn = fore[body.triangles].all(1) | (body.triangle_part == body.part_index[f"hand.{side}"])
    skin = _skin_mask(body, fit, image, outline, front, fore[body.triangles].all(1), side)
    if skin is None:
        return offsets
    contour = outer_contour(body, posed, fit.world_to_camera, outline.intrinsics, skin, drawn)
    metres = (contour.gap - contour.inset) * contour.metre
    use = contour.found & fore[contour.vertices] & (metres.abs() < _REACH)
    if int(use.sum()) < 8:
        return offsets
    fixed = ~body.vertices_in(f"arm.{side}")
    return offsets + spread_moves(body, fit, posed, contour, metres, use, fixed)


def _skin_mask(
    body: HalfBody,
    fit: PoseFit,
    image: Tensor,
    outline: Outline,
    front: Tensor,
    fore: Tensor,
    side: str,
) -> Tensor | None:
    """Return (1, h, w) in [0, 1]: the person's mask without the clothes around this forearm; None where it is not bare.

    image: (3, h, w) and outline: its mask; front: (h, w) triangle shown by each pixel; fore: (F,) bool, triangles of
    the forearm; side: "L" or "R"."""
    here = _shown(front, fore)
    hand = _shown(front, body.triangle_part == body.part_index[f"hand.{side}"])
    trunk = _shown(front, torch.isin(body.triangle_part, fore.new_tensor([body.part_index["torso"]], dtype=torch.long)))
    radius = max(1, round(_NEAR * float(outline.intrinsics[0, 0] / fit.world_to_camera[2, 3].clamp_min(0.1))))
    near = largest_around(here.to(torch.uint8)[None], radius)[0] > 0
    inside = outline.mask[0] > 0.9
    cloth, skin = trunk & near & inside, hand & inside
    if min(int(cloth.sum()), int(skin.sum()), int(here.sum())) < _FEW:
        return None
    colours = image.flatten(1).T
    skin, cloth = (colours[where.flatten()].median(0).values for where in (skin, cloth))
    if float(unlike(skin[None], cloth)) < _CONTRAST:
        return None
    like = (unlike(colours, skin) < unlike(colours, cloth)).view_as(here)
    if float(like[here & inside].float().mean()) < _BARE:
        return None
    return outline.mask * torch.where(near & ~like, 0.0, 1.0)


def _shown(front: Tensor, triangles: Tensor) -> Tensor:
    """Return (h, w) bool: pixels at which one of the marked triangles is visible.

    front: (h, w) index of the triangle visible at each pixel, -1 for none.
    triangles: (F,) bool, the marked ones."""
    return (front >= 0) & triangles[front.clamp_min(0)]
