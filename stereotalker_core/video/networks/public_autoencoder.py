"""The public autoencoders of Stable Diffusion 1.5 (KL-f8, TAESD) behind the interface of `TinyAutoencoder`."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...shapes import dims

FACTOR = 8  # pixels a latent


@dataclass(frozen=True)
class PublicAutoencoderConfig:
    """The sizes of the autoencoder; kind: "kl" (Stable Diffusion's, latents multiplied by `scale`) or "tiny" (TAESD,
    whose latents are scaled already)."""

    kind: str = "kl"
    latent_channels: int = 4
    widths: tuple[int, ...] = (128, 256, 512, 512)
    layers: int = 2
    groups: int = 32
    scale: float = 0.18215


class PublicAutoencoder(nn.Module):
    """Map images (N, 3, H, W) in [-1, 1] <-> latents (N, C, H/8, W/8) of about unit variance, for the denoiser."""

    Config = PublicAutoencoderConfig
    model: Any  # one of two classes of diffusers

    def __init__(self, config: PublicAutoencoderConfig | None = None) -> None:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
        from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

        super().__init__()
        self.config = c = config or PublicAutoencoderConfig()
        if c.kind == "kl":
            levels: dict[str, Any] = {  # diffusers writes tuple[int] where it means any number of them
                "block_out_channels": c.widths,
                "down_block_types": ("DownEncoderBlock2D",) * len(c.widths),
                "up_block_types": ("UpDecoderBlock2D",) * len(c.widths),
            }
            self.model = AutoencoderKL(
                latent_channels=c.latent_channels, layers_per_block=c.layers, norm_num_groups=c.groups, **levels
            )
        elif c.kind == "tiny":
            self.model = AutoencoderTiny(
                latent_channels=c.latent_channels,
                encoder_block_out_channels=c.widths,
                decoder_block_out_channels=c.widths,
            )
        else:
            raise ValueError(f"kind must be 'kl' or 'tiny', got {c.kind!r}")

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    def encode(self, image: Tensor) -> Tensor:
        """Map images (N, 3, H, W) in [-1, 1] -> scaled mean of the posterior (N, C, H/8, W/8), without sampling."""
        size = dims(image, "N 3 H W")
        if size["H"] % FACTOR or size["W"] % FACTOR:
            raise ValueError(f"image sides must be divisible by {FACTOR}, got {size['H']}x{size['W']}")
        image = image.to(self.dtype)
        if self.config.kind == "tiny":
            return self.model.encode(image).latents.float()
        return self.model.encode(image).latent_dist.mean.float() * self.config.scale

    def decode(self, z: Tensor, guide: Tensor | None = None, tile: int | None = None) -> Tensor:
        """Map latents (N, C, h, w) -> images (N, 3, 8h, 8w); guide: ignored; tile: see `decode_tiled`."""
        dims(z, "N C h w", C=self.config.latent_channels)
        if tile is not None:
            return decode_tiled(self._decode, z, tile)
        return self._decode(z)

    def _decode(self, z: Tensor) -> Tensor:
        scale = self.config.scale if self.config.kind == "kl" else 1.0
        return self.model.decode((z / scale).to(self.dtype)).sample.float()


def decode_tiled(decode, z: Tensor, tile: int, overlap: int = 8) -> Tensor:
    """Decode latents (N, C, h, w) in square tiles, cross-faded, to save memory -> (N, 3, 8h, 8w).

    decode: latents -> images; tile: side in latents; overlap: latents shared by neighbours.

    A network with a receptive field of at most overlap / 2 latents gives the same picture whole and in tiles; attention
    and group norms of KL-f8 reach further, so its tiles differ slightly in tone."""
    if not 2 * overlap < tile:
        raise ValueError(f"tiles must be larger than {2 * overlap} latents, got {tile}")
    rows, columns = (_starts(n, tile, overlap) for n in z.shape[-2:])
    height, width = (n * FACTOR for n in z.shape[-2:])
    total = weights = z.new_zeros(0)
    for top in rows:
        for left in columns:
            part = decode(z[..., top : top + tile, left : left + tile])
            if top == left == 0:
                total = part.new_zeros(len(z), part.shape[1], height, width)
                weights = part.new_zeros(1, 1, height, width)
            y, x = top * FACTOR, left * FACTOR
            fade = _fade(part.shape[-2], overlap, part)[:, None] * _fade(part.shape[-1], overlap, part)
            total[..., y : y + part.shape[-2], x : x + part.shape[-1]] += part * fade
            weights[..., y : y + part.shape[-2], x : x + part.shape[-1]] += fade
    return total / weights


def _starts(size: int, tile: int, overlap: int) -> list[int]:
    if size <= tile:
        return [0]
    return [*range(0, size - tile, tile - overlap), size - tile]


def _fade(size: int, overlap: int, like: Tensor) -> Tensor:
    """Return the weights (size,) of a tile: 0 near its ends, where context is missing, rising over half the overlap."""
    edge, ramp = overlap * FACTOR // 4, overlap * FACTOR // 2
    distance = torch.arange(size, device=like.device, dtype=like.dtype) + 0.5
    distance = torch.minimum(distance, size - distance)
    return ((distance - edge) / ramp).clamp(1e-4, 1)  # never 0: at the picture's border one tile is all there is
