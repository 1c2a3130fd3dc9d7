"""BVH export: the upper-body skeleton with one rotation channel set a joint, y up, centimetres."""

import math
from pathlib import Path

import torch
from torch import Tensor

from ..body.model import HalfBody
from ..body.rotations import axis_angle_to_matrix
from ..body.skeleton import JOINT_INDEX
from ..checkpoint import write_atomically
from ..records import Motion

# ours: x to the person's left, -y front, z up; BVH: x to the person's left, y up, z front
_AXES = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
_CENTIMETRES = 100.0


def euler_zxy(matrix: Tensor) -> Tensor:
    """(..., 3, 3) = Rz Rx Ry -> (..., 3) degrees in the order z, x, y."""
    x = torch.asin(matrix[..., 2, 1].clamp(-1, 1))
    z = torch.atan2(-matrix[..., 0, 1], matrix[..., 1, 1])
    y = torch.atan2(-matrix[..., 2, 0], matrix[..., 2, 2])
    return torch.rad2deg(torch.stack([z, x, y], -1))


def bone_tree(body: HalfBody) -> dict[int, list[int]]:
    """Children of each bone that carries, or leads to, a joint of a motion; key -1 holds the root."""
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
    """Write the motion for a body of `shape` (K,); rest pose = the A pose, names = the bones of the body asset."""
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
    angles = _channels(motion, body, order)  # (T, bones, 3)
    root = heads[order[0]].expand(len(motion), 3)
    table = torch.cat([root, angles.flatten(1)], 1)
    lines += ["MOTION", f"Frames: {len(motion)}", f"Frame Time: {1 / motion.fps:.8f}"]
    lines += [_row(row) for row in table]
    write_atomically(path, lambda name: Path(name).write_text("\n".join(lines) + "\n"))


def _channels(motion: Motion, body: HalfBody, order: list[int]) -> Tensor:
    """(T, len(order), 3) Euler degrees of each bone in BVH axes; bones without a joint stay at 0."""
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
