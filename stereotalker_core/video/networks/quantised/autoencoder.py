"""Playback's path through the nano autoencoder, encoder and guided decoder, in 8-bit integers (`convolutions`)."""

from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..fused import conv
from ..vae import TinyAutoencoder
from .convolutions import Chain, Scale, integers_pay, layer_names, measure_ranges

_made: "WeakKeyDictionary[nn.Module, tuple[tuple, QuantisedAutoencoder]]" = WeakKeyDictionary()


def quantised_autoencoder(vae: nn.Module) -> "QuantisedAutoencoder | None":
    """Return the autoencoder in 8-bit integers; None where they do not pay, or where its ranges are not known.

    It is made once for the same weights. Ask in the mode in which it will run (`torch.no_grad`)."""
    if not isinstance(vae, TinyAutoencoder) or not vae.config.ranges or vae.training or vae.mean.device.type != "cpu":
        return None
    with torch.no_grad():
        if not integers_pay():
            return None
        state = vae.config, *((id(p), 0 if p.is_inference() else p._version) for p in vae.parameters())
        kept = _made.get(vae)
        if kept is None or kept[0] != state:
            kept = _made[vae] = state, QuantisedAutoencoder(vae)
    return kept[1]


class QuantisedAutoencoder:
    """Encoder and guided decoder of a `TinyAutoencoder` on 8-bit maps.

    The first convolution on the latents, that on the guide tensor, and the normalisation stay as they are: they are
    small, and what they read has many ranges."""

    def __init__(self, vae: TinyAutoencoder) -> None:
        """Convert the layers; ValueError where the config has ranges of another number of layers."""
        names = layer_names(vae)
        if len(names) != len(vae.config.ranges):
            raise ValueError(f"the autoencoder has {len(names)} layers, its config ranges of {len(vae.config.ranges)}")
        ranges = dict(zip(names, vae.config.ranges, strict=True))
        self.vae, self.lift = vae, Scale.of_range(-1, 1)
        self.narrow = Scale.of_range(0.0, ranges["guided.latents.blocks.0"][1])
        self.wide = Scale.of_range(*ranges["guided.norm"])
        chain = Chain(vae, ranges, self.lift)
        self.first = chain.conv("encoder.0", relu=False)
        self.fine = [chain.block(f"encoder.{k}") for k in (1, 2)]
        self.halved = chain.conv("encoder.3", relu=False)
        self.coarse = [chain.block(f"encoder.{k}") for k in (4, 5)]
        self.encoded = chain.last("encoder.6")
        chain.scale = self.narrow
        self.upscale = [chain.block(f"guided.latents.blocks.{k}") for k in (2, 3, 4)]
        self.enlarged = chain.last("guided.latents.conv")
        chain.scale = self.wide
        self.blocks = [chain.block(f"guided.blocks.{k}") for k in (0, 1)]
        self.out = chain.last("guided.out")

    def restore(self, guide: Tensor) -> Tensor:
        """Map guide tensors (N, G, H/4, W/4) in channels-last memory -> images (N, 3, H, W), as
        `vae.guided(latents of the lift, guide)`."""
        return self._decoded(self._latents(guide), guide)

    def _latents(self, guide: Tensor) -> Tensor:
        """Return the latents (N, C, H/8, W/8) of the lift, before they are normalised."""
        lift = guide[:, self.vae.guided.layout.channels_of("lift")]
        x = self.first(_last(self.lift.quantised(lift)), relu=False)
        for block in self.fine:
            x = block(x)
        x = self.halved(x, relu=False)
        for block in self.coarse:
            x = block(x)
        return 3 * torch.tanh(self.encoded(x, relu=False).float() / 3)

    def _decoded(self, latents: Tensor, guide: Tensor) -> Tensor:
        """Map latents (N, C, H/8, W/8) and guide tensor -> images (N, 3, H, W)."""
        guided = self.vae.guided
        x = _last(self.narrow.quantised(conv(guided.latents.blocks[0], latents)))
        for block in self.upscale:
            x = block(x)
        wide = self.enlarged(_last(F.interpolate(x, scale_factor=2.0)), relu=False)
        if not torch.is_autocast_enabled("cpu"):  # the sum that follows is in the dtype of its convolution
            wide = wide.to(guided.guide.weight.dtype)
        x = _last(self.wide.quantised(guided.entered(wide, guide)))
        for block in self.blocks:
            x = block(x)
        return guided.corrected(self.out(x, relu=False), guide)


def with_ranges(vae: TinyAutoencoder, guides: list[Tensor]) -> TinyAutoencoder:
    """Measure the ranges of an autoencoder's layers on guide tensors (N, G, H/4, W/4) and set them in its config.

    Weights that change afterwards make them wrong: measure again. Returns the same autoencoder."""
    def run(guide: Tensor) -> Tensor:
        return vae.decode(vae.encode_lift(guide), guide)

    vae.config = replace(vae.config, ranges=measure_ranges(vae, run, guides))
    return vae


def _last(x: Tensor) -> Tensor:
    """Return maps (N, C, h, w) in channels-last memory."""
    return x.contiguous(memory_format=torch.channels_last)
