"""The networks of a renderer of any profile, and the operations that all profiles share."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ...options import option
from ...records import Guides, Regions
from ..networks.experts import MaskExperts, ViewExperts
from ..networks.mask import MaskPredictor
from ..networks.reference import ReferenceNet
from ..networks.unet import StereoTalkerUNet

_STRENGTH = "0 = the renderer without experts."
_B = TypeVar("_B", bound="Bundle")


@dataclass(frozen=True)
class Bundle:
    """The networks of stage 2. Experts may be absent; their strength scales them, 0 equals the base model bitwise.

    Without unet and reference it cannot denoise; without vae it cannot encode and decode."""

    unet: StereoTalkerUNet | None
    reference: ReferenceNet | None
    vae: Any
    mask_predictor: MaskPredictor | None
    view_experts: ViewExperts | None = None
    mask_experts: MaskExperts | None = None
    view_strength: float = option(1.0, 0, 4, _STRENGTH, (0, 2), 0.05)
    mask_strength: float = option(1.0, 0, 4, _STRENGTH, (0, 2), 0.05)

    @property
    def device(self) -> torch.device:
        """Return the device of the networks."""
        network = self.unet if self.vae is None else self.vae
        if network is None:
            raise ValueError("this renderer was made without networks")
        return next(network.parameters()).device

    @property
    def can_denoise(self) -> bool:
        """Tell whether the networks of mode "diffusion" are there."""
        return self.unet is not None and self.reference is not None

    @property
    def denoiser(self) -> tuple[StereoTalkerUNet, ReferenceNet]:
        """Return U-Net and reference network. ValueError where it was loaded without them."""
        if self.unet is None or self.reference is None:
            raise ValueError("this renderer was loaded for mode 'play'; load it for 'diffusion'")
        return self.unet, self.reference

    @property
    def latent_channels(self) -> int:
        """Return the channels of the denoiser's latents."""
        return self.denoiser[0].config.latent_channels

    def experts(self) -> tuple[tuple[ViewExperts | MaskExperts, float], ...]:
        """Return the loaded experts with their strengths."""
        pairs = ((self.view_experts, self.view_strength), (self.mask_experts, self.mask_strength))
        return tuple((module, strength) for module, strength in pairs if module is not None)

    def with_strengths(self: _B, view: float, mask: float) -> _B:
        """Return the same networks with other strengths of the experts."""
        return replace(self, view_strength=view, mask_strength=mask)

    def autocast(self) -> AbstractContextManager:
        """Return a context that changes nothing: the networks run in their own dtype."""
        return nullcontext()

    def predict_regions(self, guides: Guides, guide: Tensor, predicted: bool = True) -> Regions:
        """Return the regions of T frames, by the mask predictor or (predicted False) from the fitted body's silhouette.

        ValueError without a mask predictor."""
        if self.mask_predictor is None:
            raise ValueError("this renderer was made without a mask predictor")
        with torch.no_grad(), self.autocast():
            if predicted:
                return self.mask_predictor.predict(guides, guide)
            return Regions(self.mask_predictor.silhouette(guides.part))


def channels_last(x: Tensor) -> Tensor:
    """Return the same values in channels-last memory layout, in which convolutions are fastest."""
    return x.contiguous(memory_format=torch.channels_last)
