"""Fit a portrait once: a person's points + mask -> `Identity` (shape, shell, pose, camera, texture, background).

1. Levenberg-Marquardt on the points, 2. the same with the outline of the mask, hair and clothes from a prior,
3. a smooth shell carries the silhouette the rest of the way to the mask, 4. the face's surface is moved onto the points
that were seen, 5. the portrait's pixels are lifted to the atlas, 6. the person is painted out.
"""

import logging
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...perception.keypoints import HELP, Keypoints
from ...perception.matte import foreground_colours, refine_matte
from ...perception.networks import Perception
from ...perception.people import Person, find_person, people
from ...pixels.inpaint import paint_out
from ...records import Identity
from ...shapes import dims
from ..face_mesh import EYE_CONTOURS, FACE_OUTLINE, LIPS
from ..model import HalfBody
from ..texture.lift import lift_unlit
from ..texture.portrait_view import Trust
from ..texture.texels import Lifter, usual_lifter
from .fit_depth import arms_before_trunk
from .fit_forearms import register_forearms, slender_forearms
from .fit_pose import PoseFit, fit_pose
from .fit_shell import HIGHEST, SLEEVE, ShellSolver, fit_shell, silhouette_iou
from .outline import follow_outline, outline_of, pull_in
from .registration import register_face, register_outline
from .rest_state import SHUT_EYE, openings, rest_state

logger = logging.getLogger(__name__)
_WORST = 0.07  # mean keypoint error in face heights above which nothing fits
_GOOD = 0.03  # mean keypoint error in face heights of a good fit
_SMALLEST_SIDE = 64
_FINE, _COARSE, _AROUND = 0.014, 0.04, 0.06  # face heights: sigma of mesh points of lids and lips, others, outline
_EXACT = frozenset((*LIPS, *EYE_CONTOURS["L"], *EYE_CONTOURS["R"]))
_FINGER = 0.25  # palm lengths around the bones of a hand that are painted out
_COVERED = 0.9  # opacity of the mask at both ends of a finger's bone from which it holds the finger
_LEAVES_OUT = 0.5  # share of the face that a mask must cover
_ENOUGH = 150  # mesh points without which the 68 are better
_INVERTED = "the mask marks the background (white must be the person): its inverse is used"
_UNUSED = ("body.nose", "body.left_eye", "body.right_eye")


@dataclass(frozen=True)
class Evidence:
    """The knowledge about the person before the fit.

    keypoints: the person's points in pixels.
    mask: (1, H, W) in [0, 1], 1 = person.
    expression: (52,) coefficients, None where no face mesh was found.
    confidence: 0..1, that these are a person's."""

    keypoints: Keypoints
    mask: Tensor
    expression: Tensor | None
    confidence: float


