"""The denoiser of stage 2: diffusers' `UNetMotionModel` with class swaps that keep every public checkpoint key.

* FramewiseGroupNorm: motion modules normalise per frame (AnimateDiff, AnimateAnyone); the stock class mixes all frames.
* PoseConvIn: guide features are added right after conv_in, so that they reach every layer, not only the skips.
* ReferenceAttention (reference.py) and MoEFeedForward (experts.py).

`denoised = model(x, sigma, cond)`: x = alpha * clean + beta * noise with (alpha, beta) = `model.levels(sigma)`, sigma
from 1 (pure noise) to 0. The nano profile predicts a residual on the encoded lift (flow-matching levels); the SD1.5
profile predicts v under the zero-SNR schedule of AnimateAnyone, or the noise as in AnimateDiff. One class."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...shapes import dims
from ..guides.layout import GuideLayout
from .experts import Experts, Mixin, install_experts, swap_class
from .reference import Bank, ReferenceCache, ReferenceConfig, cache_keys, install_reference_attention, repeat_rows
from .widening import widen

PIECE = 512  # rows of a feed-forward at a time


@dataclass(frozen=True)
class UNetConfig:
    """The sizes of the denoiser; the defaults are nano's, `SD15` below is the layout of AnimateAnyone and AnimateDiff.

    prediction: "residual" (x0 = lift + network, levels 1 - sigma, sigma), "v" (zero-SNR linear betas) or "epsilon"
        (linear betas).
    widths, layers, heads, groups, cross_dim: as in diffusers' UNetMotionModel; motion_*: of its motion modules;
    guide_*: of the pose guider.
    tokens: side of the grid of pooled portrait latents used as cross-attention tokens; 0 = the caller gives embeddings.
    guides: input of the pose guider, "maps" (maps.guide_tensor) or "openpose" (the common skeleton drawing, RGB in [0,
    1]).
    motion_mid, clip_norm: False and True for AnimateDiff v1, whose middle block has no motion module and whose
        convolution blocks normalise over all frames; both False for v3.
    merged: hidden units that merged experts added to every spatial feed-forward (merge.py)."""

    latent_channels: int = 8
    widths: tuple[int, ...] = (64, 96, 128)
    layers: int = 1
    heads: tuple[int, ...] = (2, 3, 4)
    attention: tuple[bool, ...] = (False, True, True)
    groups: int = 16
    cross_dim: int = 32
    tokens: int = 4
    motion_heads: tuple[int, ...] = (2, 3, 4)
    motion_length: int = 32
    guide_channels: int = GuideLayout().channels
    guide_kernel: int = 1
    guide_widths: tuple[int, ...] = (64, 96)
    prediction: str = "residual"
    guides: str = "maps"
    motion_mid: bool = True
    clip_norm: bool = False
    merged: int = 0

    def reference(self) -> ReferenceConfig:
        """Return the sizes of the reference network that belongs to this denoiser."""
        return ReferenceConfig(
            self.latent_channels, self.widths, self.layers, self.heads, self.attention, self.groups, self.cross_dim
        )


SD15 = UNetConfig(
    latent_channels=4,
    widths=(320, 640, 1280, 1280),
    layers=2,
    heads=(8, 8, 8, 8),
    attention=(True, True, True, False),
    groups=32,
    cross_dim=768,
    tokens=0,
    motion_heads=(8, 8, 8, 8),
    guide_channels=3,
    guide_kernel=3,
    guide_widths=(16, 32, 96, 256),
    prediction="v",
    guides="openpose",
)


@dataclass(frozen=True)
class Condition:
    """The inputs of the denoiser beside x; rows = clips * clip_length, or independent images for clip_length None.

    guide: (N, G, H, W) for the pose guider.
    tokens, reference: (I, n, D) and keys and values of I portraits, each shared by N / I consecutive rows.
    yaw: (N,) degrees.
    lift: (N, C, h, w) the portrait projected onto the body, encoded (residual profile).
    regions: (N, P, H', W') fractions of background, body, face and hands, for the mask experts' gates.
    experts: ((module, factor on its output), ...).
    clip_length: frames of a clip; None skips the motion modules.
    features: output of the pose guider, if several passes share it."""

    guide: Tensor
    tokens: Tensor
    yaw: Tensor
    lift: Tensor | None = None
    reference: ReferenceCache | None = None
    regions: Tensor | None = None
    experts: tuple[tuple[Experts, float], ...] = ()
    clip_length: int | None = None
    features: Tensor | None = None

    def with_experts(self, *experts: tuple[Experts, float]) -> "Condition":
        """Return the same condition with other experts: (module, factor on its output) pairs."""
        return replace(self, experts=experts)


class FramewiseGroupNorm(Mixin):
    """The mixin that makes a GroupNorm on (B, C, T, h, w) normalise each frame separately."""

    def forward(self, x: Tensor) -> Tensor:
        frames = x.transpose(1, 2)
        return super().forward(frames.flatten(0, 1)).view_as(frames).transpose(1, 2)


class ClipGroupNorm(Mixin):
    """The mixin that makes a GroupNorm on rows (B * frames, C, h, w) normalise all frames of a clip together."""

    frames = 1

    def forward(self, x: Tensor) -> Tensor:
        clips = x.unflatten(0, (-1, self.frames)).transpose(1, 2)
        return super().forward(clips).transpose(1, 2).flatten(0, 1)


class PoseConvIn(Mixin):
    """The mixin for Conv2d: adds `features` (N, C, h, w), set during one forward pass, to the output."""

    features: Tensor | None = None

    @contextmanager
    def adding(self, features: Tensor) -> Iterator[None]:
        """Set the features within a with block, and remove them at its end, also after an error."""
        self.features = features
        try:
            yield
        finally:
            self.features = None

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out if self.features is None else out + self.features.to(out.dtype)


class MotionModule(Mixin):
    """The mixin for an AnimateDiffTransformer3D (attention over time) that can be skipped, for independent images, and
    that leaves a map whose channels lie together in memory that way, for the convolution behind it."""

    enabled = True
    norm: nn.Module
    proj_in: nn.Module
    proj_out: nn.Module
    transformer_blocks: nn.ModuleList

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        timestep: Tensor | None = None,
        class_labels: Tensor | None = None,
        num_frames: int = 1,
        cross_attention_kwargs: dict[str, Any] | None = None,
    ) -> Tensor:
        if not self.enabled:
            return hidden_states
        if not hidden_states.is_contiguous(memory_format=torch.channels_last):
            return super().forward(hidden_states, num_frames=num_frames)
        h, w = hidden_states.shape[2:]
        clips = hidden_states.unflatten(0, (-1, num_frames)).transpose(1, 2)
        x = self.proj_in(self.norm(clips).permute(0, 3, 4, 2, 1).flatten(0, 2))
        for block in self.transformer_blocks:
            x = block(x)
        x = self.proj_out(x).unflatten(0, (-1, h, w)).permute(0, 3, 1, 2, 4)
        return hidden_states + x.flatten(0, 1).permute(0, 3, 1, 2)


class FeedForwardInPieces(Mixin):
    """The mixin for diffusers' FeedForward that works on `PIECE` rows at a time, outside of training on a CPU.

    What lies between its two layers is eight times as wide as its input; in pieces it stays in the processor's cache.
    """

    def forward(self, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        rows = hidden_states.flatten(0, -2)
        if torch.is_grad_enabled() or rows.device.type != "cpu" or len(rows) < 2 * PIECE:
            return super().forward(hidden_states, *args, **kwargs)
        out = torch.empty_like(rows)
        for start in range(0, len(rows), PIECE):
            piece = super().forward(rows[start : start + PIECE], *args, **kwargs)
            if piece.dtype != out.dtype:  # under autocast
                out = out.to(piece.dtype)
            out[start : start + PIECE] = piece
        return out.unflatten(0, hidden_states.shape[:-1])


class PoseGuider(nn.Module):
    """Map guides (N, G, H, W) -> features at latent size, in AnimateAnyone's layout: each widening step halves the
    size.

    channels: G; widths: of its convolutions; out: channels of the features; kernel: side of the first convolution."""

    def __init__(self, channels: int, widths: tuple[int, ...], out: int, kernel: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, widths[0], kernel, padding=kernel // 2)
        blocks: list[nn.Module] = []
        for narrow, wide in zip(widths, widths[1:], strict=False):
            blocks.append(nn.Conv2d(narrow, narrow, 3, padding=1))
            blocks.append(nn.Conv2d(narrow, wide, 3, stride=2, padding=1))
        self.blocks = nn.ModuleList(blocks)
        self.conv_out = nn.Conv2d(widths[-1], out, 3, padding=1)
        for values in self.conv_out.parameters():
            nn.init.zeros_(values)

    def forward(self, guide: Tensor) -> Tensor:
        x = F.silu(self.conv_in(guide))
        for block in self.blocks:
            x = F.silu(block(x))
        return self.conv_out(x)


def build_motion_unet(c: UNetConfig) -> nn.Module:
    """Build diffusers' UNetMotionModel of a config with our norm, conv_in, motion and attention classes.

    Its weights have the keys of public checkpoints."""
    from diffusers import UNetMotionModel

    unet = UNetMotionModel(
        in_channels=c.latent_channels * (2 if c.prediction == "residual" else 1),
        out_channels=c.latent_channels,
        block_out_channels=c.widths,
        layers_per_block=c.layers,
        down_block_types=tuple("CrossAttnDownBlockMotion" if a else "DownBlockMotion" for a in c.attention),
        up_block_types=tuple("CrossAttnUpBlockMotion" if a else "UpBlockMotion" for a in reversed(c.attention)),
        cross_attention_dim=c.cross_dim,
        norm_num_groups=c.groups,
        num_attention_heads=c.heads,
        motion_num_attention_heads=c.motion_heads,
        motion_max_seq_length=c.motion_length,
        use_motion_mid_block=c.motion_mid,
    )
    for name, module in list(unet.named_modules()):
        if name.rpartition(".")[0].endswith("motion_modules"):
            swap_class(module.norm, FramewiseGroupNorm)
            swap_class(module, MotionModule)
            nn.init.zeros_(module.proj_out.weight)
            nn.init.zeros_(module.proj_out.bias)
        elif c.clip_norm and isinstance(module, nn.GroupNorm) and ("resnets" in name or name == "conv_norm_out"):
            swap_class(module, ClipGroupNorm)
        elif name.endswith(".ff"):
            swap_class(module, FeedForwardInPieces)
    swap_class(unet.conv_in, PoseConvIn)
    install_reference_attention(unet)
    return unet


class StereoTalkerUNet(nn.Module):
    """The denoiser: pose guider, motion U-Net and portrait tokens as one function, `denoised = model(x, sigma, cond)`.
    """

    Config = UNetConfig

    def __init__(self, config: UNetConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or UNetConfig()
        if c.prediction not in ("residual", "v", "epsilon"):
            raise ValueError(f"prediction must be 'residual', 'v' or 'epsilon', got {c.prediction!r}")
        if c.guides not in ("maps", "openpose"):
            raise ValueError(f"guides must be 'maps' or 'openpose', got {c.guides!r}")
        self.unet: Any = build_motion_unet(c)  # diffusers declares no types of its parts
        self.context = install_experts(self.unet)
        if c.merged:
            widen(self.unet, c.merged)
        self.motion_modules = [m for m in self.unet.modules() if isinstance(m, MotionModule)]
        self.clip_norms = [m for m in self.unet.modules() if isinstance(m, ClipGroupNorm)]
        self.pose = PoseGuider(c.guide_channels, c.guide_widths, c.widths[0], c.guide_kernel)
        if c.tokens:
            self.project = nn.Linear(c.latent_channels, c.cross_dim)
        if c.prediction == "residual":
            nn.init.zeros_(self.unet.conv_out.weight)
            nn.init.zeros_(self.unet.conv_out.bias)

    def levels(self, sigma: float) -> tuple[float, float]:
        """Return (alpha, beta) of x = alpha * clean + beta * noise at a noise level sigma in [0, 1]."""
        if self.config.prediction == "residual":
            return 1.0 - sigma, sigma
        alpha = float(_alphas(zero_snr=self.config.prediction == "v")[_step(sigma)]) if sigma > 0 else 1.0
        return alpha, (1 - alpha**2) ** 0.5

    def portrait_tokens(self, latents: Tensor) -> Tensor:
        """Map portrait latents (I, C, h, w) -> cross-attention tokens (I, tokens**2, cross_dim)."""
        pooled = F.adaptive_avg_pool2d(latents, self.config.tokens)
        return self.project(pooled.flatten(2).transpose(1, 2))

    def cache_reference(self, bank: Bank) -> ReferenceCache:
        """Compute this denoiser's keys and values of the reference network's bank, once per video."""
        return cache_keys(self.unet, bank)

    def forward(self, x: Tensor, sigma: Tensor | float, cond: Condition) -> Tensor:
        """Map noisy latents (N, C, h, w) at sigma (one number, or one per clip) -> denoised latents (N, C, h, w)."""
        size = dims(x, "N C h w", C=self.config.latent_channels)
        length = cond.clip_length or 1
        if size["N"] % length:
            raise ValueError(f"{size['N']} rows are no whole number of clips of {length} frames")
        sigma = torch.as_tensor(sigma, device=x.device, dtype=torch.float32).reshape(-1).expand(size["N"] // length)
        for module in self.motion_modules:
            module.enabled = cond.clip_length is not None
        for norm in self.clip_norms:
            norm.frames = length
        residual = self.config.prediction == "residual"
        lift = cond.lift if residual else None
        if residual and lift is None:
            raise ValueError("a network that predicts the residual needs the lift's latents")
        sample = x.to(self.unet.conv_in.weight.dtype) if lift is None else torch.cat([x, lift.to(x.dtype)], 1)
        sample = sample.unflatten(0, (-1, length)).transpose(1, 2)
        features = self.pose(cond.guide) if cond.features is None else cond.features
        grids = [(-(-size["h"] // 2**i), -(-size["w"] // 2**i)) for i in range(len(self.config.widths))]
        with self.unet.conv_in.adding(features), self.context.use(cond.experts, cond.yaw, cond.regions, grids):
            out = self.unet(
                sample,
                sigma * 999 if residual else (sigma * 999).round().long(),
                encoder_hidden_states=repeat_rows(cond.tokens, size["N"]),
                cross_attention_kwargs={"reference": cond.reference or {}},
                return_dict=False,
            )[0]
        out = out.transpose(1, 2).flatten(0, 1).float()
        return self._clean(x.float(), out, sigma.repeat_interleave(length)) if lift is None else lift.float() + out

    def _clean(self, x: Tensor, out: Tensor, sigma: Tensor) -> Tensor:
        """Return the clean latents (N, C, h, w) from noisy ones x and the network's v or epsilon, out."""
        alpha, beta = x.new_tensor([self.levels(float(s)) for s in sigma]).T[..., None, None, None]
        return alpha * x - beta * out if self.config.prediction == "v" else (x - beta * out) / alpha


def _step(sigma: float) -> int:
    return round(sigma * 999)


@functools.cache
def _alphas(zero_snr: bool) -> Tensor:
    """Return sqrt(cumulative alpha) (1000,) of linear betas 0.00085..0.012; zero_snr: rescaled to end at 0 (Lin et al.,
    arXiv 2305.08891)."""
    root = torch.cumprod(1 - torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64), 0).sqrt()
    return (root - root[-1]) * root[0] / (root[0] - root[-1]) if zero_snr else root


@torch.no_grad()
def sample(model: StereoTalkerUNet, noise: Tensor, cond: Condition, steps: int) -> Tensor:
    """Map noise (N, C, h, w) -> clean latents in `steps` deterministic steps (DDIM; Euler for the flow-matching
    levels); cond: the conditions."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    x = noise
    for i in range(steps):
        now, after = 1 - i / steps, 1 - (i + 1) / steps
        clean = model(x, now, cond)
        (alpha, beta), (next_alpha, next_beta) = model.levels(now), model.levels(after)
        x = next_alpha * clean + next_beta * (x - alpha * clean) / beta
    return x
