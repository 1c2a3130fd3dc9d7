"""Tracks resampled to another frame rate (rotations along geodesics, the rest linearly), and smoothing over time."""

import numpy as np
import torch
from torch import Tensor

from ...geometry.rotations import axis_angle_to_matrix, matrix_from_6d, matrix_to_6d, matrix_to_axis_angle
from ...shapes import dims


def positions(frames: int, fps: float, target: float, count: int | None = None) -> Tensor:
    """Return the positions (T,) in a track of `frames` frames at `fps` that correspond to frames at `target` fps.

    count: T; None for as many as fit. Positions are clamped to the track."""
    if not fps > 0 or not target > 0:
        raise ValueError(f"frame rates must be positive, got {fps} and {target}")
    count = max(1, int((frames - 1) / fps * target + 1e-6) + 1) if count is None else count
    return (torch.arange(count, dtype=torch.float64) / target * fps).clamp(0, frames - 1)


def resample_values(values: Tensor, at: Tensor) -> Tensor:
    """Interpolate a track (T0, ...) linearly at fractional frames (T,) -> (T, ...)."""
    low = at.floor().long().clamp(0, len(values) - 1)
    high = (low + 1).clamp(max=len(values) - 1)
    share = (at - low).float().view(-1, *[1] * (values.ndim - 1))
    return torch.lerp(values[low].float(), values[high].float(), share)


def resample_rotations(rotations: Tensor, at: Tensor) -> Tensor:
    """Interpolate axis-angles (T0, J, 3) at fractional frames (T,) -> (T, J, 3), along the shortest arcs."""
    dims(rotations, "T J 3")
    low = at.floor().long().clamp(0, len(rotations) - 1)
    high = (low + 1).clamp(max=len(rotations) - 1)
    start, end = (axis_angle_to_matrix(rotations[i]) for i in (low, high))
    step = matrix_to_axis_angle(start.transpose(-1, -2) @ end) * (at - low).float()[:, None, None]
    return matrix_to_axis_angle(start @ axis_angle_to_matrix(step))


def smooth(values: Tensor, strength: float, weight: Tensor | None = None) -> Tensor:
    """Smooth values (T, D): minimise sum w |x - values|^2 + strength |second difference|^2 (Whittaker 1923).

    weight: (T,) confidence in each frame; 0 fills a gap with the smoothest curve through its neighbours."""
    known = dims(values, "T D")
    frames = known["T"]
    if weight is None:
        weight = torch.ones(frames)
    dims(weight, "T", **known)
    if frames < 3 or strength <= 0:
        return values
    from scipy.linalg import solveh_banded

    # w + strength * D'D has two bands above its diagonal (D = second difference): linear in the length
    band = np.zeros((3, frames))
    band[2, :-2] += 1
    band[2, 1:-1] += 4
    band[2, 2:] += 1
    band[1, 1:-1] -= 2
    band[1, 2:] -= 2
    band[0, 2:] += 1
    band *= strength
    trust = weight.double().numpy()
    band[2] += trust
    out = solveh_banded(band, trust[:, None] * values.double().numpy())
    return torch.from_numpy(out).to(values.dtype)


def smooth_rotations(rotations: Tensor, strength: float, weight: Tensor | None = None) -> Tensor:
    """Smooth axis-angles (T, J, 3) as `smooth` does, in the continuous 6D representation."""
    dims(rotations, "T J 3")
    flat = matrix_to_6d(axis_angle_to_matrix(rotations)).flatten(1)
    return matrix_to_axis_angle(matrix_from_6d(smooth(flat, strength, weight).unflatten(1, (-1, 6))))
