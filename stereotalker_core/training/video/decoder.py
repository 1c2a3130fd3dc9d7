"""Finish the guided decoder on what it will really see: the denoiser's one-step latents.

    python -m stereotalker_core.training.video.decoder --vae vae.safetensors --unet folder --run R --out vae.safetensors

Encoder, plain decoder and statistics stay as they are, so the latent space does not move.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ... import checkpoint
from ...precision import mixed_precision
from ...synthetic.data.avatar_frames import AvatarData, Rows, crop_rows, find_shards
from ...video.guides.layout import GuideLayout
from ...video.networks.vae import TinyAutoencoder
from ..loop import Batch, Schedule, fit, generator
from ..stage2_command import add_arguments, part_names, provenance
from .autoencoder import psnr
from .renderer import Denoiser, encode, load_denoiser


class DecoderBatches:
    """batch(step) -> latents of the denoiser, guide, rgb, weight: all the same random crops (aligned to 8)."""

    def __init__(
        self, data: AvatarData, vae: TinyAutoencoder, model: Denoiser, batch: int = 12, size: int = 128, seed: int = 0
    ) -> None:
        self.data, self.batch, self.size, self.seed = data, batch, size, seed
        self.vae, self.model = vae, model.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def denoise(self, rows: Rows, portrait: Tensor, rng: np.random.Generator) -> Tensor:
        """One-step latents (N, C, h, w) of full frames."""
        lift = encode(self.vae, rows.guides.lift)
        noise = torch.from_numpy(rng.standard_normal((1, *lift.shape[1:])).astype(np.float32)).expand_as(lift)
        batch = {
            "portrait": encode(self.vae, portrait),
            "guide": rows.guide(self.data.n_parts),
            "yaw": rows.guides.yaw,
            "lift": lift,
            "regions": None,
        }
        with torch.no_grad(), mixed_precision(lift.device):
            return self.model(batch, noise, torch.ones(len(lift))).float()

    def __call__(self, step: int) -> Batch:
        rng = generator(self.seed, step)
        identities = max(1, self.batch // 4)
        index = self.data.draw(rng, identities, self.batch // identities)
        flip = rng.random(identities) < 0.5
        rows = self.data.rows(index, flip.repeat(len(index) // identities))
        portrait = self.data.portrait(self.data.identity[index[:: len(index) // identities]], flip)
        latents = self.denoise(rows, portrait, rng)
        wide = torch.nn.functional.interpolate(latents, scale_factor=8.0)  # so that one crop fits all maps
        channels = latents.shape[1]
        g = rows.guides
        merged = Rows(torch.cat([rows.rgb, wide], 1), rows.alpha, rows.region, g, rows.identity)
        cut = crop_rows(merged, self.size, rng)
        return {
            "latents": cut.rgb[:, 3 : 3 + channels, ::8, ::8].contiguous(),
            "rgb": cut.rgb[:, :3].contiguous(),
            "guide": cut.guide(self.data.n_parts),
            "weight": cut.weight(),
        }


def edges(x: Tensor) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical differences of neighbouring pixels."""
    return x.diff(dim=-1), x.diff(dim=-2)


def loss(model: TinyAutoencoder, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Weighted L1 + squared error + L1 of the edges, person and face counted more."""
    rgb, weight = batch["rgb"], batch["weight"]
    out = model.decode(batch["latents"], batch["guide"].contiguous(memory_format=torch.channels_last))
    error = out - rgb
    across, down = edges(error)
    edge = (across.abs() * weight[..., 1:]).mean() + (down.abs() * weight[..., 1:, :]).mean()
    value = (error.abs() * weight).mean() + 4 * (error.square() * weight).mean() + 0.25 * edge
    return value, {"psnr": psnr(error), "lift_psnr": psnr(batch_lift(batch) - rgb)}


def batch_lift(batch: Batch) -> Tensor:
    """The lift, read back from the guide tensor."""
    return GuideLayout().map_of(batch["guide"], "lift")


def train_decoder(
    vae: TinyAutoencoder, denoiser: Denoiser, data: AvatarData, run: str | Path, steps: int, seed: int = 0,
    batch: int = 12, size: int = 128,
) -> TinyAutoencoder:  # fmt: skip
    """Fine-tune (or resume in `run`) the guided decoder; returns the autoencoder it was given."""
    import copy

    frozen = copy.deepcopy(vae).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    batches = DecoderBatches(data, frozen, denoiser, batch, size, seed + 3)
    schedule = Schedule(steps, lr=6e-4, warmup=20, ema=0.99, seed=seed + 3, save_every=100)
    vae.to(memory_format=torch.channels_last)
    return fit(vae, batches, loss, schedule, run, trainable=lambda name: name.startswith("guided."))


def main(arguments: list[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_arguments(parser, steps=400)
    parser.add_argument("--vae", required=True, help="vae.safetensors")
    parser.add_argument("--unet", required=True, help="folder with unet and reference files")
    options = parser.parse_args(arguments)
    data = AvatarData(find_shards(options.data, options.unfinished), part_names())
    vae, model = checkpoint.load(TinyAutoencoder, options.vae), load_denoiser(options.unet)
    train_decoder(vae, model, data, options.run, options.steps, options.seed)
    checkpoint.save(vae, options.out, **provenance(options.seed, frames=len(data), identities=len(data.portraits)))


if __name__ == "__main__":
    main()
