"""Deferred shading of an avatar: rasterise, look up the albedo, light it, average over samples, composite."""

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody, Posed, Rest
from ...body.rasterize import Fragments, interpolate_covered, rasterize
from ...geometry.projection import project
from ...records import Cameras, Motion
from ...shapes import REGIONS
from .avatar import Avatar, Light

_CHUNK = 2  # frames shaded together: the supersampled maps stay in the cache
_GAIN = 1.25  # exposure
_SEEN = 0.02  # m; a keypoint lies up to this deep under the skin it marks
_GLOSS = {"eye.L": 0.6, "eye.R": 0.6}
_DARK = ("mouth", "tongue", "teeth.up", "teeth.low")


@dataclass(frozen=True)
class AvatarFrames:
    """The rendered frames of an avatar.

    rgb: (T, 3, H, W) in [-1, 1] over the background.
    alpha: (T, 1, H, W) of the person.
    region: (T, H, W) uint8 hard labels of shapes.REGIONS.
    background: (3, H, W) in [-1, 1].
    keypoints: (T, 125, 2) px and visible: (T, 125) bool, in the order of `rendered_keypoints`."""

    rgb: Tensor
    alpha: Tensor
    region: Tensor
    background: Tensor
    keypoints: Tensor
    visible: Tensor


def rendered_keypoints(body: HalfBody) -> list[int]:
    """Return the indices of the keypoints that datasets store: all but the dense face mesh ("mp.*")."""
    return [i for i, name in enumerate(body.keypoint_names) if not name.startswith("mp.")]


def render_avatar(
    body: HalfBody,
    avatar: Avatar,
    motion: Motion,
    cameras: Cameras,
    supersample: int = 2,
    background: Tensor | None = None,
    rest: Rest | None = None,
) -> AvatarFrames:
    """Render T frames of a motion of an avatar.

    body: the half body.
    avatar: the person.
    motion, cameras: T frames each.
    supersample: samples per pixel along each axis.
    background: (3, H, W) in [-1, 1]; None for the avatar's own.
    rest: its body at rest; None computes it."""
    if len(motion) != len(cameras):
        raise ValueError(f"motion has {len(motion)} frames, cameras {len(cameras)}; they must agree")
    if not 1 <= supersample <= 4:
        raise ValueError(f"supersample must be 1..4, got {supersample}")
    rest = rest if rest is not None else body.rest(avatar.shape[None], avatar.shell[None])
    background = background if background is not None else avatar.background(cameras.size)
    chunks = [
        _draw_frames(body, avatar, rest, motion[i : i + _CHUNK], cameras[i : i + _CHUNK], supersample)
        for i in range(0, len(motion), _CHUNK)
    ]
    colour, alpha, region, keypoints, visible = (torch.cat(parts) for parts in zip(*chunks, strict=True))
    rgb = colour * 2 - alpha + background * (1 - alpha)  # premultiplied [0, 1] -> [-1, 1] over the background
    return AvatarFrames(rgb.clamp(-1, 1), alpha, region, background, keypoints, visible)


