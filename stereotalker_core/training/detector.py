"""Train `KeypointDetector` on synthetic portraits under strong augmentation.

`python -m stereotalker_core.training.detector --data data/portraits` makes the portraits if they are missing, trains,
resumes, evaluates on unseen people and saves.
"""

import argparse
import json
import logging
import math
import shlex
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import checkpoint
from ..body.detector import BODY_POINTS, CHECKPOINT, FACE_MARGIN, FACE_POINTS, KeypointDetector, face_box
from ..body.model import HalfBody
from ..synthetic.portraits import make_portraits
from . import portrait_augment as pa
from .loop import Batch, Schedule, fit, generator
from .provenance import commit

logger = logging.getLogger(__name__)
_EMPTY = 0.1  # share of pictures without a person
_HEAD = [FACE_POINTS.index(n) for n in BODY_POINTS[:7]]


class Portraits:
    """The rendered portraits as batches of augmented pictures; a pure function of the step."""

    def __init__(self, folder: str | Path, config: KeypointDetector.Config, batch: int = 16, seed: int = 0):
        folder = Path(folder)
        names = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["names"]
        self.rgb, self.alpha = (np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("rgb", "alpha"))
        points = torch.from_numpy(np.load(folder / "keypoints.npy"))
        self.body = points[:, [names.index(n) for n in BODY_POINTS]]
        self.face = points[:, [names.index(n) for n in FACE_POINTS]]
        self.config, self.size, self.seed, self.textures = config, batch, seed, pa.load_textures()

    def __call__(self, step: int) -> Batch:
        rng = generator(self.seed, step)
        rows = [self._whole(rng) for _ in range(self.size)]
        whole = {k: torch.stack([r[k] for r in rows]) for k in rows[0]}
        rows = [self._crop(rng) for _ in range(self.size)]
        return whole | {k: torch.stack([r[k] for r in rows]) for k in rows[0]}

    def _source(self, rng: np.random.Generator) -> tuple[int, Tensor, float]:
        """Index, premultiplied rgba (4, H, W) in [0, 1], face height in px."""
        i = int(rng.integers(len(self.rgb)))
        rgba = np.concatenate([self.rgb[i], self.alpha[i][..., None]], -1)
        _, side = face_box(self.face[i, _HEAD])
        return i, torch.from_numpy(rgba).permute(2, 0, 1).float() / 255, float(side) / FACE_MARGIN

    def _compose(
        self, rng: np.random.Generator, rgba: Tensor, matrix: Tensor, size: int, face: Tensor, height: float
    ) -> tuple[Tensor, Tensor]:
        """Warp by matrix (2, 3), output px -> source px; face (70, 2) and height in output px. -> picture, alpha."""
        y, x = pa._grid(size)
        out = torch.stack([x.expand(size, size), y.expand(size, size), torch.ones(size, size)], -1) @ matrix.T
        extent = torch.tensor([rgba.shape[2], rgba.shape[1]])
        lowest = torch.stack([torch.full((), 1e9), extent[1] - 0.51])  # below the picture's end its last row goes on
        grid = torch.minimum(out, lowest) / extent * 2 - 1
        scale = float(matrix[:, :2].det().abs().sqrt())
        if scale > 1.6:
            small = [round(s / scale) for s in rgba.shape[1:]]
            rgba = F.interpolate(rgba[None], small, mode="bilinear", antialias=True, align_corners=False)[0]
        warped = F.grid_sample(rgba[None], grid[None], align_corners=False)[0]
        rgb, alpha = warped[:3], warped[3:]
        eyes = face[-2:]
        if rng.random() < 0.6:
            rgb, alpha = pa.add_hair(rng, rgb, alpha, eyes.mean(0), height)
        if rng.random() < 0.15:
            rgb = pa.add_glasses(rng, rgb, alpha, eyes, height)
        if rng.random() < 0.4:
            where = face[8] + height * torch.from_numpy(rng.uniform((-0.8, 0.2), (0.8, 1.5)).astype(np.float32))
            rgb = pa.add_patch(rng, rgb, alpha, where, height * float(rng.uniform(0.2, 0.9)), True)
        picture = rgb + pa.place(rng, size, self.textures) * (1 - alpha)
        if rng.random() < 0.12:
            where = face[int(rng.integers(len(face)))]
            picture = pa.add_patch(rng, picture, alpha, where, height * float(rng.uniform(0.05, 0.3)), False)
        return pa.camera_effects(rng, picture) * 2 - 1, alpha.clamp(0, 1)

    def _whole(self, rng: np.random.Generator) -> Batch:
        size, n = self.config.size, len(BODY_POINTS)
        if rng.random() < _EMPTY:
            picture = pa.place(rng, size, self.textures)
            for _ in range(int(rng.integers(0, 4))):
                where = torch.from_numpy(rng.uniform(0, size, 2).astype(np.float32))
                picture = pa.add_patch(rng, picture, picture[:1] * 0 + 1, where, rng.uniform(0.05, 0.4) * size, True)
            zero = torch.zeros(n)
            mask = torch.zeros(1, size // 2, size // 2)
            picture = pa.camera_effects(rng, picture) * 2 - 1
            return {"image": picture, "xy": torch.zeros(n, 2), "inside": zero, "mask": mask, "person": zero[0]}
        i, rgba, height = self._source(rng)
        share = math.exp(rng.uniform(math.log(2.0), math.log(7.5)))  # picture height in face heights
        scale = size / share / height  # output px per source px
        nose, bottom = self.body[i, BODY_POINTS.index("face.30")], rgba.shape[1]
        target = torch.tensor([rng.uniform(0.3, 0.7), rng.uniform(0.15, 0.55)], dtype=torch.float32) * size
        lowest = size * (1.0 if rng.random() < 0.6 else rng.uniform(0.75, 1.0))
        target[1] = max(float(target[1]), lowest - (bottom - float(nose[1])) * scale)  # no floating trunk
        target[1] = min(float(target[1]), 0.8 * size)
        matrix = _inverse_similarity(rng, nose, target, scale, 15)
        face, points = _forward(matrix, self.face[i]), _forward(matrix, self.body[i])
        picture, alpha = self._compose(rng, rgba, matrix, size, face, height * scale)
        inside = ((points > 0) & (points < size)).all(1).float()
        source = self.body[i]
        inside *= ((source > 0) & (source < source.new_tensor([rgba.shape[2], bottom]))).all(1).float()
        mask = F.avg_pool2d(alpha, 2)
        return {"image": picture, "xy": points / size, "inside": inside, "mask": mask, "person": torch.ones(())}

    def _crop(self, rng: np.random.Generator) -> Batch:
        size = self.config.face_size
        i, rgba, height = self._source(rng)
        centre, side = face_box(self.face[i, _HEAD])
        scale = size / float(side) * math.exp(rng.normal(0, 0.12))
        shift = torch.from_numpy(rng.normal(0, 0.06, 2).astype(np.float32)) * size
        matrix = _inverse_similarity(rng, centre, shift + size / 2, scale, 18)
        face = _forward(matrix, self.face[i])
        picture, _ = self._compose(rng, rgba, matrix, size, face, height * scale)
        return {"face": picture, "face_xy": face / size}


def _inverse_similarity(
    rng: np.random.Generator, point: Tensor, target: Tensor, scale: float, degrees: float
) -> Tensor:
    """(2, 3) from output px to source px of a turn and scaling that puts source `point` on output `target`."""
    angle = math.radians(float(rng.normal(0, degrees / 2)))
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]) / scale
    return torch.cat([turn, (point - turn @ target)[:, None]], 1)


