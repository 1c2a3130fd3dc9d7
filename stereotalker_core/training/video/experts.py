"""Train view and mask experts on a frozen denoiser.

    python -m stereotalker_core train experts --vae vae.safetensors --unet folder --run R --out folder

Both kinds learn together; with probability 1/4 each is left out of a step, so that either file also works alone.
"""

import argparse
from pathlib import Path

import torch

from ... import checkpoint
from ...precision import channels_last_weights
from ...synthetic.data.avatar_frames import AvatarData
from ...video.networks.experts import MaskExperts, ViewExperts
from ...video.networks.vae import TinyAutoencoder
from ..loop import Schedule, fit
from ..provenance import made
from .denoising import LossOptions, PictureBatches
from .frames import counted, frame_arguments, open_frames
from .renderer import latent_loss
from .stage_two import StageTwo, load_stage_two

DROP = 0.25  # chance of each kind to be left out of a step


def train_experts(
    base: StageTwo, data: AvatarData, vae: TinyAutoencoder, run: str | Path, steps: int, seed: int = 0,
    identities: int = 4, frames: int = 4, rank: int = 16,
) -> tuple[ViewExperts, MaskExperts]:  # fmt: skip
    """Train new experts for a denoiser, whose own weights stay unchanged -> (view, mask) experts.

    base: the denoiser; data: frames; vae: the autoencoder; run: folder of the state; steps, seed: of the training;
    identities, frames: per step; rank: of the experts."""
    torch.manual_seed(seed)
    channels_last_weights(base)
    pair = ViewExperts.for_unet(base.unet, rank), MaskExperts.for_unet(base.unet, rank)
    model = StageTwo(base.unet, base.reference, pair)
    batches = PictureBatches(data, identities, frames, clips=False, seed=seed + 2)
    schedule = Schedule(steps, lr=2e-3, warmup=20, ema=0.99, seed=seed + 2)
    loss = latent_loss(vae, LossOptions(expert_drop=DROP, skip_left_out=True))
    fit(model, batches, loss, schedule, run, trainable=lambda name: name.startswith("experts."), freeze=False)
    return pair


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train experts`."""
    frame_arguments(parser, steps=250, out="the folder to write")
    parser.add_argument("--vae", required=True, help="vae.safetensors")
    parser.add_argument("--unet", required=True, help="folder with unet and reference files")


def run(options: argparse.Namespace) -> None:
    """Train both kinds and write view_experts.safetensors and mask_experts.safetensors."""
    data, vae = open_frames(options), checkpoint.load(TinyAutoencoder, options.vae)
    pair = train_experts(load_stage_two(options.unet), data, vae, options.run, options.steps, options.seed)
    info = made(options, **counted(data))
    for module, name in zip(pair, ("view_experts", "mask_experts"), strict=True):
        checkpoint.save(module, Path(options.out) / f"{name}.safetensors", **info)
