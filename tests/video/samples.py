"""Tiny stage-2 networks for the tests; zero-initialised layers are randomised, so that every path does something."""

import torch

from stereotalker_core.video.networks.experts import MaskExperts, ViewExperts
from stereotalker_core.video.networks.mask import MaskConfig, MaskPredictor
from stereotalker_core.video.networks.reference import ReferenceNet
from stereotalker_core.video.networks.unet import Condition, StereoTalkerUNet, UNetConfig
from stereotalker_core.video.networks.vae import AutoencoderConfig, TinyAutoencoder
from stereotalker_core.video.rendering.nano import NanoRenderer

CONFIG = UNetConfig(
    latent_channels=4, widths=(8, 16), heads=(1, 2), attention=(False, True), groups=4, cross_dim=8, tokens=2,
    motion_heads=(1, 2), motion_length=16, guide_widths=(8, 8),
)  # fmt: skip


def randomise(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return module.eval().requires_grad_(False)


def unet(seed: int = 0, config: UNetConfig = CONFIG) -> StereoTalkerUNet:
    torch.manual_seed(seed)
    return randomise(StereoTalkerUNet(config), seed)


def reference(seed: int = 0) -> ReferenceNet:
    torch.manual_seed(seed)
    return randomise(ReferenceNet(CONFIG.reference()), seed)


def condition(model: StereoTalkerUNet, frames: int = 4, side: int = 8, seed: int = 0, **changes: object) -> Condition:
    g = torch.Generator().manual_seed(seed)
    values = {
        "guide": torch.randn(frames, 131, 2 * side, 2 * side, generator=g),
        "tokens": model.portrait_tokens(torch.randn(1, 4, side, side, generator=g)),
        "yaw": torch.linspace(-80, 80, frames),
        "lift": torch.randn(frames, 4, side, side, generator=g),
        "regions": torch.randn(frames, 4, 4 * side, 4 * side, generator=g).softmax(1),
    }
    return Condition(**{**values, **changes})


def renderer(seed: int = 0) -> NanoRenderer:
    torch.manual_seed(seed)
    model = unet(seed)
    vae = randomise(TinyAutoencoder(AutoencoderConfig(4, 8, 8, 8, groups=4)), seed)
    mask = randomise(MaskPredictor(MaskConfig((0, 2, 3) + (1,) * 16, widths=(8, 8, 8), groups=4)), seed)
    experts = (randomise(kind.for_unet(model, rank=2), seed + i) for i, kind in enumerate((ViewExperts, MaskExperts)))
    return NanoRenderer(model, reference(seed), vae, mask, *experts)
