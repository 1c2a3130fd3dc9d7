"""A whole renderer of the full profile in one folder: a public AnimateAnyone set, or one saved by `save_set`."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from .. import checkpoint
from ..video.networks.contexts import ContextWindows
from ..video.networks.experts import Experts, MaskExperts, ViewExperts
from ..video.networks.image_encoder import ImageEncoder
from ..video.networks.mask import MaskPredictor
from ..video.networks.public_autoencoder import PublicAutoencoder
from ..video.networks.reference import ReferenceNet
from ..video.networks.unet import StereoTalkerUNet
from ..video.rendering.public import PublicRenderer
from .assemble import save_model
from .encoders import load_autoencoder, load_image_encoder
from .renderer import load_animate_anyone, load_denoiser, load_reference
from .report import Report
from .upcycle import fits
from .weights import PICKLED

_E = TypeVar("_E", bound=Experts)
logger = logging.getLogger(__name__)
_VAES = ("vae", "sd-vae-ft-mse", "stable-diffusion-v1-5/vae")
_VAE_FILES = ("vae.safetensors", "vae-ft-mse-840000-ema-pruned.safetensors", "taesd_encoder.safetensors")


def is_set(folder: Path) -> bool:
    """Tell whether a folder holds a set: a denoiser under one of its two names is in it."""
    names = ("unet.safetensors", *(f"denoising_unet{suffix}" for suffix in (".safetensors", *PICKLED)))
    return any((folder / name).is_file() for name in names)


def load_networks(
    folder: str | Path, dtype: torch.dtype | None = None
) -> tuple[StereoTalkerUNet, ReferenceNet, list[Report]]:
    """Load the denoiser (with pose guider and motion modules) and the reference network from a folder of weights."""
    folder = _existing(folder)
    if not (folder / "unet.safetensors").is_file():
        return load_animate_anyone(folder, dtype=dtype)
    unet, first = load_denoiser(folder / "unet.safetensors", dtype=dtype)
    network, second = load_reference(folder / "reference.safetensors", dtype=dtype)
    if unet.config.reference() != network.config:
        raise ValueError(f"unet and reference in {folder} are of different sizes; take both from one set")
    return unet, network, [first, second]


def load_set_vae(folder: str | Path, dtype: torch.dtype | None = None) -> tuple[PublicAutoencoder, Report]:
    """Load the autoencoder of a set. FileNotFoundError says where it belongs."""
    return load_autoencoder(_vae_path(_existing(folder)), dtype=dtype)


def load_set_encoder(folder: str | Path, dtype: torch.dtype | None = None) -> tuple[ImageEncoder, Report]:
    """Load the image encoder of a set. FileNotFoundError says where it belongs."""
    folder = _existing(folder)
    own = folder / "image_encoder.safetensors"
    if not own.is_file() and not (folder / "image_encoder").is_dir():
        raise FileNotFoundError(
            f"no image encoder in {folder}; put image_encoder of sd-image-variations-diffusers into "
            f"{folder / 'image_encoder'} (config.json and weights)"
        )
    return load_image_encoder(own if own.is_file() else folder / "image_encoder", dtype=dtype)


def load_set(
    folder: str | Path,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    *,
    guidance: float = 3.5,
    tile: int | None = None,
) -> tuple[PublicRenderer, list[Report]]:
    """Load a renderer from a folder: denoiser, reference network, pose guider, motion modules, vae, image_encoder.

    folder: the set; its experts (view_experts.safetensors, mask_experts.safetensors) and mask predictor are used if
        present, else no experts and the embedded mask predictor.
    device: where it runs.
    dtype: of the weights; None keeps the files'.
    guidance: strength of classifier-free guidance.
    tile: px of a tile when decoding; None decodes whole frames.

    FileNotFoundError and ValueError name the file and the remedy."""
    folder = _existing(folder)
    unet, reference, reports = load_networks(folder, dtype)
    vae, second = load_set_vae(folder, dtype)
    encoder, third = load_set_encoder(folder, dtype)
    predictor = folder / "mask_predictor.safetensors"
    predictor = predictor if predictor.is_file() else checkpoint.NANO / predictor.name
    renderer = PublicRenderer(
        unet.to(device),
        reference.to(device),
        vae.to(device),
        checkpoint.load(MaskPredictor, predictor, device).requires_grad_(False),
        load_experts(unet, ViewExperts, folder / "view_experts.safetensors", device),
        load_experts(unet, MaskExperts, folder / "mask_experts.safetensors", device),
        image_encoder=encoder.to(device),
        guidance=guidance,
        windows=ContextWindows(min(24, unet.config.motion_length)),
        tile=tile,
    )
    for report in (*reports, second, third):
        logger.info("\n".join(report.lines()))
    return renderer.channels_last(), [*reports, second, third]


def save_set(renderer: PublicRenderer, folder: str | Path, provenance: Mapping[str, Any] | None = None) -> list[Path]:
    """Save the renderer as safetensors of our format in a folder -> the files. Tensors keep their dtype."""
    folder, written = Path(folder), []
    parts = {
        "unet": renderer.unet,
        "reference": renderer.reference,
        "vae": renderer.vae,
        "image_encoder": renderer.image_encoder,
        "view_experts": renderer.view_experts,
        "mask_experts": renderer.mask_experts,
    }
    for name, network in parts.items():
        if network is not None:
            written.append(folder / f"{name}.safetensors")
            save_model(network, written[-1], **(provenance or {}))
    return written


def load_experts(unet: StereoTalkerUNet, cls: type[_E], path: Path, device: str = "cpu") -> _E | None:
    """Load experts from a file and check that they fit the denoiser; None where the file does not exist."""
    if not path.is_file():
        return None
    experts = checkpoint.load(cls, path, device).requires_grad_(False)
    fits(unet, experts, str(path))
    return experts


def _existing(folder: str | Path) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder at {folder}")
    return folder


def _vae_path(folder: Path) -> Path:
    for name in _VAE_FILES:
        if (folder / name).is_file():
            return folder / name
    for name in _VAES:
        if (folder / name).is_dir():
            return folder / name
    raise FileNotFoundError(
        f"no autoencoder in {folder}; put sd-vae-ft-mse into {folder / 'vae'} (config.json and weights), or one of "
        f"{', '.join(_VAE_FILES)} beside the others"
    )
