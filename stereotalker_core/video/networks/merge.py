"""View experts at one camera as plain weights: the feed-forwards grow by the experts' hidden units.

A GEGLU unit computes value * gelu(gate). With gate weights of zero and a gate bias of 8, gelu(gate) is 8 in every float
format, and the unit is linear: value rows `down_e`, output columns `up_e * g_e / 8` reproduce an expert exactly.
Experts beside the last convolution are 1x1 convolutions
and go into its middle tap.
"""

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from .experts import HEAD, ViewExperts, expert_layers, view_gates
from .unet import StereoTalkerUNet

_OPEN = 8.0  # gelu(8) = 8 in float32 and below; a power of two, so that dividing by it is exact


@torch.no_grad()
def merge_view_experts(
    model: StereoTalkerUNet, experts: ViewExperts, yaw: float, strength: float = 1.0
) -> StereoTalkerUNet:
    """A copy of the model that equals the model with these experts at `yaw` degrees, without them.

    The copy's config counts the added units (`merged`), so it is saved and loaded like any other. Mask experts, whose
    gates differ from pixel to pixel, still go on top. ValueError when the experts belong to another network.
    """
    if not experts.fit(model):
        raise ValueError("these experts were made for another renderer; their layers differ")
    rank = experts.config.rank
    gates = view_gates(torch.tensor([float(yaw)]), experts.config.count, experts.config.kappa)[0] * strength
    merged = copy.deepcopy(model)
    layers = expert_layers(merged)
    if any(name in experts.index for name in layers):
        merged.config = replace(model.config, merged=model.config.merged + experts.config.count * rank)
        for name, layer in layers.items():
            append_units(layer, *_at_camera(experts, name, gates, rank, layer.net[0].proj.in_features))
    if HEAD in experts.index:
        last = merged.unet.conv_out
        down, up = _at_camera(experts, HEAD, gates, rank, last.in_channels)
        middle = last.kernel_size[0] // 2, last.kernel_size[1] // 2
        weight = last.weight.clone()
        weight[:, :, middle[0], middle[1]] += (up @ down.to(up)).to(weight)
        last.weight = _like(last.weight, weight)
    return merged


def _at_camera(experts: ViewExperts, name: str, gates: Tensor, rank: int, width: int) -> tuple[Tensor, Tensor]:
    """down (n, D) and gated up (D', n) of a layer; zeros where these experts have none there."""
    if name not in experts.index:
        empty = experts.down[0].new_zeros(len(gates) * rank, width)
        return empty, empty.T
    i = experts.index[name]
    return experts.down[i], experts.up[i].float() * gates.to(experts.up[i].device).repeat_interleave(rank)


def widen(unet: nn.Module, units: int) -> None:
    """Room for `units` more hidden units in every spatial feed-forward (for loading a merged model)."""
    for layer in expert_layers(unet).values():
        first, last = layer.net[0].proj, layer.net[2]
        append_units(layer, first.weight.new_zeros(units, first.in_features), last.weight.new_zeros(1, units))


def append_units(layer: nn.Module, down: Tensor, up: Tensor) -> None:
    """Add linear hidden units up @ down to a GEGLU feed-forward. down (n, D), up (D or 1, n)."""
    first, last = layer.net[0].proj, layer.net[2]
    value, gate = first.weight.chunk(2)
    value_bias, gate_bias = first.bias.chunk(2)
    down, up = down.to(value), (up / _OPEN).to(last.weight).expand(last.out_features, -1)
    weight = torch.cat([value, down, gate, torch.zeros_like(down)])
    bias = torch.cat([value_bias, value_bias.new_zeros(len(down)), gate_bias, gate_bias.new_full((len(down),), _OPEN)])
    first.weight, first.bias = _like(first.weight, weight), _like(first.bias, bias)
    first.out_features = len(weight)
    last.weight = _like(last.weight, torch.cat([last.weight, up], 1))
    last.in_features = last.weight.shape[1]


def _like(parameter: nn.Parameter, value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.contiguous(), requires_grad=parameter.requires_grad)
