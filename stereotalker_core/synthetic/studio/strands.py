"""Hair and brows as strands: grown from the skin, drawn one by one with depth, lit after Kajiya and Kay (1989).

Guide strands leave the scalp in the direction of the style, fall under their weight and slide on the surface; each is
surrounded by similar strands. For pictures of example people only; elsewhere hair is part of the body's shell."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody

_STEPS = 36  # places of a guide
_NEAREST = 1500  # surface points that a strand slides on
_TRIED = 24  # places that are tried for every root
_CLEAR = 0.003  # m that hair keeps from skin


@dataclass(frozen=True)
class HairStyle:
    """The way hair is worn.

    length: m; spread: of the length, 0..1.
    lift: how far roots stand off the scalp, 0..1.
    weight: how fast strands turn downwards per step.
    sweep: (3,) direction common to all strands.
    part: m from the middle to the parting, from which strands fall to both sides; None: no parting.
    guides: their number; follow: strands around each; clump: m between these."""

    length: float
    spread: float
    lift: float
    weight: float
    sweep: tuple[float, float, float]
    part: float | None
    guides: int
    follow: int
    clump: float


@dataclass(frozen=True)
class StrandSurface:
    """The points (P, 3) and outward normals (P, 3) that strands slide on."""

    point: Tensor
    normal: Tensor


def thinned(point: Tensor, normal: Tensor, rng: torch.Generator) -> StrandSurface:
    """Return the surface with a random subset of at most _NEAREST points; point, normal: (P, 3)."""
    some = torch.randperm(len(point), generator=rng)[:_NEAREST]
    return StrandSurface(point[some], normal[some])


def sown(
    body: HalfBody,
    vertices: Tensor,
    normals: Tensor,
    density: Callable[[Tensor], Tensor],
    where: Tensor,
    count: int,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Draw random roots of hairs -> roots (count, 3) on the posed vertices, and normals (count, 3) there.

    body: the half body.
    vertices, normals: (V, 3) posed.
    density: points (n, 3) of the mean body -> (n,) in [0, 1], the probability of a hair.
    where: (V,) bool, vertices whose triangles may have hairs.
    count: how many.
    rng: random generator."""
    triangles = body.triangles[where[body.triangles].any(1)]
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    area = torch.linalg.cross(b - a, c - a).norm(dim=1)
    chosen = triangles[torch.multinomial(area, _TRIED * count, replacement=True, generator=rng)]
    u, v = torch.rand(2, len(chosen), 1, generator=rng)
    u, v = torch.where(u + v > 1, 1 - u, u), torch.where(u + v > 1, 1 - v, v)
    weight = torch.cat([1 - u - v, u, v], 1)[..., None]
    likely = density((body.mean[chosen] * weight).sum(1))
    kept = (torch.rand(len(chosen), generator=rng) < likely).nonzero().squeeze(1)[:count]
    chosen, weight = chosen[kept], weight[kept]
    return (vertices[chosen] * weight).sum(1), F.normalize((normals[chosen] * weight).sum(1), dim=1)


def grow_strands(
    root: Tensor,
    normal: Tensor,
    middle: Tensor,
    style: HairStyle,
    surface: StrandSurface,
    rng: torch.Generator,
) -> Tensor:
    """Grow guide strands (n, steps, 3) from roots (n, 3) with normals (n, 3).

    middle: (3,) between the eyes; style: of the hair; surface: that strands slide on; rng: random generator."""
    length = style.length * (1 + style.spread * (torch.rand(len(root), 1, generator=rng) - 0.7))
    step = length / _STEPS
    aside = root[:, :1] - middle[0]
    away = torch.zeros_like(root)
    if style.part is not None:
        away[:, 0] = torch.tanh((aside[:, 0] - style.part) / 0.012)
    way = F.normalize(style.lift * normal + root.new_tensor(style.sweep) + 0.55 * away, dim=1)
    way = F.normalize(way + 0.10 * torch.randn(way.shape, generator=rng), dim=1)
    place, out = root + 0.001 * normal, [root]
    down = root.new_tensor([0.0, 0.0, -1.0])
    for _ in range(_STEPS - 1):
        outward = torch.zeros_like(place)
        before = (place[:, 1] < middle[1] + 0.045) & (place[:, 2] < middle[2] + 0.075)
        reach = (place[:, 0] - middle[0]).abs()
        outward[:, 0] = (place[:, 0] - middle[0]).sign() * before * ((0.085 - reach) / 0.03).clamp(0, 1)
        outward[:, 1] = 0.5 * before * ((0.085 - reach) / 0.03).clamp(0, 1)  # a face stays free
        way = F.normalize((1 - style.weight) * way + style.weight * down + 0.35 * outward, dim=1)
        place = place + step * way
        near = torch.cdist(place, surface.point).argmin(1)
        inside = _CLEAR - ((place - surface.point[near]) * surface.normal[near]).sum(1)
        push = inside.clamp(0, 0.02)[:, None] * surface.normal[near]
        way = F.normalize(way + push / step.clamp_min(1e-5) * 0.5, dim=1)
        place = place + push
        out.append(place)
    return torch.stack(out, 1)


