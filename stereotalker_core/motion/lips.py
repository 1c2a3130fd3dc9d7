"""How far the lips are apart, linear in the ARKit coefficients: what closure is measured and trained on."""

import torch
from torch import Tensor

from ..body.model import HalfBody

_UPPER = ("face.61", "face.62", "face.63")  # inner lip line, from the 68-point layout
_LOWER = ("face.67", "face.66", "face.65")
CLOSED_MM = 2.5  # gap below which the lips touch to the eye; the neutral, shut mouth of the body has 2.1 mm


def lip_gap_weights(body: HalfBody) -> tuple[Tensor, Tensor]:
    """The body's lip gap in millimetres -> (neutral gap (), change per unit of each expression (52,))."""
    rest = body.rest(torch.zeros(1, body.n_shape, device=body.mean.device))
    n = len(body.expression_names)
    basis = torch.cat([torch.zeros(1, n), torch.eye(n)]).to(body.mean.device)
    vertices = body.express(rest.vertices, basis)
    points = body.keypoints(vertices, rest.bones.expand(n + 1, -1, -1))[..., 2]
    upper = points[:, [body.keypoint_index[name] for name in _UPPER]]
    lower = points[:, [body.keypoint_index[name] for name in _LOWER]]
    gap = (upper - lower).mean(1) * 1000
    return gap[0], gap[1:] - gap[0]


def lip_gap(expression: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
    """(..., 52) coefficients -> (...) millimetres between the inner lips; negative where they press together."""
    neutral, change = weights
    return neutral + expression @ change
