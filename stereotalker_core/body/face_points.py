"""What is known of the 68 face points before any picture: which mirrors which, and their mean arrangement."""

import torch
from torch import Tensor

MIRRORED_FACE = (  # index of the point on the other side
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, *range(35, 30, -1), 45, 44, 43, 42, 47, 46,
    39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65,
)  # fmt: skip
INNER = slice(17, 68)  # brows to lips: the jaw is vague on everybody
# the inner points of the body's mean face from the front: x right, y down, mean 0, mean distance from it 1
MEAN_INNER = (
    (-1.41, -1.14), (-1.16, -1.24), (-0.95, -1.30), (-0.66, -1.28), (-0.33, -1.24), (0.32, -1.24), (0.66, -1.28),
    (0.95, -1.30), (1.17, -1.24), (1.42, -1.14), (-0.00, -0.73), (-0.01, -0.40), (-0.00, -0.06), (-0.01, 0.16),
    (-0.29, 0.36), (-0.15, 0.42), (-0.00, 0.42), (0.15, 0.41), (0.28, 0.36), (-1.00, -0.63), (-0.85, -0.72),
    (-0.66, -0.74), (-0.40, -0.59), (-0.61, -0.56), (-0.83, -0.56), (0.40, -0.60), (0.66, -0.74), (0.86, -0.72),
    (1.00, -0.67), (0.87, -0.57), (0.61, -0.56), (-0.55, 0.96), (-0.34, 0.78), (-0.16, 0.71), (-0.00, 0.74),
    (0.16, 0.72), (0.34, 0.78), (0.55, 0.96), (0.32, 1.16), (0.17, 1.20), (-0.00, 1.21), (-0.17, 1.20),
    (-0.32, 1.15), (-0.50, 0.94), (-0.13, 0.92), (-0.00, 0.93), (0.13, 0.92), (0.50, 0.95), (0.13, 0.98),
    (0.00, 0.96), (-0.13, 0.97),
)  # fmt: skip


def mirror_order(names: tuple[str, ...]) -> list[int]:
    """For every keypoint of `names` the index of the one on the other side."""
    sides = {"right": "left", "left": "right"}
    swapped = []
    for name in names:
        group, _, rest = name.partition(".")
        if group == "face":
            rest = str(MIRRORED_FACE[int(rest)])
        elif group == "iris":
            rest = "RL"[rest == "R"]
        else:
            side, _, joint = rest.partition("_")
            rest = f"{sides[side]}_{joint}" if side in sides else rest
        swapped.append(names.index(f"{group}.{rest}"))
    return swapped


def mirrored(xy: Tensor, swap: list[int]) -> Tensor:
    """Points (..., N, 2) found in the mirror image of a unit square -> where they are in the square itself."""
    return torch.stack([1 - xy[..., swap, 0], xy[..., swap, 1]], -1)


def strangeness(xy: Tensor) -> Tensor:
    """Face points (B, 68 or more, 2) -> (B,) mean distance from the mean face in any place, size and tilt.

    In units of the points' mean distance from their centre: 0.06 for a usual face, above 0.12 for none.
    """
    points = xy[:, INNER] - xy[:, INNER].mean(1, keepdim=True)
    mean = torch.view_as_complex(torch.tensor(MEAN_INNER, dtype=xy.dtype, device=xy.device))
    found = torch.view_as_complex(points.contiguous())
    similarity = (mean.conj() * found).sum(1) / mean.abs().square().sum()
    return (found - similarity[:, None] * mean).abs().mean(1) / found.abs().mean(1).clamp_min(1e-6)
