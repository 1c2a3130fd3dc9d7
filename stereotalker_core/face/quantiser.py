"""The codebook of the motion prior: latent vectors -> codes, nearest or sampled (ProbTalk3D, sections 4.1 and 4.3)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..options import check_limits, option
from ..shapes import dims

ROWS = ("time", "channel")
TEMPERATURE = 0.2  # the released models' default


@dataclass(frozen=True)
class Draw:
    """The settings of how codes are chosen.

    temperature: how far codes may be from the nearest; 0 takes the nearest.
    k: number of codes that are drawn without replacement; the last is used.
    seed: determines the noise.
    coherence: frames over which the noise of a row of channels stays similar; 0 = independent rows, as released.
    first: frame of the recording at which this clip begins, so that overlapping windows use the same noise."""

    temperature: float = option(
        TEMPERATURE, 0, math.inf, "How far performances differ: 0 = always the same, 0.1 to 0.5 recommended.",
        widget=(0, 2), step=0.05,
    )  # fmt: skip
    k: int = option(1, 1, math.inf, "Take the last of k draws: above 1, less likely faces.", widget=(1, 16))
    seed: int = 0
    coherence: float = option(0.0, 0, math.inf)
    first: int = 0

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True)
class Quantised:
    """The output of the quantiser.

    latent: (B, T, C), with the gradient of the input.
    codes: (B, T, C), the same numbers with the gradient of the codebook.
    indices: (rows,) of the codes.
    loss: () codebook and commitment loss.
    perplexity: () effective number of codes in use."""

    latent: Tensor
    codes: Tensor
    indices: Tensor
    loss: Tensor
    perplexity: Tensor


class Quantiser(nn.Module):
    """The codebook of `codes` vectors of size `code_width`, learned by gradient descent.

    rows: "time" as in the released models: (B, C, T) reshaped to rows of code_width numbers, so that a row holds
        successive time samples of one channel, running on into the next. "channel" splits the C channels of each frame
        instead.
    unit: squared distances are divided by it before sampling (1 as released)."""

    def __init__(self, codes: int, code_width: int, rows: str = "time", unit: float = 1.0) -> None:
        super().__init__()
        self.code_width, self.rows_along, self.unit = code_width, rows, unit
        self.embedding = nn.Embedding(codes, code_width)
        nn.init.uniform_(self.embedding.weight, -1 / codes, 1 / codes)

    def rows(self, z: Tensor) -> Tensor:
        """Map latent (B, T, C) -> rows (rows, code_width). ValueError where they do not divide evenly."""
        known = dims(z, "B T C")
        if known["T"] * known["C"] % self.code_width:
            raise ValueError(f"{known['T']} frames of {known['C']} channels are no whole rows of {self.code_width}")
        laid = z.transpose(1, 2) if self.rows_along == "time" else z
        return laid.reshape(-1, self.code_width)

    def unrows(self, rows: Tensor, like: Tensor) -> Tensor:
        """Map rows (rows, code_width) -> (B, T, C), the shape of `like`."""
        batch, frames, width = like.shape
        if self.rows_along == "time":
            return rows.reshape(batch, width, frames).transpose(1, 2)
        return rows.reshape(batch, frames, width)

    def distances(self, rows: Tensor) -> Tensor:
        """Map rows (rows, code_width) -> squared distances to all codes (rows, codes)."""
        codes = self.embedding.weight
        return rows.square().sum(1, keepdim=True) + codes.square().sum(1) - 2 * rows @ codes.T

    def logits(self, distances: Tensor, temperature: float = TEMPERATURE) -> Tensor:
        """Map squared distances (rows, codes) -> log probabilities of the codes, up to a constant."""
        return -distances / (self.unit * temperature)

    def choose(self, distances: Tensor, draw: Draw | None, frames: int) -> Tensor:
        """Map squared distances (rows, codes) -> indices (rows,): nearest, or sampled from softmax(-distance /
        temperature).

        draw: how to sample; None takes the nearest. frames: T of the clip."""
        if draw is None or draw.temperature == 0:
            return distances.argmin(1)
        if draw.coherence:
            return self._choose_coherent(distances, draw, frames)
        generator = torch.Generator(distances.device).manual_seed(draw.seed)
        chance = torch.softmax(self.logits(distances, draw.temperature), 1)
        return torch.multinomial(chance, min(draw.k, chance.shape[1]), generator=generator)[:, -1]

    def _choose_coherent(self, distances: Tensor, draw: Draw, frames: int) -> Tensor:
        """Sample codes by the Gumbel-max trick, with noise that is similar in neighbouring frames -> indices (rows,).

        distances: (rows, codes), squared; draw: how to sample; frames: T of the clip. Each frame by itself has the same
        distribution as without coherence."""
        if self.rows_along == "time":
            raise ValueError("coherent draws need rows of channels; set coherence 0 for this model")
        shape = (-1, frames, distances.shape[0] // frames, distances.shape[1])  # (B or 1, T, rows of a frame, codes)
        scores = self.logits(distances, draw.temperature).reshape(shape)
        batch, _, groups, codes = scores.shape
        noise = [gumbel_track(draw.seed + i, draw.first, frames, groups * codes, draw.coherence) for i in range(batch)]
        ranked = (scores + torch.stack(noise).reshape(shape).to(scores)).topk(min(draw.k, codes), -1).indices
        return ranked[..., -1].flatten()

    def forward(self, z: Tensor, draw: Draw | None = None, rounded: bool = False) -> Quantised:
        """Quantise latent z (B, T, C).

        draw: how codes are sampled; None takes the nearest.
        rounded: compute the latent as z + (codes - z) like the released code, equal to the codes except for rounding;
            otherwise it is exactly the codes, so that equal codes give equal latents."""
        rows = self.rows(z)
        indices = self.choose(self.distances(rows.detach()), draw, z.shape[1])
        codes = self.unrows(self.embedding(indices), z)
        loss = 0.25 * (codes.detach() - z).square().mean() + (codes - z.detach()).square().mean()
        latent = z + (codes - z).detach() if rounded else codes.detach() + (z - z.detach())
        used = torch.bincount(indices, minlength=self.embedding.num_embeddings).to(z) / len(indices)
        return Quantised(latent, codes, indices, loss, torch.exp(-(used * (used + 1e-10).log()).sum()))


def normal_track(seed: int, first: int, frames: int, width: int, coherence: float) -> Tensor:
    """Return standard normal noise (frames, width) that is correlated over about `coherence` frames.

    seed: determines the noise.
    first: frame number of the first row.
    frames, width: rows and columns.
    coherence: frames.

    Frame t depends on (seed, t) alone, so overlapping windows of a recording get the same noise. It interpolates
    anchors that are `coherence` frames apart with cosine and sine weights, whose squares add up to one, so the variance
    is one everywhere."""
    start, last = int(first / coherence), int((first + frames) / coherence) + 2
    anchors = torch.stack([_anchor(seed, i, width) for i in range(start, last)])
    place = (torch.arange(frames, dtype=torch.float64) + first) / coherence - start
    low = place.floor().long()
    angle = ((place - low) * (math.pi / 2))[:, None].float()
    return torch.cos(angle) * anchors[low] + torch.sin(angle) * anchors[low + 1]


def gumbel_track(seed: int, first: int, frames: int, width: int, coherence: float) -> Tensor:
    """Return `normal_track` mapped to standard Gumbel noise by its cumulative distribution function; the same
    arguments."""
    normal = normal_track(seed, first, frames, width, coherence)
    uniform = torch.special.ndtr(normal.double()).clamp(1e-9, 1 - 1e-9)
    return -torch.log(-torch.log(uniform)).float()


def _anchor(seed: int, index: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed((seed * 1_000_003 + index) % (2**63))
    return torch.randn(width, generator=generator)
