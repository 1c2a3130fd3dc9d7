"""Collision of hands and trunk: an arm that would sink a hand into the trunk is rotated forward at the shoulder.

The denoiser knows poses but not volume. The trunk is a depth map of its front on the mean body, in the spine's frame.
"""

import functools
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody
from ...geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from ...geometry.skeleton import HAND_JOINTS, JOINT_INDEX
from ...records import Motion
from .streams import local_stream

MARGIN = 0.015  # m between a joint of the hand and the skin of the trunk: half a finger's thickness
DEEPEST = 0.09  # m behind the front beyond which a hand is beside or behind the trunk, not in it
_STEP, _REACH = 0.015, 0.024  # m of the map's cells, and around a cell in which its front is looked for
_EASE = 6  # frames
_ROUNDS = 2
_WIDE, _HIGH = (-0.24, 0.24), (-0.02, 0.54)  # m of x and z that the map covers
_LEVER = 0.12  # m that an arm has at least: one that points straight ahead moves forward no further by turning


class Trunk:
    """The mean body's skeleton and the front of its trunk: y in metres on a grid (H, W) over z and x, inf beside it."""

    def __init__(self) -> None:
        self.body = HalfBody()
        rest = self.body.rest(torch.zeros(1, self.body.n_shape))
        self.bones = rest.bones
        self.middle = rest.bones[0, self.body.motion_bones[JOINT_INDEX["spine03"]]]
        solid = torch.tensor([name == "torso" for name in self.body.part_names])[self.body.triangle_part]
        skin = rest.vertices[0, torch.unique(self.body.triangles[solid])]
        z, x = (torch.arange(low, high, _STEP) for low, high in (_HIGH, _WIDE))
        cells = torch.stack(torch.meshgrid(z, x, indexing="ij"), -1).flatten(0, 1)
        near = torch.cdist(cells, skin[:, [2, 0]]) < _REACH
        front = torch.where(near, skin[:, 1], torch.inf).amin(1)
        self.front = front.view(len(z), len(x))

    def depth(self, points: Tensor) -> Tensor:
        """Return by how many metres (...) points (..., 3) lack the distance `MARGIN` to the front of the trunk; 0 for
        none.

        points: in the frame of the resting spine. A point in front of the trunk's surface by MARGIN or more, or beside
            the trunk, gives 0."""
        rows = ((points[..., 2] - _HIGH[0]) / _STEP).round().long()
        columns = ((points[..., 0] - _WIDE[0]) / _STEP).round().long()
        inside = (rows >= 0) & (rows < self.front.shape[0]) & (columns >= 0) & (columns < self.front.shape[1])
        front = self.front[rows.clamp(0, self.front.shape[0] - 1), columns.clamp(0, self.front.shape[1] - 1)]
        lacking = points[..., 1] - front + MARGIN
        return torch.where(inside & (lacking < DEEPEST), lacking, 0.0).clamp_min(0)


@functools.cache
def trunk() -> Trunk:
    """Return the `Trunk` of the mean body, made once per process."""
    return Trunk()


def clear_stream(chunks: Iterable[Motion]) -> Iterator[Motion]:
    """Yield the motion with no hand inside the trunk; frames far from such a moment stay bitwise unchanged."""
    return local_stream(chunks, _ROUNDS * 4 * _EASE, lambda rotations, _: cleared(rotations))


def cleared(rotations: Tensor) -> Tensor:
    """Rotate upper arms forward until no hand is inside the trunk; (T, 49, 3) -> (T, 49, 3)."""
    out, solid = rotations, trunk()
    for _ in range(_ROUNDS):
        local = solid.body.bone_rotations(out)
        world, heads = solid.body.forward_kinematics(local, solid.bones)
        world, heads = world[:, solid.body.motion_bones], heads[:, solid.body.motion_bones]
        spine = JOINT_INDEX["spine03"]
        for side in "LR":
            hand = _hand(heads, side) - heads[:, spine, None]
            depth = solid.depth(hand @ world[:, spine] + solid.middle).amax(1)
            if not bool((depth > 0).any()):
                continue
            shoulder, wrist = JOINT_INDEX[f"upperarm01.{side}"], JOINT_INDEX[f"wrist.{side}"]
            ahead = -world[:, spine, :, 1]
            turn = torch.linalg.cross(heads[:, wrist] - heads[:, shoulder], ahead)
            lever = turn.norm(dim=1, keepdim=True)
            turn = turn / lever.clamp_min(1e-6) * (_eased(depth)[:, None] / lever.clamp_min(_LEVER))
            parent = world[:, JOINT_INDEX[f"shoulder01.{side}"]]
            more = axis_angle_to_matrix((parent.transpose(1, 2) @ turn[..., None])[..., 0])
            moved = turn.abs().amax(1) > 0
            turned = matrix_to_axis_angle(more[moved] @ axis_angle_to_matrix(out[moved, shoulder]))
            out = out.clone()
            out[moved, shoulder] = turned
    return out


def _hand(heads: Tensor, side: str) -> Tensor:
    """Map joint positions (T, 49, 3) -> (T, 21, 3): wrist, finger joints, finger tips."""
    joints = heads[:, [JOINT_INDEX[name] for name in HAND_JOINTS[side]]].unflatten(1, (5, 3))
    tips = joints[:, :, 2] + 0.9 * (joints[:, :, 2] - joints[:, :, 1])
    return torch.cat([heads[:, [JOINT_INDEX[f"wrist.{side}"]]], joints.flatten(1, 2), tips], 1)


def _eased(depth: Tensor) -> Tensor:
    """Smooth (T,) without lowering any value: peaks are widened, then averaged over some frames."""
    wide = F.max_pool1d(depth[None], 4 * _EASE + 1, 1, 2 * _EASE)
    for _ in range(2):
        wide = F.avg_pool1d(F.pad(wide, (_EASE, _EASE), "replicate"), 2 * _EASE + 1, 1)
    return wide[0]
