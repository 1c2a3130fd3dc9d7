"""The renderer's autoencoder as a VAE for the stock VAE Encode and VAE Decode nodes.

A VAE from Stereo-Talker Conditioning also knows the guides, masks and background of its video, so that VAE Decode
returns the finished frames. Without them it has only the plain decoder: for a picture, or the latents of a full-size
set; a video of the nano renderer is refused, because its decoder needs the guides. The VAE of a full-size set also
holds the set's image encoder and what its pose guider reads: maps or drawings."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from .memory import Managed, check_memory, load_all
from .pictures import image_out
from .progress import Progress, check_finite, interruptible

if TYPE_CHECKING:
    from ...stereotalker_core.video.networks.public_autoencoder import PublicAutoencoder
    from ...stereotalker_core.video.networks.unet import StereoTalkerUNet
    from ...stereotalker_core.video.networks.vae import TinyAutoencoder

_CHUNK = 8  # frames decoded together
_BYTES_PER_PIXEL = 1500  # activations of one decoded frame a pixel, measured
_SMALLEST_TILE = 24  # latents
_UNBOUND = (
    "this VAE lacks the guides, masks and background of the video, so the person is not put before the background; "
    "connect the `vae` output of Stereo-Talker Conditioning to VAE Decode"
)
logger = logging.getLogger(__name__)


def vae_of(vae) -> ClipVAE:
    """Return our VAE unchanged; ValueError for another pack's."""
    if not isinstance(vae, ClipVAE):
        raise ValueError("this node needs the VAE of Load Renderer (Stereo-Talker)")
    return vae


