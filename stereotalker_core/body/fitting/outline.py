"""The outline of a mask as evidence: pose, shape, hair and clothes are refitted until the silhouette coincides with it.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...perception.keypoints import Keypoints
from ..face_mesh import EYE_CONTOURS, LIPS
from ..model import HalfBody
from ..shell_prior import load_shell_prior
from .fit_pose import PoseFit, Pull, fit_pose
from .fit_shell import outer_contour

_WORK = 384  # px; the silhouette is compared at this size
_POINTS = 260  # points of the outline that are compared
_ROUNDS, _ROUNDS_ON_MESH = 7, 4  # with few points the outline has more to say
_EVERY = 6  # mesh points, but for lids and lips, that hold the face while the outline is followed
_LOOSER = 4.0  # times as uncertain are they then: held as hard as before they keep the trunk from turning
_SHARES = (0.06, 0.03, 0.02)  # face heights; the first rounds only know about where the edge belongs
_HAIR_DOUBT = 3.0  # times as uncertain is the outline of hair about the head below it
_HELD = frozenset((*LIPS, *EYE_CONTOURS["L"], *EYE_CONTOURS["R"]))
_COVERED = 0.03  # face heights by which a mask may stand off skin before it is hair that covers it


@dataclass(frozen=True)
class Outline:
    """The person's mask to fit, at working resolution.

    mask: (1, h, w) in [0, 1].
    intrinsics: (3, 3) of the camera, in the mask's pixels.
    factor: the mask's pixels per pixel of the picture.
    size: (H, W) of the picture."""

    mask: Tensor
    intrinsics: Tensor
    factor: float
    size: tuple[int, int]


def outline_of(mask: Tensor, intrinsics: Tensor) -> Outline:
    """Resize a mask (1, H, W) and its camera's intrinsics (3, 3) to the working resolution."""
    rows, columns = mask.shape[-2:]
    factor = min(1.0, _WORK / max(rows, columns))
    new = (max(1, round(rows * factor)), max(1, round(columns * factor)))
    small = F.interpolate(mask[None], new, mode="bilinear", antialias=True, align_corners=False)[0].clamp(0, 1)
    scale = intrinsics.new_tensor([new[1] / columns, new[0] / rows, 1.0])
    return Outline(small, intrinsics * scale[:, None], factor, (rows, columns))


def _thinned(keypoints: Keypoints) -> tuple[Keypoints, int]:
    """Return the keypoints with a looser subset of the face mesh, and how many rounds `follow_outline` then needs."""
    names = {name for name in keypoints.names if name.startswith("mesh.")}
    if not names:
        return keypoints, _ROUNDS
    dropped = {name for name in names if int(name[5:]) % _EVERY and int(name[5:]) not in _HELD}
    kept = keypoints.subset(name for name in keypoints.names if name not in dropped)
    factors = [_LOOSER * (1.0 if int(n[5:]) in _HELD else _EVERY**-0.5) if n in names else 1.0 for n in kept.names]
    return Keypoints(kept.names, kept.xy, kept.sigma * kept.sigma.new_tensor(factors)), _ROUNDS_ON_MESH


def pull_in(
    body: HalfBody, fit: PoseFit, keypoints: Keypoints, outline: Outline, expression: Tensor | None, rounds: int = 2
) -> PoseFit:
    """Refit so that no vertex of the silhouette lies outside the mask, because hair and clothes can only add to the
    body.

    Arguments as in `follow_outline`."""
    for _ in range(rounds):
        contour = outer_contour(body, fit.posed(body), fit.world_to_camera, outline.intrinsics, outline.mask)
        if int((contour.found & (contour.gap < -1)).sum()) < 8:
            return fit
        pixel = contour.pixel + contour.gap.clamp(max=0)[:, None] * contour.normal
        keep = contour.found & (contour.gap < 0)
        sigma = max(1.0, 0.04 * keypoints.face_height()) * math.sqrt(max(1.0, int(keep.sum()) / 20))
        spread = torch.full_like(contour.gap[keep], sigma)
        pull = Pull(contour.vertices[keep], pixel[keep] / outline.factor, contour.normal[keep], spread)
        fit = fit_pose(body, keypoints, outline.size, start=fit, pull=pull, iterations=(0, 6), expression=expression)
    return fit


def follow_outline(
    body: HalfBody,
    fit: PoseFit,
    keypoints: Keypoints,
    outline: Outline,
    expression: Tensor | None,
    rounds: int | None = None,
) -> PoseFit:
    """Refit pose, shape, hair and clothes so that the silhouette's vertices lie on the edge of the mask.

    body: the half body.
    fit: where to start.
    keypoints: the person's points in pixels of the picture.
    outline: the person's mask at working resolution.
    expression: (52,) or None, as in `fit_pose`.
    rounds: how often the edge is found and the fit repeated; None: 4 times with a face mesh, else 7.

    Iterated closest points, but along the normals only. Hands are left out: either their points were detected or their
    pose is unknown. So are edges that stand off the skin of the face, because those are hair."""
    meshed = any(name.startswith("mesh.") for name in keypoints.names)  # else the outline is half of what is known
    keypoints, usual = _thinned(keypoints)
    prior = load_shell_prior(str(outline.mask.device))
    hand, skin = body.vertices_in("hand.L", "hand.R"), body.vertices_in("face", "lips")
    scalp = body.vertices_in("scalp")
    height = keypoints.face_height()
    for k in range(rounds or usual):
        shell = prior.mean if fit.shell is None else fit.shell
        contour = outer_contour(body, fit.posed(body, shell), fit.world_to_camera, outline.intrinsics, outline.mask)
        covered = skin[contour.vertices] & (contour.gap > _COVERED * height * outline.factor) & meshed
        keep = (contour.found & ~hand[contour.vertices] & ~covered).nonzero().squeeze(1)
        if len(keep) < 8:
            return fit
        keep = keep[:: -(-len(keep) // _POINTS)]
        pixel = contour.pixel[keep] + contour.gap[keep, None] * contour.normal[keep]
        sigma = max(1.0, _SHARES[min(k, 2)] * height) * math.sqrt(max(1.0, len(keep) / 100))
        doubt = torch.where(scalp[contour.vertices[keep]] & meshed, _HAIR_DOUBT * sigma, sigma)
        pull = Pull(contour.vertices[keep], pixel / outline.factor, contour.normal[keep], doubt.to(pixel))
        fit = fit_pose(
            body, keypoints, outline.size, start=fit, pull=pull, iterations=(0, 3), prior=prior, expression=expression
        )
    return fit
