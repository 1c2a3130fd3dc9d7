"""Plain shaded pictures of a motion, without any trained network, to judge stage 1 by eye."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ...body.model import HalfBody, Rest
from ...body.rasterize import interpolate, rasterize
from ...geometry.projection import intrinsics_for, look_at, project
from ...records import Motion
from ...shapes import dims
from .preview_paint import Paint

FRAMINGS = ("body", "face")
_DISTANCE, _HEIGHT, _BELOW_HEAD = 2.4, 0.86, 0.21  # metres; the canonical half-body framing
_FACE_HEIGHT, _FACE_DEPTH = 1.3, 0.04  # picture over head; metres before the axis that the camera turns about
_CHUNK = 8


@torch.no_grad()
def preview_frames(
    motion: Motion,
    body: HalfBody,
    yaw: float | Tensor = 0.0,
    size: int = 256,
    shape: Tensor | None = None,
    framing: str = "body",
) -> Iterator[Tensor]:
    """Yield chunks (t, 3, size, size) in [-1, 1] of the shaded body.

    motion: T frames.
    body: the half body.
    yaw: degrees, one number or one per frame (T,).
    size: px of a side.
    shape: (K,) of the body; None for the mean one.
    framing: "body", as in the videos, or "face" alone; ValueError for another one."""
    if framing not in FRAMINGS:
        raise ValueError(f"framing {framing!r} is not one of {', '.join(FRAMINGS)}")
    device = body.mean.device
    angles = torch.as_tensor(yaw, dtype=torch.float32, device=device).expand(len(motion))
    shape = torch.zeros(body.n_shape, device=device) if shape is None else shape.to(device)
    rest = body.rest(shape[None])
    target, height = _target_and_height(body, rest, framing)
    camera = look_at(target, angles, torch.zeros_like(angles), torch.full_like(angles, _DISTANCE))
    intrinsics = intrinsics_for(height, _DISTANCE, (size, size)).to(device)
    paint = Paint(body, rest.vertices[0], rest.bones[0])
    for start in range(0, len(motion), _CHUNK):
        part = motion[start : start + _CHUNK].to(device)
        posed = body.pose(rest, part.rotations, part.expression)
        matrices = camera[start : start + _CHUNK]
        points = project(posed.vertices, matrices, intrinsics)
        yield _shade(body, points, body.normals(posed.vertices), matrices, rest.vertices, paint, size)


def turntable(frames: int, first: float = -60.0, last: float = 60.0) -> Tensor:
    """Return yaws (frames,) in degrees, evenly from first to last."""
    return torch.linspace(first, last, frames)


def strip(motion: Motion, body: HalfBody, frames: list[int], yaws: list[float], size: int = 192) -> Tensor:
    """Draw chosen frames side by side, one row per yaw -> (3, len(yaws) * size, len(frames) * size) in [-1, 1].

    motion: T frames.
    body: the half body.
    frames: numbers of the frames.
    yaws: degrees.
    size: px of a side of each."""
    if not frames or not 0 <= min(frames) <= max(frames) < len(motion):
        raise ValueError(f"frames must be of 0..{len(motion) - 1}, got {frames}")
    chosen = Motion(motion.rotations[frames], motion.expression[frames], motion.fps)
    rows = [torch.cat(list(preview_frames(chosen, body, yaw, size))) for yaw in yaws]
    return torch.cat([torch.cat(list(row), -1) for row in rows], -2)


def _target_and_height(body: HalfBody, rest: Rest, framing: str) -> tuple[Tensor, float]:
    """Return the point (3,) that the camera looks at, and the height of the picture in metres."""
    head = float(rest.bones[0, body.bone_index["head"], 2])
    if framing == "body":
        return torch.tensor([0.0, -0.02, head - _BELOW_HEAD], device=rest.bones.device), _HEIGHT
    chin = float(body.keypoints(rest.vertices, rest.bones)[0, body.keypoint_index["face.8"], 2])
    top = float(rest.vertices[0, :, 2].max())
    middle = torch.tensor([0.0, -_FACE_DEPTH, (chin + top) / 2], device=rest.bones.device)
    return middle, _FACE_HEIGHT * (top - chin)


def _shade(
    body: HalfBody, points: Tensor, normals: Tensor, cameras: Tensor, rest: Tensor, paint: Paint, size: int
) -> Tensor:
    """Shade the body -> (t, 3, size, size) in [-1, 1].

    body: the half body.
    points: (t, V, 3) projected.
    normals: (t, V, 3) in world axes.
    cameras: (t, 4, 4).
    rest: (1, V, 3) the body at rest, to which the paint belongs.
    paint: its colours.
    size: px of a side."""
    dims(points, "t V 3")
    fragments = rasterize(points, body.triangles, (size, size))
    seen = (fragments.triangle >= 0)[..., None]
    normal = torch.nn.functional.normalize(interpolate(normals, body.triangles, fragments), dim=-1)
    towards = -cameras[:, 2, :3]  # the light sits beside the camera, a little above
    light = torch.nn.functional.normalize(towards + torch.tensor([0.25, 0.0, 0.4], device=points.device), dim=-1)
    diffuse = (normal * light[:, None, None]).sum(-1, keepdim=True).clamp_min(0)
    place = interpolate(rest.expand_as(normals), body.triangles, fragments)
    albedo = paint(place, body.triangle_part[fragments.triangle.clamp_min(0)])
    image = torch.where(seen, albedo * (0.35 + 0.65 * diffuse), torch.full_like(albedo, 0.93))
    return image.permute(0, 3, 1, 2) * 2 - 1
