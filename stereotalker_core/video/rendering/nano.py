"""The nano profile: networks that ship with the package and predict a residual on the projected portrait."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ... import checkpoint
from ...body.model import HalfBody, Rest
from ...precision import channels_last_weights, rendering_precision
from ...records import Cameras, Guides, Motion, Regions
from ...shapes import frames_together, joined
from ..guides.layout import GuideLayout
from ..guides.loops import warm_up
from ..guides.maps import guide_tensor
from ..networks.experts import MaskExperts, ViewExperts
from ..networks.mask import MaskPredictor
from ..networks.quantised.autoencoder import quantised_autoencoder
from ..networks.reference import ReferenceNet
from ..networks.unet import Condition, StereoTalkerUNet, sample
from ..networks.vae import TinyAutoencoder
from .bundle import Bundle, channels_last
from .play import TOGETHER
from .renderer import PortraitFeatures, checked_mode
from .windows import cross_fade, frame_windows

WINDOW, OVERLAP = 16, 2  # frames that see each other, and those that neighbouring windows share


@dataclass(frozen=True)
class NanoRenderer(Bundle):
    """The renderer of the nano profile: guides, masks and a guided decoder for mode "play"; with unet and reference
    also the paper's denoiser."""

    vae: TinyAutoencoder
    modes: ClassVar[tuple[str, ...]] = ("play", "diffusion")
    steadies: ClassVar[bool] = True
    one_noise: ClassVar[bool] = True
    needs_guides: ClassVar[bool] = True
    settings: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def fits(cls, unet: StereoTalkerUNet | None, vae: nn.Module | None) -> bool:
        """Tell whether these networks (None where absent) belong to this profile."""
        return (unet is None or unet.config.tokens > 0) and (vae is None or isinstance(vae, TinyAutoencoder))

    @classmethod
    def load(
        cls, folder: str | Path, device: str = "cpu", dtype: torch.dtype = torch.float32, mode: str = "diffusion"
    ) -> "NanoRenderer":
        """Load the six files of a folder; only two of them for mode "play".

        FileNotFoundError or ValueError where one is missing or wrong."""
        parts = {"vae": TinyAutoencoder, "mask_predictor": MaskPredictor}
        if checked_mode(mode) == "diffusion":
            parts |= {"unet": StereoTalkerUNet, "reference": ReferenceNet}
            parts |= {"view_experts": ViewExperts, "mask_experts": MaskExperts}
        folder = Path(folder)
        files = {name: folder / f"{name}.safetensors" for name in parts}
        loaded: dict[str, Any] = {k: checkpoint.load(c, files[k], device, dtype) for k, c in parts.items()}
        for module in loaded.values():
            channels_last_weights(module.requires_grad_(False))
        warm_up()
        return cls(**{"unet": None, "reference": None, **loaded})

    def autocast(self) -> AbstractContextManager:
        """Return an autocast context: bf16 where it is faster on this CPU; elsewhere the networks' own dtype."""
        return rendering_precision(self.device)

    @property
    def makes_tokens(self) -> bool:
        """Return True: the denoiser computes its tokens from the portrait's latents."""
        return True

    @property
    def reads(self) -> str:
        """Return what the denoiser reads as guides: "maps" (of the posed body)."""
        return "maps"

    @property
    def latent_scale(self) -> float:
        """Return 1: other programs use these latents unscaled."""
        return 1.0

    @property
    def longest_window(self) -> int:
        """Return the most frames that `denoise` can take at once."""
        return self.denoiser[0].config.motion_length

    def windowing(self, frames: int) -> tuple[int, int]:
        """Return (window, overlap) of the temporal layers, which do not depend on the number of frames."""
        return WINDOW, OVERLAP

    def reporting(self, on_step: Callable[[float], None]) -> "NanoRenderer":
        """Return self and ignore on_step: windows have few steps, and are reported when they are done."""
        return self

    def encode(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) in [-1, 1] -> latents (N, C, H/8, W/8)."""
        with torch.no_grad(), self.autocast():
            parts = images.split(frames_together(*images.shape[-2:]))
            return torch.cat([self.vae.encode(channels_last(part)) for part in parts])

    def encode_portrait(self, image: Tensor) -> PortraitFeatures:
        """Map a portrait (1, 3, H, W) in [-1, 1], framed like the frames -> its tokens, reference keys and values."""
        return self.read_portrait(self.encode(image), None)

    def portrait_tokens(self, image: Tensor) -> None:
        """Return None: the U-Net computes tokens from the portrait's latents."""

    def read_portrait(self, latents: Tensor, tokens: Tensor | None) -> PortraitFeatures:
        """Map the portrait's latents (1, C, h, w) -> its tokens, reference keys and values; tokens: ignored."""
        unet, reference = self.denoiser
        with torch.no_grad(), self.autocast():
            tokens = unet.portrait_tokens(latents)
            return PortraitFeatures(tokens, unet.cache_reference(reference(latents, tokens)))

    def denoise(
        self, guides: Guides, guide: Tensor, regions: Regions, portrait: PortraitFeatures, noise: Tensor, steps: int,
        motion: bool = True,
    ) -> Tensor:  # fmt: skip
        """Denoise T frames -> clean latents (T, C, h, w).

        guides: maps of the T frames.
        guide: the same as the tensor that `guide` returns.
        regions: background, body, face and hands of the T frames.
        portrait: its features, from `encode_portrait`.
        noise: (1, C, h, w), shared by all frames.
        steps: number of denoising steps.
        motion: False treats frames as independent images (no temporal layers)."""
        unet, _ = self.denoiser
        with torch.no_grad(), self.autocast():
            cond = Condition(
                guide=channels_last(guide),
                tokens=portrait.tokens,
                yaw=guides.yaw,
                lift=self.encode(guides.lift),
                reference=portrait.reference,
                regions=regions.masks.float(),
                experts=self.experts(),
                clip_length=len(guides) if motion else None,
            )
            return sample(unet, noise.expand(len(guides), -1, -1, -1), cond, steps)

    def decode(self, latents: Tensor, guide: Tensor | None) -> Tensor:
        """Map latents (T, C, h, w) and guide tensor -> frames (T, 3, H, W) in [-1, 1]; guide None: from latents
        alone."""
        with torch.no_grad(), self.autocast():
            if guide is None:
                return joined([self.vae.decode(few).float().clamp(-1, 1) for few in latents.split(TOGETHER)])
            together = self.decoded_together((4 * guide.shape[-2], 4 * guide.shape[-1]))
            parts = zip(latents.split(together), guide.split(together), strict=True)
            return joined([self.vae.decode(few, channels_last(seen)).float().clamp_(-1, 1) for few, seen in parts])

    def decoded_together(self, size: tuple[int, int]) -> int:
        """Return how many frames of size (H, W) the decoder takes at once."""
        return min(TOGETHER, frames_together(*size))

    def restore(self, guides: Guides, guide: Tensor) -> Tensor:
        """Map guides of T frames and their guide tensor -> frames (T, 3, H, W) in [-1, 1], without the denoiser."""
        integers, size = quantised_autoencoder(self.vae), (4 * guide.shape[-2], 4 * guide.shape[-1])
        with torch.no_grad(), self.autocast():
            if integers:
                parts = guide.split(self.decoded_together(size))
                return joined([integers.restore(channels_last(few)).clamp_(-1, 1) for few in parts])
            latents = joined([self.vae.encode_lift(few) for few in guide.split(frames_together(*size))])
        return self.decode(latents, guide)

    def alpha(self, guides: Guides, guide: Tensor, predicted: bool = True) -> Tensor:
        """Return the person's alpha (T, 1, H, W), that of `predict_regions` without the other regions.

        Arguments as in `predict_regions`. ValueError without a mask predictor."""
        if self.mask_predictor is None or not predicted:
            return self.predict_regions(guides, guide, predicted).person.float()
        with torch.no_grad(), self.autocast():
            return self.mask_predictor.person(guides, guide)

    def guide(self, body: HalfBody, rest: Rest, motion: Motion, cameras: Cameras, guides: Guides) -> Tensor:
        """Return the guide tensor (T, G, H/4, W/4) of T frames, for `predict_regions`, `denoise` and `decode`.

        Arguments as in `Renderer.guide`; only `guides` is used."""
        return guide_tensor(guides, GuideLayout.of_channels(self.vae.config.guide_channels).parts)

    def noise(self, size: tuple[int, int], seed: int, frames: range = range(1)) -> Tensor:
        """Return standard normal noise (1, C, H/8, W/8), the same on every device and for all `frames` of a clip."""
        shape = (1, self.latent_channels, size[0] // 8, size[1] // 8)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(self.device)

    def keep(self, guide: Tensor) -> Tensor:
        """Convert a guide to half precision, to be kept for a whole clip."""
        return guide.half()

    def shown(self, kept: Tensor) -> Tensor:
        """Convert a guide from `keep` to float32 for the networks."""
        return kept.float()

    def denoise_level(
        self, x: Tensor, sigma: float, condition: Callable[[Tensor], Condition],
        callback: Callable[[int], None] | None = None,
    ) -> Tensor:  # fmt: skip
        """Denoise latents (T, C, h, w) of all frames at one noise level -> clean ones; windows are cross-faded.

        x: noisy latents; sigma: noise level; condition: frame indices (n,) -> Condition; callback: called with frames
        done."""
        unet, _ = self.denoiser
        clean, done = torch.empty_like(x, dtype=torch.float32), 0
        for start, end in frame_windows(len(x), WINDOW, OVERLAP):
            cond = condition(torch.arange(start, end))
            with self.autocast():
                found = unet(x[start:end], sigma, cond).float()
            known = max(0, done - start)
            if known:
                found = torch.cat([cross_fade(clean[start:done], found[:known]), found[known:]])
            clean[start:end], done = found, end
            if callback:
                callback(done)
        return clean


def load_nano(device: str = "cpu", dtype: torch.dtype = torch.float32, mode: str = "diffusion") -> NanoRenderer:
    """Load the renderer that ships with the package; for mode "play" without U-Net, reference network and experts."""
    return NanoRenderer.load(checkpoint.NANO, device, dtype, mode)
