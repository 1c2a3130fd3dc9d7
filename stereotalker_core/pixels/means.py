"""Means of pictures and of colours: around a pixel, of what is near or alike."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..loops.available import array, loops_for

_UNHEARD = 16.0  # spreads beyond the nearest value from which on a weight is below a ten-millionth


def mean_around(values: Tensor, radius: int) -> Tensor:
    """Return the mean of the square around every pixel of (..., C, H, W), its edges replicated.

    values: one picture (C, H, W) or several (N, C, H, W); radius: px to either side of the pixel.

    Rows and columns are averaged one after the other; pooling squares visits every pixel of every square."""
    side = 2 * radius + 1
    batch = values if values.dim() == 4 else values[None]
    if (fast := loops_for(values)) is not None:
        out = torch.empty(batch.shape)
        fast.pictures.mean_around(array(batch.flatten(0, 1)), radius, out.flatten(0, 1).numpy())
        return out.view_as(values)
    batch = F.avg_pool2d(F.pad(batch, (radius, radius, 0, 0), mode="replicate"), (1, side), 1)
    batch = F.avg_pool2d(F.pad(batch, (0, 0, radius, radius), mode="replicate"), (side, 1), 1)
    return batch if values.dim() == 4 else batch[0]


def mean_within(values: Tensor, weight: Tensor, radius: int) -> Tensor:
    """Return the weighted mean of the square around every pixel of (..., C, H, W); meaningless where all weights are 0.

    values: as in `mean_around`; weight: (..., 1, H, W), not negative; radius: px to either side of the pixel."""
    return mean_around(values * weight, radius) / mean_around(weight, radius).clamp_min(1e-6)


def lent(distance: Tensor, spread: Tensor, values: Tensor) -> Tensor:
    """Return the means (U, C) of values (A, C) by weights exp(-distance / spread), which are a softmax.

    distance: (U, A); spread: (U, 1), over which a weight falls to 1 / e."""
    if (fast := loops_for(distance, spread, values)) is not None and len(distance):
        out = torch.empty(len(distance), values.shape[1])
        fast.surfaces.lent(array(distance), array(spread[:, 0]), _UNHEARD, array(values), out.numpy())
        return out
    return (-distance / spread).softmax(1) @ values


def share_near(colours: Tensor, others: Tensor, limit: float) -> Tensor:
    """Return (N,): which share of others (M, C) lies nearer than `limit` to each of colours (N, C)."""
    if (fast := loops_for(colours, others)) is not None:
        out = torch.empty(len(colours))
        fast.surfaces.share_near(array(colours), array(others), limit, out.numpy())
        return out
    return (torch.cdist(colours, others) < limit).float().mean(1)