def _draw_frames(
    body: HalfBody, avatar: Avatar, rest: Rest, motion: Motion, cameras: Cameras, supersample: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    posed = body.pose(rest, motion.rotations, motion.expression)
    size = (cameras.size[0] * supersample, cameras.size[1] * supersample)
    scale = cameras.intrinsics.new_tensor([supersample, supersample, 1.0])[:, None]
    pixels = project(posed.vertices, cameras.world_to_camera, cameras.intrinsics * scale)
    fragments = rasterize(pixels, body.triangles, size)
    colour, label = _shade_samples(body, avatar, posed, cameras, fragments)
    covered = (fragments.triangle >= 0).to(colour.dtype)[:, None]
    both = F.avg_pool2d(torch.cat([colour, covered], 1), supersample)
    region = _vote(label, supersample)
    keypoints, visible = _rendered_keypoints(body, posed, cameras, fragments, supersample)
    return both[:, :3], both[:, 3:], region, keypoints, visible


def _shade_samples(
    body: HalfBody, avatar: Avatar, posed: Posed, cameras: Cameras, fragments: Fragments
) -> tuple[Tensor, Tensor]:
    """Return the premultiplied display colour (T, 3, h, w) in [0, 1] and the region label (T, h, w) of every sample."""
    frames = len(fragments.triangle)
    eye = -(cameras.world_to_camera[:, :3, :3].transpose(1, 2) @ cameras.world_to_camera[:, :3, 3:])[:, :, 0]
    towards = eye[:, None] - posed.vertices
    attributes = torch.cat([body.normals(posed.vertices), towards], -1).index_select(1, body.render_vertex)
    attributes = torch.cat([attributes, body.uv.expand(frames, -1, -1)], -1)
    pixel = (fragments.triangle >= 0).flatten().nonzero().squeeze(1)
    surface = interpolate_covered(attributes, body.uv_triangles, fragments, pixel)
    normal, view = F.normalize(surface[:, :3], dim=1), F.normalize(surface[:, 3:6], dim=1)
    grid = surface[:, 6:] * 2 - 1
    albedo = F.grid_sample(avatar.albedo[None], grid[None, None], padding_mode="border", align_corners=False)[0, :, 0].T
    part = body.triangle_part.index_select(0, fragments.triangle.flatten().index_select(0, pixel))
    gloss, dark = _gloss_and_darkness(body)
    linear = albedo * albedo * dark.index_select(0, part)[:, None]
    colour = _shaded_colour(linear, normal, view, gloss.index_select(0, part), avatar.light)
    canvas = colour.new_zeros(fragments.triangle.numel(), 3).index_copy(0, pixel, colour)
    side = avatar.region.shape[-1]
    cell = (surface[:, 6:] * side).long().clamp(0, side - 1)
    label = avatar.region.new_zeros(fragments.triangle.numel())
    # a sample on an island's rim can fall off it: the body then
    label[pixel] = avatar.region.flatten()[cell[:, 1] * side + cell[:, 0]].clamp_min(1)
    shape = fragments.triangle.shape
    return canvas.view(*shape, 3).permute(0, 3, 1, 2), label.view(shape)


def _gloss_and_darkness(body: HalfBody) -> tuple[Tensor, Tensor]:
    """Return for every part of the body the strength of its highlight (parts,), and a factor on its brightness
    (parts,)."""
    gloss = torch.tensor([_GLOSS.get(name, 0.05) for name in body.part_names])
    dark = torch.tensor([0.55 if name in _DARK else 1.0 for name in body.part_names])
    return gloss, dark


def _shaded_colour(albedo: Tensor, normal: Tensor, view: Tensor, gloss: Tensor, light: Light) -> Tensor:
    """Shade linear albedo (N, 3): hemispheric ambient + directional light + highlight, then gamma 2 -> colour (N, 3).

    normal, view: (N, 3) unit vectors, of the surface and to the camera; gloss: strength of the highlight; light: that
    the avatar stands in."""
    direct = (normal @ light.direction).clamp_min(0)[:, None]
    height = 0.5 + 0.5 * normal[:, 2:]
    low = torch.tensor([0.55, 0.50, 0.48])
    ambient = light.ambient * (low + (1 - low) * height)
    half = F.normalize(view + light.direction, dim=1)
    facing = (normal * half).sum(1).clamp_min(0)
    wet = gloss > 0.3
    shine = gloss * torch.where(wet, facing.pow(80), facing.pow(24))
    colour = albedo * (light.colour * direct * (1 - light.ambient) + ambient) * _GAIN + light.colour * shine[:, None]
    return colour.clamp(0, 1).sqrt()


def _vote(label: Tensor, supersample: int) -> Tensor:
    """Return the majority label (T, H, W) among the samples of each pixel; the lower label wins a tie."""
    n = len(REGIONS)
    frames, rows, columns = label.shape
    blocks = label.view(frames, rows // supersample, supersample, columns // supersample, supersample)
    samples = [blocks[:, :, i, :, j] for i in range(supersample) for j in range(supersample)]
    counts = [functools.reduce(torch.add, ((s == i).to(torch.uint8) for s in samples)) for i in range(n)]
    best, winner = counts[0], torch.zeros_like(counts[0])
    for i in range(1, n):
        winner = torch.where(counts[i] > best, torch.full_like(winner, i), winner)
        best = torch.maximum(best, counts[i])
    return winner


def _rendered_keypoints(
    body: HalfBody, posed: Posed, cameras: Cameras, fragments: Fragments, supersample: int
) -> tuple[Tensor, Tensor]:
    """Return where 125 keypoints appear in T frames, (T, 125, 2) px, and whether each can be seen, (T, 125) bool.

    body: the half body.
    posed: the body in the pose of each frame.
    cameras: one for each frame.
    fragments: the rasterised body, whose depth tells what hides a point.
    supersample: samples per pixel along each axis of the fragments."""
    points = body.keypoints(posed.vertices, posed.bones)[:, rendered_keypoints(body)]
    seen = project(points, cameras.world_to_camera, cameras.intrinsics)
    rows, columns = cameras.size
    inside = (seen[..., 0] >= 0) & (seen[..., 0] < columns) & (seen[..., 1] >= 0) & (seen[..., 1] < rows)
    x = (seen[..., 0] * supersample).long().clamp(0, columns * supersample - 1)
    y = (seen[..., 1] * supersample).long().clamp(0, rows * supersample - 1)
    surface = fragments.depth.flatten(1).gather(1, y * columns * supersample + x)
    return seen[..., :2], inside & (surface > 0) & (seen[..., 2] - surface < _SEEN + 0.03 * (points[..., 2] < 0.5))