def followed(guides: Tensor, normal: Tensor, style: HairStyle, rng: torch.Generator) -> Tensor:
    """Return strands (n * follow, steps, 3) around guides (n, steps, 3) with normals (n, 3) at their roots."""
    strands = guides.repeat_interleave(style.follow, 0)
    count = len(strands)
    normal = normal.repeat_interleave(style.follow, 0)
    aside = F.normalize(torch.randn(count, 3, generator=rng), dim=1)
    aside = F.normalize(torch.linalg.cross(aside, normal), dim=1)
    along = torch.linspace(0, 1, strands.shape[1])[None, :, None]
    far = style.clump * torch.rand(count, 1, 1, generator=rng).sqrt()
    loose = 1 + 0.8 * along * (torch.rand(count, 1, 1, generator=rng) < 0.06)  # a few fly off
    strands = strands + aside[:, None] * far * (1 - 0.45 * along) * loose
    wave = torch.randn(count, 1, 3, generator=rng) * torch.sin(along * (3 + 5 * torch.rand(count, 1, 1, generator=rng)))
    strands = strands + 0.25 * style.clump * wave
    return strands


def drawn(
    strands: Tensor,
    colour: Tensor,
    depth: Tensor,
    project: tuple[Tensor, Tensor],
    light: tuple[Tensor, Tensor],
    samples: int,
    bias: float = 0.004,
) -> tuple[Tensor, Tensor]:
    """Draw strands over a picture.

    strands: (n, steps, 3).
    colour: (n, 3) linear.
    depth: (H, W) m of the picture, 0 where nothing is.
    project: world_to_camera (4, 4), intrinsics (3, 3).
    light: unit directions (L, 3) to the lights, and colours (L, 3).
    samples: points drawn per strand.
    bias: m behind the surface at which strands are still visible.

    Returns premultiplied linear colour (3, H, W) and coverage (1, H, W), one sample per pixel."""
    rows, columns = depth.shape
    camera, intrinsics = project
    # every strand as a row of points, projected
    points = F.interpolate(strands.transpose(1, 2), samples, mode="linear", align_corners=True).transpose(1, 2)
    tangent = F.normalize(torch.gradient(points, dim=1)[0], dim=2)
    local = points @ camera[:3, :3].T + camera[:3, 3]
    z = local[..., 2].flatten()
    pixel = (local[..., :2] / local[..., 2:]).reshape(-1, 2) * intrinsics.diagonal()[:2] + intrinsics[:2, 2]
    x, y = pixel.long().unbind(1)
    inside = (pixel.amin(1) >= 0) & (x < columns) & (y < rows)
    index = (y * columns + x).clamp(0, rows * columns - 1)
    behind = depth.flatten()[index]
    inside &= (behind == 0) | (z < behind + bias)
    # the nearest point of each pixel wins: depth in the upper bits of a key, the point's number in the lower
    key = (z * 1e5).long().clamp(0, 1 << 22) << 32 | torch.arange(len(z))
    nearest = torch.full((rows * columns,), 1 << 62).scatter_reduce(0, index[inside], key[inside], "amin")
    hit = (nearest < 1 << 62).nonzero().squeeze(1)
    which = nearest[hit] & 0xFFFFFFFF
    shaded = _lit(which, points, tangent, colour, camera, light)
    picture = torch.zeros(rows * columns, 3).index_copy(0, hit, shaded)
    cover = torch.zeros(rows * columns).index_fill(0, hit, 1.0)
    return picture.T.reshape(3, rows, columns), cover.view(1, rows, columns)


def _lit(
    which: Tensor,
    points: Tensor,
    tangent: Tensor,
    colour: Tensor,
    camera: Tensor,
    light: tuple[Tensor, Tensor],
) -> Tensor:
    """Return the linear colours (m, 3) of the points with flat indices `which` (m,) on strands (n, samples).

    points, tangent: (n, samples, 3); colour: (n, 3) linear, per strand; camera: (4, 4) world to camera; light:
    directions (L, 3) and strengths of the lamps."""
    samples = points.shape[1]
    t, place = tangent.reshape(-1, 3)[which], points.reshape(-1, 3)[which]
    strand, along = which // samples, (which % samples) / samples
    eye = -camera[:3, :3].T @ camera[:3, 3]
    view = F.normalize(eye - place, dim=1)
    base = colour[strand] * (0.65 + 0.5 * along)[:, None]  # roots lie in the shade of the others
    out = 0.28 * base
    for direction, strength in zip(*light, strict=True):
        along_light = (t @ direction)[:, None]
        half = F.normalize(view + direction, dim=1)
        diffuse = (1 - along_light.square()).clamp_min(0).sqrt()
        shine = (1 - (t * half).sum(1, keepdim=True).square()).clamp_min(0)
        out = out + strength * (0.62 * base * diffuse + 0.10 * shine.pow(60) + 0.35 * base * shine.pow(12))
    return out
