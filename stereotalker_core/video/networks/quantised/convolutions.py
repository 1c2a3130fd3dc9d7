"""Convolutions in 8-bit integers for playback, on CPUs whose integer products are faster than bfloat16 ones.

The convolutions of encoder and guided decoder take most of a frame's time at 512 px, and the decoder only corrects the
lift: rounding its activations to one of 255 steps changes the picture by about a tenth of a grey level. Activations are
unsigned numbers of a fixed range per map (measured once on frames, `measure_ranges`), weights signed numbers of a range
per output channel, sums 32 bits wide. PyTorch's own compiler uses the same operations of oneDNN; where they are missing
or slower, the plain convolutions run.

Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference
(CVPR 2018)."""

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ....precision import conv_seconds, cpu_has_bf16, faster, on_one_thread

STEPS = 255  # of an activation's range
_MARGIN = 1.1  # a range is so much wider than what was measured; what lies outside is clipped


class Scale(NamedTuple):
    """The meaning of an 8-bit number q: step * (q - zero)."""

    step: float
    zero: int

    @classmethod
    def of_range(cls, low: float, high: float) -> "Scale":
        """Return the scale that covers [low, high] and zero, with zero at a whole number."""
        low, high = min(low, 0.0), max(high, 1e-6)
        step = (high - low) / STEPS
        return cls(step, round(-low / step))

    def quantised(self, x: Tensor) -> Tensor:
        """Round values of any shape to 8-bit numbers; those outside of the range to its ends."""
        return x.float().mul(1 / self.step).add_(self.zero + 0.5).clamp_(0, STEPS).to(torch.uint8)


@dataclass(frozen=True)
class QuantisedConv:
    """The convolution from 8-bit maps to 8-bit maps, or to bfloat16 ones where `after` is None.

    weight: packed for oneDNN; steps, zeros: (outputs,) scale of the weights of every output channel; bias: (outputs,);
    before, after: scales of the input and of the output; stride, padding: as the convolution's."""

    weight: Tensor
    steps: Tensor
    zeros: Tensor
    bias: Tensor
    before: Scale
    after: Scale | None
    stride: list[int]
    padding: list[int]

    @classmethod
    def of(cls, layer: nn.Conv2d, before: Scale, after: Scale | None) -> "QuantisedConv":
        """Convert a convolution without dilation or groups, padded by zeros."""
        weight = layer.weight.detach().float()
        steps = weight.abs().amax((1, 2, 3)).clamp_min(1e-8) / 127
        numbers = (weight / steps.view(-1, 1, 1, 1)).round().clamp(-127, 127).to(torch.int8)
        stride, padding = list(layer.stride), [int(n) for n in layer.padding]
        packed = torch.ops.onednn.qconv_prepack(numbers, steps, *before, stride, padding, [1, 1], 1, None)
        zeros = torch.zeros(len(weight), dtype=torch.int32)
        bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach().float()
        return cls(packed, steps, zeros, bias, before, after, stride, padding)

    def __call__(self, x: Tensor, relu: bool = True) -> Tensor:
        """Map (N, C, h, w) in channels-last memory -> the convolution, after relu if wanted."""
        step, zero, dtype = (*self.after, None) if self.after else (1.0, 0, torch.bfloat16)
        last = "relu" if relu else "none"
        shape = self.stride, self.padding, [1, 1], 1
        weight = self.weight, self.steps, self.zeros, self.bias
        return torch.ops.onednn.qconv2d_pointwise(x, *self.before, *weight, *shape, step, zero, dtype, last, [], "")

    def onto(self, x: Tensor, added: Tensor, scale: Scale) -> Tensor:
        """Return relu(convolution of x + added); added: 8-bit maps of a scale, which may be written over."""
        if self.after is None:
            raise ValueError("a convolution onto 8-bit maps needs a scale of its output")
        shape = self.stride, self.padding, [1, 1], 1
        weight = self.weight, self.steps, self.zeros, added, self.bias
        return torch.ops.onednn.qconv2d_pointwise.binary(
            x, *self.before, *weight, *shape, *self.after, torch.uint8, *scale, "sum", 1.0, "relu", [], ""
        )


@dataclass(frozen=True)
class QuantisedBlock:
    """The `vae.Block` on 8-bit maps, which it may write over."""

    convs: tuple[QuantisedConv, QuantisedConv, QuantisedConv]

    def __call__(self, x: Tensor) -> Tensor:
        """Map (N, width, h, w) -> the same shape."""
        first, second, third = self.convs
        return third.onto(second(first(x)), x, first.before)


