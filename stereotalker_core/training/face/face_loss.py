"""Losses of the two stages of ProbTalk3D (sections 4.1 and 4.2), and what our recipe adds to them."""

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from ...face.arkit_map import layout_map
from ...face.layout import N_EXPRESSION, N_PARAMETERS, denormalise, normalise
from ...face.prior import MotionPrior
from ...face.quantiser import Draw, Quantised
from ...motion.arkit import ARKIT_INDEX, MOUTH
from ...motion.lips import CLOSED_MM

Parts = dict[str, Tensor]


@dataclass(frozen=True)
class PriorWeights:
    """The weights of stage 1. The defaults are the paper's; `vae` gives those of its VAE variant. velocity, lips: ours.
    """

    bottleneck: float = 1.5
    expression: float = 0.5
    jaw: float = 0.1
    velocity: float = 0.0
    lips: float = 0.0

    @classmethod
    def vae(cls) -> "PriorWeights":
        """The weights of the VAE variant."""
        return cls(bottleneck=1e-4, expression=1.5, jaw=1.0)


@dataclass(frozen=True)
class PredictorWeights:
    """The weights of stage 2. The defaults are the paper's.

    codes: cross-entropy of the code indices at the default temperature, which the paper's loss does not have: with it
    the spread of the draws becomes that of the data. The other terms then see the mean of the draws' codes, which has
    a true gradient, in place of the nearest codes with the gradient passed through. velocity, lips: ours too.
    """

    latent: float = 1.0
    expression: float = 0.15
    jaw: float = 0.1
    velocity: float = 0.0
    lips: float = 0.0
    codes: float = 0.0
    drawn: float = 0.0


