"""ARKit coefficients <-> the 53 numbers of a FLAME frame, by linear maps.

The layout map, used by the embedded model, fills the 53-vector in FLAME's arrangement, without FLAME's own (licensed)
basis:

* jaw[0] = 0.45 jawOpen, jaw[1] = 0.2 (jawLeft - jawRight), jaw[2] = 0: radians about x and y, as FLAME's jaw turns;
* expression[0:49] = 3 x the other 49 coefficients in the order of ARKIT, so that [0, 1] is half of FLAME's usual range;
* expression[49] = 3 (jawLeft + jawRight), which makes the map invertible.

FLAME's true expression space is a PCA basis. Released weights need a map of the user's own; `fit_map` makes one from
frames that are known in both, for instance clips tracked by both systems:

    python -m stereotalker_core.face.arkit_map --pair one.csv one.npy --pair two.csv two.npy --out map.safetensors"""

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..checkpoint import load_tensors, save_tensors
from ..motion.arkit import ARKIT, ARKIT_INDEX
from ..motion.files.io import load_live_link_csv, load_npz
from ..records import Motion
from ..shapes import N_EXPRESSIONS, dims
from .layout import N_EXPRESSION, N_PARAMETERS, Face, from_403

logger = logging.getLogger(__name__)
_JAW = ("jawOpen", "jawLeft", "jawRight")
_EXPRESSION_UNIT, _OPEN, _ASIDE = 3.0, 0.45, 0.2
LAYOUT = tuple(name for name in ARKIT if name not in _JAW)  # what expression[0:49] are


@dataclass(frozen=True)
class FaceMap:
    """The linear map between two face layouts: face = arkit @ to_face.T + offset, arkit = (face - offset) @ to_arkit.T.

    to_face: (53, 52) and to_arkit: (52, 53) matrices; offset: (53,) added to the face parameters."""

    to_face: Tensor
    to_arkit: Tensor
    offset: Tensor

    def __post_init__(self) -> None:
        dims(self.to_face, f"{N_PARAMETERS} {N_EXPRESSIONS}")
        dims(self.to_arkit, f"{N_EXPRESSIONS} {N_PARAMETERS}")
        dims(self.offset, f"{N_PARAMETERS}")

    def face(self, arkit: Tensor) -> Tensor:
        """Map ARKit coefficients (..., 52) -> face parameters (..., 53)."""
        return arkit @ self.to_face.to(arkit).T + self.offset.to(arkit)

    def arkit(self, face: Tensor) -> Tensor:
        """Map face parameters (..., 53) -> ARKit coefficients (..., 52) in [0, 1], with mouthClose at most jawOpen."""
        out = ((face - self.offset.to(face)) @ self.to_arkit.to(face).T).clamp(0, 1)
        close, jaw = ARKIT_INDEX["mouthClose"], ARKIT_INDEX["jawOpen"]
        out[..., close] = torch.minimum(out[..., close], out[..., jaw])
        return out

    def save(self, path: str | Path) -> None:
        """Write both matrices and the offset to a safetensors file."""
        tensors = {"to_face": self.to_face, "to_arkit": self.to_arkit, "offset": self.offset}
        save_tensors(tensors, {"record": "FaceMap"}, path)

    @classmethod
    def load(cls, path: str | Path) -> "FaceMap":
        """Read a map that `save` wrote; ValueError for another file."""
        tensors, meta = load_tensors(path)
        if meta.get("record") != "FaceMap":
            raise ValueError(f"{path} holds {meta.get('record', 'no record')!r}, not a FaceMap")
        return cls(**tensors)


def layout_map() -> FaceMap:
    """Return the map of the embedded model; its face -> arkit is the exact inverse of arkit -> face."""
    to_face = torch.zeros(N_PARAMETERS, N_EXPRESSIONS)
    for row, name in enumerate(LAYOUT):
        to_face[row, ARKIT_INDEX[name]] = _EXPRESSION_UNIT
    left, right = ARKIT_INDEX["jawLeft"], ARKIT_INDEX["jawRight"]
    to_face[N_EXPRESSION - 1, [left, right]] = _EXPRESSION_UNIT
    to_face[N_EXPRESSION, ARKIT_INDEX["jawOpen"]] = _OPEN
    to_face[N_EXPRESSION + 1, left], to_face[N_EXPRESSION + 1, right] = _ASIDE, -_ASIDE
    return FaceMap(to_face, torch.linalg.pinv(to_face.double()).float(), torch.zeros(N_PARAMETERS))


