"""The colours of the plain preview: skin, clothes, and the features that show an expression: brows, irises, lips, hair.

Colours are functions of position and part of the body at rest, so they move with the surface, and are as sharp as the
picture rather than the mesh."""

import torch
from torch import Tensor

from ...body.model import HalfBody

# colour of the parts that are not skin, in [0, 1]
_COLOURS = {
    "torso": (0.35, 0.45, 0.62), "hips": (0.35, 0.45, 0.62), "arm.L": (0.35, 0.45, 0.62), "arm.R": (0.35, 0.45, 0.62),
    "lips": (0.72, 0.36, 0.34), "mouth": (0.3, 0.1, 0.1), "eye.L": (0.95, 0.95, 0.95), "eye.R": (0.95, 0.95, 0.95),
    "tongue": (0.7, 0.35, 0.35), "teeth.up": (0.97, 0.96, 0.92), "teeth.low": (0.97, 0.96, 0.92),
    "lashes": (0.1, 0.08, 0.08),
}  # fmt: skip
_SKIN, _HAIR, _BROW = (0.85, 0.67, 0.57), (0.32, 0.24, 0.2), (0.27, 0.19, 0.15)
_IRIS, _PUPIL = (0.32, 0.24, 0.16), (0.05, 0.05, 0.05)
_BROW_HALF = 0.0036  # m: half the width of a brow
_IRIS_COS, _PUPIL_COS = 0.915, 0.988  # of the angle between the eye's axis and a place on it
_FOREHEAD = 0.042  # m from the brows to the hairline
_SLOPE = 1.1  # how steeply the hairline falls towards the ear
_EAR = 0.87  # share of the head's half width beyond which the scalp's part is the ear


class Paint:
    """The colours of one body at rest: vertices (V, 3), bones (J, 3)."""

    def __init__(self, body: HalfBody, vertices: Tensor, bones: Tensor) -> None:
        self.body, device = body, vertices.device
        self.base = torch.tensor([_COLOURS.get(name, _SKIN) for name in body.part_names], device=device)
        points = body.keypoints(vertices[None], bones[None])[0]
        at = {name: points[i] for name, i in body.keypoint_index.items()}
        self.brows = [torch.stack([at[f"face.{i}"] for i in part]) for part in (range(17, 22), range(22, 27))]
        self.eyes = []
        for side in "LR":
            part = body.part_index[f"eye.{side}"]
            middle = vertices[body.triangles[body.triangle_part == part].unique()].mean(0)
            self.eyes.append((part, middle, torch.nn.functional.normalize(at[f"iris.{side}"] - middle, dim=0)))
        scalp = vertices[body.triangles[body.triangle_part == body.part_index["scalp"]].unique()]
        self.ear = _EAR * float(scalp[:, 0].abs().max())
        middle = torch.stack([at["face.21"], at["face.22"]]).mean(0)
        self.hairline = float(middle[2]) + _FOREHEAD, float(middle[1])

    def __call__(self, place: Tensor, part: Tensor) -> Tensor:
        """Map points on the body at rest (..., 3) and their parts (...) -> colours (..., 3) in [0, 1]."""
        colour = self.base[part]
        x, y, z = place.unbind(-1)
        hair = (z > self.hairline[0] - _SLOPE * (y - self.hairline[1])) & (x.abs() < self.ear)
        colour = _over(colour, _HAIR, (part == self.body.part_index["scalp"]) & hair)
        skin = (part == self.body.part_index["face"]) | (part == self.body.part_index["scalp"])
        for brow in self.brows:
            colour = _over(colour, _BROW, skin & (_distance(place, brow) < _BROW_HALF))
        for eye, middle, axis in self.eyes:
            cosine = torch.nn.functional.normalize(place - middle, dim=-1) @ axis
            colour = _over(colour, _IRIS, (part == eye) & (cosine > _IRIS_COS))
            colour = _over(colour, _PUPIL, (part == eye) & (cosine > _PUPIL_COS))
        return colour


def _over(colour: Tensor, paint: tuple[float, float, float], where: Tensor) -> Tensor:
    return torch.where(where[..., None], torch.tensor(paint, device=colour.device), colour)


def _distance(place: Tensor, line: Tensor) -> Tensor:
    """Return the distance (...) of points (..., 3) to a polyline (N, 3)."""
    found = []
    for a, b in zip(line[:-1], line[1:], strict=True):
        along = ((place - a) @ (b - a) / (b - a).square().sum()).clamp(0, 1)
        found.append((place - a - along[..., None] * (b - a)).norm(dim=-1))
    return torch.stack(found).amin(0)
