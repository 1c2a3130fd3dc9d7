"""Plain shaded pictures of a motion, without any trained network: to judge stage 1 by eye."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..body.model import HalfBody
from ..body.rasterize import interpolate, rasterize
from ..camera.projection import intrinsics_for, look_at, project
from ..records import Motion
from ..shapes import dims

# colour of the parts that are not skin, in [0, 1]
_COLOURS = {
    "torso": (0.35, 0.45, 0.62), "hips": (0.35, 0.45, 0.62), "arm.L": (0.35, 0.45, 0.62), "arm.R": (0.35, 0.45, 0.62),
    "scalp": (0.32, 0.24, 0.2), "lips": (0.72, 0.36, 0.34), "mouth": (0.3, 0.1, 0.1), "eye.L": (0.95, 0.95, 0.95),
    "eye.R": (0.95, 0.95, 0.95), "tongue": (0.7, 0.35, 0.35), "teeth.up": (0.97, 0.96, 0.92),
    "teeth.low": (0.97, 0.96, 0.92), "lashes": (0.1, 0.08, 0.08),
}  # fmt: skip
_SKIN = (0.85, 0.67, 0.57)
_DISTANCE, _HEIGHT, _BELOW_HEAD = 2.4, 0.86, 0.21  # metres; the canonical half-body framing
_CHUNK = 8


@torch.no_grad()
def preview_frames(
    motion: Motion, body: HalfBody, yaw: float | Tensor = 0.0, size: int = 256, shape: Tensor | None = None
) -> Iterator[Tensor]:
    """Yield chunks (t, 3, size, size) in [-1, 1] of the shaded body; yaw in degrees, one number or one a frame (T,)."""
    device = body.mean.device
    angles = torch.as_tensor(yaw, dtype=torch.float32, device=device).expand(len(motion))
    shape = torch.zeros(body.n_shape, device=device) if shape is None else shape.to(device)
    rest = body.rest(shape[None])
    target = torch.tensor([0.0, -0.02, float(rest.bones[0, body.bone_index["head"], 2]) - _BELOW_HEAD], device=device)
    camera = look_at(target, angles, torch.zeros_like(angles), torch.full_like(angles, _DISTANCE))
    intrinsics = intrinsics_for(_HEIGHT, _DISTANCE, (size, size)).to(device)
    colours = torch.tensor([_COLOURS.get(name, _SKIN) for name in body.part_names], device=device)
    for start in range(0, len(motion), _CHUNK):
        part = motion[start : start + _CHUNK].to(device)
        posed = body.pose(rest, part.rotations, part.expression)
        matrices = camera[start : start + _CHUNK]
        points = project(posed.vertices, matrices, intrinsics)
        yield _shade(body, points, body.normals(posed.vertices), matrices, colours, size)


def turntable(frames: int, first: float = -60.0, last: float = 60.0) -> Tensor:
    """(frames,) degrees: an even turn of the camera."""
    return torch.linspace(first, last, frames)


def strip(motion: Motion, body: HalfBody, frames: list[int], yaws: list[float], size: int = 192) -> Tensor:
    """One picture (3, len(yaws) * size, len(frames) * size) in [-1, 1]: chosen frames side by side, a row a yaw."""
    if not frames or not 0 <= min(frames) <= max(frames) < len(motion):
        raise ValueError(f"frames must be of 0..{len(motion) - 1}, got {frames}")
    chosen = Motion(motion.rotations[frames], motion.expression[frames], motion.fps)
    rows = [torch.cat(list(preview_frames(chosen, body, yaw, size))) for yaw in yaws]
    return torch.cat([torch.cat(list(row), -1) for row in rows], -2)


def _shade(body: HalfBody, points: Tensor, normals: Tensor, cameras: Tensor, colours: Tensor, size: int) -> Tensor:
    """Projected points (t, V, 3), world normals, cameras (t, 4, 4) -> (t, 3, size, size) in [-1, 1]."""
    dims(points, "t V 3")
    fragments = rasterize(points, body.triangles, (size, size))
    seen = (fragments.triangle >= 0)[..., None]
    normal = torch.nn.functional.normalize(interpolate(normals, body.triangles, fragments), dim=-1)
    towards = -cameras[:, 2, :3]  # the light sits beside the camera, a little above
    light = torch.nn.functional.normalize(towards + torch.tensor([0.25, 0.0, 0.4], device=points.device), dim=-1)
    diffuse = (normal * light[:, None, None]).sum(-1, keepdim=True).clamp_min(0)
    albedo = colours[body.triangle_part[fragments.triangle.clamp_min(0)]]
    image = torch.where(seen, albedo * (0.35 + 0.65 * diffuse), torch.full_like(albedo, 0.93))
    return image.permute(0, 3, 1, 2) * 2 - 1
