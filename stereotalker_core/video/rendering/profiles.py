"""The renderers that there are, and the one that belongs to some networks."""

from typing import Any

from ..networks.unet import StereoTalkerUNet
from .nano import NanoRenderer
from .public import PublicRenderer
from .renderer import Renderer

RENDERERS = (NanoRenderer, PublicRenderer)


def assemble(
    unet: StereoTalkerUNet | None = None, vae: Any = None, mask_predictor: Any = None, **parts: Any
) -> Renderer:
    """Choose the renderer that these networks belong to; a half one where some are missing.

    parts: reference, view_experts, mask_experts, view_strength, mask_strength, and settings of any profile, of which a
    renderer takes its own. ValueError where U-Net and autoencoder are of different profiles.
    """
    everything = {name for kind in RENDERERS for name in kind.settings}
    for kind in RENDERERS:
        if kind.fits(unet, vae):
            known = {k: v for k, v in parts.items() if k in kind.settings or k not in everything}
            return kind(unet, known.pop("reference", None), vae, mask_predictor, **known)
    raise ValueError("the MODEL and the VAE are of different renderers; connect both outputs of one Load Renderer")
