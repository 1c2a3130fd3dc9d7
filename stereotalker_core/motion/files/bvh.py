"""BVH files, read and written: the upper-body skeleton, one set of rotation channels per joint, y up, centimetres."""

import math
from pathlib import Path

import torch
from torch import Tensor

from ...body.model import HalfBody
from ...checkpoint import write_atomically
from ...geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from ...geometry.skeleton import JOINT_INDEX, N_JOINTS
from ...records import Motion
from ...shapes import N_EXPRESSIONS

# ours: x to the person's left, -y front, z up; BVH: x to the person's left, y up, z front
_AXES = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
_CENTIMETRES = 100.0


def euler_zxy(matrix: Tensor) -> Tensor:
    """Map rotation matrices (..., 3, 3) = Rz Rx Ry -> Euler angles (..., 3) in degrees, in the order z, x, y."""
    x = torch.asin(matrix[..., 2, 1].clamp(-1, 1))
    z = torch.atan2(-matrix[..., 0, 1], matrix[..., 1, 1])
    y = torch.atan2(-matrix[..., 2, 0], matrix[..., 2, 2])
    return torch.rad2deg(torch.stack([z, x, y], -1))


def bone_tree(body: HalfBody) -> dict[int, list[int]]:
    """Return {bone: its children} for bones that are, or lead to, joints of a motion; key -1 holds the root."""
    parents = body.parent.tolist()
    wanted: set[int] = set()
    for name in JOINT_INDEX:
        bone = body.bone_index[name]
        while bone not in wanted:
            wanted.add(bone)
            bone = parents[bone]
    tree: dict[int, list[int]] = {-1: [body.bone_index["root"]]}
    for bone in sorted(wanted):
        if bone != body.bone_index["root"]:
            tree.setdefault(parents[bone], []).append(bone)
    return tree


