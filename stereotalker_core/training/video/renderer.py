"""Train the stage-2 denoiser with its reference network, in AnimateAnyone's order.

    python -m stereotalker_core train renderer --stage image  --vae vae.safetensors --run R1 --out folder
    python -m stereotalker_core train renderer --stage motion --vae vae.safetensors --unet folder --run R2 --out new

image: independent frames; U-Net, pose guider and reference network learn, the motion modules are left out (they start
as the identity). motion: clips; only the motion modules learn. Half of the samples are pure noise, because the nano
profile renders in one step.
"""

import argparse
from functools import partial
from pathlib import Path

import torch

from ... import checkpoint
from ...precision import channels_last_weights
from ...synthetic.data.avatar_frames import AvatarData
from ...video.networks.reference import ReferenceNet
from ...video.networks.unet import StereoTalkerUNet, UNetConfig
from ...video.networks.vae import TinyAutoencoder
from ..loop import Schedule, fit
from ..provenance import made
from .denoising import DenoisingLoss, LossOptions, PictureBatches, encode
from .frames import counted, frame_arguments, open_frames
from .stage_two import StageTwo, is_motion, load_stage_two, save_stage_two


def latent_loss(vae: TinyAutoencoder, options: LossOptions) -> DenoisingLoss:
    """Return the denoising loss on the latents of an autoencoder, which is frozen in place."""
    channels_last_weights(vae.eval().requires_grad_(False))
    return DenoisingLoss(partial(encode, vae), options)


def train_image(
    data: AvatarData, vae: TinyAutoencoder, run: str | Path, steps: int, config: UNetConfig | None = None,
    seed: int = 0, identities: int = 4, frames: int = 4, lr: float = 1.2e-3,
) -> StageTwo:  # fmt: skip
    """Train the image stage from scratch: on independent frames, everything but the motion modules.

    data: frames; vae: the autoencoder; run: folder of the state; steps, seed, lr: of the training; config: of the
    U-Net; identities, frames: per step."""
    torch.manual_seed(seed)
    unet = StereoTalkerUNet(config)
    model = channels_last_weights(StageTwo(unet, ReferenceNet(unet.config.reference())))
    batches = PictureBatches(data, identities, frames, clips=False, seed=seed)
    schedule = Schedule(steps, lr=lr, weight_decay=1e-3, ema=0.996, seed=seed, save_every=100)
    loss = latent_loss(vae, LossOptions())
    return fit(model, batches, loss, schedule, run, trainable=lambda name: not is_motion(name))


def train_motion(
    model: StageTwo, data: AvatarData, vae: TinyAutoencoder, run: str | Path, steps: int, seed: int = 0, clips: int = 2,
    frames: int = 8,
) -> StageTwo:  # fmt: skip
    """Train the motion stage: on clips, the motion modules alone.

    model: from the image stage; data: frames; vae: the autoencoder; run: folder of the state; steps, seed: of the
    training; clips, frames: clips per step, and their length."""
    channels_last_weights(model)
    batches = PictureBatches(data, clips, frames, clips=True, seed=seed + 1)
    schedule = Schedule(steps, lr=5e-4, warmup=30, ema=0.99, seed=seed + 1)
    loss = latent_loss(vae, LossOptions(clip_length=frames, flicker=0.5))
    return fit(model, batches, loss, schedule, run, trainable=is_motion, freeze=False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train renderer`."""
    frame_arguments(parser, steps=1500, out="the folder to write")
    parser.add_argument("--stage", choices=("image", "motion"), required=True)
    parser.add_argument("--vae", required=True, help="vae.safetensors")
    parser.add_argument("--unet", help="folder with unet and reference files (motion stage)")


def run(options: argparse.Namespace) -> None:
    """Train one of the stages and write its unet and reference files. ValueError for the motion stage without --unet.
    """
    if options.stage == "motion" and options.unet is None:
        raise ValueError("--stage motion needs --unet, the folder that --stage image wrote")
    data, vae = open_frames(options), checkpoint.load(TinyAutoencoder, options.vae)
    if options.stage == "image":
        model = train_image(data, vae, options.run, options.steps, seed=options.seed)
    else:
        model = train_motion(load_stage_two(options.unet), data, vae, options.run, options.steps, options.seed)
    save_stage_two(model, options.out, **made(options, **counted(data)))
