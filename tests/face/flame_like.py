"""A small head in FLAME's layout, made up: the real model is licensed. Right shapes, axes and joints, no likeness."""

import math

import torch

from stereotalker_core.face.flame import SHAPE_COLUMNS, Flame

RINGS, SIDES = 14, 20


def head(expressions: int = 100) -> Flame:
    """An egg 0.24 m high (y up, looking along z) with a nose, a jaw that skins the lower front, a known expression.

    Expression 0 raises what lies above the nose by 1 cm; the others are small and random.
    """
    generator = torch.Generator().manual_seed(1)
    tilt = torch.linspace(0.02, math.pi - 0.02, RINGS)[:, None]
    turn = (torch.arange(SIDES) * (2 * math.pi / SIDES))[None]
    x, y, z = tilt.sin() * turn.sin(), tilt.cos().expand(RINGS, SIDES), tilt.sin() * turn.cos()
    points = torch.stack([0.08 * x, 0.12 * y, 0.09 * z], -1).reshape(-1, 3)
    points[RINGS // 2 * SIDES, 2] += 0.03  # the nose
    blend = torch.zeros(len(points), 3, SHAPE_COLUMNS + expressions)
    blend[..., SHAPE_COLUMNS + 1 :] = 1e-4 * torch.randn(len(points), 3, expressions - 1, generator=generator)
    blend[:, 1, SHAPE_COLUMNS] = 0.01 * (points[:, 1] > 0.02)
    jaw = ((points[:, 1] < -0.03) & (points[:, 2] > 0)).float()
    skin = torch.zeros(len(points), 5)
    skin[:, 2], skin[:, 1] = jaw, 1 - jaw
    regressor = torch.softmax(torch.randn(5, len(points), generator=generator), 1)
    parent = torch.tensor([0, 0, 1, 1, 1])
    return Flame(points, blend, torch.zeros(len(points), 3, 36), regressor, skin, parent, faces())


def faces() -> torch.Tensor:
    """(F, 3) of the egg, seen from outside anticlockwise."""
    out = []
    for r in range(RINGS - 1):
        for s in range(SIDES):
            a, b = r * SIDES + s, r * SIDES + (s + 1) % SIDES
            out += [(a, a + SIDES, b), (b, a + SIDES, b + SIDES)]
    return torch.tensor(out)