def fit_map(arkit: Tensor, face: Tensor, ridge: float = 1e-3) -> FaceMap:
    """Fit a linear map to frames known in both layouts: arkit (N, 52) and face (N, 53) of the same moments.

    ridge: weight of the squared coefficients (ridge regression, in both directions, with an offset). ValueError for too
    few frames."""
    known = dims(face, f"N {N_PARAMETERS}", **dims(arkit, f"N {N_EXPRESSIONS}"))
    if known["N"] < 2 * N_PARAMETERS:
        raise ValueError(f"{known['N']} frames are too few for a map of {N_PARAMETERS} numbers; give hundreds")
    found = _ridge_regression(arkit, face, ridge)
    to_face, offset = found[:-1].T, found[-1]
    to_arkit = _ridge(face - offset, arkit, ridge).T
    return FaceMap(to_face.contiguous(), to_arkit.contiguous(), offset)


def _ridge_regression(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """Return the coefficients (D + 1, E) of the ridge regression of y (N, E) on [x, 1], x (N, D)."""
    return _ridge(torch.cat([x, torch.ones(len(x), 1)], 1), y, ridge)


def _ridge(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    x, y = x.double(), y.double()
    penalty = ridge * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(x.T @ x + penalty, x.T @ y).float()


def face_to_motion(face: Face, sample: int = 0, mapping: FaceMap | None = None) -> Motion:
    """Return one performance as a `Motion` with the body at rest.

    face: the performances.
    sample: which of them.
    mapping: between ARKit and FLAME's own basis; required for a face in that basis (ValueError without), ignored for
        one in the embedded model's ARKit layout."""
    from ..geometry.skeleton import N_JOINTS

    if face.basis == "flame" and mapping is None:
        raise ValueError("this face is in FLAME's own expression basis: give a map to ARKit (face.arkit_map.fit_map)")
    used = mapping if face.basis == "flame" and mapping is not None else layout_map()
    expression = used.arkit(face.sample(sample))
    return Motion(torch.zeros(len(face), N_JOINTS, 3), expression, face.fps)


def motion_to_face(motion: Motion, mapping: FaceMap | None = None) -> Face:
    """Return the face of a motion as one performance, in the embedded model's layout or, with a map, in FLAME's basis.
    """
    parameters = (mapping or layout_map()).face(motion.expression)
    return Face(parameters[None], "arkit" if mapping is None else "flame", motion.fps)


def read_pair(motion: str | Path, face: str | Path) -> tuple[Tensor, Tensor]:
    """Read one clip known in both layouts -> ARKit (T, 52), FLAME (T, 53).

    motion: a motion file (.csv of Live Link Face, .npz, .safetensors).
    face: FLAME's numbers of the same frames (.npy, (T, 53) or (1, T, 403) as in 3DMEAD).

    ValueError where the numbers of frames differ."""
    readers = {".csv": load_live_link_csv, ".npz": load_npz, ".safetensors": Motion.load}
    suffix = Path(motion).suffix.lower()
    if suffix not in readers:
        raise ValueError(f"{motion} must end in one of {', '.join(readers)}")
    arkit = readers[suffix](motion).expression
    values = torch.from_numpy(np.load(face, allow_pickle=False)).float()
    values = values[0] if values.dim() == 3 and len(values) == 1 else values
    if values.dim() != 2 or values.shape[1] not in (N_PARAMETERS, 403):
        raise ValueError(f"{face} has shape {tuple(values.shape)}; give (frames, {N_PARAMETERS}) or (1, frames, 403)")
    values = from_403(values) if values.shape[1] == 403 else values
    if len(values) != len(arkit):
        raise ValueError(f"{motion} has {len(arkit)} frames, {face} {len(values)}: give the same frames of one clip")
    return arkit, values


def main(arguments: list[str] | None = None) -> None:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(prog="face.arkit_map", description="Fit a map between ARKit and FLAME.")
    parser.add_argument("--pair", nargs=2, action="append", required=True, metavar=("MOTION", "FACE"))
    parser.add_argument("--out", type=Path, required=True, help=".safetensors")
    parser.add_argument("--ridge", type=float, default=1e-3, help="how strongly small numbers are preferred")
    options = parser.parse_args(arguments)
    arkit, face = (torch.cat(x) for x in zip(*(read_pair(*pair) for pair in options.pair), strict=True))
    mapping = fit_map(arkit, face, options.ridge)
    mapping.save(options.out)
    errors = [float((a - b).abs().mean()) for a, b in ((mapping.face(arkit), face), (mapping.arkit(face), arkit))]
    logger.info("wrote %s from %d frames; mean error on them: FLAME %.4f, ARKit %.4f", options.out, len(arkit), *errors)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
