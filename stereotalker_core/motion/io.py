"""Motions in files: .npz (everything, exact) and Live Link Face CSV (face and head, both ways)."""

import csv
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..body.rotations import axis_angle_to_matrix
from ..body.skeleton import JOINT_INDEX, MOTION_JOINTS, N_JOINTS
from ..checkpoint import write_atomically
from ..records import Motion
from ..shapes import FPS
from .arkit import ARKIT

HEAD_SHARES = {"neck01": 0.2, "neck02": 0.2, "neck03": 0.2, "head": 0.4}  # of a head turn, per joint (facts of anatomy)
_ANGLES = ("HeadYaw", "HeadPitch", "HeadRoll")
_EYE_ANGLES = tuple(f"{side}Eye{angle}" for side in ("Left", "Right") for angle in ("Yaw", "Pitch", "Roll"))
_COLUMNS = tuple(name[0].upper() + name[1:] for name in ARKIT)


def save_npz(motion: Motion, path: str | Path) -> None:
    """rotations (T, 49, 3), expression (T, 52), fps, and the names of joints and expressions."""
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
    """Read what `save_npz` wrote; ValueError names what is missing or in another order."""
    with np.load(path, allow_pickle=False) as data:
        for key in ("rotations", "expression", "fps"):
            if key not in data:
                raise ValueError(f"{path} has no array {key!r}; it is not a motion saved by this package")
        for key, names in (("joints", MOTION_JOINTS), ("expressions", ARKIT)):
            if key in data and tuple(data[key].tolist()) != tuple(names):
                raise ValueError(f"{path} has other {key} than this package; export it again")
        values = [torch.from_numpy(data[key].astype(np.float32)) for key in ("rotations", "expression")]
        return Motion(*values, float(data["fps"]))


def head_angles(rotations: Tensor) -> Tensor:
    """Rotations (T, 49, 3) -> (T, 3) radians: yaw to the person's left, pitch down, roll to the person's left."""
    total = torch.eye(3).expand(len(rotations), 3, 3)
    for name in HEAD_SHARES:
        total = total @ axis_angle_to_matrix(rotations[:, JOINT_INDEX[name]].cpu())
    # R = Rz(yaw) Rx(pitch) Ry(roll)
    pitch = torch.asin(total[:, 2, 1].clamp(-1, 1))
    yaw = torch.atan2(-total[:, 0, 1], total[:, 1, 1])
    roll = torch.atan2(-total[:, 2, 0], total[:, 2, 2])
    return torch.stack([yaw, pitch, roll], -1)


def save_live_link_csv(motion: Motion, path: str | Path) -> None:
    """Live Link Face CSV: time code, 52 coefficients, head yaw, pitch, roll (radians); eyes are in the coefficients."""
    header = ["Timecode", "BlendshapeCount", *_COLUMNS, *_ANGLES, *_EYE_ANGLES]
    angles = head_angles(motion.rotations)

    def write(name: str) -> None:
        with open(name, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            for t, (expression, head) in enumerate(zip(motion.expression.tolist(), angles.tolist(), strict=True)):
                numbers = [f"{v:.7g}" for v in (*expression, *head)]
                writer.writerow([_timecode(t, motion.fps), len(ARKIT) + 9, *numbers, *["0"] * len(_EYE_ANGLES)])

    write_atomically(path, write)


def load_live_link_csv(path: str | Path, fps: float | None = None) -> Motion:
    """Read a Live Link Face CSV; columns are found by name, missing expressions are 0, the body rests.

    fps: default from the time codes (frames per second counted), else 25. ValueError for a file of another kind.
    """
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    header = {name.strip(): i for i, name in enumerate(rows[0])} if rows else {}
    if "JawOpen" not in header or len(rows) < 2:
        raise ValueError(f"{path} is no Live Link Face CSV (no JawOpen column or no frames)")
    wanted = {name: i for name, i in header.items() if name in (*_COLUMNS, *_ANGLES)}
    try:
        values = {name: [float(row[i]) for row in rows[1:] if row] for name, i in wanted.items()}
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path} has a row that is not numbers ({error}); export it again") from error
    frames = len(values["JawOpen"])
    expression = torch.zeros(frames, len(ARKIT))
    for i, name in enumerate(_COLUMNS):
        if name in values:
            expression[:, i] = torch.tensor(values[name])
    rotations = torch.zeros(frames, N_JOINTS, 3)
    yaw, pitch, roll = (torch.tensor(values.get(name, [0.0] * frames)) for name in _ANGLES)
    turn = _head_vector(yaw, pitch, roll)
    for name, share in HEAD_SHARES.items():
        rotations[:, JOINT_INDEX[name]] = share * turn
    return Motion(rotations, expression.clamp(0, 1), fps or _rate([row[0] for row in rows[1:] if row]))


def _head_vector(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """(T,) radians -> (T, 3) axis-angle of Rz(yaw) Rx(pitch) Ry(roll)."""
    from ..body.rotations import matrix_to_axis_angle

    zero = torch.zeros_like(yaw)
    parts = (
        torch.stack([zero, zero, yaw], -1), torch.stack([pitch, zero, zero], -1), torch.stack([zero, roll, zero], -1)
    )
    a, b, c = map(axis_angle_to_matrix, parts)
    return matrix_to_axis_angle(a @ b @ c)


def _timecode(frame: int, fps: float) -> str:
    """HH:MM:SS:FF.mmm as the app writes it."""
    whole = int(frame / fps)
    rest = frame - whole * fps
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}:{int(rest):02d}.{round(rest % 1 * 1000):03d}"


def _rate(codes: list[str]) -> float:
    """Frames a second from the first and last time code; 25 where they say nothing."""
    fields = [code.replace(";", ":").split(":") for code in codes]
    if len(fields) < 2 or any(len(f) != 4 for f in (fields[0], fields[-1])):
        return FPS
    highest = max(int(float(f[3])) for f in fields if len(f) == 4)
    seconds = [int(f[0]) * 3600 + int(f[1]) * 60 + int(f[2]) for f in (fields[0], fields[-1])]
    if seconds[1] - seconds[0] < 2:
        return FPS if highest < 25 else 30.0 if highest < 30 else 60.0
    full = [f[2] for f in fields if f[2] not in (fields[0][2], fields[-1][2])]
    return float(round(len(full) / max(1, len(set(full)))))
