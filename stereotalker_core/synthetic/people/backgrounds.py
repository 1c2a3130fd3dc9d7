"""Random studio backgrounds: gradients, two-tone walls, blurred shapes, noise."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .template import pick, uniform

KINDS = ("gradient", "wall", "shapes", "noise", "plain")


def draw_background(rng: torch.Generator, size: tuple[int, int]) -> tuple[Tensor, str]:
    """Draw a random background -> the picture (3, H, W) in [-1, 1], and its kind, one of KINDS.

    rng: random generator; size: (H, W) px."""
    kind = pick(rng, KINDS, (0.3, 0.2, 0.2, 0.15, 0.15))
    rows, columns = size
    colours = 0.1 + 0.8 * torch.rand(4, 3, generator=rng)
    grey = colours.mean(1, keepdim=True)
    # mostly dull colours, as walls and studios have
    colours = grey + (colours - grey) * uniform(rng, 0.1, 1.0)
    y = torch.linspace(0, 1, rows)[:, None].expand(rows, columns)
    x = torch.linspace(0, 1, columns)[None].expand(rows, columns)
    angle = uniform(rng, -0.6, 0.6) if kind != "gradient" else uniform(rng, -math.pi, math.pi)
    # one colour runs into another across the picture; walls and plain studios hardly change
    ramp = ((x - 0.5) * math.sin(angle) + (y - 0.5) * math.cos(angle) + 0.5).clamp(0, 1)[None]
    a, b, c, d = (v[:, None, None] for v in colours)
    image = a + (b - a) * ramp * (0.15 if kind in ("plain", "wall") else 1.0)
    if kind == "wall":
        border = ((y - uniform(rng, 0.55, 0.9) + 0.1 * angle * (x - 0.5)) * rows / 3).clamp(0, 1)[None]
        image = image + (c - image) * border
    elif kind == "shapes":
        image = _shapes(image, (b, c, d), x, y, rng)
    elif kind == "noise":
        for cells in (3, 7, 15):
            coarse = torch.randn(1, 3, cells, cells, generator=rng) * 0.14 / math.sqrt(cells)
            image = image + F.interpolate(coarse, size, mode="bicubic", align_corners=False)[0]
    return (image * 2 - 1).clamp(-1, 1).contiguous(), kind


def _shapes(image: Tensor, colours: tuple[Tensor, ...], x: Tensor, y: Tensor, rng: torch.Generator) -> Tensor:
    for i in range(int(uniform(rng, 3, 9))):
        u, v = x - uniform(rng, 0, 1), y - uniform(rng, 0, 1)
        w, h = uniform(rng, 0.05, 0.3), uniform(rng, 0.05, 0.35)
        away = torch.maximum(u.abs() / w, v.abs() / h) if i % 2 else (u * u / (w * w) + v * v / (h * h)).sqrt()
        cover = ((1 - away) * uniform(rng, 2, 12)).clamp(0, 1) * uniform(rng, 0.3, 0.9)
        image = image + (colours[i % len(colours)] - image) * cover
    return image
