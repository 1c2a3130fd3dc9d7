"""Local means of pictures."""

import torch.nn.functional as F
from torch import Tensor


def mean_around(values: Tensor, radius: int) -> Tensor:
    """Return the mean of the square around every pixel of (..., C, H, W), its edges replicated.

    values: one picture (C, H, W) or several (N, C, H, W); radius: px to either side of the pixel.

    Rows and columns are averaged one after the other; pooling squares visits every pixel of every square."""
    side = 2 * radius + 1
    batch = values if values.dim() == 4 else values[None]
    batch = F.avg_pool2d(F.pad(batch, (radius, radius, 0, 0), mode="replicate"), (1, side), 1)
    batch = F.avg_pool2d(F.pad(batch, (0, 0, radius, radius), mode="replicate"), (side, 1), 1)
    return batch if values.dim() == 4 else batch[0]
