"""Finish the guided decoder on what it will really see: the denoiser's one-step latents.

    python -m stereotalker_core train decoder --vae vae.safetensors --unet folder --run R --out vae.safetensors

Encoder, plain decoder and statistics stay as they are, so the latent space does not move.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ... import checkpoint
from ...precision import channels_last_weights, mixed_precision
from ...synthetic.data.avatar_frames import AvatarData, Rows, crop_rows
from ...video.guides.layout import GuideLayout
from ...video.networks.vae import TinyAutoencoder
from ..loop import Batch, Schedule, fit, generator
from ..provenance import made
from .autoencoder import psnr, set_ranges
from .denoising import encode
from .frames import counted, frame_arguments, open_frames
from .stage_two import StageTwo, load_stage_two


class DecoderBatches:
    """The source of training batches for the guided decoder: called with a step, it returns a dictionary of crops.

    The batch is the same for the same step and seed. B random crops of S px, at multiples of 8 px:
    "latents" (B, C, S/8, S/8) as the denoiser predicts them; "guide" (B, G, S/4, S/4); "rgb" (B, 3, S, S) the true
    pixels in [-1, 1]; "weight" (B, 1, S, S) of their errors, from `Rows.weight`.
    data: the rendered frames; vae: encodes them; model: the denoiser; batch: B; size: S."""

    def __init__(
        self, data: AvatarData, vae: TinyAutoencoder, model: StageTwo, batch: int = 12, size: int = 128, seed: int = 0
    ) -> None:
        self.data, self.batch, self.size, self.seed = data, batch, size, seed
        self.vae, self.model = vae, channels_last_weights(model.eval().requires_grad_(False))

    def denoise(self, rows: Rows, portrait: Tensor, rng: np.random.Generator) -> Tensor:
        """Denoise whole frames from pure noise in one step -> latents (N, C, h, w).

        rows: N stored frames; portrait: (I, 3, H, W) of their I people; rng: draws the noise."""
        lift = encode(self.vae, rows.guides.lift)
        noise = torch.from_numpy(rng.standard_normal((1, *lift.shape[1:])).astype(np.float32)).expand_as(lift)
        batch = {
            "portrait": encode(self.vae, portrait),
            "guide": rows.guide(self.data.n_parts).contiguous(memory_format=torch.channels_last),
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


def edge_error(error: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean absolute difference between the errors of neighbouring pixels.

    error: (N, 3, H, W) of pictures; weight: (N, 1, H, W) of the pixels."""
    across, down = error.diff(dim=-1).abs(), error.diff(dim=-2).abs()
    return (across * weight[..., 1:]).mean() + (down * weight[..., 1:, :]).mean()


def loss(model: TinyAutoencoder, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Return the loss () of the guided decoder on a batch, and {"psnr", "lift_psnr": dB} of its output and of the lift.

    The loss is L1, squared error and `edge_error`, weighted by batch["weight"], which is larger on person and face."""
    rgb, weight = batch["rgb"], batch["weight"]
    out = model.decode(batch["latents"], batch["guide"].contiguous(memory_format=torch.channels_last))
    error = out - rgb
    pixel = (error.abs() * weight).mean() + 4 * (error.square() * weight).mean()
    value = pixel + 0.25 * edge_error(error, weight)
    return value, {"psnr": psnr(error), "lift_psnr": psnr(batch_lift(batch) - rgb)}


def batch_lift(batch: Batch) -> Tensor:
    """Extract the lift (N, 3, H, W) from the guide tensor of a batch."""
    return GuideLayout().map_of(batch["guide"], "lift")


def train_decoder(
    vae: TinyAutoencoder, denoiser: StageTwo, data: AvatarData, run: str | Path, steps: int, seed: int = 0,
    batch: int = 12, size: int = 128,
) -> TinyAutoencoder:  # fmt: skip
    """Fine-tune (or resume in `run`) the guided decoder; returns the autoencoder it was given.

    vae: the autoencoder, changed in place; denoiser: gives the latents; data: the rendered frames; run: folder of the
    training state; steps: optimiser steps; batch: crops per step; size: px of a crop."""
    import copy

    frozen = channels_last_weights(copy.deepcopy(vae).eval().requires_grad_(False))
    batches = DecoderBatches(data, frozen, denoiser, batch, size, seed + 3)
    schedule = Schedule(steps, lr=6e-4, warmup=20, ema=0.99, seed=seed + 3, save_every=100)
    channels_last_weights(vae)
    fit(vae, batches, loss, schedule, run, trainable=lambda name: name.startswith("guided."))
    set_ranges(vae, data)
    return vae


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train decoder`."""
    frame_arguments(parser, steps=400)
    parser.add_argument("--vae", required=True, help="vae.safetensors")
    parser.add_argument("--unet", required=True, help="folder with unet and reference files")


def run(options: argparse.Namespace) -> None:
    """Finish the guided decoder and write the autoencoder's file."""
    data, vae = open_frames(options), checkpoint.load(TinyAutoencoder, options.vae)
    train_decoder(vae, load_stage_two(options.unet), data, options.run, options.steps, options.seed)
    checkpoint.save(vae, options.out, **made(options, **counted(data)))
