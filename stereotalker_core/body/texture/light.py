"""The light of a portrait: one directional source and a sky, estimated from brightness differences of similar surfaces.

A texture that keeps the portrait's shading is wrong as soon as the surface turns: an arm that was lit stays lit. With
the light known, the texture is stored as under even light, and shaded anew for every pose. Model, in linear
colour: shade(n) = max(n . direct, 0) + ambient * sky(n), sky from 1 above to SKY_BELOW below (hemisphere light)."""

import math

import torch
from torch import Tensor

SKY_BELOW = 0.51
DARKEST = 0.12  # shade below which the picture holds no colour that could be brought back
_SPREAD = 0.15  # log luminance at which a pair counts as two colours, not as two shades
_PAIRS = 2500
_LIKE = 0.03  # difference of chromaticity of surfaces that are taken for one material
_NEAR = 0.25  # metres
_WORTH = 0.05  # share of the unexplained differences that a light must explain
_SURELY = 0.03  # share of the unexplained differences by which a light may be worse and still count (times 1/e)
_FEW = 200  # seen vertices needed
UNLIT = ("eye.L", "eye.R", "mouth", "tongue", "teeth.up", "teeth.low", "lashes", "lips", "eyesocket")


def shade(normals: Tensor, light: Tensor) -> Tensor:
    """Return the linear brightness (..., 1) of unit world normals (..., 3) under light (4,) = [direct (3), ambient]."""
    return _shades(normals, light[None])


def relit(colour: Tensor, shading: Tensor) -> Tensor:
    """Multiply the linear brightness of colours (..., 3) in [-1, 1] (gamma 2) by factors (..., 1), without clamping."""
    factor = shading.sqrt()
    return torch.addcmul(factor - 1, colour, factor)  # (colour / 2 + 1/2) * factor * 2 - 1


def find_light(
    colour: Tensor, seen: Tensor, normals: Tensor, points: Tensor, part: Tensor, mirror: Tensor, unlit: Tensor
) -> Tensor | None:
    """Return the light (4,) that explains vertex colours best, scaled to a mean shade of 1 over the seen vertices.

    colour: (V, 3) in [-1, 1].
    seen: (V,) in [0, 1], how far the portrait shows the vertex.
    normals: (V, 3) in world axes of the portrait's pose.
    points: (V, 3) of the mean body.
    part: (V,) index.
    mirror: (V,) index of the mirrored vertex.
    unlit: (P,) bool, parts that are left out.

    Compares mirrored vertices, and neighbours of the same part and chromaticity; a pair of different colours gets
    little weight. None where no light explains more than even light does."""
    linear = (colour * 0.5 + 0.5).clamp(0, 1).square()
    bright = linear.mean(1)
    usable = (seen > 0.8) & ~unlit[part] & (bright > 0.003) & (colour < 0.97).all(1)
    index = usable.nonzero().squeeze(1)
    if len(index) < _FEW:
        return None
    pairs = _pairs(index, usable, linear, points, part, mirror)
    difference = bright[pairs].clamp_min(1e-4).log().diff(dim=1)  # (P, 1)
    lights = _candidate_lights(colour)
    used, place = torch.unique(pairs, return_inverse=True)
    shades = _shades(normals[used], lights).log()  # (U, L)
    error = difference - (shades[place[:, 1]] - shades[place[:, 0]])
    cost = (error.square() / (error.square() + _SPREAD**2)).mean(0)
    even = float((difference.square() / (difference.square() + _SPREAD**2)).mean())
    if even - float(cost.min()) < _WORTH * even:
        return None
    likely = torch.softmax(-cost / (_SURELY * even), 0)  # a mean of what explains the picture about as well errs less
    light = likely @ lights
    return light / shade(normals[index], light).mean()


def softened(light: Tensor, normals: Tensor) -> Tensor:
    """Replace half of the directional light by ambient light, keeping the mean brightness on normals (N, 3) -> light
    (4,).

    A photograph rarely determines its light well enough to remove all of it: areas that were brightened wrongly glow.
    """
    half = torch.cat([light[:3] / 2, light[3:] + light[:3].norm()[None] / 4])
    return half / shade(normals, half).mean()


def brightness(facing: Tensor, up: Tensor, ambient: Tensor) -> Tensor:
    """Return the linear brightness of surfaces, as `shade` does.

    facing: unit normals times the direct light; up: their z; ambient: the light's last number."""
    sky = SKY_BELOW + (1 - SKY_BELOW) * (0.5 + 0.5 * up)
    return (facing.clamp_min(0) + sky * ambient).clamp_min(DARKEST)


def _shades(normals: Tensor, lights: Tensor) -> Tensor:
    """Return the brightness (..., L) of unit normals (..., 3) under lights (L, 4)."""
    return brightness(normals @ lights[:, :3].T, normals[..., 2:], lights[:, 3])


def _pairs(index: Tensor, usable: Tensor, linear: Tensor, points: Tensor, part: Tensor, mirror: Tensor) -> Tensor:
    """Return (P, 2) pairs of usable vertices that probably have the same colour; deterministic.

    index: (n,) indices of the usable vertices; usable: (V,) bool, the same as flags; linear: (V, 3) linear colours;
    points: (V, 3) m; part: (V,) index of the part; mirror: (V,) index of the mirrored vertex. Pairs are mirrored, or
    near with similar chroma."""
    other = mirror[index]
    both = usable[other] & (other > index)
    across = torch.stack([index[both], other[both]], 1)
    rng = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(index), (12 * _PAIRS, 2), generator=rng).to(index.device)
    near = index[chosen]
    chroma = linear / linear.sum(1, keepdim=True).clamp_min(1e-3)
    like = (chroma[near[:, 0]] - chroma[near[:, 1]]).abs().sum(1) < _LIKE
    like &= part[near[:, 0]] == part[near[:, 1]]
    like &= (points[near[:, 0]] - points[near[:, 1]]).norm(dim=1) < _NEAR
    return torch.cat([across[: _PAIRS // 3], near[like][: _PAIRS - _PAIRS // 3]])


def _candidate_lights(like: Tensor) -> Tensor:
    """Return candidate lights (L, 4) of unit strength from all directions in front, with several shares of sky light.

    like: gives dtype and device."""
    azimuth = torch.arange(-90, 91, 10.0) * (math.pi / 180)
    elevation = torch.arange(-10, 81, 10.0) * (math.pi / 180)
    sky = torch.tensor([0.30, 0.36, 0.42, 0.48, 0.54, 0.60, 0.66, 0.74, 0.84])
    a, e, s = (x.flatten() for x in torch.meshgrid(azimuth, elevation, sky, indexing="ij"))
    direction = torch.stack([a.sin() * e.cos(), -a.cos() * e.cos(), e.sin()], 1)
    return torch.cat([direction * (1 - s[:, None]), s[:, None]], 1).to(like)
