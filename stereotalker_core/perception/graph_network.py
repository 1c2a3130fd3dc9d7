"""A converted TensorFlow Lite network as a plain torch module: a list of steps over named constants.

tools/perception/convert_perception.py writes the graphs. Values with four axes are (batch, channel, row, column), as in
torch; TensorFlow's order (channels last) matters only where values are reshaped."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Step:
    """The description of one operation.

    op: its name; inputs: numbers of earlier values, names of constants, or None; output: number of its result;
    settings: such as strides."""

    op: str
    inputs: tuple[Any, ...]
    output: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class Graph:
    """The description of a network: value 0 is its input; shapes have no batch axis; constants: {name: shape of
    weights}."""

    name: str
    input_shape: tuple[int, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    output_names: tuple[str, ...]
    constants: dict[str, Any]


class GraphNetwork(nn.Module):
    """Run a `Graph`: input (B, *graph.input_shape) -> its outputs, those with four axes as (B, C, H, W)."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        unknown = sorted({step.op for step in graph.steps} - set(OPERATIONS))
        if unknown:
            raise ValueError(f"{graph.name} uses operations that are not known here: {', '.join(unknown)}")
        self.graph = graph
        for name, shape in graph.constants.items():
            self.register_buffer(name, torch.zeros(tuple(shape)))
        self._last_used = self._lifetimes()

    @property
    def size(self) -> int:
        """Return the side in px of the network's square input."""
        return self.graph.input_shape[-1]

    def forward(self, value: Tensor) -> list[Tensor]:
        """Run the network -> the outputs in the order of `graph.outputs`; ValueError for an input of another shape."""
        if tuple(value.shape[1:]) != tuple(self.graph.input_shape):
            raise ValueError(f"{self.graph.name} takes (B, {self.graph.input_shape}), got {tuple(value.shape)}")
        if value.dim() == 4:
            value = value.contiguous(memory_format=torch.channels_last)  # a fifth faster on CPUs
        values = {0: value}
        for step, finished in zip(self.graph.steps, self._last_used, strict=True):
            inputs = [self._value(values, i) for i in step.inputs]
            values[step.output] = _activate(
                OPERATIONS[step.op](inputs, step.settings), step.settings.get("activation", "")
            )
            for i in finished:
                del values[i]
        return [values[i] for i in self.graph.outputs]

    def _value(self, values: dict[int, Tensor], key: int | str | None) -> Tensor | None:
        return None if key is None else self._buffers[key] if isinstance(key, str) else values[key]

    def _lifetimes(self) -> list[list[int]]:
        """Return for each step the values that are not needed after it, so that large ones are freed early."""
        last = {i: k for k, step in enumerate(self.graph.steps) for i in step.inputs if isinstance(i, int)}
        kept = set(self.graph.outputs)
        return [[i for i, k in last.items() if k == n and i not in kept] for n in range(len(self.graph.steps))]


