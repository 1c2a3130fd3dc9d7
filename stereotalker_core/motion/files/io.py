"""Motions in files: .npz (everything, exact), Live Link Face CSV (face and head, read and written), and other formats.

The columns of a CSV are those of the Live Link Face app, in its order: Timecode, BlendShapeCount, the 52 coefficients
(left eye, right eye, jaw, mouth, brows, cheeks, nose, tongue), the head's and the eyes' angles in radians. Many readers
use the position of a column, so the order is part of the format."""

import csv
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...checkpoint import write_atomically
from ...geometry.rotations import axis_angle_to_matrix
from ...geometry.skeleton import JOINT_INDEX, MOTION_JOINTS, N_JOINTS
from ...records import Motion
from ...shapes import FPS
from ..arkit import ARKIT, ARKIT_INDEX
from .bvh import load_bvh

HEAD_SHARES = {"neck01": 0.2, "neck02": 0.2, "neck03": 0.2, "head": 0.4}  # of a head turn, per joint (facts of anatomy)
_ANGLES = ("HeadYaw", "HeadPitch", "HeadRoll")
_EYE_ANGLES = tuple(f"{side}Eye{angle}" for side in ("Left", "Right") for angle in ("Yaw", "Pitch", "Roll"))
_EYE = ("Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide")
_COLUMNS = (
    *(f"Eye{part}{side}" for side in ("Left", "Right") for part in _EYE),
    *("JawForward", "JawRight", "JawLeft", "JawOpen", "MouthClose", "MouthFunnel", "MouthPucker"),
    *("MouthRight", "MouthLeft", "MouthSmileLeft", "MouthSmileRight", "MouthFrownLeft", "MouthFrownRight"),
    *("MouthDimpleLeft", "MouthDimpleRight", "MouthStretchLeft", "MouthStretchRight", "MouthRollLower"),
    *("MouthRollUpper", "MouthShrugLower", "MouthShrugUpper", "MouthPressLeft", "MouthPressRight"),
    *("MouthLowerDownLeft", "MouthLowerDownRight", "MouthUpperUpLeft", "MouthUpperUpRight", "BrowDownLeft"),
    *("BrowDownRight", "BrowInnerUp", "BrowOuterUpLeft", "BrowOuterUpRight", "CheekPuff", "CheekSquintLeft"),
    *("CheekSquintRight", "NoseSneerLeft", "NoseSneerRight", "TongueOut"),
)
_ORDER = [ARKIT_INDEX[name[0].lower() + name[1:]] for name in _COLUMNS]  # column of the app -> index of ours
_FIRST = 2  # columns before the coefficients
FASTEST = 1000.0  # frames per second
LARGEST = 1000.0  # of a value: beyond it angles have no digits left
logger = logging.getLogger(__name__)


def save_npz(motion: Motion, path: str | Path) -> None:
    """Write rotations (T, 49, 3), expression (T, 52), fps, and the names of joints and expressions."""
    arrays = {
        "rotations": motion.rotations.cpu().numpy(),
        "expression": motion.expression.cpu().numpy(),
        "fps": np.float64(motion.fps),
        "joints": np.array(MOTION_JOINTS),
        "expressions": np.array(ARKIT),
    }

    def write(name: str) -> None:
        with open(name, "wb") as file:
            np.savez(file, **arrays)

    write_atomically(path, write)


def load_npz(path: str | Path) -> Motion:
    """Read a motion that `save_npz` wrote; ValueError names what is missing or in another order."""
    with np.load(path, allow_pickle=False) as data:
        for key in ("rotations", "expression", "fps"):
            if key not in data:
                raise ValueError(f"{path} has no array {key!r}; it is not a motion saved by this package")
        for key, names in (("joints", MOTION_JOINTS), ("expressions", ARKIT)):
            if key in data and tuple(data[key].tolist()) != tuple(names):
                raise ValueError(f"{path} has other {key} than this package; export it again")
        rotations, expression = (torch.from_numpy(data[key].astype(np.float32)) for key in ("rotations", "expression"))
        return Motion(rotations, expression, float(data["fps"]))


def head_angles(rotations: Tensor) -> Tensor:
    """Map joint rotations (T, 49, 3) -> head angles (T, 3), radians: yaw to the person's left, pitch down, roll left.
    """
    total = torch.eye(3).expand(len(rotations), 3, 3)
    for name in HEAD_SHARES:
        total = total @ axis_angle_to_matrix(rotations[:, JOINT_INDEX[name]].cpu())
    # R = Rz(yaw) Rx(pitch) Ry(roll)
    pitch = torch.asin(total[:, 2, 1].clamp(-1, 1))
    yaw = torch.atan2(-total[:, 0, 1], total[:, 1, 1])
    roll = torch.atan2(-total[:, 2, 0], total[:, 2, 2])
    return torch.stack([yaw, pitch, roll], -1)


