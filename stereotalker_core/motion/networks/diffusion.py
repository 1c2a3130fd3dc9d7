"""Samplers for motion: pure functions of `denoised = model(x, sigma)`, each with an explicit loop."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]  # (x (B, T, D), sigma (B,)) -> denoised (B, T, D)
Callback = Callable[[int, int, Tensor], None]  # (step from 0, steps, denoised)
SAMPLERS = ("dpmpp_2m", "euler", "ddim")


def karras_sigmas(steps: int, low: float = 0.03, high: float = 30.0, rho: float = 5.0) -> Tensor:
    """Return (steps + 1,) noise levels from `high` to `low`, then 0 (EDM eq. 5). ValueError for steps < 1.

    rho: the larger, the more of the steps are near `low`."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    ramp = torch.linspace(0, 1, steps) if steps > 1 else torch.zeros(1)
    sigmas = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return torch.cat([sigmas, torch.zeros(1)])


def _with_zero(sigmas: Tensor) -> Iterator[tuple[int, float, float]]:
    values = sigmas.tolist()
    return ((i, a, b) for i, (a, b) in enumerate(zip(values[:-1], values[1:], strict=True)))


def sample_euler(model: Denoise, x: Tensor, sigmas: Tensor, callback: Callback | None = None) -> Tensor:
    """Sample by Euler steps of the probability flow dx/dsigma = (x - denoised) / sigma -> clean motion (B, T, D).

    model: model(x, sigma) -> denoised; x: (B, T, D), sigmas[0] times unit noise; sigmas: (N + 1,), the last 0;
    callback: called with (step, steps, denoised)."""
    for i, sigma, following in _with_zero(sigmas):
        denoised = model(x, x.new_full((len(x),), sigma))
        x = x + (x - denoised) / sigma * (following - sigma)
        if callback:
            callback(i, len(sigmas) - 1, denoised)
    return x


def sample_ddim(model: Denoise, x: Tensor, sigmas: Tensor, callback: Callback | None = None) -> Tensor:
    """Sample by DDIM with eta 0 in variance-exploding form, combining the denoised sample and the implied noise.

    Arguments as in `sample_euler`."""
    for i, sigma, following in _with_zero(sigmas):
        denoised = model(x, x.new_full((len(x),), sigma))
        noise = (x - denoised) / sigma
        x = denoised + following * noise
        if callback:
            callback(i, len(sigmas) - 1, denoised)
    return x


def sample_dpmpp_2m(model: Denoise, x: Tensor, sigmas: Tensor, callback: Callback | None = None) -> Tensor:
    """Sample by DPM-Solver++(2M) (Lu et al., arXiv 2211.01095): second order, one network call per step.

    Arguments as in `sample_euler`."""
    previous, step_before = None, 0.0
    for i, sigma, following in _with_zero(sigmas):
        denoised = model(x, x.new_full((len(x),), sigma))
        if callback:
            callback(i, len(sigmas) - 1, denoised)
        if following == 0:
            return denoised
        ratio = torch.tensor(following / sigma, dtype=torch.float64)
        step = float(-ratio.log())  # in lambda = -log sigma
        direction = denoised
        if previous is not None:
            r = step_before / step
            direction = (1 + 1 / (2 * r)) * denoised - previous / (2 * r)
        x = float(ratio) * x + (1 - float(ratio)) * direction
        previous, step_before = denoised, step
    return x


def sample(name: str, model: Denoise, noise: Tensor, sigmas: Tensor, callback: Callback | None = None) -> Tensor:
    """Run the sampler `name` from unit noise (B, T, D) -> clean motion (B, T, D). ValueError for an unknown name.

    Other arguments as in `sample_euler`."""
    table = {"dpmpp_2m": sample_dpmpp_2m, "euler": sample_euler, "ddim": sample_ddim}
    if name not in table:
        raise ValueError(f"sampler {name!r} is unknown; use one of {', '.join(SAMPLERS)}")
    return table[name](model, noise * float(sigmas[0]), sigmas, callback)


def guided(
    branches: Callable[[bool, bool], Tensor],
    audio: float,
    prior: float,
    steadied: Callable[[Tensor], Tensor] = lambda difference: difference,
) -> Tensor:
    """Apply classifier-free guidance in two stages: nothing -> sound -> sound + prior; returns the denoised motion (B,
    T, D).

    branches: branches(with_sound, with_prior) evaluates the network; with both scales 1 only the full condition is
    needed.
    audio, prior: the guidance scales, 1 = no exaggeration.
    steadied: filter of the difference (B, T, D) made by the prior, before it is scaled up. The prior changes abruptly
        where a word ends; without the filter so do the arms."""
    if audio == 1 and prior == 1:
        return branches(True, True)
    heard = branches(True, False)
    if prior == 1:
        return branches(True, True) + (audio - 1) * (heard - branches(False, False))
    full = branches(True, True)
    difference = full - heard
    out = full + (prior - 1) * (steadied(difference) if prior > 1 else difference)
    return out if audio == 1 else out + (audio - 1) * (heard - branches(False, False))
