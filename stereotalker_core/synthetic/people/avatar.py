"""A procedural person: shape, shell, painted atlas, light and background, all from one seed."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...body.model import HalfBody
from .backgrounds import draw_background
from .clothes import clothes_shell, draw_clothes
from .hair import draw_hair, hair_shell
from .paint import draw_look, paint
from .template import Template, uniform

_SHAPE_SPREAD, _SHAPE_LIMIT = 0.8, 2.0


@dataclass(frozen=True)
class Light:
    """The key light: direction (3,), unit, from the person to the light in world axes; colour (3,); ambient share 0..1.
    """

    direction: Tensor
    colour: Tensor
    ambient: float


@dataclass(frozen=True)
class Avatar:
    """The procedural person.

    shape: (K,) coefficients; shell: (V,) m along the normals; albedo: (3, A, A) in [0, 1]; region: (A, A) uint8 label.
    light: of the scene; seed: that it was made from; meta: the kinds of hair, clothes and face, for balance checks."""

    shape: Tensor
    shell: Tensor
    albedo: Tensor
    region: Tensor
    light: Light
    seed: int
    meta: dict[str, Any]

    def background(self, size: tuple[int, int]) -> Tensor:
        """Return the avatar's studio wall (3, H, W) in [-1, 1]."""
        return draw_background(torch.Generator().manual_seed(self.seed * 7 + 3), size)[0]


def draw_light(rng: torch.Generator) -> Light:
    """Draw a random key light, above and in front, fixed in the world."""
    azimuth, elevation = math.radians(uniform(rng, -65, 65)), math.radians(uniform(rng, 8, 60))
    horizontal = math.cos(elevation)
    direction = torch.tensor(
        [math.sin(azimuth) * horizontal, -math.cos(azimuth) * horizontal, math.sin(elevation)]
    )
    colour = 1 + 0.08 * (2 * torch.rand(3, generator=rng) - 1)
    return Light(direction, colour, uniform(rng, 0.42, 0.65))


def make_avatar(body: HalfBody, seed: int, template: Template | None = None) -> Avatar:
    """Make the avatar of a seed, deterministically; template: `Template(body)`, shared where many are made."""
    template = template if template is not None else Template(body)
    rng = torch.Generator().manual_seed(seed)
    shape = (_SHAPE_SPREAD * torch.randn(body.n_shape, generator=rng)).clamp(-_SHAPE_LIMIT, _SHAPE_LIMIT)
    look = draw_look(rng)
    hair = draw_hair(rng, look.feminine, look.melanin)
    clothes = draw_clothes(rng)
    vertices = body.rest(shape[None]).vertices
    normals = body.normals(vertices)[0]
    cap = hair_shell(template, hair, rng)
    shell = clothes_shell(template, clothes, vertices[0], normals)
    albedo, region = paint(template, look, hair, clothes, rng)
    meta = {
        "hair": hair.kind,
        "collar": clothes.collar,
        "sleeve": clothes.sleeve,
        "pattern": clothes.pattern,
        "feminine": look.feminine,
        "melanin": look.melanin,
        "beard": look.beard,
    }
    shell = torch.where(cap > 1e-4, torch.maximum(shell, cap), shell)
    return Avatar(shape, shell, albedo, region, draw_light(rng), seed, meta)