def fit_portrait(
    body: HalfBody,
    image: Tensor,
    keypoints: Keypoints | None = None,
    mask: Tensor | None = None,
    *,
    networks: Perception | None = None,
    person: int | None = None,
    lifter: Lifter | None = None,
    iterations: tuple[int, int] = (8, 20),
    shell_iterations: int = 3,
) -> Identity:
    """Fit the half body to a portrait and project the portrait's pixels onto its texture.

    body: the half body.
    image: the portrait (3, H, W) in [-1, 1].
    keypoints: the person's points; None finds them with `networks`.
    mask: (1, H, W) in [0, 1], 1 = person. It is inverted, with a warning, where its inverse agrees better with the
        detected person. None predicts it.
    networks: the perception networks; None loads the embedded ones.
    person: which of several people, 1 = the largest; None takes the largest and warns.
    lifter: table of the atlas's texels, for callers that fit many portraits.
    iterations: at most so many steps of the first fit, for pose and coarse shape, then for all parameters.
    shell_iterations: rounds of fitting hair and clothes; 0 leaves the body without them.

    ValueError: no person, a back view, too small a face, a mask without the face, or keypoints that fit no person."""
    known = dims(image, "3 H W")
    if min(known["H"], known["W"]) < _SMALLEST_SIDE:
        raise ValueError(f"portrait is {known['W']}x{known['H']} px; at least {_SMALLEST_SIDE} px a side are needed")
    if mask is not None:
        dims(mask, "1 H W", **known)
    seen = gather_evidence(image, keypoints, mask, networks, person)
    seen.keypoints.check_front()
    device = body.mean.device
    image, mask = image.to(device), seen.mask.to(device)
    points = fit_points(seen.keypoints.to(device))
    expression = None if seen.expression is None else seen.expression.to(device)
    fit = fit_pose(body, points, (known["H"], known["W"]), iterations=iterations, expression=expression)
    _check_residual(fit, points)
    outline = outline_of(mask, fit.intrinsics)
    if float(outline.mask.mean()) < 0.01:
        raise ValueError("the mask is empty: paint the person white, or leave the mask out")
    fit = (follow_outline if shell_iterations else pull_in)(body, fit, points, outline, expression)
    mesh = mesh_of(seen.keypoints.to(device))
    sleeve = SLEEVE if _is_exact(mesh) else HIGHEST
    exact = _is_exact(mesh) and shell_iterations > 0
    shell = fit_shell(body, fit, outline.mask, outline.intrinsics, shell_iterations, ShellSolver(body), sleeve)
    if exact:
        fit = arms_before_trunk(body, fit, points, outline, shell, expression)
    iou = silhouette_iou(body, fit.posed(body, shell), fit.world_to_camera, outline.intrinsics, outline.mask)
    quality = seen.confidence * _quality(fit, points, iou)
    normal = body.normals(body.rest(fit.shape[None]).vertices)[0]
    offsets = normal * shell[:, None] + register_face(body, fit, mesh, shell)
    if exact:  # few points leave the pose too unsure for an outline to the pixel
        offsets = register_outline(body, fit, offsets, outline.mask, outline.intrinsics)
        offsets = register_forearms(body, fit, offsets, image, outline)
        offsets = slender_forearms(body, fit, offsets)
    return _identity(body, image, mask, seen.keypoints.to(device), mesh, fit, offsets, lifter, quality)


def gather_evidence(
    image: Tensor,
    keypoints: Keypoints | None,
    mask: Tensor | None,
    networks: Perception | None,
    number: int | None,
) -> Evidence:
    """Find what the caller did not give; number: which of several people; other arguments as in `fit_portrait`."""
    if keypoints is not None:
        keypoints.check_inside(*image.shape[-2:])
    if keypoints is not None and mask is not None:
        return Evidence(keypoints, _marked_mask(mask, keypoints), None, 1.0)
    if keypoints is None:
        found: Person | None = find_person(image, networks, number)
        keypoints, confidence = found.keypoints, found.confidence
    else:
        found, confidence = _person_of_keypoints(people(image, networks), keypoints), 1.0
    if mask is None:
        if found is None:
            raise ValueError("no face was found where the keypoints are: give a mask of the person, too")
        mask = refine_matte(image, found.mask, keypoints.face_height())
    elif found is not None:
        mask = agreeing_mask(mask, found)
    return Evidence(keypoints, mask, None if found is None else found.expression, confidence)


def agreeing_mask(mask: Tensor, person: Person) -> Tensor:
    """Return the mask (1, H, W), or its inverse where that agrees better with the detected person.

    The inverse is common: ComfyUI's Load Image gives 1 - alpha. ValueError where the mask does not cover the face."""
    there = person.mask.to(mask)
    agreement = [
        float(torch.minimum(m, there).sum() / torch.maximum(m, there).sum().clamp_min(1e-6)) for m in (mask, 1 - mask)
    ]
    if agreement[1] > agreement[0]:
        logger.warning(_INVERTED)
        mask = 1 - mask
    x0, y0, x1, y1 = (int(v) for v in person.face_box.round().tolist())
    face = mask[:, max(0, y0) : max(1, y1), max(0, x0) : max(1, x1)]
    if face.numel() and float(face.mean()) < _LEAVES_OUT:
        raise ValueError("the mask leaves the face out: paint the whole person white, or leave the mask out")
    return mask


