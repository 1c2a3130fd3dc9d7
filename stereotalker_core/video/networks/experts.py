"""View-guided and mask-guided mixtures of experts (Stereo-Talker, arXiv 2410.23836, stage 2).

The paper gates experts inside the denoiser by the camera's view and by the human mask. Here every spatial feed-forward
f of the U-Net gets low-rank experts beside it,

    y = f(x) + sum_e s_e g_e(x) up_e(down_e(x)),

evaluated as one down/up matrix pair whose hidden units carry the gates [g_view(yaw) | regions]. Both gates are given,
not learned: there is no router and no balancing loss. View gates are softmax_e(kappa cos(yaw - anchor_e)), a periodic
partition of one over anchors evenly spaced on the circle; region gates are the soft masks, averaged over the area of a
token. Rank, anchors, kappa and the position of the experts are this project's choices.

`up` starts at zero, so new experts equal the base model bitwise, and so does a strength of 0. The experts are modules
(and files) of their own and are passed to the U-Net with each call: the U-Net's state never changes."""

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...shapes import REGIONS


@dataclass(frozen=True)
class ExpertConfig:
    """The configuration of experts.

    layers: names of feed-forwards; widths: their D; count: experts; rank: hidden units of each; kappa: sharpness of the
    view gates; outputs: always (), named in files of version 0.1."""

    layers: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()
    count: int = 6
    rank: int = 16
    kappa: float = 4.0
    outputs: tuple[int, ...] = ()

_E = TypeVar("_E", bound="Experts")


class Experts(nn.Module):
    """The low-rank matrices of E experts, down (E * rank, D) and up (D, E * rank) for each U-Net layer of width D."""

    Config = ExpertConfig
    count = 0

    def __init__(self, config: ExpertConfig) -> None:
        super().__init__()
        if len(config.layers) != len(config.widths):
            raise ValueError(f"{len(config.layers)} expert layers, {len(config.widths)} widths; give one width a layer")
        self.config = config
        if config.outputs:
            raise ValueError("these experts stand beside other layers than feed-forwards, which no renderer has")
        hidden = config.count * config.rank
        self.down = nn.ParameterList(torch.randn(hidden, d) * d**-0.5 for d in config.widths)
        self.up = nn.ParameterList(torch.zeros(d, hidden) for d in config.widths)
        self.index = {name: i for i, name in enumerate(config.layers)}

    @classmethod
    def for_unet(cls: type[_E], unet: nn.Module, rank: int = 16, kappa: float = 4.0) -> _E:
        """Return new experts (up = 0) for every spatial feed-forward of a StereoTalkerUNet."""
        layers = expert_layers(unet)
        widths = tuple(ff.net[0].proj.in_features for ff in layers.values())
        return cls(ExpertConfig(tuple(layers), widths, cls.count, rank, kappa))

    def fit(self, unet: nn.Module) -> bool:
        """Tell whether a U-Net has all layers of these experts, in the same sizes."""
        widths = {name: ff.net[0].proj.in_features for name, ff in expert_layers(unet).items()}
        return all(
            widths.get(name) == width for name, width in zip(self.config.layers, self.config.widths, strict=True)
        )

    def gates(self, yaw: Tensor, regions: Tensor | None, size: tuple[int, int]) -> Tensor:
        """Return the gates (T, tokens or 1, E).

        yaw: (T,) degrees; regions: (T, P, H, W) or None; size: of the token grid."""
        raise TypeError(f"{type(self).__name__} has no gates; use ViewExperts or MaskExperts")


class ViewExperts(Experts):
    """The experts by camera yaw: g_e = softmax_e(kappa cos(yaw - anchor_e)), anchors every 360 / E degrees from 0."""

    count = 6

    def gates(self, yaw: Tensor, regions: Tensor | None, size: tuple[int, int]) -> Tensor:
        return view_gates(yaw, self.config.count, self.config.kappa)[:, None]


class MaskExperts(Experts):
    """The experts by region (background, body, face, hands): g_e = fraction of the token that the region covers."""

    count = len(REGIONS)

    def gates(self, yaw: Tensor, regions: Tensor | None, size: tuple[int, int]) -> Tensor:
        if regions is None:
            raise ValueError("mask experts need regions (T, 4, H, W)")
        return F.adaptive_avg_pool2d(regions, size).flatten(2).transpose(1, 2)


