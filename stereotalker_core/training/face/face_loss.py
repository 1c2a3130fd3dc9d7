"""Losses of the two stages of ProbTalk3D (sections 4.1 and 4.2), and the terms that our training adds."""

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
    """The factors of the terms in the loss of stage 1, see `stage_one`. The defaults are the paper's; velocity and lips
    are ours."""

    bottleneck: float = 1.5
    expression: float = 0.5
    jaw: float = 0.1
    velocity: float = 0.0
    lips: float = 0.0

    @classmethod
    def vae(cls) -> "PriorWeights":
        """Return the factors for the VAE variant of the prior."""
        return cls(bottleneck=1e-4, expression=1.5, jaw=1.0)


@dataclass(frozen=True)
class PredictorWeights:
    """The factors of the terms in the loss of ProbTalk3D's second stage, the predictor (`stage_two`).

    The paper has the terms latent (error of the predicted latents), expression and jaw (errors of these channels of the
    decoded motion), with these defaults. The other terms are ours:
    velocity: error of the changes from frame to frame; lips: error of the lip gap.
    codes: cross-entropy of the code indices at the default temperature, which makes samples vary as much as the data.
        With it the other terms use the expected code, which has a true gradient; without it they use the nearest code,
        with a straight-through gradient.
    drawn: error of the lip gap of a sampled code."""

    latent: float = 1.0
    expression: float = 0.15
    jaw: float = 0.1
    velocity: float = 0.0
    lips: float = 0.0
    codes: float = 0.0
    drawn: float = 0.0


class Focus:
    """The parts of an ARKit-layout face that matter: weights of the channels, and the lip gap in mm.

    gap: the lip gap as a linear function, from `motion.lips.lip_gap_weights`.
    mouth, jaw: weight of these channels relative to 1.
    shut: additional weight of frames with shut lips."""

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
        """Map normalised coefficients (B, T, 53) -> lip gap (B, T) in mm."""
        slope = (self.change @ self.turn).to(motion)
        return motion @ slope + float(self.neutral + self.change @ self.zero)

    def lips(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """Return the mean error of the lip gap in mm; frames in which the true lips are shut have 1 + `shut` times the
        weight.

        ours, theirs: (B, T, 53) normalised."""
        a, b = self.lip_gap(ours), self.lip_gap(theirs)
        weight = 1 + self.shut * (b < CLOSED_MM)
        return ((a - b).abs() * weight).sum() / weight.sum()


def split_l1(a: Tensor, b: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the mean absolute errors of expression and jaw between a and b (B, T, 53); weight: (53,) of the channels.
    """
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
    """Return the sum () of the terms {name: ()} in `parts`, each times the field of that name in `weights`."""
    known = {f.name for f in fields(weights)}
    terms: list[Tensor] = [getattr(weights, name) * value for name, value in parts.items() if name in known]
    return sum(terms[1:], terms[0])


def stage_one(
    recovered: Tensor, passed: Quantised, motion: Tensor, weights: PriorWeights, focus: Focus | None = None
) -> tuple[Tensor, Parts]:
    """Compute the loss of stage 1 -> (weighted sum (), {"bottleneck", "expression", "jaw", "velocity", "lips": term
    ()}).

    recovered: (B, T, 53) the prior's reconstruction.
    passed: the bottleneck's output with its own loss.
    motion: (B, T, 53) truth.
    weights: factor of each term; terms of ours (velocity, lips) are left out at 0.
    focus: which channels matter, needed for the lips; None: all alike."""
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
    """Compute the loss of stage 2 -> (weighted sum (), {term: ()}); the terms are the fields of `PredictorWeights`.

    prior: the trained motion prior, which does not change.
    predicted: (B, T, C) latent before the bottleneck.
    motion: (B, T, 53) truth.
    weights: factor of each term.
    focus: which channels matter; None: all alike.
    rounded: True computes the latent term as the released code does, with a gradient that is the sign of rounding noise
        where the codes are equal; False makes it zero there.
    draw: how codes are sampled for the term `drawn`; None: the default settings."""
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
    """Sample codes -> (B, T, C), whose gradient is that of the expected code at the same temperature.

    prior: holds the codes; predicted: (B, T, C) latent before the bottleneck; draw: how to sample. A sample of the VAE
        variant has its own gradient instead."""
    if prior.config.kind == "vae":
        return prior.bottleneck(predicted, draw).latent
    quantiser = prior.quantize
    distances = quantiser.distances(quantiser.rows(predicted))
    chances = quantiser.logits(distances, draw.temperature).softmax(1)
    hard = quantiser.embedding(quantiser.choose(distances.detach(), draw, predicted.shape[1]))
    mean = chances @ quantiser.embedding.weight
    return quantiser.unrows(hard.detach() + (mean - mean.detach()), predicted)


def fresh_codes(prior: MotionPrior, z: Tensor, indices: Tensor, generator: torch.Generator) -> int:
    """Replace the codes of a prior that a batch does not use by random latents of the batch -> how many were replaced.

    prior: changed in place; z: (B, T, C) latents of the batch; indices: (rows,), the codes that it uses; generator:
        draws."""
    quantiser = prior.quantize
    rows = quantiser.rows(z.detach())
    unused = torch.bincount(indices, minlength=quantiser.embedding.num_embeddings) == 0
    chosen = torch.randint(len(rows), (int(unused.sum()),), generator=generator)
    with torch.no_grad():
        quantiser.embedding.weight[unused] = rows[chosen.to(rows.device)]
    return len(chosen)


def spread_codes(prior: MotionPrior, z: Tensor, generator: torch.Generator, rounds: int = 8) -> None:
    """Initialise the codes of a prior by k-means on latents.

    prior: changed in place; z: (B, T, C) latents, of which random ones are the start; generator: draws these; rounds:
        of k-means."""
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
    """Return the number by which squared code distances are divided before sampling (`Quantiser.unit`).

    It is twice the median squared distance of a code to its nearest neighbour, so that at temperature 0.2 most samples
    are near codes."""
    codes = prior.quantize.embedding.weight.detach()
    gaps = torch.cdist(codes, codes).square().fill_diagonal_(torch.inf).amin(1)
    return float(2 * gaps.median())


def normalised(arkit: Tensor) -> Tensor:
    """Map ARKit coefficients (..., 52) -> the networks' normalised parameters (..., 53)."""
    return normalise(layout_map().face(arkit))
