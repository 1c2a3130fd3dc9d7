"""Losses of the two stages of ProbTalk3D (sections 4.1 and 4.2), and what our recipe adds to them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..face.layout import N_EXPRESSION
from ..face.prior import MotionPrior
from ..face.quantiser import Draw, Quantised

Parts = dict[str, Tensor]


@dataclass(frozen=True)
class StageOne:
    """Weights of stage 1. The defaults are the paper's; `vae` gives those of its VAE variant."""

    bottleneck: float = 1.5
    expression: float = 0.5
    jaw: float = 0.1
    velocity: float = 0.0

    @classmethod
    def vae(cls) -> "StageOne":
        """The weights of the VAE variant."""
        return cls(bottleneck=1e-4, expression=1.5, jaw=1.0)


@dataclass(frozen=True)
class StageTwo:
    """Weights of stage 2. The defaults are the paper's.

    rounded: the latent term as released, whose gradient is the sign of rounding noise where the codes are equal.
    codes: cross-entropy of the code indices at the default temperature, which the paper's loss does not have: with it
    the spread of the draws becomes that of the data.
    """

    latent: float = 1.0
    expression: float = 0.15
    jaw: float = 0.1
    velocity: float = 0.0
    codes: float = 0.0
    rounded: bool = False


def split_l1(a: Tensor, b: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(B, T, 53) twice -> mean absolute error of the expression and of the jaw, channels weighed by (53,)."""
    error = (a - b).abs()
    if weight is not None:
        error = error * weight
    return error[..., :N_EXPRESSION].mean(), error[..., N_EXPRESSION:].mean()


def velocity_l1(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean absolute error of the change from frame to frame."""
    error = (a.diff(dim=1) - b.diff(dim=1)).abs()
    return (error if weight is None else error * weight).mean()


def stage_one(
    recovered: Tensor, passed: Quantised, motion: Tensor, weights: StageOne, channels: Tensor | None = None
) -> tuple[Tensor, Parts]:
    """Reconstruction (B, T, 53) and bottleneck against the true motion -> (total, its terms without weights)."""
    expression, jaw = split_l1(recovered, motion, channels)
    parts = {"bottleneck": passed.loss, "expression": expression, "jaw": jaw}
    if weights.velocity:
        parts["velocity"] = velocity_l1(recovered, motion, channels)
    return sum(getattr(weights, name) * value for name, value in parts.items()), parts


def stage_two(
    prior: MotionPrior,
    predicted: Tensor,
    motion: Tensor,
    weights: StageTwo,
    channels: Tensor | None = None,
    draw: Draw | None = None,
) -> tuple[Tensor, Parts]:
    """Predicted latent (B, T, C) before the bottleneck against the true motion -> (total, terms without weights).

    prior is frozen; draw None quantises to the nearest codes, as the paper does in training.
    """
    passed = prior.bottleneck(predicted, draw, weights.rounded)
    with torch.no_grad():
        wanted = prior.bottleneck(prior.encode(motion), None, weights.rounded)
    expression, jaw = split_l1(prior.decode(passed.latent), motion, channels)
    parts = {"latent": F.l1_loss(passed.latent, wanted.latent), "expression": expression, "jaw": jaw}
    if weights.velocity:
        parts["velocity"] = velocity_l1(prior.decode(passed.latent), motion, channels)
    if weights.codes and prior.config.kind == "vq":
        parts["codes"] = code_cross_entropy(prior, predicted, wanted.indices)
    return sum(getattr(weights, name) * value for name, value in parts.items()), parts


def code_cross_entropy(prior: MotionPrior, predicted: Tensor, indices: Tensor) -> Tensor:
    """Negative log chance of the wanted codes (rows,) when drawn at the default temperature."""
    quantiser = prior.quantize
    return F.cross_entropy(-quantiser.distances(quantiser.rows(predicted)) / Draw().temperature, indices)
