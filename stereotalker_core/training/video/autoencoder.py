"""Train `TinyAutoencoder`: crops of frames through encoder, plain decoder and guided decoder.

python -m stereotalker_core train autoencoder --data data/avatars/train --run R --steps N --out vae.safetensors
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ... import checkpoint
from ...precision import channels_last_weights
from ...synthetic.data.avatar_frames import AvatarData, crop_rows
from ...video.networks.quantised.autoencoder import with_ranges
from ...video.networks.vae import TinyAutoencoder
from ..loop import Batch, Schedule, fit, generator
from ..provenance import made
from .frames import counted, frame_arguments, open_frames


class CropBatches:
    """The source of training batches: called with a step, it returns a dictionary of B random crops of S px.

    "rgb" (B, 3, S, S) in [-1, 1]; "guide" (B, G, S/4, S/4); "weight" (B, 1, S, S) of errors, from `Rows.weight`.
    data: the rendered frames; batch: B; size: S; seed: with the step it determines the crops."""

    def __init__(self, data: AvatarData, batch: int = 12, size: int = 128, seed: int = 0) -> None:
        self.data, self.batch, self.size, self.seed = data, batch, size, seed

    def __call__(self, step: int) -> Batch:
        rng = generator(self.seed, step)
        index = rng.integers(0, len(self.data), self.batch)
        rows = crop_rows(self.data.rows(index, rng.random(self.batch) < 0.5), self.size, rng)
        return {"rgb": rows.rgb, "guide": rows.guide(self.data.n_parts), "weight": rows.weight()}


def loss(model: TinyAutoencoder, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Return the loss () of a batch, and {"plain_psnr", "guided_psnr": dB} of the two decoders.

    The loss is their weighted L1 + squared error; latents get noise of up to 0.2, like the denoiser's error."""
    rgb, weight = batch["rgb"].contiguous(memory_format=torch.channels_last), batch["weight"]
    z = model.raw_latents(rgb)
    z = z + torch.randn_like(z) * torch.rand(len(z), 1, 1, 1, device=z.device) * 0.2
    plain = F.pixel_shuffle(model.decoder(z).float(), 4) - rgb
    half = (len(z) + 1) // 2  # the guided decoder is finished later, on the denoiser's latents
    guided = model.guided(z[:half], batch["guide"][:half].contiguous(memory_format=torch.channels_last)) - rgb[:half]
    one, other = (
        (e.abs() * w).mean() + 4 * (e.square() * w).mean() for e, w in ((plain, weight), (guided, weight[:half]))
    )
    value = one + other
    return value, {"plain_psnr": psnr(plain), "guided_psnr": psnr(guided)}


def psnr(error: Tensor) -> float:
    """Return the PSNR in dB of an error between images in [-1, 1]."""
    return float(-10 * torch.log10(error.detach().square().mean() / 4))


@torch.no_grad()
def set_statistics(model: TinyAutoencoder, data: AvatarData, frames: int = 256, seed: int = 0) -> None:
    """Set the mean and std by which the model normalises latents, measured on `frames` random frames of the data."""
    index = np.sort(generator(seed, 0).choice(len(data), min(frames, len(data)), replace=False))
    z = torch.cat([model.raw_latents(data.rows(index[i : i + 16]).rgb) for i in range(0, len(index), 16)])
    model.mean.copy_(z.mean((0, 2, 3)))
    model.std.copy_(z.std((0, 2, 3)).clamp_min(1e-3))


@torch.no_grad()
def set_ranges(model: TinyAutoencoder, data: AvatarData, frames: int = 64, seed: int = 0) -> None:
    """Set the ranges for playback in 8-bit integers, measured on `frames` random frames of the data.

    To be called when the weights change no more."""
    index = np.sort(generator(seed, 1).choice(len(data), min(frames, len(data)), replace=False))
    with_ranges(model, [data.rows(index[i : i + 16]).guide(data.n_parts) for i in range(0, len(index), 16)])


def train(
    data: AvatarData, run: str | Path, steps: int, seed: int = 0, batch: int = 12, size: int = 128
) -> TinyAutoencoder:
    """Train (or resume in `run`) an autoencoder on the rows of `data`.

    run: folder of the training state; steps: optimiser steps; batch: crops per step; size: px of a crop."""
    torch.manual_seed(seed)
    model = channels_last_weights(TinyAutoencoder())
    schedule = Schedule(steps, lr=1.5e-3, warmup=60, ema=0.995, seed=seed)
    fit(model, CropBatches(data, batch, size, seed), loss, schedule, run)
    set_statistics(model, data)
    set_ranges(model, data)
    return model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train autoencoder`."""
    frame_arguments(parser, steps=2500)


def run(options: argparse.Namespace) -> None:
    """Train an autoencoder and write its file."""
    data = open_frames(options)
    model = train(data, options.run, options.steps, options.seed)
    checkpoint.save(model, options.out, **made(options, **counted(data)))
