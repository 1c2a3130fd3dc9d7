"""Pinhole projection in OpenCV axes (x right, y down, z forward), and cameras that look at a person."""

import math

import torch
from torch import Tensor


def project(points: Tensor, world_to_camera: Tensor, intrinsics: Tensor) -> Tensor:
    """Project world points (B, N, 3) m -> (B, N, 3): pixel x, pixel y (down), depth in m.

    world_to_camera: (B|1, 4, 4); intrinsics: (3, 3)."""
    camera = points @ world_to_camera[..., :3, :3].transpose(-1, -2) + world_to_camera[..., None, :3, 3]
    depth = camera[..., 2:]
    pixels = camera[..., :2] / depth.clamp_min(1e-6) * intrinsics.diagonal()[:2] + intrinsics[:2, 2]
    return torch.cat([pixels, depth], -1)


def look_at(target: Tensor, yaw: Tensor, pitch: Tensor, distance: Tensor) -> Tensor:
    """Return world-to-camera matrices (T, 4, 4) of cameras on a sphere around target (3,), z up.

    yaw, pitch: (T,) degrees; distance: (T,) m.

    Yaw 0 sees the front (-y); positive yaw moves the camera towards the subject's right side (-x); positive pitch
    raises it."""
    a, e = torch.deg2rad(yaw), torch.deg2rad(pitch)
    zero = torch.zeros_like(a)
    forward = torch.stack([a.sin() * e.cos(), a.cos() * e.cos(), -e.sin()], -1)
    right = torch.stack([a.cos(), -a.sin(), zero], -1)
    down = torch.linalg.cross(forward, right)
    rotation = torch.stack([right, down, forward], -2)  # (T, 3, 3), rows are the camera axes
    eye = target - forward * distance[:, None]
    return camera_matrix(rotation, eye)


def camera_matrix(rotation: Tensor, eye: Tensor) -> Tensor:
    """Map camera axes as rows (T, 3, 3) and camera positions (T, 3) m -> world-to-camera matrices (T, 4, 4)."""
    matrix = torch.eye(4, dtype=eye.dtype, device=eye.device).repeat(len(eye), 1, 1)
    matrix[:, :3, :3] = rotation
    matrix[:, :3, 3] = -(rotation @ eye[..., None])[..., 0]
    return matrix


def intrinsics_for(height_m: float, distance_m: float, size: tuple[int, int]) -> Tensor:
    """Return intrinsics (3, 3) that show `height_m` metres at `distance_m`, principal point at the centre of size (H,
    W)."""
    rows, columns = size
    focal = rows * distance_m / height_m
    return torch.tensor([[focal, 0.0, columns / 2], [0.0, focal, rows / 2], [0.0, 0.0, 1.0]])


def vertical_fov(intrinsics: Tensor, rows: int) -> float:
    """Return the vertical field of view, in degrees, of intrinsics (3, 3) for a picture of `rows` px."""
    return math.degrees(2 * math.atan(rows / 2 / float(intrinsics[1, 1])))
