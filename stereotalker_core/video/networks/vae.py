"""Nano latent space: a small f8 autoencoder, and a decoder that also reads the guides at full resolution.

All convolutions work on pixel-unshuffled maps (a quarter of the resolution and below), which makes both cheap on a CPU.
Images (N, 3, H, W) in [-1, 1], sides divisible by 8; latents (N, C, H/8, W/8), about unit variance."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...shapes import dims
from ..guides.layout import GuideLayout
from ..guides.loops import loops, restored
from .fused import conv

BLOCK = 4  # pixel-unshuffle of the image
_PATCH = 3 * BLOCK**2


@dataclass(frozen=True)
class AutoencoderConfig:
    """The sizes of the autoencoder: channels of latents, of encoder, plain and guided decoder, and of the guide tensor.

    sharpen: factor on the detail (above a 3 x 3 blur) that the guided decoder adds where the portrait shows the
    surface, to compensate for the two resamplings of the lift (portrait to texture, texture to frame).
    ranges: (low, high) of the outputs of `quantised.convolutions.layer_names`, for playback in 8-bit integers; ()
        for none."""

    latent_channels: int = 8
    encoder_width: int = 48
    decoder_width: int = 64
    guided_width: int = 80
    guide_channels: int = GuideLayout().channels
    groups: int = 8
    sharpen: float = 0.0
    ranges: tuple[tuple[float, float], ...] = ()


class Block(nn.Module):
    """Apply a residual block of three 3x3 convolutions to (N, width, h, w)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        first, _, second, _, third = self.conv
        return conv(third, conv(second, conv(first, x)), x)


class Upscale(nn.Module):
    """Map latents (N, C, h, w) -> features (N, width, 2h, 2w)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), Block(width), Block(width), Block(width)
        )
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        first, _, *blocks = self.blocks
        x = conv(first, z)
        for block in blocks:
            x = block(x)
        return self.conv(F.interpolate(x, scale_factor=2.0))


class GuidedDecoder(nn.Module):
    """Map latents + guide tensor -> image, as a residual on the lift (the projected portrait).

    The output convolution starts at zero and its input is normalised, so training begins at the lift itself; a gate
    between lift and network would saturate."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        width, self.sharpen = config.guided_width, config.sharpen
        self.layout = GuideLayout.of_channels(config.guide_channels)
        self.latents = Upscale(config.latent_channels, width)
        self.guide = nn.Conv2d(config.guide_channels, width, 1)
        self.norm = nn.GroupNorm(config.groups, width)
        self.blocks = nn.Sequential(Block(width), Block(width))
        self.out = nn.Conv2d(width, _PATCH, 3, padding=1)
        for values in self.out.parameters():
            nn.init.zeros_(values)

    def forward(self, z: Tensor, guide: Tensor) -> Tensor:
        """Map un-normalised latents (N, C, h, w) and guide tensor (N, G, 2h, 2w) -> images (N, 3, 8h, 8w)."""
        x = self.blocks(self.entered(self.latents(z), guide))
        return self.corrected(self.out(x), guide)

    def entered(self, latents: Tensor, guide: Tensor) -> Tensor:
        """Return the input (N, width, 2h, 2w) of the blocks from the enlarged latents and the guide tensor."""
        return self.norm(conv(self.guide, guide, latents, relu=False))

    def corrected(self, change: Tensor, guide: Tensor) -> Tensor:
        """Return the images (N, 3, 8h, 8w): the lift of the guide tensor with a change (N, 48, 2h, 2w) of it."""
        lift_at, seen_at = (self.layout.channels_of(name) for name in ("lift", "visibility"))
        if not torch.is_grad_enabled() and not self.training and loops(change.device):
            return restored(change, guide, lift_at.start, seen_at.start, self.sharpen)
        image = F.pixel_shuffle(change.float() + guide[:, lift_at].float(), BLOCK)
        if not self.sharpen or self.training:
            return image
        visible = self.layout.map_of(guide, "visibility").float() / 2 + 0.5
        return image + self.sharpen * visible * (image - binomial_blur(image))


def binomial_blur(image: Tensor) -> Tensor:
    """Blur (N, C, H, W) by the kernel [1 2 1] / 4 along both sides, edges repeated.

    Shifted pictures are added up: in float32 that is four times as fast on a CPU as a convolution of every channel by
    itself, and autocast does not round it."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    rows = (padded[:, :, :-2] + padded[:, :, 2:]).add_(padded[:, :, 1:-1], alpha=2)
    return (rows[..., :-2] + rows[..., 2:]).add_(rows[..., 1:-1], alpha=2).mul_(1 / 16)


class TinyAutoencoder(nn.Module):
    """The nano autoencoder: encoder, plain decoder (from latents alone) and guided decoder (from latents and guides).

    `mean` and `std` (C,) normalise the latents."""

    Config = AutoencoderConfig
    mean: Tensor
    std: Tensor

    def __init__(self, config: AutoencoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or AutoencoderConfig()
        wide, narrow = config.decoder_width, config.encoder_width
        self.encoder = nn.Sequential(
            nn.Conv2d(_PATCH, narrow, 3, padding=1),
            Block(narrow),
            Block(narrow),
            nn.Conv2d(narrow, narrow, 3, stride=2, padding=1),
            Block(narrow),
            Block(narrow),
            nn.Conv2d(narrow, config.latent_channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            Upscale(config.latent_channels, wide), Block(wide), Block(wide), nn.Conv2d(wide, _PATCH, 3, padding=1)
        )
        self.guided = GuidedDecoder(config)
        self.register_buffer("mean", torch.zeros(config.latent_channels))
        self.register_buffer("std", torch.ones(config.latent_channels))

    def raw_latents(self, image: Tensor) -> Tensor:
        """Map images (N, 3, H, W) -> latents (N, C, H/8, W/8) bounded to +-3, not normalised."""
        size = dims(image, "N 3 H W")
        if size["H"] % 8 or size["W"] % 8:
            raise ValueError(f"image sides must be divisible by 8, got {size['H']}x{size['W']}")
        return self._bounded(F.pixel_unshuffle(image, BLOCK))

    def _bounded(self, blocks: Tensor) -> Tensor:
        return 3 * torch.tanh(self.encoder(blocks).float() / 3)

    def encode(self, image: Tensor) -> Tensor:
        """Map images (N, 3, H, W) in [-1, 1] -> normalised latents (N, C, H/8, W/8)."""
        return self._normalised(self.raw_latents(image))

    def encode_lift(self, guide: Tensor) -> Tensor:
        """Map guide tensors (N, G, H/4, W/4) -> normalised latents of the lift in them, as `encode` of its pictures."""
        return self._normalised(self._bounded(guide[:, self.guided.layout.channels_of("lift")]))

    def _normalised(self, latents: Tensor) -> Tensor:
        return (latents - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)

    def denormalise(self, z: Tensor) -> Tensor:
        """Map normalised latents (N, C, h, w) -> latents as the decoders read them."""
        return z.float() * self.std.view(-1, 1, 1) + self.mean.view(-1, 1, 1)

    def decode(self, z: Tensor, guide: Tensor | None = None) -> Tensor:
        """Map normalised latents (N, C, h, w) -> images (N, 3, 8h, 8w); guide: (N, G, 2h, 2w), None for the decoder
        that does without."""
        raw = self.denormalise(z)
        if guide is None:
            return F.pixel_shuffle(self.decoder(raw).float(), BLOCK)
        return self.guided(raw, guide)
