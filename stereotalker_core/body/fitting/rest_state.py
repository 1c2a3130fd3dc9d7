"""The part of a portrait's expression and posture that stays while the person talks.

The photograph's own expression is the rest state: a smile stays a smile, a tilted head stays tilted, lids stay as wide
as they are. Only what speech must be able to undo is removed: an open mouth is closed, shut eyes are opened."""

import torch
from torch import Tensor

from ...geometry.skeleton import HEAD_JOINTS, JOINT_INDEX, SPINE_JOINTS
from ..face_mesh import EYE_CONTOURS, LIPS
from ..model import HalfBody
from .fit_pose import PoseFit

_OPENING = (
    *("jawOpen", "jawForward", "mouthClose", "mouthFunnel", "mouthPucker", "mouthShrugLower", "mouthShrugUpper"),
    *("mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "tongueOut"),
    *("mouthRollLower", "mouthRollUpper", "mouthStretchLeft", "mouthStretchRight"),
)
# what closes lips that are still apart then, and how far each may: first the lips, then the jaw, which lifts the chin
# and makes the face shorter
_CLOSING = {"mouthClose": 0.8, "jawOpen": 0.3}
_PARTED, _OPEN = 0.02, 0.045  # gap between the lips over the mouth's width: shut below, an open mouth above
SHUT_EYE = 0.09  # height of the opening over its width below which an eye is shut
_LIDS = {"Left": ((386, 374), (385, 380), (387, 373)), "Right": ((159, 145), (158, 153), (160, 144))}  # upper, lower
_CORNERS = {"Left": (362, 263), "Right": (33, 133)}
_INNER_LIPS = ((13, 14), (82, 87), (312, 317))
_MOUTH_CORNERS = (61, 291)
_READ = (*LIPS, *EYE_CONTOURS["L"], *EYE_CONTOURS["R"])
_GAINS = (0.6, 1.8)  # of a blink: a face that needs more or less is misjudged


def rest_state(body: HalfBody, fit: PoseFit, shell: Tensor, mesh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the expression and posture of the photograph, to which a motion is added.

    body: the half body.
    fit: shape, pose and expression of the portrait.
    shell: (V, 3) m, offsets of the registered surface.
    mesh: (468, 2) pixels of the face mesh in the portrait.

    Returns rest_expression (52,), expression_gain (52,) and rest_rotations (49, 3) of an `Identity`."""
    rest, gain = fit.expression.clone(), torch.ones_like(fit.expression)
    joints = [JOINT_INDEX[n] for n in (*SPINE_JOINTS, *HEAD_JOINTS)]
    rotations = torch.zeros_like(fit.rotations)
    rotations[joints] = fit.rotations[joints]
    if not bool(torch.isfinite(mesh[list(_READ)]).all()):
        rest[[body.expression_index[n] for n in _OPENING]] = 0
        return rest, gain, rotations
    vertices = body.rest(fit.shape[None], shell[None]).vertices
    _close_mouth(body, vertices, mesh, rest)
    for side in ("Left", "Right"):
        _set_lids(body, vertices, mesh, rest, gain, side)
    return rest, gain, rotations


def openings(mesh: Tensor) -> dict[str, float]:
    """Measure how far lids and lips are apart, relative to the width of eye and mouth -> {"Left", "Right", "lips":
    ratio}.

    mesh: (468, 2) px of the face mesh."""
    found = {}
    for side, pairs in _LIDS.items():
        found[side] = _distances(mesh, pairs) / max(1e-6, _distances(mesh, (_CORNERS[side],)))
    found["lips"] = _distances(mesh, _INNER_LIPS) / max(1e-6, _distances(mesh, (_MOUTH_CORNERS,)))
    return found


def _distances(mesh: Tensor, pairs: tuple[tuple[int, int], ...]) -> float:
    return float(torch.stack([(mesh[a] - mesh[b]).norm() for a, b in pairs]).mean())


def _close_mouth(body: HalfBody, vertices: Tensor, mesh: Tensor, rest: Tensor) -> None:
    """Reduce an open mouth in the rest expression (52,), in place, until the lips touch.

    vertices: (1, V, 3) without expression; mesh: (468, 2) px of the portrait's face mesh; rest: (52,) changed in
    place."""
    parted = min(1.0, max(0.0, (openings(mesh)["lips"] - _PARTED) / (_OPEN - _PARTED)))
    if parted == 0:
        return
    rows = [body.expression_index[n] for n in _OPENING]
    rest[rows] *= 1 - parted
    for name, most in _CLOSING.items():
        row = body.expression_index[name]
        gap = _heights(body, vertices, rest, _INNER_LIPS)
        further = rest.clone()
        further[row] += 0.1
        slope = float(_heights(body, vertices, further, _INNER_LIPS) - gap) / 0.1
        rest[row] -= max(-most, min(most, float(gap) / slope)) * parted if abs(slope) > 1e-6 else 0.0


def _set_lids(body: HalfBody, vertices: Tensor, mesh: Tensor, rest: Tensor, gain: Tensor, side: str) -> None:
    """Open an eye that is shut, and scale its blink so that a full blink closes it.

    vertices: (1, V, 3) without expression; mesh: (468, 2) px; rest, gain: (52,) changed in place; side: "Left",
    "Right"."""
    blink = body.expression_index[f"eyeBlink{side}"]
    if openings(mesh)[side] < SHUT_EYE:
        rest[blink] = 0.0
    gap = _heights(body, vertices, rest, _LIDS[side])
    shut = rest.clone()
    shut[blink] += 1
    slope = float(gap - _heights(body, vertices, shut, _LIDS[side]))
    if slope > 1e-4:
        whole = float(gap) / slope / max(0.2, 1 - float(rest[blink]))
        gain[blink] = min(_GAINS[1], max(_GAINS[0], whole))


def _heights(body: HalfBody, vertices: Tensor, expression: Tensor, pairs: tuple[tuple[int, int], ...]) -> Tensor:
    """Return the mean height in metres of the first mesh point of each pair above the second, in the neutral pose.

    vertices: (1, V, 3) m without expression; expression: (52,) to add; pairs: indices of mesh points."""
    moved = body.express(vertices, expression[None])[0]
    at = (moved[body.mesh_vertices] * body.mesh_weights[..., None]).sum(1)
    return torch.stack([at[a, 2] - at[b, 2] for a, b in pairs]).mean()
