"""The protocol of a renderer: the networks of one profile of stage 2, and how they make frames.

`NanoRenderer` and `PublicRenderer` implement it. Streams (`render`), playback (`play`) and clips for external samplers
(`clip`) call only these methods: another renderer is one more class."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from ...body.model import HalfBody, Rest
from ...records import Cameras, Guides, Motion, Regions
from ..networks.reference import ReferenceCache
from ..networks.unet import Condition

MODES = ("play", "diffusion")


def checked_mode(mode: str) -> str:
    """Return the mode, one of MODES; ValueError for another."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is unknown; use one of {', '.join(MODES)}")
    return mode


@dataclass(frozen=True)
class RenderedChunk:
    """The consecutive frames (t, 3, H, W) in [-1, 1] and the person's alpha (t, 1, H, W)."""

    frames: Tensor
    masks: Tensor


@dataclass(frozen=True)
class PortraitFeatures:
    """The features of a portrait for the networks: cross-attention tokens (1, n, D), reference keys and values."""

    tokens: Tensor
    reference: ReferenceCache


class Renderer(Protocol):
    """The networks of one profile of stage 2, and how its steps use them.

    A renderer may be incomplete: without the denoiser it draws in mode "play", encodes and decodes; without the
    autoencoder it denoises.

    The methods share two arguments: `guide` is what the method `guide` returns for some frames, `kept` that guide in
    the compact form in which a clip stores it."""

    modes: ClassVar[tuple[str, ...]]  # the MODES that it supports; the first is the default
    steadies: ClassVar[bool]  # whether frames are averaged over time where the guides stand still
    one_noise: ClassVar[bool]  # whether all frames of a clip start from the same noise
    needs_guides: ClassVar[bool]  # whether the decoder needs the guides

    @property
    def device(self) -> torch.device:
        """Return the device of the networks."""
        ...

    @property
    def can_denoise(self) -> bool:
        """Tell whether the networks of mode "diffusion" are there."""
        ...

    @property
    def longest_window(self) -> int:
        """Return the most frames that `denoise` can take at once."""
        ...

    @property
    def reads(self) -> str:
        """Return what the denoiser reads as guides: "maps" (of the posed body) or "openpose" (skeleton drawings)."""
        ...

    @property
    def makes_tokens(self) -> bool:
        """Tell whether the denoiser computes the portrait's tokens from its latents, without an image embedding."""
        ...

    @property
    def latent_channels(self) -> int:
        """Return the channels of the denoiser's latents."""
        ...

    @property
    def latent_scale(self) -> float:
        """Return the factor that converts latents of other programs to those of these networks."""
        ...

    def windowing(self, frames: int) -> tuple[int, int]:
        """Return (window, overlap): how many frames are denoised together in a video of `frames`, and how many windows
        share."""
        ...

    def reporting(self, on_step: Callable[[float], None]) -> "Renderer":
        """Return the same renderer, which calls on_step(fraction of a window done) if it can."""
        ...

    def with_strengths(self, view: float, mask: float) -> "Renderer":
        """Return the same renderer with other factors on the output of view and mask experts (1 = as trained, 0 =
        off)."""
        ...

    def guide(self, body: HalfBody, rest: Rest, motion: Motion, cameras: Cameras, guides: Guides) -> Tensor:
        """Return the guides (T, G, H/4, W/4) of T frames, an argument of the other methods.

        body: the half body; rest: the person's body at rest; motion, cameras: T frames each; guides: the maps of these
            frames."""
        ...

    def predict_regions(self, guides: Guides, guide: Tensor, predicted: bool = True) -> Regions:
        """Return the regions of T frames, by the mask predictor or (predicted False) from the fitted body's silhouette.
        """
        ...

    def alpha(self, guides: Guides, guide: Tensor, predicted: bool = True) -> Tensor:
        """Return the person's alpha (T, 1, H, W) of T frames: that of `predict_regions`, which mode "play" needs alone.
        """
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) in [-1, 1] -> latents (N, C, h, w)."""
        ...

    def decode(self, latents: Tensor, guide: Tensor | None) -> Tensor:
        """Map latents (T, C, h, w) -> frames (T, 3, H, W) in [-1, 1]; guide None: from latents alone."""
        ...

    def decoded_together(self, size: tuple[int, int]) -> int:
        """Return how many frames of size (H, W) the decoder takes at once."""
        ...

    def restore(self, guides: Guides, guide: Tensor) -> Tensor:
        """Return the frames (T, 3, H, W) in [-1, 1] of the decoder alone, without the denoiser."""
        ...

    def encode_portrait(self, image: Tensor) -> PortraitFeatures:
        """Map a portrait (1, 3, H, W) in [-1, 1], framed like the frames -> its features for the denoiser."""
        ...

    def noise(self, size: tuple[int, int], seed: int, frames: range = range(1)) -> Tensor:
        """Return standard normal noise (1 or T, C, h, w) for frames of size (H, W), the same on every device.

        seed: determines it; frames: their numbers in the clip."""
        ...

    def denoise(
        self, guides: Guides, guide: Tensor, regions: Regions, portrait: PortraitFeatures, noise: Tensor, steps: int,
        motion: bool = True,
    ) -> Tensor:  # fmt: skip
        """Denoise T frames -> clean latents (T, C, h, w); arguments as in `NanoRenderer.denoise`."""
        ...

    # what a sampler from outside asks (clip.py)

    def portrait_tokens(self, image: Tensor) -> Tensor | None:
        """Return the tokens (1, n, D) of a portrait (1, 3, H, W); None where the denoiser computes them from its
        latents."""
        ...

    def read_portrait(self, latents: Tensor, tokens: Tensor | None) -> PortraitFeatures:
        """Map the portrait's latents (1, C, h, w) and tokens -> its features for the denoiser."""
        ...

    def keep(self, guide: Tensor) -> Tensor:
        """Convert a guide to the compact form that is kept for a whole clip, with all that denoiser and decoder need.
        """
        ...

    def shown(self, kept: Tensor) -> Tensor:
        """Convert a guide from `keep` to the pose guider's input."""
        ...

    def denoise_level(
        self, x: Tensor, sigma: float, condition: Callable[[Tensor], Condition],
        callback: Callable[[int], None] | None = None,
    ) -> Tensor:  # fmt: skip
        """Denoise latents (T, C, h, w) of all frames at one noise level in [0, 1] -> clean ones, window by window.

        x: noisy latents; sigma: noise level; condition: frame indices (n,) -> Condition; callback: called with frames
        done."""
        ...


class RendererClass(Protocol):
    """The interface of the classes of renderers, of which `profiles.assemble` takes the one that the given networks
    fit."""

    settings: ClassVar[tuple[str, ...]]

    @classmethod
    def fits(cls, unet: Any, vae: Any) -> bool:
        """Tell whether these networks (None where absent) belong to this profile."""
        ...
