"""Stage 1, the motion denoiser: a transformer over time that predicts the clean motion (docs/motion.md).

`denoised = model(x, sigma, cond)` with the preconditioning of EDM (Karras et al., arXiv 2206.00364). The losses here
are pure functions that keep batch and time."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...audio.phones import PHONES
from ...shapes import dims
from ..conditioning import N_PROSODY, STYLE_WIDTH, MotionCondition
from ..representation import MotionCodec


def turns(positions: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return cosines and sines (T, width / 2) of the rotary embedding at positions (T,), shared by all blocks."""
    half = width // 2
    frequency = 1000.0 ** (-torch.arange(half, device=positions.device, dtype=torch.float32) / half)
    angle = positions[:, None].float() * frequency
    return angle.cos(), angle.sin()


def rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply the rotary position embedding to x (B, heads, T, d); cos, sin: (T, d / 2) from `turns`."""
    (a, b), cos, sin = x.chunk(2, -1), cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class Block(nn.Module):
    """Apply self-attention over time and a feed-forward to (B, T, W), both modulated by noise level and style.

    width: W; heads: of the attention; expand: width inside the feed-forward, in units of W."""

    def __init__(self, width: int, heads: int, expand: int):
        super().__init__()
        self.heads = heads
        self.modulation = nn.Parameter(torch.zeros(6, width))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, expand * width)
        self.down = nn.Linear(expand * width, width)

    def forward(self, h: Tensor, shared: Tensor, places: tuple[Tensor, Tensor]) -> Tensor:
        """Map h (B, T, W) -> (B, T, W).

        shared: modulation (B, 6, W), to which the block adds its own; places: cosines and sines (T, d / 2) of the
        frames' positions, from `turns`, d being the width of a head."""
        a_scale, a_shift, a_gate, m_scale, m_shift, m_gate = (shared + self.modulation)[:, :, None].unbind(1)
        normal = F.layer_norm(h, h.shape[-1:]) * (1 + a_scale) + a_shift
        q, k, v = rearrange(self.qkv(normal), "b t (three heads d) -> three b heads t d", three=3, heads=self.heads)
        attended = F.scaled_dot_product_attention(rotary(q, *places), rotary(k, *places), v)
        h = h + (1 + a_gate) * self.out(rearrange(attended, "b heads t d -> b t (heads d)"))
        normal = F.layer_norm(h, h.shape[-1:]) * (1 + m_scale) + m_shift
        return h + (1 + m_gate) * self.down(F.gelu(self.up(normal), approximate="tanh"))