class ClipVAE:
    """The methods that ComfyUI's VAE nodes call, on a `Managed` autoencoder; bound to a Clip it finishes its frames.

    managed: the autoencoder, followed by the image encoder of a full-size set.
    clip, plate, drawn: see `bound`.
    guides: what the denoiser reads as guides, "maps" or "openpose" (skeleton drawings)."""

    downscale_ratio = upscale_ratio = 8
    latent_dim, output_channels = 2, 3
    vae_dtype = torch.float32

    def __init__(
        self, managed: Managed, clip=None, plate: Tensor | None = None, guides: str = "maps", drawn: bool = False
    ):
        self.managed, self.clip, self.plate, self.guides, self.drawn = managed, clip, plate, guides, drawn

    def bound(self, clip, plate: Tensor, drawn: bool) -> ClipVAE:
        """Return the same autoencoder for one video.

        clip: the video's conditions (`Clip`); plate: background (1 or T, 3, H, W) in [-1, 1]; drawn: whether that is
        the portrait's own background, over which the networks drew."""
        return ClipVAE(self.managed, clip, plate, self.guides, drawn)

    @property
    def network(self) -> TinyAutoencoder | PublicAutoencoder:
        """Return the TinyAutoencoder, or the PublicAutoencoder of a full-size set."""
        return cast("TinyAutoencoder | PublicAutoencoder", self.managed.modules[0])

    @property
    def image_encoder(self) -> nn.Module | None:
        """Return the network that turns the portrait into a token, for a full-size set; else None."""
        return self.managed.modules[1] if len(self.managed.modules) > 1 else None

    def renderer(self, unet: StereoTalkerUNet | None = None, mask_predictor: nn.Module | None = None, **parts: object):
        """Return the core's renderer with this autoencoder and the given networks.

        unet, mask_predictor: networks, None where absent.
        parts: further networks and settings, see `profiles.assemble`.

        ValueError where the U-Net belongs to another profile."""
        from ...stereotalker_core.video.rendering.profiles import assemble

        return assemble(
            unet, self.network, mask_predictor, image_encoder=self.image_encoder, steered_by=self.guides, **parts
        )

    first_stage_model = network

    @property
    def patcher(self):
        """Return ComfyUI's ModelPatcher of the autoencoder; None outside ComfyUI."""
        return self.managed.patcher

    @property
    def bundle(self) -> nn.Module:
        return self.managed.bundle

    @property
    def latent_channels(self) -> int:
        """Return the number of channels of the latents."""
        return self.network.config.latent_channels

    def decode(self, samples: Tensor, vae_options: dict | None = None, tile: int | None = None) -> Tensor:
        """Decode latents (T, C, h, w) -> IMAGE (T, H, W, 3), a few frames at a time.

        samples: the latents; vae_options: ignored.
        tile: side in latents of the tiles in which a full-size autoencoder decodes.

        ValueError for another video's latents. An unbound VAE reports what it lacks: in the log, or as a ValueError
        where the latents are a video of the nano renderer."""
        from ...stereotalker_core.video.rendering.clip import decode_clip

        if samples.ndim != 4 or samples.shape[1] != self.latent_channels:
            raise ValueError(
                f"latents of shape {tuple(samples.shape)} are not this VAE's, of {self.latent_channels} channels; "
                "decode those of a KSampler behind Stereo-Talker Conditioning, with the `vae` output of it"
            )
        renderer = self.renderer(tile=tile)
        if self.clip is None and renderer.needs_guides and len(samples) > 1:
            raise ValueError(_UNBOUND)
        if self.clip is None:
            logger.warning(_UNBOUND)
        rows, columns = (side * self.upscale_ratio for side in samples.shape[-2:])
        check_memory(len(samples), (rows, columns), 24, "decode fewer frames at once, or use Render Video to File")
        device = load_all([self], _CHUNK * rows * columns * _BYTES_PER_PIXEL)
        progress, frames, done = Progress(len(samples)), [], 0
        latents = samples.to(device).float() * renderer.latent_scale
        with interruptible():
            if self.clip is None or self.plate is None:
                chunks = (renderer.decode(few, None) for few in latents.split(_CHUNK))
            else:
                chunks = (chunk.frames for chunk in decode_clip(renderer, self.clip, latents, self.plate, self.drawn))
            for pictures in chunks:
                check_finite(pictures, "the decoder")
                frames.append(pictures.cpu())
                done += len(pictures)
                progress(done, frames[-1][-1])
        return image_out(frames)

    def decode_tiled(self, samples: Tensor, tile_x: int | None = None, tile_y: int | None = None, **more) -> Tensor:
        """Decode as `decode` does; a full-size autoencoder works in square tiles, the nano one is small enough without.

        tile_x, tile_y: sides of a tile in latents, of which the shorter is used; without them pictures are decoded
            whole.
        more: ignored."""
        if not (tile_x or tile_y):
            return self.decode(samples)
        return self.decode(samples, tile=max(_SMALLEST_TILE, min(side for side in (tile_x, tile_y) if side)))

    def encode(self, pixels: Tensor) -> Tensor:
        """Map IMAGE (T, H, W, 3) -> latents (T, C, H/8, W/8); sides are cropped to multiples of 8."""
        rows, columns = (side // 8 * 8 for side in pixels.shape[1:3])
        device = load_all([self], _CHUNK * rows * columns * _BYTES_PER_PIXEL)
        images = pixels[:, :rows, :columns, :3].movedim(-1, 1) * 2 - 1
        renderer = self.renderer()
        with interruptible():
            found = [renderer.encode(part.to(device)).float().cpu() for part in images.split(_CHUNK)]
        return torch.cat(found) / renderer.latent_scale

    def encode_tiled(self, pixels: Tensor, **tiles: object) -> Tensor:
        """Encode as `encode` does, which already works in small chunks."""
        return self.encode(pixels)

    def throw_exception_if_invalid(self) -> None:
        """Do nothing: a ClipVAE always holds a network."""

    def spacial_compression_encode(self) -> int:
        """Return the pixels per latent, under ComfyUI's misspelt name."""
        return self.downscale_ratio

    def spacial_compression_decode(self) -> int:
        """Return the pixels per latent, under ComfyUI's misspelt name."""
        return self.upscale_ratio

    def temporal_compression_decode(self) -> None:
        """Return None: every frame has its own latents."""

    def get_sd(self) -> dict[str, Tensor]:
        """Return {name: weight}, the autoencoder's state dict, for ComfyUI."""
        return self.network.state_dict()

    @torch.no_grad()
    def preview_factors(self) -> tuple[list, list]:
        """Return RGB factors (C, 3) and bias (3,) for previews: the plain decoder's response to one channel at a time.
        """
        channels = self.latent_channels
        probes = torch.cat([torch.zeros(1, channels), torch.eye(channels), -torch.eye(channels)])
        device = next(self.network.parameters()).device
        latents = probes[..., None, None].expand(-1, -1, 4, 4).to(device)
        colours = self.network.decode(latents).float().mean((2, 3)).cpu()
        return ((colours[1 : channels + 1] - colours[channels + 1 :]) / 2).tolist(), colours[0].tolist()