def view_gates(yaw: Tensor, count: int, kappa: float) -> Tensor:
    """Map yaw (T,) degrees -> gates (T, count), positive, summing to one, smooth and periodic."""
    anchors = torch.arange(count, device=yaw.device) * (2 * math.pi / count)
    return torch.softmax(kappa * torch.cos(torch.deg2rad(yaw)[:, None] - anchors), -1)


class ExpertContext:
    """The experts and gates of one forward pass of a U-Net; empty outside it."""

    def __init__(self) -> None:
        self.experts: tuple[tuple[Experts, float], ...] = ()
        self._gates: dict[int, list[Tensor]] = {}

    @contextmanager
    def use(
        self,
        experts: tuple[tuple[Experts, float], ...],
        yaw: Tensor,
        regions: Tensor | None,
        grids: list[tuple[int, int]],
    ) -> Iterator[None]:
        """Set experts and their gates within a with block, for the token grids of one pass.

        experts: (module, strength) pairs; yaw: (T,) degrees; regions: (T, 4, H, W), None without mask experts; grids:
        (rows, columns) of the tokens at each level of the U-Net."""
        gates: dict[int, list[Tensor]] = {}
        for size in grids if experts else ():
            parts = []
            for module, strength in experts:
                if regions is None and isinstance(module, MaskExperts):
                    raise ValueError("mask experts need regions (T, 4, H, W); predict them or leave the experts out")
                gate = module.gates(yaw, regions, size).expand(-1, size[0] * size[1], -1) * strength
                parts.append(gate.repeat_interleave(module.config.rank, -1))
            gates[size[0] * size[1]] = parts
        self.experts, self._gates = experts, gates
        try:
            yield
        finally:
            self.experts, self._gates = (), {}

    def delta(self, layer: str, x: Tensor) -> Tensor | None:
        """Return the sum of the experts beside `layer` for its input x (T, N, D); None where there are none."""
        here = [k for k, (module, _) in enumerate(self.experts) if layer in module.index]
        if not here:
            return None
        modules, gates = [self.experts[k][0] for k in here], self._gates[x.shape[1]]
        down = torch.cat([module.down[module.index[layer]] for module in modules])
        up = torch.cat([module.up[module.index[layer]] for module in modules], 1)
        hidden = F.linear(x, down.to(x.dtype))
        return F.linear(hidden * torch.cat([gates[k] for k in here], -1).to(hidden.dtype), up.to(hidden.dtype))


if TYPE_CHECKING:
    Mixin = nn.Module  # what it is put in front of
else:
    Mixin = object


def swap_class(module: nn.Module, mixin: type, **attributes: object) -> None:
    """Insert `mixin` in front of the module's class, in place: other behaviour, the same parameters and state-dict
    keys.

    attributes: set on the module."""
    module.__class__ = _mixed(mixin, type(module))
    for name, value in attributes.items():
        setattr(module, name, value)


@functools.cache
def _mixed(mixin: type, base: type) -> type:
    """Return the class that combines both; instances are pickled by its parts, because no module defines the class."""
    parts = (mixin, *getattr(base, "swapped", (base,)))
    return type(mixin.__name__, (mixin, base), {"swapped": parts, "__reduce_ex__": _by_parts})


def _by_parts(module: Any, protocol: int) -> tuple[Any, ...]:
    return _empty, type(module).swapped, vars(module)


def _empty(*parts: type) -> nn.Module:
    """Return an instance without attributes of a class from `swap_class`, made of these parts (mixins, then the base).
    """
    *mixins, first = parts
    kind: Any = first
    for mixin in reversed(mixins):
        kind = _mixed(mixin, kind)
    return kind.__new__(kind)


class MoEFeedForward(Mixin):
    """The mixin for diffusers' FeedForward that adds the context's experts; keys stay the same."""

    context: ExpertContext
    layer: str

    def forward(self, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        base = super().forward(hidden_states, *args, **kwargs)
        delta = self.context.delta(self.layer, hidden_states)
        return base if delta is None else base + delta.to(base.dtype)


def install_experts(unet: nn.Module) -> ExpertContext:
    """Add the mixin to every spatial feed-forward of a diffusers U-Net -> the context that all share."""
    context = ExpertContext()
    for name, module in list(unet.named_modules()):
        if name.endswith(".ff") and "motion_modules" not in name:
            swap_class(module, MoEFeedForward, context=context, layer=name)
    return context


def expert_layers(unet: nn.Module) -> dict[str, Any]:
    """Return {name: feed-forward} of the layers that can have experts, in the order of the network."""
    return {module.layer: module for module in unet.modules() if isinstance(module, MoEFeedForward)}
