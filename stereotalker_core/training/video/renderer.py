"""Train the stage-2 denoiser with its reference network, in AnimateAnyone's order.

    python -m stereotalker_core train renderer --stage image  --vae vae.safetensors --run R1 --out folder
    python -m stereotalker_core train renderer --stage motion --vae vae.safetensors --unet folder --run R2 --out new

image: independent frames; U-Net, pose guider and reference network learn, the motion modules are left out (they start
as the identity). motion: clips; only the motion modules learn. Half of the samples are pure noise, because the nano
profile renders in one step.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from ... import checkpoint
from ...precision import mixed_precision
from ...synthetic.data.avatar_frames import AvatarData, find_shards, pooled
from ...video.networks.experts import Experts
from ...video.networks.reference import ReferenceNet
from ...video.networks.unet import Condition, StereoTalkerUNet, UNetConfig
from ...video.networks.vae import TinyAutoencoder
from ..loop import Batch, Schedule, fit, generator
from ..stage2_command import add_arguments, part_names, provenance
from .mask import region_targets

PURE_NOISE = 0.5  # share of samples at sigma = 1


class Denoiser(nn.Module):
    """U-Net + reference network (+ experts): what is trained together. attends False: no reference attention."""

    def __init__(
        self, unet: StereoTalkerUNet, reference: ReferenceNet, experts: tuple[Experts, ...] = (), attends: bool = True
    ) -> None:
        super().__init__()
        self.unet, self.reference, self.attends = unet, reference, attends
        self.experts = nn.ModuleList(experts)

    def forward(self, batch: Batch, x: Tensor, sigma: Tensor, clip_length: int | None = None) -> Tensor:
        """Noisy latents of a batch -> clean latents."""
        portrait = batch["portrait"].contiguous(memory_format=torch.channels_last)
        tokens = self.unet.portrait_tokens(portrait)
        cond = Condition(
            guide=batch["guide"].contiguous(memory_format=torch.channels_last),
            tokens=tokens,
            yaw=batch["yaw"],
            lift=batch["lift"],
            reference=self.unet.cache_reference(self.reference(portrait, tokens)) if self.attends else {},
            regions=batch["regions"],
            experts=tuple((module, 1.0) for module in self.experts),
            clip_length=clip_length,
        )
        return self.unet(x, sigma, cond)


def encode(vae: TinyAutoencoder, image: Tensor) -> Tensor:
    """Normalised latents without gradients, in the trainings' precision."""
    with torch.no_grad(), mixed_precision(image.device):
        return vae.encode(image.contiguous(memory_format=torch.channels_last)).float()


class LatentBatches:
    """batch(step) -> clean, lift (N, C, h, w), guide, weight, yaw, regions, portrait (I, C, h, w); N = I * frames.

    A flip is drawn for each identity, since its frames share one portrait. clips: consecutive frames.
    """

    def __init__(
        self, data: AvatarData, vae: TinyAutoencoder, identities: int, frames: int, clips: bool = False, seed: int = 0
    ) -> None:
        self.data, self.vae = data, vae.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.identities, self.frames, self.clips, self.seed = identities, frames, clips, seed

    def __call__(self, step: int) -> Batch:
        rng = generator(self.seed, step)
        index = self.data.draw(rng, self.identities, self.frames, self.clips)
        flip = rng.random(self.identities) < 0.5
        rows = self.data.rows(index, flip.repeat(self.frames))
        portrait = self.data.portrait(self.data.identity[index[:: self.frames]], flip)
        clean, lift = encode(self.vae, torch.cat([rows.rgb, rows.guides.lift])).chunk(2)
        return {
            "clean": clean,
            "lift": lift,
            "guide": rows.guide(self.data.n_parts),
            "weight": pooled(rows.weight(), 8),
            "yaw": rows.guides.yaw,
            "regions": pooled(region_targets(rows), 8),
            "portrait": encode(self.vae, portrait),
        }


def draw_sigma(count: int, device: torch.device) -> Tensor:
    """(count,) noise levels: PURE_NOISE of them 1, the rest uniform."""
    uniform = torch.rand(count, device=device).clamp_min(0.02)
    return torch.where(torch.rand(count, device=device) < PURE_NOISE, torch.ones_like(uniform), uniform)


