"""A whole renderer of the full profile in one folder: a public AnimateAnyone set, or one saved by `save_set`."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .. import checkpoint
from ..video.contexts import ContextWindows
from ..video.experts import MaskExperts, ViewExperts
from ..video.full_renderer import FullRenderer
from ..video.mask import MaskPredictor
from ..video.reference import ReferenceNet
from ..video.unet import StereoTalkerUNet
from .assemble import load_model, save_model
from .encoders import load_autoencoder, load_image_encoder
from .renderer import load_animate_anyone
from .report import Report

logger = logging.getLogger(__name__)
_VAES = ("vae", "sd-vae-ft-mse", "stable-diffusion-v1-5/vae")
_VAE_FILES = ("vae.safetensors", "vae-ft-mse-840000-ema-pruned.safetensors", "taesd_encoder.safetensors")


def load_set(
    folder: str | Path,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    *,
    guidance: float = 3.5,
    tile: int | None = None,
) -> tuple[FullRenderer, list[Report]]:
    """A renderer from a folder: denoiser, reference network, pose guider, motion modules, vae, image_encoder.

    Experts (view_experts.safetensors, mask_experts.safetensors) and a mask predictor are used where they are; without
    one the embedded mask predictor serves. FileNotFoundError / ValueError name the file and the remedy.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder at {folder}")
    if (folder / "unet.safetensors").is_file():
        unet = load_model(StereoTalkerUNet, folder / "unet.safetensors", dtype=dtype)
        reference = load_model(ReferenceNet, folder / "reference.safetensors", dtype=dtype)
        reports = []
    else:
        unet, reference, reports = load_animate_anyone(folder, dtype=dtype)
    vae, second = load_autoencoder(_vae_path(folder), dtype=dtype)
    own = folder / "image_encoder.safetensors"
    encoder, third = load_image_encoder(own if own.is_file() else folder / "image_encoder", dtype=dtype)
    predictor = folder / "mask_predictor.safetensors"
    predictor = predictor if predictor.is_file() else checkpoint.NANO / predictor.name
    renderer = FullRenderer(
        unet.to(device),
        reference.to(device),
        vae.to(device),
        checkpoint.load(MaskPredictor, predictor, device).requires_grad_(False),
        _experts(ViewExperts, folder / "view_experts.safetensors", device),
        _experts(MaskExperts, folder / "mask_experts.safetensors", device),
        image_encoder=encoder.to(device),
        guidance=guidance,
        windows=ContextWindows(min(24, unet.config.motion_length)),
        tile=tile,
    )
    for report in (*reports, second, third):
        logger.info("\n".join(report.lines()))
    return renderer.channels_last(), [*reports, second, third]


def save_set(renderer: FullRenderer, folder: str | Path, provenance: Mapping[str, Any] | None = None) -> list[Path]:
    """Write the renderer as safetensors of our format into a folder -> the files. Numbers keep their format."""
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


def _experts(cls: type, path: Path, device: str):
    return checkpoint.load(cls, path, device).requires_grad_(False) if path.is_file() else None


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
