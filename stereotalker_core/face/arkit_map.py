"""ARKit coefficients <-> the 53 numbers of a FLAME frame, by linear maps.

The layout map, in which the embedded model lives, fills the 53-vector as FLAME's is filled, without FLAME's own
(licensed) basis:

* jaw[0] = 0.45 jawOpen, jaw[1] = 0.2 (jawLeft - jawRight), jaw[2] = 0: radians about x and y, as FLAME's jaw turns;
* expression[0:49] = 3 x the other 49 coefficients in the order of ARKIT, so that [0, 1] is half of FLAME's usual range;
* expression[49] = 3 (jawLeft + jawRight), which makes the map invertible.

FLAME's true expression space is a PCA basis: for released weights give a map of your own, `fit_map` makes one from
frames that are known in both.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import load_tensors, save_tensors
from ..motion.arkit import ARKIT, ARKIT_INDEX
from ..records import Motion
from ..shapes import N_EXPRESSIONS, dims
from .layout import N_EXPRESSION, N_PARAMETERS, Face

_JAW = ("jawOpen", "jawLeft", "jawRight")
_EXPRESSION_UNIT, _OPEN, _ASIDE = 3.0, 0.45, 0.2
LAYOUT = tuple(name for name in ARKIT if name not in _JAW)  # what expression[0:49] are


@dataclass(frozen=True)
class FaceMap:
    """face = arkit @ to_face.T + offset, arkit = (face - offset) @ to_arkit.T; to_face (53, 52), to_arkit (52, 53)."""

    to_face: Tensor
    to_arkit: Tensor
    offset: Tensor

    def __post_init__(self) -> None:
        dims(self.to_face, f"{N_PARAMETERS} {N_EXPRESSIONS}")
        dims(self.to_arkit, f"{N_EXPRESSIONS} {N_PARAMETERS}")
        dims(self.offset, f"{N_PARAMETERS}")

    def face(self, arkit: Tensor) -> Tensor:
        """(..., 52) -> (..., 53)."""
        return arkit @ self.to_face.to(arkit).T + self.offset.to(arkit)

    def arkit(self, face: Tensor) -> Tensor:
        """(..., 53) -> (..., 52) in [0, 1], the mouth never more shut than the jaw is open."""
        out = ((face - self.offset.to(face)) @ self.to_arkit.to(face).T).clamp(0, 1)
        close, jaw = ARKIT_INDEX["mouthClose"], ARKIT_INDEX["jawOpen"]
        out[..., close] = torch.minimum(out[..., close], out[..., jaw])
        return out

    def save(self, path: str | Path) -> None:
        """Write a safetensors file."""
        tensors = {"to_face": self.to_face, "to_arkit": self.to_arkit, "offset": self.offset}
        save_tensors(tensors, {"record": "FaceMap"}, path)

    @classmethod
    def load(cls, path: str | Path) -> "FaceMap":
        """Read what `save` wrote; ValueError for another file."""
        tensors, meta = load_tensors(path)
        if meta.get("record") != "FaceMap":
            raise ValueError(f"{path} holds {meta.get('record', 'no record')!r}, not a FaceMap")
        return cls(**tensors)


def layout_map() -> FaceMap:
    """The map of the embedded model; face -> arkit undoes arkit -> face exactly."""
    to_face = torch.zeros(N_PARAMETERS, N_EXPRESSIONS)
    for row, name in enumerate(LAYOUT):
        to_face[row, ARKIT_INDEX[name]] = _EXPRESSION_UNIT
    left, right = ARKIT_INDEX["jawLeft"], ARKIT_INDEX["jawRight"]
    to_face[N_EXPRESSION - 1, [left, right]] = _EXPRESSION_UNIT
    to_face[N_EXPRESSION, ARKIT_INDEX["jawOpen"]] = _OPEN
    to_face[N_EXPRESSION + 1, left], to_face[N_EXPRESSION + 1, right] = _ASIDE, -_ASIDE
    return FaceMap(to_face, torch.linalg.pinv(to_face.double()).float(), torch.zeros(N_PARAMETERS))


def fit_map(arkit: Tensor, face: Tensor, ridge: float = 1e-3) -> FaceMap:
    """The best linear map between frames known in both: arkit (N, 52), face (N, 53) of the same moments.

    Ridge regression in both directions, with an offset. ValueError where there are too few frames to tell.
    """
    known = dims(face, f"N {N_PARAMETERS}", **dims(arkit, f"N {N_EXPRESSIONS}"))
    if known["N"] < 2 * N_PARAMETERS:
        raise ValueError(f"{known['N']} frames are too few for a map of {N_PARAMETERS} numbers; give hundreds")
    offset = _solve(arkit, face, ridge)[-1]
    to_face = _solve(arkit, face, ridge)[:-1].T
    to_arkit = _ridge(face - offset, arkit, ridge).T
    return FaceMap(to_face.contiguous(), to_arkit.contiguous(), offset)


def _solve(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """Coefficients (D + 1, E) of y ~ [x, 1]."""
    return _ridge(torch.cat([x, torch.ones(len(x), 1)], 1), y, ridge)


def _ridge(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    x, y = x.double(), y.double()
    penalty = ridge * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(x.T @ x + penalty, x.T @ y).float()


def face_to_motion(face: Face, sample: int = 0, mapping: FaceMap | None = None) -> Motion:
    """One performance as a `Motion` with the body at rest. FLAME's own basis needs a map (ValueError without)."""
    from ..body.skeleton import N_JOINTS

    if face.basis == "flame" and mapping is None:
        raise ValueError("this face is in FLAME's own expression basis: give a map to ARKit (face.arkit_map.fit_map)")
    expression = (mapping or layout_map()).arkit(face.sample(sample))
    return Motion(torch.zeros(len(face), N_JOINTS, 3), expression, face.fps)


def motion_to_face(motion: Motion, mapping: FaceMap | None = None) -> Face:
    """The face of a motion in the 53-vector layout (or in FLAME's basis, with a map), as one performance."""
    parameters = (mapping or layout_map()).face(motion.expression)
    return Face(parameters[None], "arkit" if mapping is None else "flame", motion.fps)