def image_loss(model: Denoiser, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Weighted squared error of the clean latents at random noise levels."""
    clean = batch["clean"]
    sigma = draw_sigma(len(clean), clean.device)
    level = sigma.view(-1, 1, 1, 1)
    denoised = model(batch, (1 - level) * clean + level * torch.randn_like(clean), sigma)
    error = ((denoised - clean).square() * batch["weight"]).mean((1, 2, 3)) / batch["weight"].mean()
    base = ((batch["lift"] - clean).square() * batch["weight"]).mean() / batch["weight"].mean()
    pure = sigma == 1
    parts = {"lift": float(base)}
    if pure.any():
        parts["pure_over_lift"] = float(error.detach()[pure].mean() / base)
    return error.mean(), parts


def motion_loss(frames: int):
    """The loss of clips of `frames`: one noise a clip, squared error of latents and of their change over time."""

    def loss(model: Denoiser, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        clean, weight = batch["clean"], batch["weight"] / batch["weight"].mean()
        sigma = draw_sigma(len(clean) // frames, clean.device)
        level = sigma.repeat_interleave(frames).view(-1, 1, 1, 1)
        noise = torch.randn_like(clean[::frames]).repeat_interleave(frames, 0)
        error = model(batch, (1 - level) * clean + level * noise, sigma, frames) - clean
        still = (error.square() * weight).mean()
        change = error.unflatten(0, (-1, frames)).diff(dim=1)
        flicker = (change.square() * weight.unflatten(0, (-1, frames))[:, 1:]).mean()
        return still + 0.5 * flicker, {"latent": float(still.detach()), "flicker": float(flicker.detach())}

    return loss


def is_motion(name: str) -> bool:
    """Whether a parameter of a Denoiser belongs to the motion modules."""
    return "motion_modules" in name


def train_image(
    data: AvatarData, vae: TinyAutoencoder, run: str | Path, steps: int, config: UNetConfig | None = None,
    seed: int = 0, identities: int = 4, frames: int = 4, lr: float = 1.2e-3,
) -> Denoiser:  # fmt: skip
    """Stage a from scratch: everything but the motion modules, on independent frames."""
    torch.manual_seed(seed)
    unet = StereoTalkerUNet(config)
    model = Denoiser(unet, ReferenceNet(unet.config.reference())).to(memory_format=torch.channels_last)
    batches = LatentBatches(data, vae, identities, frames, seed=seed)
    schedule = Schedule(steps, lr=lr, weight_decay=1e-3, ema=0.996, seed=seed, save_every=100)
    return fit(model, batches, image_loss, schedule, run, trainable=lambda name: not is_motion(name))


def train_motion(
    model: Denoiser, data: AvatarData, vae: TinyAutoencoder, run: str | Path, steps: int, seed: int = 0, clips: int = 2,
    frames: int = 8,
) -> Denoiser:  # fmt: skip
    """Stage b: the motion modules alone, on clips."""
    model.to(memory_format=torch.channels_last)
    batches = LatentBatches(data, vae, clips, frames, clips=True, seed=seed + 1)
    schedule = Schedule(steps, lr=5e-4, warmup=30, ema=0.99, seed=seed + 1)
    return fit(model, batches, motion_loss(frames), schedule, run, trainable=is_motion, freeze=False)


def load_denoiser(folder: str | Path) -> Denoiser:
    """unet.safetensors + reference.safetensors of a folder."""
    folder = Path(folder)
    unet = checkpoint.load(StereoTalkerUNet, folder / "unet.safetensors")
    return Denoiser(unet, checkpoint.load(ReferenceNet, folder / "reference.safetensors"))


def save_denoiser(model: Denoiser, folder: str | Path, **info: object) -> None:
    """Write unet.safetensors and reference.safetensors."""
    checkpoint.save(model.unet, Path(folder) / "unet.safetensors", **info)
    checkpoint.save(model.reference, Path(folder) / "reference.safetensors", **info)


def main(arguments: list[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_arguments(parser, steps=1500)
    parser.add_argument("--stage", choices=("image", "motion"), required=True)
    parser.add_argument("--vae", required=True, help="vae.safetensors")
    parser.add_argument("--unet", help="folder with unet and reference files (motion stage)")
    options = parser.parse_args(arguments)
    data = AvatarData(find_shards(options.data, options.unfinished), part_names())
    vae = checkpoint.load(TinyAutoencoder, options.vae)
    if options.stage == "image":
        model = train_image(data, vae, options.run, options.steps, seed=options.seed)
    elif options.unet is None:
        parser.error("--stage motion needs --unet, the folder that --stage image wrote")
    else:
        model = train_motion(load_denoiser(options.unet), data, vae, options.run, options.steps, options.seed)
    save_denoiser(model, options.out, **provenance(options.seed, frames=len(data), identities=len(data.portraits)))


if __name__ == "__main__":
    main()
