"""The six metrics of ProbTalk3D (section 5): MVE, LVE, FDD, MEE, CE and Diversity, on vertices of a face."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...shapes import dims

N_SAMPLES = 10


@dataclass(frozen=True)
class FaceRegions:
    """The vertex ids of the mouth and of the upper face, and the face at rest `template` (V, 3), mm."""

    mouth: Tensor
    upper: Tensor
    template: Tensor


def face_metrics(
    truth: Sequence[Tensor], samples: Sequence[Tensor], regions: FaceRegions, orders: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Compute all six metrics over clips.

    truth: (T, V, 3) per clip; cut to the prediction where it is longer.
    samples: (10, T', V, 3) per clip.
    regions: vertices of mouth and upper face.
    orders: a permutation of the 10 samples per clip, for `diversity`.

    Frames of all clips have equal weight, except in FDD and Diversity, which are means over clips. LVE, MEE and CE are
    squared distances; FDD is signed (truth minus prediction)."""
    if not truth or not len(truth) == len(samples) == len(orders):
        raise ValueError(f"{len(truth)} truths, {len(samples)} predictions and {len(orders)} orders do not match")
    rows = [_clip_metrics(*clip, regions) for clip in zip(truth, samples, orders, strict=True)]
    pooled = {name: torch.cat([row[name] for row in rows]).mean() for name in ("MVE", "LVE", "MEE", "CE")}
    clips = {name: torch.stack([row[name] for row in rows]).mean() for name in ("FDD", "Diversity")}
    return {name: float(value) for name, value in (pooled | clips).items()}


def _clip_metrics(truth: Tensor, samples: Tensor, order: Sequence[int], regions: FaceRegions) -> dict[str, Tensor]:
    known = dims(samples, "N T V 3")
    if known["N"] != N_SAMPLES:
        raise ValueError(f"the metrics are defined on {N_SAMPLES} samples per clip, got {known['N']}")
    truth = truth[: known["T"]]
    dims(truth, "T V 3", T=known["T"], V=known["V"])
    first = samples[0]
    lips = torch.stack([worst_lip(sample, truth, regions.mouth) for sample in samples])  # (10, T)
    return {
        "MVE": (first - truth).norm(dim=-1).mean(-1),
        "LVE": lips[0],
        "MEE": worst_lip(samples.mean(0), truth, regions.mouth),
        "CE": lips[lips.sum(1).argmin()],
        "FDD": liveliness(truth, regions) - liveliness(first, regions),
        "Diversity": diversity(samples, order),
    }


def worst_lip(a: Tensor, b: Tensor, mouth: Tensor) -> Tensor:
    """Map two clips (T, V, 3) -> (T,) the largest squared distance of a mouth vertex between them."""
    return (a[:, mouth] - b[:, mouth]).square().sum(-1).amax(-1)


def liveliness(vertices: Tensor, regions: FaceRegions) -> Tensor:
    """Map vertices (T, V, 3) -> () the standard deviation over time of the squared distance from rest, averaged over
    the upper face."""
    moved = (vertices[:, regions.upper] - regions.template[regions.upper]).square().sum(-1)
    return moved.std(0, correction=0).mean()


def diversity(samples: Tensor, order: Sequence[int]) -> Tensor:
    """Map samples (N, T, V, 3), N even -> () mean distance between the pairs order[i], order[i + N / 2]."""
    if sorted(order) != list(range(len(samples))) or len(samples) % 2:
        raise ValueError(f"order {list(order)} is no permutation of an even number of samples ({len(samples)})")
    a, b = samples[list(order)].chunk(2)
    return (a - b).norm(dim=-1).mean()


def random_orders(clips: int, seed: int = 1234) -> list[list[int]]:
    """Return a random permutation of the ten samples for every clip."""
    generator = np.random.default_rng(seed)
    return [generator.permutation(N_SAMPLES).tolist() for _ in range(clips)]


def movement(vertices: Tensor) -> tuple[Tensor, Tensor]:
    """Map (T, V, 3) -> mean (V,) and standard deviation (V,) over time of the displacement between frames."""
    step = vertices.diff(dim=0).norm(dim=-1)
    return step.mean(0), step.std(0, correction=0)