class AudioStem(nn.Module):
    """Map audio channels (B, T, F) -> (B, T, W); each frame sees +-0.16 s, the range of co-articulation."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.first = nn.Conv1d(channels, width, 5, padding=2)
        self.second = nn.Conv1d(width, width, 5, padding=2)

    def forward(self, audio: Tensor) -> Tensor:
        h = F.gelu(self.first(audio.transpose(1, 2)), approximate="tanh")
        return (h + self.second(h)).transpose(1, 2)


class MotionDenoiser(nn.Module):
    """Map noisy motion + sound + language prior + style + seed frames -> clean motion."""

    @dataclass(frozen=True)
    class Config:
        codec: MotionCodec.Config = field(default_factory=MotionCodec.Config)
        features: int = 0  # width of the raw encoder features among the audio channels; 0 = phones and prosody only
        prior: int = 192  # width of the language prior's hidden states
        width: int = 192
        layers: int = 4
        heads: int = 4
        expand: int = 3
        window: int = 100  # frames sampled at once, the longest length seen in training
        seed: int = 12  # known frames at the start of a window
        lookahead: int = 8  # frames at the end of a window that are discarded: they lack the following sound

        def __post_init__(self) -> None:
            if self.width % (2 * self.heads):
                raise ValueError(f"width {self.width} must be a multiple of 2 * heads = {2 * self.heads}")
            if self.window <= self.seed + self.lookahead:
                raise ValueError(f"window {self.window} must exceed seed + lookahead = {self.seed + self.lookahead}")

        @property
        def audio(self) -> int:
            return len(PHONES) + N_PROSODY + self.features
    frequencies: Tensor

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = config = config or self.Config()
        width = config.width
        self.codec = MotionCodec(config.codec)
        motion = self.codec.width
        self.register_buffer("frequencies", torch.logspace(-1, 2, 32), persistent=False)
        self.noisy_in = nn.Linear(motion, width)
        self.seed_in = nn.Linear(motion + 1, width, bias=False)
        self.audio_in = AudioStem(config.audio, width)
        self.no_audio = nn.Parameter(torch.zeros(width))
        self.prior_in = nn.Linear(config.prior, width, bias=False)
        self.style_in = nn.Linear(STYLE_WIDTH, width)
        self.noise_in = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 8 * width))
        self.blocks = nn.ModuleList(Block(width, config.heads, config.expand) for _ in range(config.layers))
        self.out = nn.Linear(width, motion)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        for values in self.modulation[1].parameters():
            nn.init.zeros_(values)
        for name, values in self.blocks.named_parameters():
            if name.endswith((".out.weight", ".down.weight")):
                nn.init.normal_(values, std=0.02 / config.layers**0.5)

    def tell(self, cond: MotionCondition) -> Tensor:
        """Embed seed frames, sound and prior of a condition frame by frame -> (B, T, W), the same at every noise
        level."""
        told = self.seed_in(torch.cat([cond.seed * cond.seed_mask, cond.seed_mask], -1))
        told = told + cond.keep_audio * self.audio_in(cond.audio) + (1 - cond.keep_audio) * self.no_audio
        return told if cond.prior is None else told + self.prior_in(cond.prior)

    def forward(self, x: Tensor, sigma: Tensor, cond: MotionCondition) -> Tensor:
        """Map noisy motion x (B, T, D) at noise level sigma (B,) > 0, with condition cond -> denoised (B, T, D)."""
        known = dims(x, "B T D", D=self.codec.width)
        dims(cond.audio, f"B T {self.config.audio}", B=known["B"], T=known["T"])
        c_skip, c_out, c_in, c_noise = preconditioning(sigma)
        angle = c_noise[:, None] * self.frequencies  # (B, 32)
        level = self.noise_in(torch.cat([angle.cos(), angle.sin()], -1)) + self.style_in(cond.style)
        modulation = rearrange(self.modulation(level), "b (n w) -> b n w", n=8)

        h = self.noisy_in(x * c_in[:, None, None]) + (self.tell(cond) if cond.told is None else cond.told)
        places = turns(torch.arange(h.shape[1], device=h.device), h.shape[-1] // self.config.heads)
        for block in self.blocks:
            h = block(h, modulation[:, :6], places)
        scale, shift = modulation[:, 6:, None].unbind(1)
        out = self.out(F.layer_norm(h, h.shape[-1:]) * (1 + scale) + shift)
        return c_skip[:, None, None] * x + c_out[:, None, None] * out.float()


def preconditioning(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return (c_skip, c_out, c_in, c_noise), each (B,), of EDM table 1 for data of unit variance."""
    total = sigma.square() + 1
    return 1 / total, sigma / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4


def loss_weight(sigma: Tensor, most: float = 5.0) -> Tensor:
    """Return the weight (B,) of the error of the clean motion: 1 / c_out^2, capped at `most`, so that low noise does
    not dominate the gradient."""
    return ((sigma.square() + 1) / sigma.square()).clamp_max(most)


def motion_errors(codec: MotionCodec, denoised: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Return the squared errors of denoised and clean motion (B, T, D), and of their velocity (B, T-1, D); codec: of
    both."""
    dims(clean, "B T D", **dims(denoised, "B T D", D=codec.width))
    return (denoised - clean).square(), (denoised.diff(dim=1) - clean.diff(dim=1)).square()


def closure_error(gap: Tensor, target_gap: Tensor, closed: Tensor) -> Tensor:
    """Return (B, T) the squared excess of the lip gap over the target's, where closed (B, T) is 1, else 0.

    gap, target_gap: (B, T) mm; the excess is counted in units of 10 mm."""
    return closed * ((gap - target_gap) / 10).clamp_min(0).square()