def save_live_link_csv(motion: Motion, path: str | Path) -> None:
    """Write a Live Link Face CSV: time code, 52 coefficients, head yaw, pitch, roll (radians); gaze is in the
    coefficients."""
    header = ["Timecode", "BlendShapeCount", *_COLUMNS, *_ANGLES, *_EYE_ANGLES]
    angles, coefficients = head_angles(motion.rotations), motion.expression[:, _ORDER]

    def write(name: str) -> None:
        with open(name, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            for t, (expression, head) in enumerate(zip(coefficients.tolist(), angles.tolist(), strict=True)):
                numbers = [f"{v:.7g}" for v in (*expression, *head)]
                writer.writerow([_timecode(t, motion.fps), len(ARKIT) + 9, *numbers, *["0"] * len(_EYE_ANGLES)])

    write_atomically(path, write)


def load_live_link_csv(path: str | Path, fps: float | None = None) -> Motion:
    """Read a Live Link Face CSV; missing expressions are 0, the body is at rest.

    path: the file to read.
    fps: frames per second; None derives them from the time codes, else 25.

    Columns are found by name in any order and letter case; without such names, by their position in the app's order.
    ValueError for another kind of file and, naming the line, for a row that is too short or not numeric."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        lines = [(number, row) for number, row in enumerate(csv.reader(file), 1) if any(cell.strip() for cell in row)]
    places, lines = _columns_by_name(path, lines)
    values = {name: [_number(path, line, row, name, i) for line, row in lines] for name, i in places.items()}
    frames = len(lines)
    expression = torch.zeros(frames, len(ARKIT))
    for name, index in zip(_COLUMNS, _ORDER, strict=True):
        if name in values:
            expression[:, index] = torch.tensor(values[name])
    rotations = torch.zeros(frames, N_JOINTS, 3)
    yaw, pitch, roll = (torch.tensor(values.get(name, [0.0] * frames)) for name in _ANGLES)
    turn = _head_vector(yaw, pitch, roll)
    for name, share in HEAD_SHARES.items():
        rotations[:, JOINT_INDEX[name]] = share * turn
    return Motion(rotations, expression.clamp(0, 1), fps or _rate([row[0] for _, row in lines]))


def _columns_by_name(path: str | Path, lines: list) -> tuple[dict[str, int], list]:
    """Return {name: column} of the known names, and the lines without their header. ValueError without such columns."""
    known = {name.lower(): name for name in (*_COLUMNS, *_ANGLES)}
    header = [cell.strip().lower() for cell in lines[0][1]] if lines else []
    named = {known[cell]: i for i, cell in enumerate(header) if cell in known}
    if "JawOpen" in named and len(lines) > 1:
        return named, lines[1:]
    if not named and len(header) >= _FIRST + len(_COLUMNS):
        rows = lines if _is_number(header[_FIRST]) else lines[1:]
        if rows:
            logger.warning("%s names none of its columns as Live Link Face does; they are taken by place", path)
            return {name: _FIRST + i for i, name in enumerate((*_COLUMNS, *_ANGLES)) if _FIRST + i < len(header)}, rows
    raise ValueError(f"{path} is no Live Link Face CSV (no JawOpen column or no frames)")


def _number(path: str | Path, line: int, row: Sequence[str], name: str, column: int) -> float:
    if column >= len(row):
        raise ValueError(f"{path}, line {line}: the row ends after {len(row)} columns, before {name}; export it again")
    if not _is_number(row[column]):
        raise ValueError(f"{path}, line {line}: {name} is {row[column]!r}, not a number; export it again")
    return float(row[column])


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


READERS = {".safetensors": Motion.load, ".npz": load_npz, ".csv": load_live_link_csv, ".bvh": load_bvh}


def load_motion(path: str | Path) -> Motion:
    """Read a motion in any of the formats that are written; the suffix tells which.

    ValueError for other suffixes, for NaN, for implausibly large values and for an impossible frame rate."""
    reader = READERS.get(Path(path).suffix.lower())
    if reader is None:
        raise ValueError(f"{path} is no motion file; give one that ends in {', '.join(READERS)}")
    motion = reader(path)
    finite = motion.rotations.flatten(1).isfinite().all(1) & motion.expression.isfinite().all(1)
    if not bool(finite.all()):
        raise ValueError(f"{path}: frame {int(finite.int().argmin())} holds a value that is no number; make it again")
    far = max(float(values.abs().max()) if values.numel() else 0.0 for values in (motion.rotations, motion.expression))
    if far > LARGEST:
        raise ValueError(f"{path} holds values up to {far:g}; rotations are in radians, expressions in 0..1")
    if len(motion) == 0:
        raise ValueError(f"{path} holds no frames")
    if not FASTEST >= motion.fps >= 1:
        raise ValueError(f"{path} says {motion.fps} frames per second; it must be 1..{FASTEST:g}: export it again")
    return motion


def _head_vector(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Map angles (T,) in radians -> axis-angle (T, 3) of Rz(yaw) Rx(pitch) Ry(roll)."""
    from ...geometry.rotations import matrix_to_axis_angle

    zero = torch.zeros_like(yaw)
    parts = (
        torch.stack([zero, zero, yaw], -1), torch.stack([pitch, zero, zero], -1), torch.stack([zero, roll, zero], -1)
    )
    a, b, c = map(axis_angle_to_matrix, parts)
    return matrix_to_axis_angle(a @ b @ c)


def _timecode(frame: int, fps: float) -> str:
    """Return the time code of a frame, HH:MM:SS:FF.mmm, as the app writes it."""
    whole = int(frame / fps)
    rest = frame - whole * fps
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}:{int(rest):02d}.{round(rest % 1 * 1000):03d}"


def _rate(codes: list[str]) -> float:
    """Return the frames per second from the first and last time code; 25 where they do not determine it."""
    fields = [code.replace(";", ":").split(":") for code in codes]
    if len(fields) < 2 or any(len(f) != 4 for f in (fields[0], fields[-1])):
        return FPS
    highest = max(int(float(f[3])) for f in fields if len(f) == 4)
    seconds = [int(f[0]) * 3600 + int(f[1]) * 60 + int(f[2]) for f in (fields[0], fields[-1])]
    if seconds[1] - seconds[0] < 2:
        return FPS if highest < 25 else 30.0 if highest < 30 else 60.0
    full = [f[2] for f in fields if f[2] not in (fields[0][2], fields[-1][2])]
    return float(round(len(full) / max(1, len(set(full)))))