def save_bvh(motion: Motion, body: HalfBody, path: str | Path, shape: Tensor | None = None) -> None:
    """Write the motion on a body of `shape` (K,) as a BVH file in the A pose, with the bone names of the body asset."""
    shape = torch.zeros(body.n_shape) if shape is None else shape.cpu()
    heads = (body.to("cpu").rest(shape[None]).bones[0] @ _AXES.T) * _CENTIMETRES
    tree = bone_tree(body)
    lines, order = ["HIERARCHY"], []

    def visit(bone: int, parent: int, depth: int) -> None:
        pad, inner = "  " * depth, "  " * (depth + 1)
        offset = heads[bone] - (heads[parent] if parent >= 0 else 0)
        channels = "6 Xposition Yposition Zposition" if parent < 0 else "3"
        lines.extend([
            f"{pad}{'ROOT' if parent < 0 else 'JOINT'} {body.bone_names[bone]}", f"{pad}{{",
            f"{inner}OFFSET {_row(offset)}", f"{inner}CHANNELS {channels} Zrotation Xrotation Yrotation",
        ])
        order.append(bone)
        for child in tree.get(bone, []):
            visit(child, bone, depth + 1)
        if bone not in tree:
            lines.extend([f"{inner}End Site", f"{inner}{{", f"{inner}  OFFSET {_row(0.2 * offset)}", f"{inner}}}"])
        lines.append(f"{pad}}}")

    visit(body.bone_index["root"], -1, 0)
    angles = _bone_angles(motion, body, order)  # (T, bones, 3)
    root = heads[order[0]].expand(len(motion), 3)
    table = torch.cat([root, angles.flatten(1)], 1)
    lines += ["MOTION", f"Frames: {len(motion)}", f"Frame Time: {1 / motion.fps:.8f}"]
    lines += [_row(row) for row in table]
    write_atomically(path, lambda name: Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8"))


def load_bvh(path: str | Path) -> Motion:
    """Read the rotations of a BVH file whose joint names and rest pose are those of `save_bvh`.

    Channels may be in any order. Joints that the file lacks stay at rest; positions are ignored, since bone lengths are
    the identity's. The face is at rest, because BVH has none. ValueError for another skeleton, a truncated file, and,
    naming the line, a row that is too short or holds something other than numbers."""
    lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    start = next((i for i, line in enumerate(lines) if line.strip() == "MOTION"), None)
    if start is None or lines[0].strip() != "HIERARCHY":
        raise ValueError(f"{path} is no BVH file (no HIERARCHY or no MOTION)")
    joints, width = _hierarchy(path, lines[:start])
    if not any(name in JOINT_INDEX for name in joints):
        raise ValueError(f"{path} has none of this body's joints, such as head or lowerarm01.L; retarget it to them")
    frames, fps = _clock(path, lines[start + 1 : start + 3])
    rows = [(number, line.split()) for number, line in enumerate(lines[start + 3 :], start + 4) if line.strip()]
    if len(rows) != frames:
        raise ValueError(f"{path} says {frames} frames and holds {len(rows)}; it is cut off")
    table = torch.tensor([_numbers(path, number, words, width) for number, words in rows])
    rotations = torch.zeros(frames, N_JOINTS, 3)
    for name, channels in joints.items():
        if name in JOINT_INDEX and channels:
            turned = torch.eye(3).expand(frames, 3, 3)
            for axis, column in channels:
                vector = torch.zeros(frames, 3)
                vector[:, axis] = torch.deg2rad(table[:, column])
                turned = turned @ axis_angle_to_matrix(vector)
            rotations[:, JOINT_INDEX[name]] = matrix_to_axis_angle(_AXES.T @ turned @ _AXES)
    return Motion(rotations, torch.zeros(frames, N_EXPRESSIONS), fps)


def _hierarchy(path: str | Path, lines: list[str]) -> tuple[dict[str, list[tuple[int, int]]], int]:
    """Parse the HIERARCHY lines -> ({joint: its rotation channels (axis 0..2, column), in order}, number of columns).
    """
    joints: dict[str, list[tuple[int, int]]] = {}
    name, width = "", 0
    for number, line in enumerate(lines, 1):
        words = line.split()
        if words[:1] in (["ROOT"], ["JOINT"]):
            name = " ".join(words[1:])
            joints[name] = []
        elif words[:1] == ["CHANNELS"]:
            if len(words) < 2 or not words[1].isdigit() or int(words[1]) != len(words) - 2:
                raise ValueError(f"{path}, line {number}: {line.strip()!r} does not name as many channels as it says")
            for column, channel in enumerate(words[2:], width):
                if channel.lower().endswith("rotation"):
                    joints.setdefault(name, []).append(("xyz".index(channel[0].lower()), column))
            width += len(words) - 2
    return joints, width


def _clock(path: str | Path, lines: list[str]) -> tuple[int, float]:
    """Parse the lines after MOTION -> (number of frames, frames per second). ValueError for an invalid header."""
    words = [line.split() for line in lines]
    try:
        frames, seconds = int(words[0][-1]), float(words[1][-1])
    except (IndexError, ValueError) as error:
        raise ValueError(f"{path} does not say Frames and Frame Time after MOTION") from error
    if words[0][0] != "Frames:" or words[1][:2] != ["Frame", "Time:"] or frames < 1 or not 1e-3 <= seconds <= 1:
        raise ValueError(f"{path} has {' / '.join(' '.join(w) for w in words)} after MOTION; that is no clip")
    fps = 1 / seconds
    return frames, float(round(fps)) if abs(fps - round(fps)) < 0.01 else fps


def _numbers(path: str | Path, line: int, words: list[str], width: int) -> list[float]:
    if len(words) != width:
        raise ValueError(f"{path}, line {line}: {len(words)} values where the skeleton has {width} channels")
    try:
        found = [float(word) for word in words]
    except ValueError as error:
        raise ValueError(f"{path}, line {line}: {error}; export it again") from error
    if not all(map(math.isfinite, found)):
        raise ValueError(f"{path}, line {line}: a value is no number; export it again")
    return found


def _bone_angles(motion: Motion, body: HalfBody, order: list[int]) -> Tensor:
    """Return Euler angles (T, len(order), 3) in degrees and BVH axes, of the bones `order`; 0 for bones without a
    joint."""
    matrices = axis_angle_to_matrix(motion.rotations.cpu())
    turned = _AXES @ matrices @ _AXES.T
    eulers = euler_zxy(turned)
    out = torch.zeros(len(motion), len(order), 3)
    for column, bone in enumerate(order):
        joint = JOINT_INDEX.get(body.bone_names[bone])
        if joint is not None:
            out[:, column] = eulers[:, joint]
    return out


def _row(values: Tensor) -> str:
    return " ".join(f"{v:.6f}" if math.isfinite(v) else "0" for v in values.tolist())