def same_padding(value: Tensor, kernel: list[int], stride: list[int], dilation: list[int], fill: float) -> Tensor:
    """Pad a value as TensorFlow's SAME does, an odd pixel on the right and at the bottom; fill: the value of the
    padding."""
    pad: list[int] = []
    for axis in (-1, -2):
        size, reach = value.shape[axis], (kernel[axis] - 1) * dilation[axis] + 1
        total = max((math.ceil(size / stride[axis]) - 1) * stride[axis] + reach - size, 0)
        pad += [total // 2, total - total // 2]
    return F.pad(value, pad, value=fill) if any(pad) else value


def _activate(value: Tensor, name: str) -> Tensor:
    if name == "relu":
        return F.relu(value)
    return F.relu6(value) if name == "relu6" else value


def _convolve(inputs: list[Tensor], settings: dict[str, Any]) -> Tensor:
    value, weight, bias = inputs
    stride, dilation = settings["stride"], settings["dilation"]
    if settings["same"]:
        value = same_padding(value, list(weight.shape[2:]), stride, dilation, 0.0)
    return F.conv2d(value, weight, bias, stride, 0, dilation, value.shape[1] // weight.shape[1])


def _pool_maximum(inputs: list[Tensor], settings: dict[str, Any]) -> Tensor:
    value, kernel, stride = inputs[0], settings["kernel"], settings["stride"]
    if settings["same"]:
        value = same_padding(value, kernel, stride, [1, 1], -math.inf)
    return F.max_pool2d(value, kernel, stride)


def _resize(inputs: list[Tensor], settings: dict[str, Any]) -> Tensor:
    """Resize bilinearly; settings: the size, and which of TensorFlow's three conventions for pixel positions."""
    value, size, mode = inputs[0], settings["size"], settings["mode"]
    if mode != "plain":
        return F.interpolate(value, size, mode="bilinear", align_corners=mode == "corners")
    rows, columns = value.shape[-2:]  # plain: pixel i of the new lies at i * old / new
    y = torch.arange(size[0], device=value.device, dtype=value.dtype) * (rows / size[0])
    x = torch.arange(size[1], device=value.device, dtype=value.dtype) * (columns / size[1])
    y, x = torch.meshgrid(y * (2 / max(rows - 1, 1)) - 1, x * (2 / max(columns - 1, 1)) - 1, indexing="ij")
    grid = torch.stack([x, y], -1).expand(len(value), -1, -1, -1)
    return F.grid_sample(value, grid, padding_mode="border", align_corners=True)


def _depth_to_space(inputs: list[Tensor], settings: dict[str, Any]) -> Tensor:
    """Move depth to space in TensorFlow's order, in which the block position varies slower than the channel.

    torch's pixel_shuffle has the opposite order."""
    value, block = inputs[0], settings["block"]
    batch, depth, rows, columns = value.shape
    split = value.view(batch, block, block, depth // block**2, rows, columns).permute(0, 3, 4, 1, 5, 2)
    return split.reshape(batch, depth // block**2, rows * block, columns * block)


def _reshape(inputs: list[Tensor], settings: dict[str, Any]) -> Tensor:
    """Reshape a value to `shape` (without the batch) in channels-last order."""
    value = inputs[0].permute(0, 2, 3, 1) if inputs[0].dim() == 4 else inputs[0]
    value = value.reshape(len(value), *settings["shape"])
    return value.permute(0, 3, 1, 2) if value.dim() == 4 else value


def _concatenate(inputs: list[Tensor], settings: dict[str, Any]) -> Tensor:
    batch = max(map(len, inputs))
    return torch.cat([v.expand(batch, *v.shape[1:]) for v in inputs], settings["axis"])


def _crop(inputs: list[Tensor], settings: dict[str, Any]) -> Tensor:
    value = inputs[0]
    for axis, (begin, end) in settings["ranges"]:
        value = value.narrow(axis, begin, end - begin)
    return value


OPERATIONS: dict[str, Callable[[list[Any], dict[str, Any]], Tensor]] = {
    "conv": _convolve,
    "conv_transpose": lambda v, s: F.conv_transpose2d(v[0], v[1], v[2], s["stride"]),
    "linear": lambda v, s: F.linear(v[0].flatten(1), v[1], v[2]),
    "prelu": lambda v, s: F.prelu(v[0], v[1]),
    "relu": lambda v, s: F.relu(v[0]),
    "hard_swish": lambda v, s: F.hardswish(v[0]),
    "sigmoid": lambda v, s: v[0].sigmoid(),
    "sqrt": lambda v, s: v[0].sqrt(),
    "rsqrt": lambda v, s: v[0].rsqrt(),
    "negative": lambda v, s: -v[0],
    "add": lambda v, s: v[0] + v[1],
    "subtract": lambda v, s: v[0] - v[1],
    "multiply": lambda v, s: v[0] * v[1],
    "divide": lambda v, s: v[0] / v[1],
    "squared_difference": lambda v, s: (v[0] - v[1]) ** 2,
    "mean": lambda v, s: v[0].mean(s["axes"], keepdim=s["keep"]),
    "sum": lambda v, s: v[0].sum(s["axes"], keepdim=s["keep"]),
    "pad": lambda v, s: F.pad(v[0], s["pad"]),
    "max_pool": _pool_maximum,
    "average_pool": lambda v, s: F.avg_pool2d(v[0], s["kernel"], s["stride"]),
    "resize": _resize,
    "depth_to_space": _depth_to_space,
    "reshape": _reshape,
    "transpose": lambda v, s: v[0].permute(s["order"]),
    "concatenate": _concatenate,
    "crop": _crop,
}
