"""Windows over the frames of a clip, their seams, and canvases that the networks can halve."""

from dataclasses import replace

import torch
from torch import Tensor

from ...records import Cameras

_STEP = 64  # pixels that the networks halve down to one


def frame_windows(frames: int, window: int, overlap: int) -> list[tuple[int, int]]:
    """Return [(start, end), ...] that cover all frames, neighbours sharing exactly `overlap`."""
    if not 0 <= overlap < window:
        raise ValueError(f"overlap must be from 0 to window - 1 = {window - 1}, got {overlap}")
    starts = range(0, max(1, frames - overlap), window - overlap)
    return [(start, min(frames, start + window)) for start in starts]


def cross_fade(previous: Tensor, following: Tensor) -> Tensor:
    """Map two versions of the same t frames -> one that leaves the first linearly for the second."""
    weight = torch.linspace(0, 1, len(previous) + 2, device=previous.device)[1:-1].view(-1, 1, 1, 1)
    return torch.lerp(previous, following, weight)


def padded(cameras: Cameras) -> tuple[Cameras, tuple[slice, slice]]:
    """The same cameras on the next canvas that the networks can halve, and where the old one lies: rows, columns.

    Latents are 8 times smaller and the U-Net halves them three times: sides become multiples of 64.
    """
    more = [-side % _STEP for side in cameras.size]
    cut = [slice(extra // 2, extra // 2 + side) for side, extra in zip(cameras.size, more, strict=True)]
    if any(more):
        intrinsics = cameras.intrinsics.clone()
        intrinsics[:2, 2] += intrinsics.new_tensor([cut[1].start, cut[0].start])
        size = tuple(side + extra for side, extra in zip(cameras.size, more, strict=True))
        cameras = replace(cameras, intrinsics=intrinsics, size=size)
    return cameras, (cut[0], cut[1])