def _forward(matrix: Tensor, points: Tensor) -> Tensor:
    """Source px (N, 2) -> output px, for a matrix of `_inverse_similarity`."""
    return (points - matrix[:, 2]) @ torch.linalg.inv(matrix[:, :2]).T


def _point_loss(xy: Tensor, log_scale: Tensor, heat: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Laplace likelihood of the positions + cross-entropy of the heatmaps, and the mean distance."""
    distance = (xy - target).square().sum(-1).add(1e-8).sqrt()
    total = weight.sum().clamp_min(1)
    likelihood = distance / log_scale.clamp(-7, 1).exp() + log_scale.clamp(-7, 1)
    cells = heat.shape[-1]
    steps = (torch.arange(cells, device=heat.device) + 0.5) / cells
    near = [torch.exp(-0.5 * ((steps - target[..., k : k + 1]) * cells / 1.2).square()) for k in (0, 1)]
    goal = (near[1][..., :, None] * near[0][..., None, :]).flatten(2)
    goal = goal / goal.sum(-1, keepdim=True).clamp_min(1e-6)
    entropy = -(goal * heat.float().flatten(2).log_softmax(-1)).sum(-1)
    value = ((likelihood + 20 * distance + entropy) * weight).sum() / total
    return value, (distance.detach() * weight).sum() / total


def loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Points, presence, person and mask of whole pictures + points of face crops."""
    xy, log_scale, presence, person, mask, heat = model.locate(batch["image"])
    points, off = _point_loss(xy, log_scale, heat, batch["xy"], batch["inside"])
    is_person = batch["person"]
    seen = F.binary_cross_entropy_with_logits(presence, batch["inside"], reduction="none").mean(1)
    found = F.binary_cross_entropy_with_logits(person, is_person)
    area = F.binary_cross_entropy_with_logits(mask, batch["mask"])
    face_xy, face_scale, face_heat = model.locate_face(batch["face"])
    ones = torch.ones_like(face_scale)
    face, face_off = _point_loss(face_xy, face_scale, face_heat, batch["face_xy"], ones)
    value = points + (seen * is_person).mean() + found + 4 * area + face
    soft = mask.detach().sigmoid() > 0.5
    truth = batch["mask"] > 0.5
    parts = {
        "mask_iou": float((soft & truth).sum() / (soft | truth).sum().clamp_min(1)),
        "error_256": float(off) * 256,  # px of a 256 px picture
        "face_error": float(face_off) * FACE_MARGIN,  # face heights
        "person_accuracy": float(((person > 0) == (is_person > 0.5)).float().mean()),
    }
    return value, parts


@torch.no_grad()
def evaluate(model: KeypointDetector, folder: str | Path, batches: int = 6) -> dict[str, float]:
    """Mean of the loss's parts on augmented pictures of other people."""
    data = Portraits(folder, model.config, 16, seed=99)
    rows = [loss(model, data(i))[1] for i in range(batches)]
    return {k: round(sum(r[k] for r in rows) / len(rows), 4) for k in rows[0]}


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """The command line: train, evaluate, save."""
    parser = argparse.ArgumentParser(prog="train detector", description="Train the embedded keypoint detector.")
    parser.add_argument("--data", type=Path, default=Path("data/portraits"))
    parser.add_argument("--people", type=int, default=1200, help="people to make where the data is missing")
    parser.add_argument("--run", type=Path, default=Path("runs/detector"))
    parser.add_argument("--out", type=Path, default=CHECKPOINT)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    o = parser.parse_args(arguments)
    for name, people, first in (("train", o.people, 500_000), ("val", 24, 600_000)):
        if not (o.data / name / "meta.json").is_file():
            make_portraits(HalfBody(), o.data / name, people, first_seed=first)
    torch.manual_seed(o.seed)
    model = KeypointDetector()
    schedule = Schedule(o.steps, lr=o.lr, seed=o.seed, weight_decay=1e-3, save_every=200)
    model = fit(model, Portraits(o.data / "train", model.config, o.batch, o.seed), loss, schedule, o.run, o.device)
    metrics = evaluate(model.cpu(), o.data / "val")
    logger.info("unseen people: %s", metrics)
    command = "python -m stereotalker_core.training.detector " + shlex.join(arguments or sys.argv[1:])
    provenance = {"command": command, "seed": o.seed, "commit": commit(), "metrics": metrics}
    checkpoint.save(model, o.out, **provenance)
    return metrics


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    main()
