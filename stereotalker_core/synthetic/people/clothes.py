"""Clothes: the garment's area on the template, its pattern, and the shell that smooths the torso under it."""

import colorsys
from dataclasses import dataclass

import torch
from torch import Tensor

from .template import Template, grain, pick, piecewise, uniform, waves

COLLARS = ("crew", "turtle", "v", "boat", "jacket")
PATTERNS = ("plain", "hstripe", "vstripe", "plaid", "blobs", "blocks", "logo")
_LINE_Y = (-0.155, -0.08, 0.0, 0.06, 0.1)
_LINE_Z = {  # height of the neck line over the depth, metres
    "crew": (0.490, 0.517, 0.556, 0.577, 0.577),
    "turtle": (0.575, 0.585, 0.600, 0.616, 0.616),
    "v": (0.490, 0.517, 0.556, 0.577, 0.577),
    "boat": (0.470, 0.495, 0.530, 0.550, 0.550),
    "jacket": (0.500, 0.530, 0.566, 0.590, 0.590),
}


@dataclass(frozen=True)
class Clothes:
    """The garment.

    collar: kind of neck line; sleeve: where it ends (arm coordinate: 1 elbow, 2 wrist); pattern: kind;
    scale: periods per metre; thickness: m; first, second, trousers: colours (3,) in [0, 1]."""

    collar: str
    sleeve: float
    pattern: str
    scale: float
    thickness: float
    first: Tensor
    second: Tensor
    trousers: Tensor


