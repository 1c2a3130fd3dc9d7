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
    """The source of training batches: called with an index, it returns a dictionary, always the same for that index.

    "rgb", "lift": (N, 3, H, W) in [-1, 1], with N = identities * frames: the true frames, and the portrait's pixels on
        the posed body.
    "guide": (N, G, H/4, W/4) maps of the posed body, or with guides = "openpose" skeleton drawings (N, 3, H, W) in [0,
        1].
    "weight": (N, 1, h, w) of the errors; "regions": (N, 4, h, w), the true soft regions; both averaged to the size of
        the latents, h = H / latent_scale.
    "yaw": (N,) degrees; "portrait": (identities, 3, H, W) in [-1, 1].

    data: the frames to draw from; identities, frames: people, and frames of each; clips: True for consecutive frames,
        `stride` apart; seed: determines all draws. People are mirrored at random, together with their portrait."""

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
    pure: fraction of samples that are pure noise, used only for a renderer of one step (prediction "residual").
    gamma: limit of the min-SNR weight; drop: fraction of micro-batches without the portrait.
    offset: strength of noise that is constant per channel.
    expert_drop: probability that an expert module is dropped.
    skip_left_out: True: a dropped module is not run at all; False: it runs with strength 0, because sharded processes
        must run the same modules.
    never_bare: drop no module where otherwise all would be dropped, so that every micro-batch trains experts.
    flicker: weight of the error of changes over time.
    weighted: whether person and face have larger weights than the background."""

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

    alpha, beta: (N, 1, 1, 1) of these levels; the noisy latents were alpha * clean + beta * noise."""

    clean: Tensor
    found: Tensor
    sigma: Tensor
    alpha: Tensor
    beta: Tensor


def denoising_step(model: StageTwo, batch: Batch, options: LossOptions) -> DenoisingStep:
    """Run the denoiser once on noisy latents; noise, its levels and the inputs that are dropped are drawn at random.

    model: the denoiser.
    batch: as from `PictureBatches`, but with latents "clean" (N, C, h, w), "lift" and "portrait"; "tokens" where the
        U-Net makes none of its own.
    options: how noise levels are drawn, and the chances of dropping inputs."""
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
    """Draw random noise levels (count,) in 0..1, 1 = noise alone.

    count: how many; device: where the result lies.
    prediction: what the network predicts. "residual" belongs to rendering in one step: levels are uniform in 0.02..1,
        and a fraction `pure` of them is set to 1. For any other, levels are uniform over the steps 1/999, 2/999, ... 1.
    pure: the fraction that is set to 1 for "residual"; unused for others."""
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
    """Draw which expert modules are dropped -> the strength of each: 1 = kept; dropped: None = not run, or 0 = no
    effect.

    experts: number of modules; options: their `skip_left_out` chooses between None and 0."""
    if not experts or not options.expert_drop:
        return [1.0] * experts
    kept = (torch.rand(experts) >= options.expert_drop).tolist()
    if options.never_bare and not any(kept):
        kept = [True] * experts
    return [1.0 if stays else None if options.skip_left_out else 0.0 for stays in kept]


def weighted_error(
    step: DenoisingStep, weight: Tensor, prediction: str, options: LossOptions
) -> tuple[Tensor, dict[str, float]]:
    """Return the squared error () of a step's latents, weighted by place and noise level, and {"latent", "flicker":
    term}.

    step: clean and predicted latents; weight: (N, 1, h, w) of places; prediction: what the U-Net predicts, see
    `UNetConfig`; options: with `flicker` the changes over time count as well."""
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
    """Return the weight (N, 1, 1, 1) of the error of the CLEAN latents that equals min-SNR weighting of the prediction.

    alpha, beta: (N, 1, 1, 1) of the step; prediction: "v", "epsilon" or "residual"; gamma: limit.

    v: |v error|^2 = |x0 error|^2 / beta^2 weighted by min(SNR + 1, gamma) / (SNR + 1), and SNR + 1 = 1 / beta^2.
    epsilon: |x0 error|^2 * SNR weighted by min(SNR, gamma) / SNR.
    residual: 1, since a renderer of one step has no such weight."""
    if prediction == "residual":
        return torch.ones_like(alpha)
    if prediction == "v":
        return (1 / beta.square().clamp_min(1e-8)).clamp(max=gamma)
    return (alpha.square() / beta.square().clamp_min(1e-8)).clamp(max=gamma)


def over_lift(step: DenoisingStep, lift: Tensor, weight: Tensor) -> dict[str, float]:
    """Compare a step with the lift -> {"lift": squared error of the lift, "pure_over_lift": error from pure noise /
    "lift"}.

    The second falls below 1 with training; it is left out where no sample was pure noise.
    step: clean and predicted latents; lift: (N, C, h, w), encoded; weight: (N, 1, h, w) of places."""
    base = ((lift - step.clean).square() * weight).mean() / weight.mean()
    error = ((step.found - step.clean).square() * weight).mean((1, 2, 3)) / weight.mean()
    pure = step.sigma == 1
    parts = {"lift": float(base)}
    return parts | {"pure_over_lift": float(error.detach()[pure].mean() / base)} if pure.any() else parts


class DenoisingLoss:
    """The loss of the denoiser: called with (denoiser, batch of `PictureBatches`), it returns (loss (), {term:
    number}).

    It encodes the pictures, takes one `denoising_step` and returns its `weighted_error`.
    encode: images (N, 3, H, W) in [-1, 1] -> latents; options: settings of the step.
    tokens: portraits (I, 3, H, W) -> cross-attention tokens (I, n, D); None: the U-Net makes its own."""

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
