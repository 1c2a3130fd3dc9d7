"""The existing renderers, and the choice of the one that given networks belong to."""

from typing import Any

from ..networks.unet import StereoTalkerUNet
from .nano import NanoRenderer
from .public import PublicRenderer
from .renderer import Renderer

RENDERERS = (NanoRenderer, PublicRenderer)


def assemble(
    unet: StereoTalkerUNet | None = None, vae: Any = None, mask_predictor: Any = None, **parts: Any
) -> Renderer:
    """Return the renderer that these networks belong to; it lacks abilities where some are missing.

    unet, vae, mask_predictor: networks, None where absent.
    parts: reference, view_experts, mask_experts, view_strength, mask_strength, and settings of any profile, of which
        the renderer takes its own.

    ValueError where U-Net and autoencoder belong to different profiles."""
    everything = {name for kind in RENDERERS for name in kind.settings}
    for kind in RENDERERS:
        if kind.fits(unet, vae):
            known = {k: v for k, v in parts.items() if k in kind.settings or k not in everything}
            return kind(unet, known.pop("reference", None), vae, mask_predictor, **known)
    raise ValueError("the MODEL and the VAE are of different renderers; connect both outputs of one Load Renderer")
