"""The common step of all trainings of the stage-2 denoiser: noise levels, noise, dropped inputs, the weighted error.

`train renderer`, `train experts` and `train ... --clips` use `DenoisingLoss`: pictures are moved to the device and
encoded there, tokens may come from a CLIP image encoder, portraits are dropped for classifier-free guidance, and the
error is weighted by min-SNR (Hang et al., arXiv 2303.09556), which is 1 for the one-step profile. `train joint` adds
the error of the decoded pixels to the same step."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...precision import mixed_precision
from ...synthetic.data.avatar_frames import AvatarData, pooled
from ...video.networks.vae import TinyAutoencoder
from ..loop import Batch, generator
from .mask import region_targets
from .stage_two import StageTwo

PURE_NOISE = 0.5  # share of samples at sigma = 1, because the nano profile renders in one step
_LAST_STEP = 999  # noise levels of the v and epsilon profiles are steps / 999


class PictureBatches:
    """The function batch(index) -> pictures, a pure function of the index.

    rgb, lift: (N, 3, H, W) in [-1, 1], with N = I * frames.
    guide: (N, G, H', W'); its kind `guides` is "maps" or "openpose", as in the U-Net's config.
    weight, regions: (N, 1, h, w) and (N, 4, h, w), at the size of the latents.
    yaw: (N,) degrees; portrait: (I, 3, H, W).
    clips: consecutive frames, `stride` apart. Flips are drawn per identity, since its frames share one portrait."""

    def __init__(
        self, data: AvatarData, identities: int, frames: int, clips: bool, seed: int, guides: str = "maps",
        stride: int = 1, latent_scale: int = 8,
    ) -> None:  # fmt: skip
        self.data, self.identities, self.frames, self.clips = data, identities, frames, clips
        self.seed, self.guides, self.stride, self.scale = seed, guides, stride, latent_scale

    def __call__(self, index: int) -> Batch:
        rng = generator(self.seed, index)
        chosen = self.data.draw(rng, self.identities, self.frames, self.clips, stride=self.stride)
        flip = rng.random(self.identities) < 0.5
        rows = self.data.rows(chosen, flip.repeat(self.frames))
        if self.guides == "maps":
            guide = rows.guide(self.data.n_parts)
        else:
            guide = self.data.drawings(chosen, flip.repeat(self.frames)) / 2 + 0.5
        return {
            "rgb": rows.rgb,
            "lift": rows.guides.lift,
            "guide": guide.contiguous(memory_format=torch.channels_last),
            "weight": pooled(rows.weight(), self.scale),
            "yaw": rows.guides.yaw,
            "regions": pooled(region_targets(rows), self.scale),
            "portrait": self.data.portrait(self.data.identity[chosen[:: self.frames]], flip),
        }


def encode(vae: TinyAutoencoder, image: Tensor) -> Tensor:
    """Map images (N, 3, H, W) in [-1, 1] -> normalised latents (N, C, h, w), without gradients, in mixed precision."""
    with torch.no_grad(), mixed_precision(image.device):
        latents = vae.encode(image.contiguous(memory_format=torch.channels_last)).float()
    return latents.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class LossOptions:
    """The settings of the denoiser's loss.

    clip_length: frames of a clip, None = independent images.
    pure: fraction of samples that are pure noise, in the one-step profile.
    gamma: limit of the min-SNR weight; drop: fraction of micro-batches without the portrait.
    offset: strength of noise that is constant per channel.
    expert_drop: probability to drop each expert module; skip_left_out: a dropped module is not run at all, otherwise it
        runs with strength 0, because sharded processes must run the same modules; never_bare: drop none where all would
        be dropped, so that every micro-batch trains experts.
    flicker: weight of the error of changes over time; weighted: person and face have larger weights than the
    background."""

    clip_length: int | None = None
    pure: float = PURE_NOISE
    gamma: float = 5.0
    drop: float = 0.0
    offset: float = 0.0
    expert_drop: float = 0.0
    skip_left_out: bool = False
    never_bare: bool = True
    flicker: float = 0.0
    weighted: bool = True


@dataclass(frozen=True)
class DenoisingStep:
    """The result of a step: clean and predicted latents (N, C, h, w), noise levels sigma (clips,).

    alpha, beta: (N, 1, 1, 1); the noisy latents were alpha * clean + beta * noise."""

    clean: Tensor
    found: Tensor
    sigma: Tensor
    alpha: Tensor
    beta: Tensor


def denoising_step(model: StageTwo, batch: Batch, options: LossOptions) -> DenoisingStep:
    """Draw noise levels, dropped inputs and noise; run the denoiser once on the noisy latents.

    batch: clean, lift, portrait latents, guide, yaw, regions, and tokens where the U-Net makes none of its own."""
    clean, prediction = batch["clean"], model.unet.config.prediction
    frames = options.clip_length or 1
    sigma = draw_sigma(len(clean) // frames, clean.device, options.pure, prediction)
    strengths = _strengths(len(model.experts), options)
    noise = _noise(clean, frames, prediction, options.offset)
    levels = clean.new_tensor([model.unet.levels(float(s)) for s in sigma]).repeat_interleave(frames, 0)
    alpha, beta = levels.T[..., None, None, None]
    drop = options.drop > 0 and float(torch.rand(())) < options.drop
    found = model(batch, alpha * clean + beta * noise, sigma, options.clip_length, strengths, drop)
    return DenoisingStep(clean, found.float(), sigma, alpha, beta)


def draw_sigma(count: int, device: torch.device, pure: float = PURE_NOISE, prediction: str = "residual") -> Tensor:
    """Draw noise levels (count,) in 0..1.

    pure: in the one-step profile, the fraction that is 1; the rest, and all of the other profiles, are uniform.
    prediction: the profile: "residual" is the one-step profile, others have 999 steps."""
    if prediction != "residual":
        return torch.randint(1, _LAST_STEP + 1, (count,), device=device) / _LAST_STEP
    uniform = torch.rand(count, device=device).clamp_min(0.02)
    return torch.where(torch.rand(count, device=device) < pure, torch.ones_like(uniform), uniform)


def _noise(clean: Tensor, frames: int, prediction: str, offset: float) -> Tensor:
    if prediction == "residual":  # one noise for a whole clip, as it is rendered
        return torch.randn_like(clean[::frames]).repeat_interleave(frames, 0)
    noise = torch.randn_like(clean)
    return noise + offset * torch.randn_like(clean[..., :1, :1]) if offset else noise


def _strengths(experts: int, options: LossOptions) -> list[float | None]:
    """Return the strength of each expert module: 1, or 0 or None (see `options`) for a dropped one."""
    if not experts or not options.expert_drop:
        return [1.0] * experts
    kept = (torch.rand(experts) >= options.expert_drop).tolist()
    if options.never_bare and not any(kept):
        kept = [True] * experts
    return [1.0 if stays else None if options.skip_left_out else 0.0 for stays in kept]


def weighted_error(
    step: DenoisingStep, weight: Tensor, prediction: str, options: LossOptions
) -> tuple[Tensor, dict[str, float]]:
    """Return the squared error of the clean latents and of their change over time, weighted by place and noise level.

    step: the result; weight: (N, 1, h, w) of places; prediction: of the U-Net; options: the settings."""
    error = step.found - step.clean
    weight = weight / weight.mean() if options.weighted else torch.ones_like(step.alpha)
    level = snr_weight(step.alpha, step.beta, prediction, options.gamma)
    still = (error.square() * weight * level).mean()
    parts = {"latent": float(still.detach())}
    frames = options.clip_length or 1
    if not options.flicker or frames == 1:
        return still, parts
    clips, weight, level = (x.unflatten(0, (-1, frames)) for x in (error, weight, level))
    moving = (clips.diff(dim=1).square() * weight[:, 1:] * level[:, 1:]).mean()
    return still + options.flicker * moving, parts | {"flicker": float(moving.detach())}


def snr_weight(alpha: Tensor, beta: Tensor, prediction: str, gamma: float) -> Tensor:
    """Return the weight of the squared error of the CLEAN latents that equals min-SNR weighting of the prediction.

    alpha, beta: (N, 1, 1, 1) of the step; prediction: "v", "epsilon" or "residual"; gamma: limit.

    v: |v error|^2 = |x0 error|^2 / beta^2 weighted by min(SNR + 1, gamma) / (SNR + 1), and SNR + 1 = 1 / beta^2.
    epsilon: |x0 error|^2 * SNR weighted by min(SNR, gamma) / SNR. The one-step ("residual") profile has no such weight.
    """
    if prediction == "residual":
        return torch.ones_like(alpha)
    if prediction == "v":
        return (1 / beta.square().clamp_min(1e-8)).clamp(max=gamma)
    return (alpha.square() / beta.square().clamp_min(1e-8)).clamp(max=gamma)


def over_lift(step: DenoisingStep, lift: Tensor, weight: Tensor) -> dict[str, float]:
    """Return the lift's own error, and the error from pure noise relative to it, which falls below 1 with training."""
    base = ((lift - step.clean).square() * weight).mean() / weight.mean()
    error = ((step.found - step.clean).square() * weight).mean((1, 2, 3)) / weight.mean()
    pure = step.sigma == 1
    parts = {"lift": float(base)}
    return parts | {"pure_over_lift": float(error.detach()[pure].mean() / base)} if pure.any() else parts


class DenoisingLoss:
    """The loss(model, batch of pictures): encodes on the device, takes one denoising step, weights its error.

    encode: images (N, 3, H, W) in [-1, 1] -> latents. tokens: portraits -> cross-attention tokens, None = the U-Net's
    own."""

    def __init__(
        self,
        encode: Callable[[Tensor], Tensor],
        options: LossOptions,
        tokens: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.encode, self.options, self.tokens = encode, options, tokens

    def __call__(self, model: StageTwo, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        prediction = model.unet.config.prediction
        with torch.no_grad():
            clean, lift = self.encode(torch.cat([batch["rgb"], batch["lift"]])).float().chunk(2)
            latents = batch | {"clean": clean, "lift": lift, "portrait": self.encode(batch["portrait"]).float()}
            if self.tokens is not None:
                latents["tokens"] = self.tokens(batch["portrait"])
        step = denoising_step(model, latents, self.options)
        value, parts = weighted_error(step, batch["weight"], prediction, self.options)
        if prediction == "residual" and self.options.clip_length is None:
            parts |= over_lift(step, lift, batch["weight"])
        return value, parts