def _colour(rng: torch.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Tensor:
    hue = uniform(rng, 0, 1)
    return torch.tensor(colorsys.hsv_to_rgb(hue, uniform(rng, *saturation), uniform(rng, *value)))


def draw_clothes(rng: torch.Generator) -> Clothes:
    """Draw a random garment."""
    muted = uniform(rng, 0, 1) < 0.45
    saturation = (0.0, 0.3) if muted else (0.3, 0.85)
    return Clothes(
        pick(rng, COLLARS, (0.36, 0.14, 0.22, 0.08, 0.20)),
        pick(rng, (0.42, 0.78, 1.5, 1.93), (0.22, 0.2, 0.08, 0.5)),
        pick(rng, PATTERNS, (0.34, 0.15, 0.08, 0.12, 0.12, 0.09, 0.10)),
        uniform(rng, 11, 32),
        uniform(rng, 0.005, 0.010),
        _colour(rng, saturation, (0.15, 0.95)),
        _colour(rng, (0.0, 0.8), (0.2, 1.0)),
        _colour(rng, (0.05, 0.4), (0.1, 0.4)),
    )


def below_collar(points: Tensor, collar: str) -> Tensor:
    """Return about how many metres template points (N, 3) lie below the neck line; > 0 is under the garment."""
    x, y, z = points.unbind(-1)
    side = x.abs()
    line = piecewise(y, _LINE_Y, _LINE_Z[collar])
    if collar == "v":
        line = torch.minimum(line, torch.where(y < 0.0, 0.42 + side * 1.5, line))
        return line + (side - 0.068).clamp_min(0) * 4 - z
    if collar == "boat":
        return line + (side / 0.11) ** 2 * 0.03 + (side - 0.11).clamp_min(0) * 4 - z
    return line + (side / 0.082) ** 2 * 0.05 + (side - 0.082).clamp_min(0) * 4 - z


def _garment(template: Template, clothes: Clothes, points: Tensor, arm: Tensor, hands: Tensor) -> Tensor:
    inside = below_collar(points, clothes.collar) > 0
    return inside & (arm <= clothes.sleeve) & ~hands & (points[:, 2] < 0.63)


def clothes_shell(template: Template, clothes: Clothes, rest: Tensor, normals: Tensor) -> Tensor:
    """Return the shell (V,) of clothes over a person, metres along the normals: their thickness over a smoothed torso.

    template: of all avatars; clothes: the garment; rest, normals: (V, 3) of the identity's vertices."""
    points, arm = template.body.mean, template.vertex_arm
    hands = template.vertex_is("hand.L", "hand.R")
    skin = template.vertex_is("torso", "neck", "arm.L", "arm.R", "hips") & ~template.vertex_is("face", "scalp")
    cloth = _garment(template, clothes, points, arm, hands) & skin
    # the trunk relaxes where cloth spans it: skin details such as nipples and navel must not show through
    relaxed = template.drape(rest)
    # along its own normal every vertex goes to the tangent plane of the relaxed surface: bumps all but vanish
    plane = template.body.normals(relaxed[None])[0]
    facing = (normals * plane).sum(1)
    push = ((relaxed - rest) * plane).sum(1) / facing.clamp_min(0.45)
    push = push.clamp(-0.045, 0.03) * cloth
    z = points[:, 2]
    thickness = clothes.thickness * (1.35 if clothes.collar == "jacket" else 1.0)
    layer = template.smooth((cloth * thickness)[:, None], (cloth & (z > -0.2)).float()[:, None], 2, 0.5)[:, 0]
    return push + layer  # the push itself must stay sharp: it cancels the skin's bumps


def _field(template: Template, clothes: Clothes, rng: torch.Generator) -> Tensor:
    """Return (N,) in 0..1, the weight of the garment's second colour at the texels."""
    x, y, z = template.point.unbind(1)
    shoulder = float(template.bone("upperarm01.L")[2])
    on_arm = template.is_part("arm.L", "arm.R")
    # along the sleeve the stripes continue the torso's height as if the arm hung down
    height = torch.where(on_arm, shoulder - 0.27 * template.arm.clamp_min(0), z)
    across = torch.where(on_arm, y, x)
    wave = 6.2832 * clothes.scale
    if clothes.pattern == "hstripe":
        return (torch.sin(height * wave) > uniform(rng, -0.3, 0.6)).float()
    if clothes.pattern == "vstripe":
        return (torch.sin(across * wave) > uniform(rng, -0.2, 0.7)).float()
    if clothes.pattern == "plaid":
        fine = 0.2 * ((torch.sin(height * wave * 2) > 0.8) | (torch.sin(across * wave * 2) > 0.8)).float()
        return (0.4 * (torch.sin(height * wave) > 0) + 0.4 * (torch.sin(across * wave) > 0) + fine).clamp(0, 1)
    if clothes.pattern == "blobs":
        return (waves(template.point, uniform(rng, 40, 140), rng, 6) * 6 - 2).clamp(0, 1)
    if clothes.pattern == "blocks":
        return ((height > uniform(rng, 0.2, 0.42)) | on_arm & (uniform(rng, 0, 1) < 0.5)).float()
    # a star, polygon or disc on the chest, in polar coordinates
    if clothes.pattern == "logo":
        cx, cz, radius = uniform(rng, -0.07, 0.07), uniform(rng, 0.33, 0.42), uniform(rng, 0.02, 0.06)
        u, v = (x - cx) / radius, (z - cz) / radius
        angle, points_n = torch.atan2(v, u), float(pick(rng, (0, 3, 4, 5, 8), (2, 1, 1, 1, 1)))
        rim = 0.75 + 0.25 * torch.cos(points_n * angle)
        return ((rim - (u * u + v * v).sqrt()) * 12).clamp(0, 1) * (y < -0.04)
    return torch.zeros_like(x)


def clothes_paint(template: Template, clothes: Clothes, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the coverage (N,) bool and colour (N, 3) of the garments at the texels."""
    points = template.point
    x, y, z = points.unbind(1)
    skin = template.is_part("torso", "neck", "arm.L", "arm.R", "hips")
    hands = template.is_part("hand.L", "hand.R")
    cover = skin & _garment(template, clothes, points, template.arm, hands)
    mix = _field(template, clothes, rng)[:, None]
    colour = clothes.first * (1 - mix) + clothes.second * mix
    if clothes.collar == "jacket":
        gap = 0.018 + 0.10 * ((z - 0.12) / 0.42).clamp(0, 1) ** 1.5
        shirt = (y < 0.02) & (x.abs() < gap) & ~template.is_part("arm.L", "arm.R")
        lapel = (y < 0.02) & (x.abs() < gap + 0.028 * ((z - 0.15) / 0.3).clamp(0, 1)) & (z > 0.15)
        plain = clothes.first * (1 - mix * 0.5) + clothes.second * mix * 0.5
        colour = torch.where(lapel[:, None], clothes.first * 0.8, plain)
        colour = torch.where(shirt[:, None], clothes.second.clamp_min(0.55), colour)
    edge = below_collar(points, clothes.collar)
    hem = (edge < 0.012) | ((template.arm > clothes.sleeve - 0.05) & (template.arm <= clothes.sleeve))
    colour = torch.where(hem[:, None] & ~template.head[:, None], colour * 0.86, colour)
    folds = 1 + 0.025 * waves(points, 30.0, rng, 4) + 0.02 * grain(template, template.size // 8, rng)
    colour = colour * folds[:, None]
    waist = 0.0 + 0.006 * torch.sin(x * 25)
    return cover, torch.where((z < waist)[:, None], clothes.trousers * folds[:, None], colour).clamp(0, 1)
