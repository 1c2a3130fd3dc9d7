"""Train view and mask experts on a frozen denoiser.

    python -m stereotalker_core.training.video.experts --vae vae.safetensors --unet folder --run R --out folder

Both kinds learn together; with probability 1/4 each is left out of a step, so that either file also works alone.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from ... import checkpoint
from ...synthetic.data.avatar_frames import AvatarData, find_shards
from ...video.networks.experts import MaskExperts, ViewExperts
from ...video.networks.vae import TinyAutoencoder
from ..loop import Batch, Schedule, fit
from ..stage2_command import add_arguments, part_names, provenance
from .renderer import Denoiser, LatentBatches, image_loss, load_denoiser

DROP = 0.25


def expert_loss(model: Denoiser, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """The image loss with a random choice of the experts present."""
    everyone = list(model.experts)
    kept = [module for module in everyone if float(torch.rand(())) >= DROP] or everyone
    model.experts = torch.nn.ModuleList(kept)
    try:
        return image_loss(model, batch)
    finally:
        model.experts = torch.nn.ModuleList(everyone)


def train_experts(
    base: Denoiser, data: AvatarData, vae: TinyAutoencoder, run: str | Path, steps: int, seed: int = 0,
    identities: int = 4, frames: int = 4, rank: int = 16,
) -> tuple[ViewExperts, MaskExperts]:  # fmt: skip
    """New experts for a denoiser, whose own weights stay as they are."""
    torch.manual_seed(seed)
    base.to(memory_format=torch.channels_last)
    pair = ViewExperts.for_unet(base.unet, rank), MaskExperts.for_unet(base.unet, rank)
    model = Denoiser(base.unet, base.reference, pair)
    batches = LatentBatches(data, vae, identities, frames, seed=seed + 2)
    schedule = Schedule(steps, lr=2e-3, warmup=20, ema=0.99, seed=seed + 2)
    fit(model, batches, expert_loss, schedule, run, trainable=lambda name: name.startswith("experts."), freeze=False)
    return pair


def main(arguments: list[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_arguments(parser, steps=250)
    parser.add_argument("--vae", required=True, help="vae.safetensors")
    parser.add_argument("--unet", required=True, help="folder with unet and reference files")
    options = parser.parse_args(arguments)
    data = AvatarData(find_shards(options.data, options.unfinished), part_names())
    vae = checkpoint.load(TinyAutoencoder, options.vae)
    view, mask = train_experts(load_denoiser(options.unet), data, vae, options.run, options.steps, options.seed)
    info = provenance(options.seed, frames=len(data), identities=len(data.portraits))
    checkpoint.save(view, Path(options.out) / "view_experts.safetensors", **info)
    checkpoint.save(mask, Path(options.out) / "mask_experts.safetensors", **info)


if __name__ == "__main__":
    main()
