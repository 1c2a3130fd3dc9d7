"""Fit a portrait once: keypoints + mask -> `Identity` (shape, shell, pose, camera, texture, background).

1. Levenberg-Marquardt on the keypoints, 2. the same with the outline of the mask, hair and clothes from a prior,
3. a smooth shell carries the silhouette the rest of the way to the mask, 4. the portrait's pixels are lifted to the
atlas, 5. the person is painted out.
"""

import logging
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera.projection import project
from ..perception.keypoints import HELP, Keypoints
from ..records import Identity
from ..shapes import dims
from .detector import KeypointDetector, load_detector
from .fit_pose import PoseFit, Pull, fit_pose
from .fit_shell import ShellSolver, fit_shell, outer_contour, silhouette_iou, vertex_part_is
from .lift import Lifter, grow, lift_unlit, push_pull
from .matting import matte
from .model import HalfBody
from .rasterize import rasterize
from .shell_prior import load_shell_prior

logger = logging.getLogger(__name__)
_WORK = 384  # px; the silhouette is compared at this size
_WORST = 0.07  # mean keypoint error in face heights above which nothing fits
_GOOD = 0.03  # the same of a good fit
_DOUBT = 0.1  # confidence of the embedded detector below which its points are not used
_UNSURE = 0.5  # the same below which somebody should look: 6 of 66 real portraits, on 3 of them the face was lost
_SMALLEST_SIDE = 64
_LIMBS = ("arm.L", "arm.R", "hand.L", "hand.R")  # what a fit misplaces most
_OUTLINE = 260  # points of the outline that are compared
_ROUNDS = 7


def fit_portrait(
    body: HalfBody,
    image: Tensor,
    keypoints: Keypoints | None = None,
    mask: Tensor | None = None,
    *,
    lifter: Lifter | None = None,
    detector: KeypointDetector | None = None,
    iterations: tuple[int, int] = (8, 20),
    shell_iterations: int = 5,
) -> Identity:
    """Portrait (3, H, W) in [-1, 1], its keypoints and mask (1, H, W) -> Identity; about 3 s on one CPU core.

    Keypoints that are not given come from `detector` (the embedded one where None), a mask that is not given from the
    fitted body and the colours, with the detector's opinion where there is one. ValueError: no person, a back view, a
    face that is too small, or keypoints no person fits. shell_iterations 0 leaves the bare body.
    """
    known = dims(image, "3 H W")
    if min(known["H"], known["W"]) < _SMALLEST_SIDE:
        raise ValueError(f"portrait is {known['W']}x{known['H']} px; at least {_SMALLEST_SIDE} px a side are needed")
    if mask is not None:
        dims(mask, "1 H W", **known)
    prior, confidence = None, 1.0
    if keypoints is None:
        detector = detector or load_detector(image.device)
        keypoints, prior, confidence = detector.detect(image)
        if confidence < _DOUBT:
            raise ValueError(f"the embedded detector is not sure of this face (confidence {confidence:.2f}); {HELP}")
        if confidence < _UNSURE:
            logger.warning("the face may not be where the detector says (confidence %.2f); %s", confidence, HELP)
    elif mask is None and detector is not None:
        prior = detector.person_mask(image)
    keypoints.check_front()
    device = body.mean.device
    image, keypoints = image.to(device), keypoints.to(device)
    size = (known["H"], known["W"])
    fit = fit_pose(body, keypoints, size, iterations=iterations)
    _check_residual(fit, keypoints)
    if mask is None:
        mask = _find_mask(body, fit, keypoints, image, None if prior is None else prior.to(device))
    mask = mask.to(device)
    small, intrinsics, factor = _working_size(mask, fit.intrinsics)
    small = small.clamp(0, 1)
    if float(small.mean()) < 0.01:
        raise ValueError("the mask is empty: paint the person white, or leave the mask out")
    if shell_iterations:
        fit = _follow_outline(body, fit, keypoints, size, small, intrinsics, factor)
    else:
        fit = _pull_in(body, fit, keypoints, size, small, intrinsics, factor)
    shell = fit_shell(body, fit, small, intrinsics, shell_iterations, ShellSolver(body))
    iou = silhouette_iou(body, fit.posed(body, shell), fit.world_to_camera, intrinsics, small)
    return _identity(body, image, mask, keypoints, fit, shell, lifter, confidence * _quality(fit, keypoints, iou))


def _identity(
    body: HalfBody,
    image: Tensor,
    mask: Tensor,
    keypoints: Keypoints,
    fit: PoseFit,
    shell: Tensor,
    lifter: Lifter | None,
    quality: float,
) -> Identity:
    """Lift the portrait onto the fitted body and paint the person out of the background."""
    hands = any(n.startswith("hand.") for n in keypoints.names)
    camera, intrinsics = fit.world_to_camera, fit.intrinsics
    posed = fit.posed(body, shell)
    atlas, seen, light = lift_unlit(body, image, mask, posed, camera, intrinsics, lifter=lifter, trust_hands=hands)
    return Identity(
        shape=fit.shape,
        shell=shell,
        rotations=fit.rotations,
        expression=fit.expression,
        world_to_camera=camera,
        intrinsics=intrinsics,
        portrait=image,
        mask=mask,
        background=paint_out(image, mask),
        atlas=atlas,
        visibility=seen,
        quality=quality,
        light=light,
    )


def paint_out(image: Tensor, mask: Tensor) -> Tensor:
    """The background (3, H, W) behind the person of mask (1, H, W), filled in smoothly from around the mask."""
    reach = max(2, round(max(image.shape[-2:]) / 64))  # hair and shadows at the edge of a soft mask are person too
    person = grow((mask[None] > 0.15).to(image.dtype), reach)
    if bool((person > 0).all()):
        return image.mean((1, 2), keepdim=True).expand_as(image).clone()
    return push_pull(image[None], 1 - person)[0]


