"""Train view experts beside the last convolution of a finished renderer.

    python -m stereotalker_core.training.video.head_experts --data FOLDER --run R --out view_experts.safetensors

Experts in the feed-forwards that learn beside a growing base meet other features when a video is made (temporal layers,
predicted regions, the sharpening decoder) and cost a pass of everything a step. Here the renderer runs once over the
clips as it would for a video, without view experts; what its last convolution reads is kept in the run's folder, and a
step is only the experts and the decoder. The loss is what the evaluation measures: the logarithm of the squared error
over the person, in a crop of every frame. Each expert is one full matrix: `down` learns, `up` picks the latents.
"""

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ... import checkpoint
from ...checkpoint import write_atomically
from ...records import Guides
from ...synthetic.data.avatar_frames import CLIP, AvatarData, Rows, find_shards
from ...video.networks.experts import ViewExperts
from ...video.rendering.nano import NanoRenderer
from ..loop import Batch, Schedule, fit, generator
from ..stage2_command import add_arguments, part_names, provenance

log = logging.getLogger(__name__)
SIDE, SIDE_MORE, LEAST_SIDE = 60, 2.0, 2  # degrees; frames from there are drawn more often; so many make a clip of use
CROP, WANDER = 128, 24  # side of a crop, pixels by which its middle misses a random pixel of the person
DECIBELS = 4.3429  # of a natural logarithm of squared errors
FLOOR = 2e-4  # squared error (of images in [-1, 1]) far below which a frame counts as right


def chosen_clips(data: AvatarData) -> list[np.ndarray]:
    """Row indices of the clips to learn from: the first of every identity and those with views from the side."""
    every = [(i, own[i : i + CLIP]) for own in data.rows_of for i in range(0, len(own), CLIP)]
    return [rows for i, rows in every if i == 0 or (np.abs(data.yaw[rows]) >= SIDE).sum() >= LEAST_SIDE]


@torch.no_grad()
def features(renderer: NanoRenderer, data: AvatarData) -> dict[str, Tensor]:
    """i (N,) row indices; h (N, C, h, w) bfloat16, what the last convolution reads; z (N, c, h, w) what comes of it."""
    renderer = replace(renderer, view_experts=None)
    found: dict[str, list[Tensor]] = {"h": [], "z": [], "i": []}
    read: list[Tensor] = []
    hook = renderer.unet.unet.conv_out.register_forward_hook(lambda module, inputs, out: read.append(inputs[0]))
    try:
        for clip in chosen_clips(data):
            rows = data.rows(clip)
            guide = rows.guide(data.n_parts)
            portrait = renderer.encode_portrait(data.portrait(data.identity[clip[:1]]))
            regions, noise = renderer.predict_regions(rows.guides, guide), renderer.noise(size(rows), int(clip[0]))
            found["z"].append(renderer.denoise(rows.guides, guide, regions, portrait, noise, 1).float())
            found["h"].append(read.pop().bfloat16())
            found["i"].append(torch.from_numpy(clip))
    finally:
        hook.remove()
    return {name: torch.cat(values) for name, values in found.items()}


def size(rows: Rows) -> tuple[int, int]:
    """(H, W) of frames."""
    return tuple(rows.rgb.shape[-2:])


def kept_features(renderer: NanoRenderer, data: AvatarData, run: Path) -> dict[str, Tensor]:
    """`features`, computed once a run."""
    path = run / "features.pt"
    if not path.is_file():
        run.mkdir(parents=True, exist_ok=True)
        found = features(renderer, data)
        write_atomically(path, lambda name: torch.save(found, name))
    return torch.load(path, weights_only=True)


