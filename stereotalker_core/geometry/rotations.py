"""Rotations: axis-angle, matrices and the continuous 6D form (Zhou et al., arXiv 1812.07035)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def axis_angle_to_matrix(vector: Tensor) -> Tensor:
    """Map axis-angle (..., 3), radians -> rotation matrices (..., 3, 3) by Rodrigues; smooth and differentiable at
    zero."""
    angle2, angle, skew = _angle_and_skew(vector)
    eye = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return eye + torch.sin(angle) / angle * skew + (1 - torch.cos(angle)) / angle2 * (skew @ skew)


def left_jacobian(vector: Tensor) -> Tensor:
    """Map axis-angle v (..., 3) -> left Jacobian J (..., 3, 3): d exp(v) = [J dv]x exp(v).

    Sola et al. 2018, arXiv 1812.01537, eq. 145."""
    angle2, angle, skew = _angle_and_skew(vector)
    # near zero the differences below cancel: the first terms of their series instead
    first = torch.where(angle2 < 1e-6, 0.5 - angle2 / 24, (1 - torch.cos(angle)) / angle2)
    second = torch.where(angle2 < 1e-6, 1 / 6 - angle2 / 120, (angle - torch.sin(angle)) / (angle2 * angle))
    return torch.eye(3, dtype=vector.dtype, device=vector.device) + first * skew + second * (skew @ skew)


def _angle_and_skew(vector: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Map axis-angle (..., 3) -> squared angle and angle (..., 1, 1), never 0, and the cross-product matrix (..., 3,
    3)."""
    angle2 = (vector * vector).sum(-1)[..., None, None] + 1e-12
    x, y, z = vector.unbind(-1)
    o = torch.zeros_like(x)
    skew = torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).view(*vector.shape[:-1], 3, 3)
    return angle2, angle2.sqrt(), skew


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Map rotation matrices (..., 3, 3) -> axis-angle (..., 3), radians, angle in [0, pi].

    Goes through the quaternion, so that it is accurate near zero and near pi."""
    m = matrix.flatten(-2)
    d0, d1, d2 = m[..., 0], m[..., 4], m[..., 8]
    zero = torch.zeros_like(d0)
    # |w|, |x|, |y|, |z| doubled; the largest is used as the pivot, so that no division is by a small number
    magnitude = torch.stack([1 + d0 + d1 + d2, 1 + d0 - d1 - d2, 1 - d0 + d1 - d2, 1 - d0 - d1 + d2], -1)
    magnitude = torch.maximum(magnitude, zero[..., None]).sqrt()
    w, x, y, z = (magnitude[..., i] for i in range(4))
    a, b, c = m[..., 7] - m[..., 5], m[..., 2] - m[..., 6], m[..., 3] - m[..., 1]
    p, q, r = m[..., 1] + m[..., 3], m[..., 2] + m[..., 6], m[..., 5] + m[..., 7]
    candidates = torch.stack(
        [torch.stack(t, -1) for t in ((w**2, a, b, c), (a, x**2, p, q), (b, p, y**2, r), (c, q, r, z**2))], -2
    ) / (2 * magnitude[..., None].clamp_min(0.1))
    pivot = magnitude.argmax(-1)[..., None, None].expand(*magnitude.shape[:-1], 1, 4)
    quaternion = F.normalize(candidates.gather(-2, pivot).squeeze(-2), dim=-1)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    imaginary = quaternion[..., 1:]
    sine = imaginary.norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, quaternion[..., :1])
    return imaginary * torch.where(sine > 1e-6, angle / sine.clamp_min(1e-6), torch.full_like(sine, 2.0))


def matrix_to_6d(matrix: Tensor) -> Tensor:
    """Map rotation matrices (..., 3, 3) -> (..., 6), their first two columns."""
    return matrix[..., :2].transpose(-1, -2).flatten(-2)


def matrix_from_6d(columns: Tensor) -> Tensor:
    """Map two columns (..., 6) -> rotation matrices (..., 3, 3) by Gram-Schmidt; any non-degenerate input is valid."""
    a, b = columns[..., :3], columns[..., 3:]
    x = F.normalize(a, dim=-1)
    y = F.normalize(b - (x * b).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)
