"""IMAGE and MASK sockets <-> the core's tensors."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from .folders import INSIDE

_TOGETHER = 8  # frames
_STRETCH = 1.03  # a mask of the portrait, scaled and rounded; more belongs to another picture


def to_pil(image: Tensor):
    """Convert a picture (3, H, W) in [-1, 1] to a PIL image."""
    from PIL import Image

    pixels = ((image.detach().float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
    return Image.fromarray(pixels.cpu().numpy())


def image_out(frames: Sequence[Tensor]) -> Tensor:
    """Map chunks (t, 3, H, W) in [-1, 1] -> IMAGE (T, H, W, 3) in 0..1 on the CPU."""
    images = torch.empty(sum(map(len, frames)), *frames[0].shape[2:], 3)
    rest = images
    for chunk in frames:  # into place one by one: the batch is in memory once, and no operation is long
        for part in chunk.split(_TOGETHER):
            rest[: len(part)] = (part.detach().float().cpu().clamp(-1, 1).movedim(1, -1) + 1) / 2
            rest = rest[len(part) :]
    return images


def only_one(batch: Sized, what: str, instead: str) -> None:
    """Raise ValueError where a batch does not hold exactly one item; what: its kind; instead: the advice in the
    message."""
    if len(batch) != 1:
        raise ValueError(f"{len(batch)} {what} came in one batch, and this node takes one; {instead}")


def image_in(image: Tensor) -> Tensor:
    """Convert an IMAGE (1, H, W, C) in 0..1 to (3, H, W) in [-1, 1]; ValueError for a batch or an invalid shape."""
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(f"an IMAGE has shape [B, H, W, 3], got {tuple(image.shape)}")
    only_one(
        image, "pictures", "Rebatch Images with batch_size 1 in front renders all, Image From Batch chooses one"
    )
    first = image[0, ..., :3].float()
    first = first.expand(-1, -1, 3) if first.shape[-1] == 1 else first
    return (first.permute(2, 0, 1) * 2 - 1).clamp(-1, 1).contiguous()


def mask_out(masks: Sequence[Tensor]) -> Tensor:
    """Map chunks (t, 1, H, W) -> MASK (T, H, W) on the CPU."""
    whole = torch.empty(sum(map(len, masks)), *masks[0].shape[2:])
    rest = whole
    for chunk in masks:  # as image_out
        for part in chunk.split(_TOGETHER):
            rest[: len(part)] = part.detach()[:, 0].float().cpu().clamp(0, 1)
            rest = rest[len(part) :]
    return whole


def mask_in(mask: Tensor | None, size: tuple[int, int]) -> Tensor | None:
    """Convert a MASK (1, H, W), 1 = person, to size (H, W) -> (1, H, W); None, or an empty stock mask, gives None.

    ValueError for several masks, which would belong to several portraits, and for a mask of another aspect ratio, which
    would be stretched."""
    if mask is None:
        return None
    first = mask.float() if mask.ndim == 3 else mask[None].float()
    only_one(first, "masks", "give the mask of this portrait alone")
    if float(first.max()) == 0.0:
        return None
    rows, columns = first.shape[-2:]
    stretch = columns * size[0] / (rows * size[1])
    if max(stretch, 1 / stretch) > _STRETCH:
        raise ValueError(
            f"the mask is {columns} x {rows} px and the portrait {size[1]} x {size[0]}: it belongs to another picture; "
            "connect the mask of this portrait, or none"
        )
    return F.interpolate(first[None], size, mode="bilinear", align_corners=False)[0].clamp(0, 1)


def fit_canvas(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale and crop an image (3, H, W) around its centre to cover a canvas of size (rows, columns)."""
    rows, columns = size
    factor = max(rows / image.shape[-2], columns / image.shape[-1])
    full = (max(rows, round(image.shape[-2] * factor)), max(columns, round(image.shape[-1] * factor)))
    scaled = F.interpolate(image[None], full, mode="bilinear", antialias=True, align_corners=False)[0]
    top, left = (scaled.shape[-2] - rows) // 2, (scaled.shape[-1] - columns) // 2
    return scaled[:, top : top + rows, left : left + columns]


def strip_of(images: Tensor) -> Tensor:
    """Map IMAGE (T, H, W, 3) -> one IMAGE (1, H, T * W, 3) with the pictures side by side."""
    return torch.cat(list(images), 1)[None]


@dataclass(frozen=True)
class Video:
    """The replacement for VIDEO outside ComfyUI.

    images: IMAGE (T, H, W, 3); audio: AUDIO or None; frame_rate: frames per second."""

    images: Tensor
    audio: dict | None
    frame_rate: Fraction


def video_out(images: Tensor, audio: dict | None, fps: float):
    """Make ComfyUI's VIDEO, which has no alpha, from pictures and sound; outside ComfyUI a `Video`.

    images: IMAGE (T, H, W, 3 or 4); audio: AUDIO or None; fps: frames per second."""
    rate = Fraction(fps).limit_denominator(1001)
    if not INSIDE:
        return Video(images[..., :3], audio, rate)
    from comfy_api.input_impl import VideoFromComponents
    from comfy_api.util import VideoComponents

    return VideoFromComponents(VideoComponents(images=images[..., :3], audio=audio, frame_rate=rate))
