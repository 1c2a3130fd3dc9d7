"""Lines of a picture that go on below its lower edge, each in its own direction: pleats, seams and folds of cloth."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .means import mean_around, mean_within

_SLANT = 0.6  # px across per px down by which lines may lean
_DEEPEST = 0.35  # colour units (-1..1) of the deepest line


def lines_below(strip: Tensor, known: Tensor, rows: int, broad: int) -> Tensor:
    """Continue the lines that leave a picture through its lower edge -> (C, rows, w), 0 where there is none.

    strip: (C, h, w) in [-1, 1], the lowest rows of the picture.
    known: (h, w) bool, pixels whose lines go on.
    rows: how far, px.
    broad: px; what changes over more than twice as many is shading and no line.

    A column's line is the mean of what the strip differs from its local mean, along a slope that a structure tensor
    tells; so a weave averages out."""
    high, width = strip.shape[1:]
    there = known[None].to(strip)
    detail = ((strip - mean_within(strip, there, broad)) * there).clamp(-_DEEPEST, _DEEPEST)
    slope = _slopes(detail, broad)
    x, y = (torch.arange(side, device=strip.device) + 0.5 for side in (width, high))
    sums = _at(torch.cat([detail, there]), x + slope * (y - high)[:, None], y).sum(1)
    line = sums[:-1] / sums[-1:].clamp_min(high / 2)
    y = torch.arange(rows, device=strip.device) + 0.5
    return _at(line[:, None], x - slope * y[:, None], torch.full_like(y, 0.5))


def _slopes(detail: Tensor, broad: int) -> Tensor:
    """Return (w,) px across per px down, the direction of the lines around every column of detail (C, h, w)."""
    luma = mean_around(detail.mean(0, keepdim=True), 1)[0]
    across, down = F.pad(luma[:, 2:] - luma[:, :-2], (1, 1)), F.pad(luma[2:] - luma[:-2], (0, 0, 1, 1))
    tensor = torch.stack([across * down, across.square()]).sum(1)[:, None]
    far = min(3 * broad, detail.shape[2] - 1)  # a line leans out of its own columns, and must find its slope there
    tensor = F.avg_pool1d(F.pad(tensor, (far, far), mode="replicate"), 2 * far + 1, 1)[:, 0]
    return (-tensor[0] / tensor[1].clamp_min(1e-9)).clamp(-_SLANT, _SLANT)


def _at(picture: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the values of a picture (C, h, w) at columns x (b, n) and rows y (b,), px -> (C, b, n); 0 outside."""
    height, width = picture.shape[1:]
    grid = torch.stack([x / width * 2 - 1, (y / height * 2 - 1)[:, None].expand_as(x)], -1)
    return F.grid_sample(picture[None], grid[None], align_corners=False)[0]
