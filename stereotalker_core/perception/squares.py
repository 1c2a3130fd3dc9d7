"""Rotated square crops of a picture, the input of the networks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..shapes import dims


@dataclass(frozen=True)
class Square:
    """The square of a picture: centre x, y and side in px (pixel centres at .5), turn in radians, clockwise as seen."""

    x: float
    y: float
    side: float
    turn: float = 0.0

    @classmethod
    def around(cls, centre: Tensor, side: float, turn: float = 0.0) -> "Square":
        """Return the square with centre (2,) and side in px; turn: radians, clockwise as seen."""
        x, y = centre.tolist()
        return cls(x, y, side, turn)

    def to_picture(self, unit: Tensor) -> Tensor:
        """Map points (..., 2) in 0..1 of the square -> px of the picture."""
        return turned((unit - 0.5) * self.side, self.turn) + unit.new_tensor([self.x, self.y])

    def to_unit(self, points: Tensor) -> Tensor:
        """Map points (..., 2) in px of the picture -> 0..1 of the square."""
        return turned(points - points.new_tensor([self.x, self.y]), -self.turn) / self.side + 0.5

    def moved(self, right: float, down: float) -> "Square":
        """Return the square shifted along its own axes, by fractions of its side."""
        c, s = math.cos(self.turn), math.sin(self.turn)
        x, y = self.x + (c * right - s * down) * self.side, self.y + (s * right + c * down) * self.side
        return Square(x, y, self.side, self.turn)

    def scaled(self, factor: float) -> "Square":
        """Return the square scaled about its centre."""
        return Square(self.x, self.y, self.side * factor, self.turn)


class Pyramid:
    """The picture (3, H, W) in [0, 1] with its halvings, so that a crop at any scale is cheap and free of aliasing."""

    def __init__(self, image: Tensor) -> None:
        dims(image, "3 H W")
        self.height, self.width = image.shape[1:]
        self.levels = [image[None]]
        while min(self.levels[-1].shape[2:]) > 32:
            self.levels.append(F.avg_pool2d(self.levels[-1], 2, ceil_mode=True, count_include_pad=False))

    def whole(self, factor: float = 1.0, turn: float = 0.0) -> Square:
        """Return the square centred on the picture, its side `factor` times the longer side; turn: radians."""
        return Square(self.width / 2, self.height / 2, factor * max(self.height, self.width), turn)

    def crops(self, squares: Sequence[Square], size: int, outside: str = "border") -> Tensor:
        """Resample squares of the picture to (B, 3, size, size).

        outside: beyond the picture "border" repeats its edge, "zeros" is black."""
        unit = (torch.arange(size, device=self.levels[0].device) + 0.5) / size
        y, x = torch.meshgrid(unit, unit, indexing="ij")
        unit = torch.stack([x, y], -1)
        pictures = []
        for square in squares:
            level = min(max(round(math.log2(max(square.side / size, 1e-6))), 0), len(self.levels) - 1)
            source = self.levels[level]
            sides = unit.new_tensor([source.shape[3], source.shape[2]]) * 2**level
            grid = square.to_picture(unit) / sides * 2 - 1
            pictures.append(F.grid_sample(source, grid[None], padding_mode=outside, align_corners=False))
        return torch.cat(pictures)


def turned(vectors: Tensor, turn: float) -> Tensor:
    """Rotate vectors (..., 2) clockwise, as seen in a picture (y down); turn: radians."""
    c, s = math.cos(turn), math.sin(turn)
    x, y = vectors[..., 0], vectors[..., 1]
    return torch.stack([c * x - s * y, s * x + c * y], -1)


def direction(start: Tensor, end: Tensor) -> float:
    """Return the direction from start (2,) to end (2,) in radians, 0 = to the right, clockwise as seen in a picture."""
    dx, dy = (end - start).tolist()
    return math.atan2(dy, dx)


def square_around(points: Tensor, scale: float, turn: float) -> Square:
    """Return the square around points (N, 2) px, rotated by `turn` radians; its side is the longer one of their box,
    times scale."""
    along = turned(points, -turn)
    low, high = along.amin(0), along.amax(0)
    centre = turned((low + high) / 2, turn)
    return Square(float(centre[0]), float(centre[1]), float((high - low).max()) * scale, turn)


def paste(crop: Tensor, square: Square, height: int, width: int) -> Tensor:
    """Resample a map (1, S, S) of a square into a picture of height x width px -> (1, H, W), zero outside the square.
    """
    y, x = torch.meshgrid(
        torch.arange(height, device=crop.device) + 0.5, torch.arange(width, device=crop.device) + 0.5, indexing="ij"
    )
    grid = square.to_unit(torch.stack([x, y], -1)) * 2 - 1
    return F.grid_sample(crop[None], grid[None], align_corners=False)[0]