def _find_mask(body: HalfBody, fit: PoseFit, keypoints: Keypoints, image: Tensor, prior: Tensor | None) -> Tensor:
    """The person's mask (1, H, W) from the fitted body and the colours, at the working size and enlarged."""
    size = image.shape[-2:]
    small, intrinsics, factor = _working_size(image, fit.intrinsics)
    points = project(fit.posed(body).vertices, fit.world_to_camera[None], intrinsics)
    triangle = rasterize(points, body.triangles, tuple(small.shape[-2:])).triangle
    scalp, limbs = (
        ((triangle >= 0) & torch.isin(body.triangle_part, body.triangle_part.new_tensor(parts))[triangle]).float()
        for parts in ([body.part_index["scalp"]], [body.part_index[name] for name in _LIMBS])
    )
    opinion = None if prior is None else F.interpolate(prior[None], small.shape[-2:], mode="area")[0]
    mask = matte(small, (triangle >= 0).float(), scalp, keypoints.face_height() * factor, opinion, limbs)
    return F.interpolate(mask[None], size, mode="bilinear", align_corners=False)[0]


def _face_errors(fit: PoseFit, keypoints: Keypoints) -> float:
    """Mean keypoint error in face heights, robust to a third of the points being wrong."""
    share = fit.error / max(1.0, keypoints.face_height())
    return (
        float(share.clamp(max=0.5).mean())
        if len(share) < 6
        else float(share.sort().values[: len(share) * 2 // 3].mean())
    )


def _check_residual(fit: PoseFit, keypoints: Keypoints) -> None:
    error = _face_errors(fit, keypoints)
    if not error < _WORST:
        raise ValueError(
            f"no person fits the keypoints (off by {error:.0%} of the face height); check left and right, or {HELP}"
        )


def _quality(fit: PoseFit, keypoints: Keypoints, iou: float) -> float:
    """0..1 from the keypoint residual and the silhouette."""
    return min(1.0, math.exp(-max(0.0, _face_errors(fit, keypoints) / _GOOD - 0.5)) * min(1.0, iou / 0.9))


def _working_size(image: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor, float]:
    """(C, H, W) and intrinsics at the working size, and the factor (new / old)."""
    rows, columns = image.shape[-2:]
    factor = min(1.0, _WORK / max(rows, columns))
    new = (max(1, round(rows * factor)), max(1, round(columns * factor)))
    small = F.interpolate(image[None], new, mode="bilinear", antialias=True, align_corners=False)[0]
    scale = intrinsics.new_tensor([new[1] / columns, new[0] / rows, 1.0])
    return small, intrinsics * scale[:, None], factor


def _pull_in(
    body: HalfBody,
    fit: PoseFit,
    keypoints: Keypoints,
    size: tuple[int, int],
    mask: Tensor,
    intrinsics: Tensor,
    factor: float,
    rounds: int = 2,
) -> PoseFit:
    """Refit with the constraint that no silhouette vertex lies outside the mask (the shell can only add)."""
    for _ in range(rounds):
        contour = outer_contour(body, fit.posed(body), fit.world_to_camera, intrinsics, mask)
        outside = contour.found & (contour.gap < -1)
        if int(outside.sum()) < 8:
            return fit
        pixel = contour.pixel + contour.gap.clamp(max=0)[:, None] * contour.normal
        keep = contour.found & (contour.gap < 0)
        sigma = max(1.0, 0.04 * keypoints.face_height()) * math.sqrt(max(1.0, int(keep.sum()) / 20))
        spread = torch.full_like(contour.gap[keep], sigma)
        pull = Pull(contour.vertices[keep], pixel[keep] / factor, contour.normal[keep], spread)
        fit = fit_pose(body, keypoints, size, start=fit, pull=pull, iterations=(0, 6))
    return fit


def _follow_outline(
    body: HalfBody,
    fit: PoseFit,
    keypoints: Keypoints,
    size: tuple[int, int],
    mask: Tensor,
    intrinsics: Tensor,
    factor: float,
    rounds: int = _ROUNDS,
) -> PoseFit:
    """Refit pose, shape, hair and clothes so that the silhouette's vertices lie on the edge of the mask.

    Like iterated closest points, along the normals only. Hands do not count: nobody located their fingers.
    """
    prior = load_shell_prior(str(mask.device))
    hand = vertex_part_is(body, "hand.L", "hand.R")
    for k in range(rounds):
        shell = prior.mean if fit.shell is None else fit.shell
        contour = outer_contour(body, fit.posed(body, shell), fit.world_to_camera, intrinsics, mask)
        keep = (contour.found & ~hand[contour.vertices]).nonzero().squeeze(1)
        if len(keep) < 8:
            return fit
        keep = keep[:: -(-len(keep) // _OUTLINE)]
        pixel = contour.pixel[keep] + contour.gap[keep, None] * contour.normal[keep]
        share = (0.06, 0.03, 0.02)[min(k, 2)]  # face heights; the first rounds only know about where the edge belongs
        sigma = max(1.0, share * keypoints.face_height()) * math.sqrt(max(1.0, len(keep) / 100))
        pull = Pull(contour.vertices[keep], pixel / factor, contour.normal[keep], torch.full_like(pixel[:, 0], sigma))
        fit = fit_pose(body, keypoints, size, start=fit, pull=pull, iterations=(0, 3), prior=prior)
    return fit
