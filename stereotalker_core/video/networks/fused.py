"""A convolution with the sum and the activation that follow it, in one pass over memory where oneDNN can.

Outside of training, on a CPU, `conv + relu` as two operations writes and reads the whole map once more, which costs a
third of the convolution's own time."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@functools.lru_cache(maxsize=1)
def fuses() -> bool:
    """Tell whether this PyTorch has oneDNN's fused convolutions (its own compiler uses them), by trying one."""
    if not torch.backends.mkldnn.is_available():
        return False
    x, kernel = torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    try:
        with torch.no_grad():
            return float(_fused(x, kernel, kernel[0, 0, 0], x, (0, 0), "relu")) == 3.0
    except (AttributeError, RuntimeError, TypeError):
        return False


def conv(layer: nn.Module, x: Tensor, added: Tensor | None = None, relu: bool = True) -> Tensor:
    """Return relu(layer(x) + added), by one operation where that is possible.

    layer: a convolution without dilation, groups, or padding by other values than zeros.
    x: (N, C, h, w); added: like the result, or None; relu: False leaves the last step away."""
    plain = torch.is_grad_enabled() or x.device.type != "cpu" or not fuses()
    if plain or layer.training or not isinstance(layer, nn.Conv2d) or layer.bias is None:
        return _plain(layer, x, added, relu)
    try:
        return _in_one(layer, layer.bias, x, added, relu)
    except RuntimeError:  # shapes and dtypes that oneDNN leaves to operations which do not know bfloat16
        return _plain(layer, x, added, relu)


def _plain(layer: nn.Module, x: Tensor, added: Tensor | None, relu: bool) -> Tensor:
    """Do what `conv` does, one operation after the other."""
    found = layer(x) if added is None else layer(x) + added
    return F.relu(found) if relu else found


def _in_one(layer: nn.Conv2d, bias: Tensor, x: Tensor, added: Tensor | None, relu: bool) -> Tensor:
    """Do what `conv` does in one operation, in the dtype that autocast asks for."""
    weight = layer.weight
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
        added = None if added is None else added.to(dtype)
    if added is not None:  # the fused sum knows bfloat16 in this order of memory alone
        x, added = (t.contiguous(memory_format=torch.channels_last) for t in (x, added))
    pads = layer.padding if isinstance(layer.padding, tuple) else (0, 0)
    return _fused(x, weight, bias, added, pads, "relu" if relu else None, layer.stride)


def _fused(
    x: Tensor, weight: Tensor, bias: Tensor, added: Tensor | None, padding: tuple[int, ...], last: str | None,
    stride: tuple[int, ...] = (1, 1),
) -> Tensor:  # fmt: skip
    """Call oneDNN's fused convolution; last: "relu" or None. RuntimeError for what it does not support."""
    shape = list(padding), list(stride), [1, 1], 1
    operation = torch.ops.mkldnn._convolution_pointwise
    if added is None:
        return operation(x, weight, bias, *shape, last or "none", [], "")
    return operation.binary(x, added, weight, bias, *shape, "add", 1.0, last, [], "")