def _marked_mask(mask: Tensor, keypoints: Keypoints) -> Tensor:
    """Return the mask (1, H, W), or its inverse where the keypoints lie outside it; for callers that give both."""
    height, width = mask.shape[-2:]
    x, y = keypoints.xy.to(mask.device).long().unbind(1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    covered = mask[0, y[inside], x[inside]]
    if not len(covered) or float(covered.mean()) >= _LEAVES_OUT or float(mask.mean()) < 0.01:
        return mask
    logger.warning(_INVERTED)
    return 1 - mask


def _person_of_keypoints(found: list[Person], keypoints: Keypoints) -> Person | None:
    """Return the detected person whose face contains the centre of the keypoints' face; None where nobody's does."""
    face = keypoints.xy[[i for i, n in enumerate(keypoints.names) if n.startswith(("face.", "iris.", "mesh."))]]
    if not len(face):
        return found[0] if found else None
    centre = face.mean(0).cpu()
    for one in found:
        x0, y0, x1, y1 = one.face_box.cpu().tolist()
        if x0 <= float(centre[0]) <= x1 and y0 <= float(centre[1]) <= y1:
            return one
    return None


def fit_points(keypoints: Keypoints) -> Keypoints:
    """Select the keypoints to fit: the face mesh if detected, else the 68 face points, and with them irises, body and
    hands.

    A wrist with neither a hand nor an elbow is left out: detectors invent it in crops of head and shoulders, and a fit
    would lift the arm before the face. The 468 mesh points are strongly correlated, so each gets a larger sigma than an
    independent point would."""
    meshed = sum(name.startswith("mesh.") for name in keypoints.names) >= _ENOUGH
    height = keypoints.face_height()
    rows, sigma = [], []
    unused = {*_UNUSED, *(f"body.{side}_wrist" for side in ("left", "right") if not _has_arm(keypoints, side))}
    for i, name in enumerate(keypoints.names):
        group, _, index = name.partition(".")
        if name in unused or (group == "mesh" and (int(index) >= 468 or not meshed)) or (group == "face" and meshed):
            continue
        rows.append(i)
        sigma.append(_mesh_share(int(index)) * height if group == "mesh" else float(keypoints.sigma[i]))
    return Keypoints(tuple(keypoints.names[i] for i in rows), keypoints.xy[rows], keypoints.sigma.new_tensor(sigma))


def _has_arm(keypoints: Keypoints, side: str) -> bool:
    return f"body.{side}_elbow" in keypoints or f"hand.{side[0].upper()}.0" in keypoints


def _mesh_share(index: int) -> float:
    return _AROUND if index in FACE_OUTLINE else _FINE if index in _EXACT else _COARSE


def _is_exact(mesh: Tensor) -> bool:
    """Tell whether all lid and lip points of the face mesh (468, 2) were detected."""
    return bool(torch.isfinite(mesh[sorted(_EXACT)]).all())


def mesh_of(keypoints: Keypoints) -> Tensor:
    """Return the face mesh (468, 2) in pixels from named keypoints, NaN where a point is missing."""
    mesh = keypoints.xy.new_full((468, 2), math.nan)
    for name, xy in zip(keypoints.names, keypoints.xy, strict=True):
        group, _, index = name.partition(".")
        if group == "mesh" and int(index) < 468:
            mesh[int(index)] = xy
    return mesh


def limbs_in_picture(keypoints: Keypoints, mask: Tensor) -> Tensor:
    """Return (1, H, W), 1 on those parts of detected hands that the person's mask (1, H, W) leaves out, so that the
    background keeps no finger tip."""
    rows, columns = mask.shape[-2:]
    step = max(1, max(rows, columns) // 256)
    y, x = torch.meshgrid(torch.arange(step / 2, rows, step), torch.arange(step / 2, columns, step), indexing="ij")
    grid = torch.stack([x, y], -1).to(keypoints.xy)
    out = torch.zeros_like(grid[..., 0])
    for side in "LR":
        names = [f"hand.{side}.{k}" for k in range(21)]
        if any(n not in keypoints for n in names):
            continue
        points = torch.stack([keypoints.point(n) for n in names])
        reach = _FINGER * float((points[0] - points[9]).norm()) + step
        for k in range(1, 21):
            a, b = points[0 if k % 4 == 1 else k - 1], points[k]
            if min(_at(mask, a), _at(mask, b)) > _COVERED:
                continue  # around a finger that the mask holds, the picture shows the room
            along = (((grid - a) @ (b - a)) / (b - a).square().sum().clamp_min(1e-6)).clamp(0, 1)
            out[(grid - a - along[..., None] * (b - a)).norm(dim=-1) < reach] = 1
    full = F.interpolate(out[None, None], scale_factor=float(step), mode="nearest")[0, :, :rows, :columns]
    return F.pad(full, (0, columns - full.shape[-1], 0, rows - full.shape[-2]), mode="replicate")


def _at(mask: Tensor, point: Tensor) -> float:
    """Return the value of mask (1, H, W) at a point (2,) in px; 0 outside."""
    x, y = (int(v) for v in point.floor())
    return float(mask[0, y, x]) if 0 <= y < mask.shape[1] and 0 <= x < mask.shape[2] else 0.0


def _identity(
    body: HalfBody,
    image: Tensor,
    mask: Tensor,
    keypoints: Keypoints,
    mesh: Tensor,
    fit: PoseFit,
    offsets: Tensor,
    lifter: Lifter | None,
    quality: float,
) -> Identity:
    """Project the portrait onto the fitted body, paint the person out of the background -> the identity.

    body, image, mask, keypoints, lifter: as in `fit_portrait`; mesh: (468, 2) px, NaN where unknown; fit: shape, pose
    and camera; offsets: (V, 3) m, hair, clothes and registered face; quality: of the fit, 0..1."""
    registered = _is_exact(mesh)
    wide = openings(mesh) if registered else {}
    left, right = (wide.get(side, 1.0) < SHUT_EYE for side in ("Left", "Right"))
    trust = Trust(
        hands=any(n.startswith("hand.") for n in keypoints.names),
        registered=registered,
        absent=tuple(f"hand.{s}" for s in "LR" if registered and f"hand.{s}.0" not in keypoints),
        shut=(left, right),
    )
    rest_expression, gain, rest_rotations = rest_state(body, fit, offsets, mesh)
    camera, intrinsics = fit.world_to_camera, fit.intrinsics
    posed, lifter = fit.posed(body, offsets), lifter or usual_lifter(body, str(camera.device))
    lifted = lift_unlit(
        body, foreground_colours(image, mask), mask, posed, camera, intrinsics, lifter=lifter, trust=trust
    )
    return Identity(
        shape=fit.shape,
        shell=offsets,
        rotations=fit.rotations,
        expression=fit.expression,
        world_to_camera=camera,
        intrinsics=intrinsics,
        portrait=image,
        mask=mask,
        background=paint_out(image, torch.maximum(mask, limbs_in_picture(keypoints, mask))),
        atlas=lifted.atlas,
        visibility=lifted.visibility,
        quality=quality,
        light=lifted.light,
        atlas_layout=2,
        rest_expression=rest_expression,
        expression_gain=gain,
        rest_rotations=rest_rotations,
        shadowed=registered,
        own_view=lifted.own_view,
    )


def _face_errors(fit: PoseFit, keypoints: Keypoints) -> float:
    """Return the mean keypoint error in face heights, robust to a third of the points being wrong."""
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
    """Return the quality of a fit in 0..1, from its keypoint error and the silhouette's IoU with the mask."""
    return min(1.0, math.exp(-max(0.0, _face_errors(fit, keypoints) / _GOOD - 0.5)) * min(1.0, iou / 0.9))
