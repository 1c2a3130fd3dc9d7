"""Local maxima: dilation of masks and of pictures."""

import torch
import torch.nn.functional as F
from torch import Tensor


def largest_around(values: Tensor, radius: int | tuple[int, int]) -> Tensor:
    """Return the largest value of the square around every pixel (..., H, W), within the picture.

    values: (..., H, W); radius: px around the pixel, or (rows, columns).

    Windows are doubled until they cover the square, which takes one comparison of whole pictures per doubling; pooling
    compares every pixel with all others in its window."""
    rows, columns = (radius, radius) if isinstance(radius, int) else radius
    return _dilated_along(_dilated_along(values, columns, -1), rows, -2)


def _dilated_along(values: Tensor, radius: int, axis: int) -> Tensor:
    if radius <= 0:
        return values
    length, window, span = values.shape[axis], 2 * radius + 1, 1
    lowest = float("-inf") if values.is_floating_point() else torch.iinfo(values.dtype).min
    pad = (radius, radius) if axis == -1 else (0, 0, radius, radius)
    values = F.pad(values, pad, value=lowest)
    while 2 * span <= window:
        count = values.shape[axis] - span
        values = torch.maximum(values.narrow(axis, 0, count), values.narrow(axis, span, count))
        span *= 2
    return torch.maximum(values.narrow(axis, 0, length), values.narrow(axis, window - span, length))
