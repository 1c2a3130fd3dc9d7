"""The texture in the photograph's own pose and view, where trunk and arms look exactly as photographed.

A photograph shows shadows between fingers, dark edges of arms and pieces of what lies beside them. In its own pose and
view they belong to the picture; once the arm moves they are stains. So texels that are not surely the surface's are
drawn only near the photographed pose and view, as in view-dependent texture mapping (Debevec et al. 1996)."""

import math

import torch
from torch import Tensor

from ...geometry.rotations import axis_angle_to_matrix
from ...geometry.skeleton import MOTION_JOINTS
from ...records import Cameras, Identity, Motion

_POSE = (6.0, 20.0)  # degrees by which the joint that moved most differs, between which the own texture fades
_VIEW = (8.0, 25.0)  # degrees by which the camera has turned, between which it fades
_HEAD = ("neck", "head", "jaw", "eye")  # joints whose turns move nothing below the neck


def nearness(identity: Identity, motion: Motion, cameras: Cameras) -> Tensor:
    """Return (T,) in [0, 1]: 1 in the photograph's own pose and view, 0 far from either.

    identity: the person; motion: T frames as performed; cameras: T frames."""
    below = [k for k, name in enumerate(MOTION_JOINTS) if not name.startswith(_HEAD)]
    own = axis_angle_to_matrix(identity.rotations[below])
    turned = _angle(axis_angle_to_matrix(motion.rotations[:, below]), own).amax(1)
    seen_from = _angle(cameras.world_to_camera[:, :3, :3], identity.world_to_camera[:3, :3])
    return _fade(turned, _POSE) * _fade(seen_from, _VIEW)


def textures(texture: Tensor, own: Tensor, near: Tensor) -> list[Tensor | None]:
    """Return the texture (1, 4, A, A) of each of T frames, None for frames far from the own pose, which keep theirs.

    texture: (1, 4, A, A) colour and visibility; own: (4, h, w) as in `Identity.own_view`; near: (T,), from `nearness`.
    """
    return [_mixed(texture, own, weight) if weight else None for weight in near.tolist()]


def _mixed(texture: Tensor, own: Tensor, weight: float) -> Tensor:
    mixed, share = texture.clone(), own[3:] * weight
    corner = mixed[0, :, : own.shape[1], : own.shape[2]]
    corner[:3] = torch.lerp(corner[:3], own[:3], share)
    corner[3:] = torch.maximum(corner[3:], share)
    return mixed


def _angle(rotation: Tensor, other: Tensor) -> Tensor:
    """Return the angle in degrees (...) between rotations (..., 3, 3)."""
    cosine = ((rotation * other).sum((-2, -1)) - 1) / 2
    return cosine.clamp(-1, 1).acos() * (180 / math.pi)


def _fade(value: Tensor, ends: tuple[float, float]) -> Tensor:
    return ((ends[1] - value) / (ends[1] - ends[0])).clamp(0, 1)
