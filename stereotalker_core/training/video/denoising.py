"""Training the stage-2 denoiser on any scale: which parts learn, batches of pictures, losses of every prediction type.

`renderer.py` trains the nano denoiser from encoded latents on one CPU. Here pictures travel to the device and are
encoded there, tokens may come from a CLIP image encoder, portraits are dropped for classifier-free guidance, and the
error is weighted by min-SNR (Hang et al., arXiv 2303.09556). For the nano network both are the same loss.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...motion.networks.lora import LoraLinear
from ...synthetic.data.avatar_frames import AvatarData, pooled
from ...video.networks.experts import Experts
from ...video.networks.reference import ReferenceNet
from ...video.networks.unet import Condition, StereoTalkerUNet
from ..loop import Batch, generator
from .mask import region_targets
from .renderer import draw_sigma, is_motion

PARTS = ("unet", "reference", "pose", "tokens", "motion", "experts", "lora")
_LAST_STEP = 999  # noise levels of the v and epsilon profiles are steps / 999
_ATTENTION = re.compile(r"attn[12]\.(to_q|to_k|to_v|to_out\.0)$")


class StageTwo(nn.Module):
    """U-Net + reference network + experts: everything that a stage-2 training may touch."""

    def __init__(self, unet: StereoTalkerUNet, reference: ReferenceNet, experts: Sequence[Experts] = ()) -> None:
        super().__init__()
        self.unet, self.reference, self.experts = unet, reference, nn.ModuleList(experts)

    def forward(
        self, batch: Batch, x: Tensor, sigma: Tensor, clip_length: int | None, strengths: Sequence[float], drop: bool
    ) -> Tensor:
        """Noisy latents -> clean latents. batch: guide, lift, portrait (I, C, h, w), yaw, regions, maybe tokens.

        drop leaves the portrait out. Its network still runs with weight 0: sharded processes must agree on what runs.
        """
        portrait = batch["portrait"]
        tokens = batch["tokens"] if "tokens" in batch else self.unet.portrait_tokens(portrait)
        cache = self.unet.cache_reference(self.reference(portrait, tokens))
        unused = sum((k.sum() + v.sum()) * 0 for k, v in cache.values()) if drop else 0.0
        cond = Condition(
            guide=batch["guide"],
            tokens=tokens * 0 if drop else tokens,
            yaw=batch["yaw"],
            lift=batch["lift"],
            reference={} if drop else cache,
            regions=batch["regions"],
            experts=tuple(zip(self.experts, strengths, strict=True)),
            clip_length=clip_length,
        )
        return self.unet(x, sigma, cond) + unused


def part_of(name: str) -> str:
    """The part of a StageTwo that a parameter belongs to: one of PARTS."""
    if ".lora_" in name:
        return "lora"
    if is_motion(name):
        return "motion"
    for prefix, part in (("unet.pose.", "pose"), ("unet.project.", "tokens"), ("unet.", "unet")):
        if name.startswith(prefix):
            return part
    return name.partition(".")[0]


def learns(parts: Sequence[str], frozen: Sequence[str] = ()) -> Callable[[str], bool]:
    """Predicate over parameter names: of one of the parts, and without any of the `frozen` substrings.

    ValueError for an unknown part.
    """
    if unknown := [p for p in parts if p not in PARTS]:
        raise ValueError(f"part {unknown[0]!r} is unknown; use {', '.join(PARTS)}")
    return lambda name: part_of(name) in parts and not any(f in name for f in frozen)


def add_attention_lora(unet: StereoTalkerUNet, rank: int) -> int:
    """Put LoRA adapters (alpha = rank) on the spatial attentions of the U-Net, in place -> how many layers."""
    names = [n for n, _ in unet.named_modules() if _ATTENTION.search(n) and "motion_modules" not in n]
    for name in names:
        parent, _, leaf = name.rpartition(".")
        owner = unet.get_submodule(parent)
        setattr(owner, leaf, LoraLinear(owner.get_submodule(leaf), rank, 1.0))
    return len(names)


class PictureBatches:
    """batch(index) -> rgb, lift (N, 3, H, W), guide, weight, yaw, regions, portrait (I, 3, H, W); N = I * frames.

    guides: "maps" or "openpose", as the U-Net's config says. clips: frames in a row, `stride` apart. A flip is drawn
    for each identity, since its frames share one portrait.
    """

    def __init__(
        self, data: AvatarData, identities: int, frames: int, clips: bool, seed: int, guides: str = "maps",
        stride: int = 1, latent_scale: int = 8,
    ) -> None:  # fmt: skip
        self.data, self.identities, self.frames, self.clips = data, identities, frames, clips
        self.seed, self.guides, self.scale = seed, guides, latent_scale
        self.draw = {"stride": stride} if stride > 1 else {}

    def __call__(self, index: int) -> Batch:
        rng = generator(self.seed, index)
        chosen = self.data.draw(rng, self.identities, self.frames, self.clips, **self.draw)
        flip = rng.random(self.identities) < 0.5
        rows = self.data.rows(chosen, flip.repeat(self.frames))
        if self.guides == "maps":
            guide = rows.guide(self.data.n_parts)
        else:
            guide = self.data.drawings(chosen, flip.repeat(self.frames)) / 2 + 0.5
        return {
            "rgb": rows.rgb,
            "lift": rows.guides.lift,
            "guide": guide,
            "weight": pooled(rows.weight(), self.scale),
            "yaw": rows.guides.yaw,
            "regions": pooled(region_targets(rows), self.scale),
            "portrait": self.data.portrait(self.data.identity[chosen[:: self.frames]], flip),
        }


@dataclass(frozen=True)
class LossOptions:
    """clip_length: frames of a clip, None = independent images. gamma: min-SNR limit. drop: share of micro-batches
    without the portrait. offset: noise that is one per channel. expert_drop: chance to leave each expert file out.
    flicker: weight of the error of changes over time. weighted: person and face count more than the background."""

    clip_length: int | None = None
    gamma: float = 5.0
    drop: float = 0.0
    offset: float = 0.0
    expert_drop: float = 0.0
    flicker: float = 0.0
    weighted: bool = True


class DenoisingLoss:
    """loss(model, batch of pictures): encodes on the device, adds noise, weighs the error of the clean latents.

    encode: images (N, 3, H, W) in [-1, 1] -> latents. tokens: portraits -> cross-attention tokens, None = the U-Net's.
    """

    def __init__(
        self,
        encode: Callable[[Tensor], Tensor],
        options: LossOptions,
        tokens: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.encode, self.options, self.tokens = encode, options, tokens

    def __call__(self, model: StageTwo, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        o, prediction = self.options, model.unet.config.prediction
        with torch.no_grad():
            clean, lift = self.encode(torch.cat([batch["rgb"], batch["lift"]])).float().chunk(2)
            latents = batch | {"lift": lift, "portrait": self.encode(batch["portrait"]).float()}
            if self.tokens is not None:
                latents["tokens"] = self.tokens(batch["portrait"])
        frames = o.clip_length or 1
        sigma = self._levels(len(clean) // frames, prediction, clean.device)
        noise = self._noise(clean, frames, prediction)
        pairs = clean.new_tensor([model.unet.levels(float(s)) for s in sigma]).repeat_interleave(frames, 0)
        alpha, beta = pairs.T[..., None, None, None]
        drop = o.drop > 0 and float(torch.rand(())) < o.drop
        strengths = self._strengths(len(model.experts))
        denoised = model(latents, alpha * clean + beta * noise, sigma, o.clip_length, strengths, drop)
        error = denoised.float() - clean
        weight = batch["weight"] / batch["weight"].mean() if o.weighted else torch.ones_like(alpha)
        level = snr_weight(alpha, beta, prediction, o.gamma)
        value = still = (error.square() * weight * level).mean()
        parts = {"latent": float(still.detach())}
        if o.flicker and frames > 1:
            change = error.unflatten(0, (-1, frames)).diff(dim=1).square()
            moving = (
                change * weight.unflatten(0, (-1, frames))[:, 1:] * level.unflatten(0, (-1, frames))[:, 1:]
            ).mean()
            value = still + o.flicker * moving
            parts["flicker"] = float(moving.detach())
        return value, parts

    def _levels(self, clips: int, prediction: str, device: torch.device) -> Tensor:
        """(clips,) noise levels: half of them 1 for the one-step profile, else uniform over the 999 steps."""
        if prediction == "residual":
            return draw_sigma(clips, device)
        return torch.randint(1, _LAST_STEP + 1, (clips,), device=device) / _LAST_STEP

    def _noise(self, clean: Tensor, frames: int, prediction: str) -> Tensor:
        if prediction == "residual":  # one noise a clip, as it is rendered
            return torch.randn_like(clean[::frames]).repeat_interleave(frames, 0)
        noise = torch.randn_like(clean)
        if self.options.offset:
            noise = noise + self.options.offset * torch.randn_like(clean[..., :1, :1])
        return noise

    def _strengths(self, experts: int) -> list[float]:
        """1 or 0 for each expert file; never all 0, so that every micro-batch teaches something."""
        if not experts:
            return []
        kept = (torch.rand(experts) >= self.options.expert_drop).float().tolist()
        return kept if any(kept) else [1.0] * experts


def snr_weight(alpha: Tensor, beta: Tensor, prediction: str, gamma: float) -> Tensor:
    """Weight of the squared error of the CLEAN latents that equals min-SNR on what the network predicts.

    v: |v error|^2 = |x0 error|^2 / beta^2 weighted by min(SNR + 1, gamma) / (SNR + 1), and SNR + 1 = 1 / beta^2.
    epsilon: |x0 error|^2 * SNR weighted by min(SNR, gamma) / SNR. The residual profile has no such weight.
    """
    if prediction == "residual":
        return torch.ones_like(alpha)
    if prediction == "v":
        return (1 / beta.square().clamp_min(1e-8)).clamp(max=gamma)
    return (alpha.square() / beta.square().clamp_min(1e-8)).clamp(max=gamma)
