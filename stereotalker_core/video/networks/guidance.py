"""Sampling of the full profile: zero-SNR trailing DDIM with classifier-free guidance.

Guidance as in AnimateAnyone: the unconditional branch gets no reference keys and a zero image embedding; both have the
pose. The branches run one after the other, which costs the same time and half the memory."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .contexts import ContextWindows, averaged_over_windows
from .unet import Condition, StereoTalkerUNet

TRAINING_STEPS = 1000


def trailing_timesteps(steps: int) -> list[int]:
    """Return `steps` of the 1000 training timesteps, from 999 down, evenly spaced (Lin et al. 2305.08891, table 2)."""
    if not 1 <= steps <= TRAINING_STEPS:
        raise ValueError(f"steps must be from 1 to {TRAINING_STEPS}, got {steps}")
    return [round(TRAINING_STEPS - i * TRAINING_STEPS / steps) - 1 for i in range(steps)]


def unconditional(cond: Condition) -> Condition:
    """Return the condition without the portrait: no reference, zero embedding; guides, regions and yaw stay."""
    return replace(cond, reference=None, tokens=torch.zeros_like(cond.tokens))


def guided(model: StereoTalkerUNet, x: Tensor, sigma: float, cond: Condition, scale: float) -> Tensor:
    """Return the denoised latents (N, C, h, w) with guidance; scale 1 is the plain model, in a single pass."""
    if scale == 1:
        return model(x, sigma, cond)
    cond = replace(cond, features=model.pose(cond.guide))  # the pose is the same on both sides
    free = model(x, sigma, unconditional(cond))
    return free + scale * (model(x, sigma, cond) - free)


def frames_of(cond: Condition, index: Tensor) -> Condition:
    """Return the condition for the frames `index` (n,) of one clip; the shared portrait is not copied."""
    parts = {name: getattr(cond, name) for name in ("guide", "lift", "regions", "yaw")}
    parts = {name: None if value is None else value[index] for name, value in parts.items()}
    return replace(cond, **parts, clip_length=len(index), features=None)


@torch.no_grad()
def sample_guided(
    model: StereoTalkerUNet,
    noise: Tensor,
    cond: Condition,
    *,
    steps: int = 25,
    scale: float = 3.5,
    windows: ContextWindows | None = None,
    callback: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Sample latents (T, C, h, w), float32, of one clip by DDIM (eta 0) with guidance.

    model: the denoiser.
    noise: (T, C, h, w).
    cond: one portrait, and the guides of all T frames.
    steps: of DDIM.
    scale: of the guidance.
    windows: of the motion modules; None for the usual ones.
    callback: called with (step, steps).

    Equal to diffusers' DDIMScheduler (trailing, zero-SNR, v) where 1000 is a multiple of steps; otherwise each step
    ends where the next begins."""
    if windows is None:
        windows = ContextWindows(min(24, model.config.motion_length))
    if windows.length > model.config.motion_length:
        raise ValueError(f"windows of {windows.length} frames; the motion modules reach {model.config.motion_length}")
    times = trailing_timesteps(steps)
    levels = [t / (TRAINING_STEPS - 1) for t in times] + [0.0]
    x, device = noise.float(), str(noise.device)
    for number, (now, after) in enumerate(zip(levels, levels[1:], strict=False)):

        def denoise(index: Tensor, x: Tensor = x, now: float = now) -> Tensor:
            return guided(model, x[index], now, frames_of(cond, index), scale)

        clean = averaged_over_windows(denoise, len(x), windows, device)
        (alpha, beta), (next_alpha, next_beta) = model.levels(now), model.levels(after)
        x = next_alpha * clean + next_beta * (x - alpha * clean) / beta
        if callback:
            callback(number + 1, steps)
    return x