class Chain:
    """Converts layers one after the other, each of which reads the scale that the one before writes.

    network: that has the layers; ranges: name of a layer -> (low, high) of its output.
    scale: of the next layer's input."""

    def __init__(self, network: nn.Module, ranges: dict[str, tuple[float, float]], scale: Scale) -> None:
        self.layers, self.ranges, self.scale = dict(network.named_modules()), ranges, scale

    def conv(self, name: str, relu: bool = True) -> QuantisedConv:
        """Convert the convolution of this name; relu: what it is called with."""
        low, high = self.ranges[name]
        return self._converted(name, Scale.of_range(0.0 if relu else low, high))

    def last(self, name: str) -> QuantisedConv:
        """Convert the convolution of this name, whose output is not quantised."""
        return self._converted(name, None)

    def block(self, name: str) -> QuantisedBlock:
        """Convert the `vae.Block` of this name."""
        first, second = (self.conv(f"{name}.conv.{k}") for k in (0, 2))
        third = self._converted(f"{name}.conv.4", Scale.of_range(0.0, self.ranges[name][1]))
        return QuantisedBlock((first, second, third))

    def _converted(self, name: str, after: Scale | None) -> QuantisedConv:
        layer = self.layers[name]
        if not isinstance(layer, nn.Conv2d):
            raise TypeError(f"{name} is a {type(layer).__name__}, no convolution")
        made = QuantisedConv.of(layer, self.scale, after)
        self.scale = after or self.scale
        return made


def layer_names(network: nn.Module) -> list[str]:
    """Return the names of the layers whose outputs may be quantised, in the order of the ranges of a config: all
    convolutions, and the modules that add or normalise maps (`Block`, `GroupNorm`)."""
    return [name for name, layer in network.named_modules() if _reads(layer)]


def _reads(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d | nn.GroupNorm) or type(layer).__name__ == "Block"


@torch.no_grad()
def measure_ranges(
    network: nn.Module, run: Callable[[Tensor], object], inputs: Iterable[Tensor]
) -> tuple[tuple[float, float], ...]:
    """Measure lowest and highest output of every layer of `layer_names`, a margin of a tenth added.

    network: is run on the inputs in its own dtype; run: what to do with one of them; inputs: such as guide tensors.
    A layer that never ran has (0, 0)."""
    found = {name: (0.0, 0.0) for name in layer_names(network)}

    def note(name: str, out: Tensor) -> None:
        low, high = found[name]
        out = out.detach()
        found[name] = min(low, float(out.min())), max(high, float(out.max()))

    layers = dict(network.named_modules())

    def noting(name: str) -> Callable[[nn.Module, tuple, Tensor], None]:
        return lambda _, __, out: note(name, out)

    hooks = [layers[name].register_forward_hook(noting(name)) for name in found]
    try:
        with without_integers():
            for x in inputs:
                run(x)
    finally:
        for hook in hooks:
            hook.remove()
    return tuple((round(_MARGIN * low, 5), round(_MARGIN * high, 5)) for low, high in found.values())


_forbidden = 0  # contexts of `without_integers` that are open


@contextmanager
def without_integers() -> Iterator[None]:
    """Return a context in which nothing is computed in 8-bit integers, nor by fused operations: every layer is called
    by itself."""
    global _forbidden
    _forbidden += 1
    try:
        with torch.enable_grad():
            yield
    finally:
        _forbidden -= 1


def integers_pay() -> bool:
    """Tell whether maps are to be computed in 8-bit integers now: outside of training, where they are faster."""
    return not (_forbidden or torch.is_grad_enabled()) and _measured()


@functools.lru_cache(maxsize=1)
def _measured() -> bool:
    """Measure whether convolutions of 8-bit integers are right, and faster than those which `rendering_precision`
    chooses on this CPU: about 20 ms, once per process."""
    if not torch.backends.mkldnn.is_available():
        return False
    dtype = torch.bfloat16 if cpu_has_bf16() else torch.float32
    with on_one_thread():
        try:
            layer = _probe()
            right = _is_right(layer)
        except (AttributeError, RuntimeError, TypeError):  # a PyTorch without these operations, or with other ones
            return False
        conv_seconds(dtype)
        return right and faster(lambda: _seconds(layer), lambda: conv_seconds(dtype))


def _probe() -> QuantisedConv:
    """Return a convolution of the size that `conv_seconds` measures."""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(80, 80, 3, padding=1)
    with torch.no_grad():
        for values in layer.parameters():
            values.copy_(torch.randn(values.shape, generator=generator) / 30)
        return QuantisedConv.of(layer, Scale(2 / STEPS, 0), Scale(4 / STEPS, 0))


@torch.no_grad()
def _is_right(layer: QuantisedConv) -> bool:
    """Tell whether a convolution, and one that adds, of an even map have the values that they must have."""
    x = torch.full((1, 80, 3, 3), 100, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    once = layer(x)
    twice = layer.onto(x, x.clone(memory_format=torch.preserve_format), Scale(4 / STEPS, 0))
    added = (once.int() + 100).clamp(0, STEPS)
    return bool(((twice.int() - added).abs()[once > 0] <= 1).all()) and 0 < float((once > 0).float().mean()) < 1


@torch.no_grad()
def _seconds(layer: QuantisedConv) -> float:
    """Return the seconds that one convolution takes."""
    x = torch.zeros(1, 80, 64, 64, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    start = time.perf_counter()
    layer(x)
    return time.perf_counter() - start