class HeadBatches:
    """batch(step): crops of `count` frames, h, z, yaw, and rgb, person, guide at the same place."""

    def __init__(self, data: AvatarData, found: dict[str, Tensor], count: int = 12, seed: int = 0) -> None:
        self.data, self.found, self.count, self.seed = data, found, count, seed
        share = np.where(np.abs(data.yaw[found["i"].numpy()]) >= SIDE, SIDE_MORE, 1.0)
        self.share = share / share.sum()

    def __call__(self, step: int) -> Batch:
        rng = generator(self.seed, step)
        pick = rng.choice(len(self.share), self.count, replace=False, p=self.share)
        rows = self.data.rows(self.found["i"].numpy()[pick])
        side = min(CROP, *size(rows))
        corner = np.stack([self._corner(alpha, side, rng) for alpha in (rows.alpha[:, 0] > 0.5).numpy()])

        def cut(x: Tensor, scale: int = 1) -> Tensor:
            places = zip(x, corner // scale, strict=True)
            return torch.stack([v[..., y : y + side // scale, z : z + side // scale] for v, (y, z) in places])

        g = rows.guides
        guides = Guides(*(cut(x) for x in (g.normal, g.part, g.depth, g.lift, g.visibility)), yaw=g.yaw)
        near = Rows(cut(rows.rgb), cut(rows.alpha), cut(rows.region), guides, rows.identity)
        return {
            "h": cut(self.found["h"][pick], 8).float(),
            "z": cut(self.found["z"][pick], 8),
            "yaw": g.yaw,
            "rgb": near.rgb,
            "person": (near.alpha > 0.5).float(),
            "guide": near.guide(self.data.n_parts),
        }

    @staticmethod
    def _corner(person: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
        inside = np.argwhere(person) if person.any() else np.argwhere(~person)
        middle = inside[rng.integers(len(inside))] + rng.integers(-WANDER, WANDER + 1, 2)
        return np.clip((middle - side // 2) // 8 * 8, 0, np.array(person.shape) - side)


def head_loss(renderer: NanoRenderer):
    """The loss of HeadBatches through a renderer's decoder; also what the experts gain, in dB."""

    def decoded(latents: Tensor, guide: Tensor) -> Tensor:
        return renderer.vae.decode(latents, guide.contiguous(memory_format=torch.channels_last)).float()

    def loss(experts: ViewExperts, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        shape = batch["h"].shape[2:]
        gates = experts.gates(batch["yaw"], None, shape).repeat_interleave(experts.config.rank, -1)
        hidden = batch["h"].flatten(2).transpose(1, 2) @ experts.down[0].T
        added = ((hidden * gates) @ experts.up[0].T).transpose(1, 2).unflatten(2, shape)
        with torch.no_grad():
            before = log_error(decoded(batch["z"], batch["guide"]) - batch["rgb"], batch["person"])
        after = log_error(decoded(batch["z"] + added, batch["guide"]) - batch["rgb"], batch["person"])
        gain = DECIBELS * (before - after.detach())
        sides = batch["yaw"].abs() >= SIDE
        parts = {"gain_db": float(gain.mean())}
        if sides.any():
            parts["side_gain_db"] = float(gain[sides].mean())
        return after.mean(), parts

    return loss


def log_error(error: Tensor, inside: Tensor) -> Tensor:
    """(N,) log of the mean squared error (N, 3, H, W) inside a mask (N, 1, H, W)."""
    area = inside.sum((1, 2, 3)).clamp_min(1)
    return ((error.square().mean(1, keepdim=True) * inside).sum((1, 2, 3)) / area + FLOOR).log()


def new_head(renderer: NanoRenderer) -> ViewExperts:
    """View experts of full matrices: `up` the identity, `down` zero, so that nothing changes yet."""
    experts = ViewExperts.for_head(renderer.unet, renderer.unet.config.latent_channels)
    with torch.no_grad():
        experts.up[0].copy_(torch.eye(len(experts.up[0])).repeat(1, experts.config.count))
        experts.down[0].zero_()
    return experts


def train_head(
    renderer: NanoRenderer, data: AvatarData, run: str | Path, steps: int, seed: int = 0, lr: float = 1.5e-3
) -> ViewExperts:
    """New view experts for a renderer, whose own networks stay as they are; its old view experts are left out."""
    for module in (renderer.unet, renderer.reference, renderer.vae, renderer.mask_predictor):
        module.eval().requires_grad_(False)
    found = kept_features(renderer, data, Path(run))
    log.info("%d frames, %d of them from the side", len(found["i"]), int((np.abs(data.yaw[found["i"]]) >= SIDE).sum()))
    schedule = Schedule(steps, lr, warmup=10, ema=0.97, weight_decay=0.0, seed=seed, log_every=10, save_every=20)
    batches, experts = HeadBatches(data, found, seed=seed), new_head(renderer)
    return fit(experts, batches, head_loss(renderer), schedule, run, trainable=lambda name: name.startswith("down"))


def main(arguments: list[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, steps=200)
    parser.add_argument("--renderer", default=str(checkpoint.NANO), help="folder of the six files")
    parser.add_argument("--lr", type=float, default=1.5e-3)
    options = parser.parse_args(arguments)
    data = AvatarData(find_shards(options.data, options.unfinished), part_names())
    renderer = NanoRenderer.load(options.renderer)
    experts = train_head(renderer, data, options.run, options.steps, options.seed, lr=options.lr)
    info = provenance(options.seed, frames=len(data), identities=len(data.portraits))
    checkpoint.save(experts, options.out, **info)


if __name__ == "__main__":
    main()
