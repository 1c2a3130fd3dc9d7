"""A turntable of a fitted person: one small picture per yaw, side by side, without any trained network."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...body.model import HalfBody
from ...camera.trajectories import canonical_framing, keyframes
from ...records import Identity, Motion
from .maps import render_guides

_SIDES = (64, 512)  # pixels


@torch.no_grad()
def turntable_strip(
    body: HalfBody,
    identity: Identity,
    yaws: Sequence[float],
    pitch: float = 0.0,
    size: int = 128,
    motion: Motion | None = None,
) -> Tensor:
    """Render the person with the portrait's texture from every yaw -> (3, size, len(yaws) * size) in [-1, 1].

    body: the half body.
    identity: the person.
    yaws, pitch: degrees.
    size: px of a side, a multiple of 8 in 64..512.
    motion: its first frame is the pose; None for the portrait's own pose.

    ValueError for no yaw, or values out of range."""
    if not len(yaws):
        raise ValueError("a turntable needs at least one yaw")
    if size % 8 or not _SIDES[0] <= size <= _SIDES[1]:
        raise ValueError(f"turntable size {size} must be a multiple of 8 in {_SIDES[0]}..{_SIDES[1]}")
    count = len(yaws)
    who = identity.literal() if motion is None else identity
    pose = motion or Motion(identity.rotations[None], identity.expression[None])
    held = Motion(pose.rotations[:1].expand(count, -1, -1), pose.expression[:1].expand(count, -1), pose.fps)
    bones = body.rest(identity.shape[None]).bones[0]
    framing = canonical_framing(float(bones[body.bone_index["head"], 2]))
    keys = [(frame, float(yaw), pitch, 1.0) for frame, yaw in enumerate(yaws)]
    cameras = keyframes(framing, count, keys, (size, size)).to(identity.atlas.device)
    return torch.cat(list(render_guides(body, who, held, cameras).lift), -1)