class Focus:
    """Say which part of an ARKit-layout face matters: weights of the channels, and the gap of the lips in millimetres.

    gap: `motion.lips.lip_gap_weights` of the body. The gap is linear in the 53 numbers too.
    """

    def __init__(self, gap: tuple[Tensor, Tensor], mouth: float = 3.0, jaw: float = 6.0, shut: float = 4.0) -> None:
        mapping = layout_map()
        weight = torch.ones(52)
        weight[list(MOUTH)] = mouth
        weight[[ARKIT_INDEX["jawOpen"], ARKIT_INDEX["mouthClose"]]] = jaw
        used = mapping.to_face.abs() > 0
        self.channels = (used * weight).amax(1)  # (53,); 0 for the number that the layout leaves empty
        self.shut = shut
        self.zero = mapping.to_arkit @ (denormalise(torch.zeros(N_PARAMETERS)) - mapping.offset)
        self.turn = mapping.to_arkit * (denormalise(torch.ones(N_PARAMETERS)) - denormalise(torch.zeros(N_PARAMETERS)))
        self.neutral, self.change = gap

    def lip_gap(self, motion: Tensor) -> Tensor:
        """Map normalised coefficients (B, T, 53) -> millimetres between the lips (B, T)."""
        slope = (self.change @ self.turn).to(motion)
        return motion @ slope + float(self.neutral + self.change @ self.zero)

    def lips(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """Return the mean error of the gap in millimetres; frames in which the true lips are shut count `shut` times
        more."""
        a, b = self.lip_gap(ours), self.lip_gap(theirs)
        weight = 1 + self.shut * (b < CLOSED_MM)
        return ((a - b).abs() * weight).sum() / weight.sum()


def split_l1(a: Tensor, b: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Map (B, T, 53) twice -> mean absolute error of the expression and of the jaw, channels weighed by (53,)."""
    error = (a - b).abs() if weight is None else (a - b).abs() * weight.to(a)
    return error[..., :N_EXPRESSION].mean(), error[..., N_EXPRESSION:].mean()


def _motion_parts(ours: Tensor, theirs: Tensor, weights: PriorWeights | PredictorWeights, focus: Focus | None) -> Parts:
    channels = None if focus is None else focus.channels
    expression, jaw = split_l1(ours, theirs, channels)
    parts = {"expression": expression, "jaw": jaw}
    if weights.velocity:
        fast, jaw_fast = split_l1(ours.diff(dim=1), theirs.diff(dim=1), channels)
        parts["velocity"] = fast + jaw_fast
    if weights.lips and focus is not None:
        parts["lips"] = focus.lips(ours, theirs)
    return parts


def total(parts: Parts, weights: PriorWeights | PredictorWeights) -> Tensor:
    """The sum of the terms, each times its weight."""
    known = {f.name for f in fields(weights)}
    terms: list[Tensor] = [getattr(weights, name) * value for name, value in parts.items() if name in known]
    return sum(terms[1:], terms[0])


def stage_one(
    recovered: Tensor, passed: Quantised, motion: Tensor, weights: PriorWeights, focus: Focus | None = None
) -> tuple[Tensor, Parts]:
    """Compute the loss of stage 1: the recovered motion (B, T, 53) against the true one, and the bottleneck's own ->
    (total, terms without weights)."""
    parts = {"bottleneck": passed.loss, **_motion_parts(recovered, motion, weights, focus)}
    return total(parts, weights), parts


def stage_two(
    prior: MotionPrior,
    predicted: Tensor,
    motion: Tensor,
    weights: PredictorWeights,
    focus: Focus | None = None,
    rounded: bool = False,
    draw: Draw | None = None,
) -> tuple[Tensor, Parts]:
    """Compute the loss of stage 2: a predicted latent (B, T, C) before the bottleneck against the true motion ->
    (total, terms without weights).

    prior is frozen. rounded: the latent term as released, whose gradient is the sign of rounding noise where the codes
    are equal; without it, it is zero there. draw: how the term `drawn` draws.
    """
    with torch.no_grad():
        wanted = prior.bottleneck(prior.encode(motion), None, rounded)
    parts: Parts = {}
    if weights.codes and prior.config.kind == "vq":
        quantiser = prior.quantize
        logits = quantiser.logits(quantiser.distances(quantiser.rows(predicted)))
        parts["codes"] = F.cross_entropy(logits, wanted.indices)
        latent = quantiser.unrows(logits.softmax(1) @ quantiser.embedding.weight, predicted)
    else:
        latent = prior.bottleneck(predicted, None, rounded).latent
    parts["latent"] = F.l1_loss(latent, wanted.latent)
    parts |= _motion_parts(prior.decode(latent), motion, weights, focus)
    if weights.drawn and focus is not None:
        parts["drawn"] = focus.lips(prior.decode(drawn_latent(prior, predicted, draw or Draw())), motion)
    return total(parts, weights), parts


def drawn_latent(prior: MotionPrior, predicted: Tensor, draw: Draw) -> Tensor:
    """The codes of one draw (B, T, C); their gradient is that of the mean over the chances at the same temperature.

    The VAE variant's draw has a gradient of its own.
    """
    if prior.config.kind == "vae":
        return prior.bottleneck(predicted, draw).latent
    quantiser = prior.quantize
    distances = quantiser.distances(quantiser.rows(predicted))
    chances = quantiser.logits(distances, draw.temperature).softmax(1)
    hard = quantiser.embedding(quantiser.choose(distances.detach(), draw, predicted.shape[1]))
    mean = chances @ quantiser.embedding.weight
    return quantiser.unrows(hard.detach() + (mean - mean.detach()), predicted)


def fresh_codes(prior: MotionPrior, z: Tensor, indices: Tensor, generator: torch.Generator) -> int:
    """Move codes that no row of z (B, T, C) chose onto random rows of it -> how many."""
    quantiser = prior.quantize
    rows = quantiser.rows(z.detach())
    unused = torch.bincount(indices, minlength=quantiser.embedding.num_embeddings) == 0
    chosen = torch.randint(len(rows), (int(unused.sum()),), generator=generator)
    with torch.no_grad():
        quantiser.embedding.weight[unused] = rows[chosen.to(rows.device)]
    return len(chosen)


def spread_codes(prior: MotionPrior, z: Tensor, generator: torch.Generator, rounds: int = 8) -> None:
    """Put the codes on the means of clusters of the rows of z (B, T, C): k-means from random rows."""
    quantiser = prior.quantize
    rows = quantiser.rows(z.detach())
    count = quantiser.embedding.num_embeddings
    centres = rows[torch.randint(len(rows), (count,), generator=generator).to(rows.device)]
    for _ in range(rounds):
        nearest = torch.cdist(rows, centres).argmin(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, rows)
        size = torch.bincount(nearest, minlength=count).to(rows)[:, None]
        centres = torch.where(size > 0, sums / size.clamp_min(1), centres)
    with torch.no_grad():
        quantiser.embedding.weight.copy_(centres)


def code_unit(prior: MotionPrior) -> float:
    """Return twice the median squared distance of a code to its nearest: the unit that makes temperature 0.2 a mild
    one."""
    codes = prior.quantize.embedding.weight.detach()
    gaps = torch.cdist(codes, codes).square().fill_diagonal_(torch.inf).amin(1)
    return float(2 * gaps.median())


def normalised(arkit: Tensor) -> Tensor:
    """Map (..., 52) ARKit coefficients -> (..., 53) as the networks see them."""
    return normalise(layout_map().face(arkit))
