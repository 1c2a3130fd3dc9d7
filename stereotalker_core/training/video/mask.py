"""Train `MaskPredictor`: guides, distorted on purpose, to the soft regions of the true frame.

    python -m stereotalker_core train mask --data data/avatars/train --run runs/mask --steps N --out mask.safetensors

A fit never has the true silhouette. Besides the perturbed fits in the set, half of the exact ones are warped (a smooth
random field and a change of scale about the middle), while the target stays: the network learns to look at the lifted
colours, not only at the silhouette it is given.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ... import checkpoint
from ...precision import channels_last_weights
from ...records import Guides
from ...shapes import REGIONS
from ...synthetic.data.avatar_frames import AvatarData, Rows
from ...video.guides.maps import guide_tensor
from ...video.networks.mask import MaskPredictor
from ..loop import Batch, Schedule, fit, generator
from ..provenance import made
from .frames import counted, frame_arguments, open_frames

LACKING = 2.0  # more weight of the person where the guides show background


def region_targets(rows: Rows) -> Tensor:
    """Return the true soft regions (N, 4, H, W) of frames: background, body, face, hands, which sum to one.

    The background is 1 - alpha; alpha itself goes to the region with which the pixel is labelled, or to the body
    without label."""
    label = rows.region.clamp_min(1)
    person = F.one_hot(label, len(REGIONS)).movedim(-1, 1).float() * rows.alpha
    person[:, :1] = 1 - rows.alpha
    return person


def warp_guides(guides: Guides, rng: np.random.Generator, amount: float = 0.025, scale: float = 0.05) -> Guides:
    """Warp guides by a smooth random displacement (std `amount` of half the side) and a random scale about the centre.

    scale: largest relative change of scale."""
    count, _, rows, columns = guides.normal.shape
    base = F.affine_grid(torch.eye(2, 3).repeat(count, 1, 1), [count, 1, rows, columns], align_corners=False)
    factor = 1 + scale * torch.from_numpy(rng.uniform(-1, 1, (count, 1, 1, 2)).astype(np.float32))
    field = torch.from_numpy(rng.normal(0, amount, (count, 2, 6, 6)).astype(np.float32))
    field = F.interpolate(field, (rows, columns), mode="bicubic", align_corners=False).permute(0, 2, 3, 1)
    grid = base * factor + field

    def take(x: Tensor, mode: str = "bilinear") -> Tensor:
        return F.grid_sample(x, grid, mode=mode, padding_mode="border", align_corners=False)

    part = take(guides.part, "nearest")
    normal, visibility = take(guides.normal) * (part > 0), take(guides.visibility) * (part > 0)
    return Guides(normal, part, guides.depth, take(guides.lift), visibility, guides.yaw)


class MaskBatches:
    """The source of training batches: called with a step, it returns a dictionary of B frames.

    "guide" (B, G, H/4, W/4); "part" (B, 1, H, W) labels; "target" (B, 4, H, W), the true regions.
    data: the rendered frames; batch: B; distort: probability that guides are warped."""

    def __init__(self, data: AvatarData, batch: int = 8, seed: int = 0, distort: float = 0.5) -> None:
        self.data, self.batch, self.seed, self.distort = data, batch, seed, distort

    def __call__(self, step: int) -> Batch:
        rng = generator(self.seed, step)
        rows = self.data.rows(self.data.some(rng, self.batch), rng.random(self.batch) < 0.5)
        guides = rows.guides
        if rng.random() < self.distort:
            guides = warp_guides(guides, rng)
        return {
            "guide": guide_tensor(guides, self.data.n_parts),
            "part": guides.part,
            "target": region_targets(rows),
        }


def loss(model: MaskPredictor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Return the loss () of a batch, cross entropy of the regions plus soft Dice loss, and {"mask_iou": of the person}.

    Face and hands have larger weights, and so do hair and clothes outside the silhouette in the guides: they are few
    pixels, but the reason for the predictor."""
    target = batch["target"]
    silhouette = model.silhouette(batch["part"])
    log = model(batch["guide"], silhouette).float().log_softmax(1)
    lacking = (1 - target[:, 0]) * silhouette[:, 0]
    weight = 1 + 2 * target[:, 2:].sum(1) + LACKING * lacking
    entropy = -((target * log).sum(1) * weight).mean()
    share = log.exp()
    overlap = 2 * (share * target).sum((0, 2, 3)) / (share + target).sum((0, 2, 3)).clamp_min(1.0)
    person, truth = share[:, 0] < 0.5, target[:, 0] < 0.5
    iou = float((person & truth).sum() / (person | truth).sum().clamp_min(1))
    return entropy + 0.2 * (1 - overlap).mean(), {"mask_iou": iou}


def train(
    data: AvatarData, run: str, steps: int, seed: int = 0, batch: int = 8, start: MaskPredictor | None = None
) -> MaskPredictor:
    """Train (or resume in `run`) a mask predictor on the rows of `data`.

    run: folder of the training state; steps: optimiser steps; batch: frames per step; start: a predictor to continue
    from, at half the learning rate."""
    torch.manual_seed(seed)
    model = start if start is not None else MaskPredictor.for_parts(data.part_names)
    schedule = Schedule(steps, lr=2e-3 if start is None else 1e-3, warmup=50, seed=seed)
    return fit(channels_last_weights(model), MaskBatches(data, batch, seed), loss, schedule, run)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train mask`."""
    frame_arguments(parser, steps=1200)
    parser.add_argument("--start", help="a mask_predictor.safetensors to go on from")


def run(options: argparse.Namespace) -> None:
    """Train a mask predictor and write its file."""
    data = open_frames(options)
    start = checkpoint.load(MaskPredictor, options.start) if options.start else None
    model = train(data, options.run, options.steps, options.seed, start=start)
    checkpoint.save(model, options.out, **made(options, **counted(data)))
