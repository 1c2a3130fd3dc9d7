"""Windows over the frames of a clip, their cross-fades, and canvases whose sides suit the networks."""

from dataclasses import replace

import torch
from torch import Tensor

from ...records import Cameras

_STEP = 64  # pixels that the networks halve down to one


def frame_windows(frames: int, window: int, overlap: int) -> list[tuple[int, int]]:
    """Return [(start, stop), ...], windows that cover all frames; neighbours share exactly `overlap` frames.

    frames: length of the clip; window: the most frames of a window. ValueError for an overlap outside 0..window - 1."""
    if not 0 <= overlap < window:
        raise ValueError(f"overlap must be from 0 to window - 1 = {window - 1}, got {overlap}")
    starts = range(0, max(1, frames - overlap), window - overlap)
    return [(start, min(frames, start + window)) for start in starts]


def cross_fade(previous: Tensor, following: Tensor) -> Tensor:
    """Cross-fade two versions of the same frames (t, ...) linearly, from `previous` to `following` -> (t, ...)."""
    weight = torch.linspace(0, 1, len(previous) + 2, device=previous.device)[1:-1].view(-1, 1, 1, 1)
    return torch.lerp(previous, following, weight)


def padded(cameras: Cameras) -> tuple[Cameras, tuple[slice, slice]]:
    """Return the same cameras on the next larger canvas with sides that are multiples of 64, and the rows and columns
    at which the old canvas lies in it.

    Latents are 8 times smaller, and the U-Net halves them three times."""
    more = [-side % _STEP for side in cameras.size]
    cut = [slice(extra // 2, extra // 2 + side) for side, extra in zip(cameras.size, more, strict=True)]
    if any(more):
        intrinsics = cameras.intrinsics.clone()
        intrinsics[:2, 2] += intrinsics.new_tensor([cut[1].start, cut[0].start])
        size = tuple(side + extra for side, extra in zip(cameras.size, more, strict=True))
        cameras = replace(cameras, intrinsics=intrinsics, size=size)
    return cameras, (cut[0], cut[1])
