"""Feed-forwards that grow by linear hidden units.

A GEGLU unit computes value * gelu(gate). With gate weights of zero and a gate bias of 8, gelu(gate) is 8 in every float
format, and the unit is linear: value rows `down` and output columns `up / 8` add the map up @ down to the layer."""

from typing import Any

import torch
from torch import Tensor, nn

from .experts import expert_layers

_OPEN = 8.0  # gelu(8) = 8 in float32 and below; a power of two, so that dividing by it is exact


def widen(unet: nn.Module, units: int) -> None:
    """Add `units` zero hidden units to every spatial feed-forward, in place, to load a merged model."""
    for layer in expert_layers(unet).values():
        first, last = layer.net[0].proj, layer.net[2]
        append_units(layer, first.weight.new_zeros(units, first.in_features), last.weight.new_zeros(1, units))


def append_units(layer: Any, down: Tensor, up: Tensor) -> None:
    """Append hidden units to a GEGLU feed-forward, in place, that add the linear map up @ down.

    down: (n, D); up: (D or 1, n)."""
    first, last = layer.net[0].proj, layer.net[2]
    value, gate = first.weight.chunk(2)
    value_bias, gate_bias = first.bias.chunk(2)
    down, up = down.to(value), (up / _OPEN).to(last.weight).expand(last.out_features, -1)
    weight = torch.cat([value, down, gate, torch.zeros_like(down)])
    bias = torch.cat([value_bias, value_bias.new_zeros(len(down)), gate_bias, gate_bias.new_full((len(down),), _OPEN)])
    first.weight, first.bias = replaced(first.weight, weight), replaced(first.bias, bias)
    first.out_features = len(weight)
    last.weight = replaced(last.weight, torch.cat([last.weight, up], 1))
    last.in_features = last.weight.shape[1]


def replaced(parameter: nn.Parameter, value: Tensor) -> nn.Parameter:
    """Return a parameter with another value (of any shape), trainable if the old one was."""
    return nn.Parameter(value.contiguous(), requires_grad=parameter.requires_grad)
