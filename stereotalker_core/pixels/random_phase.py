"""Textures without a pattern, such as weaves: noise with the power spectrum of a square of them and random phases.

Such a texture is hardly more than its spectrum, and noise has neither repeats nor seams (Galerne, Gousseau and Morel,
Random Phase Textures: Theory and Synthesis, IEEE Transactions on Image Processing 2011)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def quiet_square(grain: Tensor, known: Tensor, side: int, share: float) -> Tensor | None:
    """Return a square (3, side, side) of a texture, quiet enough to show no seam; None where none is known.

    grain: (3, h, w), the texture less its local mean.
    known: (h, w) bool, pixels that show it.
    side: px.
    share: of the known squares that are quieter than the one returned."""
    if side > min(grain.shape[1:]):
        return None
    full = F.avg_pool2d(known[None].to(grain), side, 1)[0] > 1 - 0.5 / side**2
    if not bool(full.any()):
        return None
    loud = F.avg_pool2d(grain.square().mean(0, keepdim=True), side, 1)[0]
    usual = loud[full].sort().values[int(share * int(full.sum()))]
    y, x = divmod(int(torch.where(full, (loud - usual).abs(), math.inf).argmin()), full.shape[1])
    return grain[:, y : y + side, x : x + side]


def noise_like(square: Tensor, size: tuple[int, int]) -> Tensor:
    """Return noise (C, *size) with the power spectrum and the variance of a square (C, n, n); the same at every call.
    """
    n = square.shape[-1]
    canvas = (max(n, size[0]), max(n, size[1]))
    square = square - square.mean((1, 2), keepdim=True)
    window = torch.hann_window(n + 2, periodic=False)[1:-1].to(square)
    spot = square * window * window[:, None]
    wanted, there = square.square().mean() * canvas[0] * canvas[1] * len(square), spot.square().sum()
    spot = spot * (wanted / there.clamp_min(1e-12)).sqrt()
    phases = torch.fft.rfft2(torch.randn(canvas, generator=torch.Generator().manual_seed(0)).to(square))
    noise = torch.fft.irfft2(torch.fft.rfft2(spot, s=canvas) * phases / phases.abs().clamp_min(1e-9), s=canvas)
    return noise[:, : size[0], : size[1]]
