"""View experts at one camera merged into plain weights: the feed-forwards grow by the experts' hidden units.

Value rows `down_e` and output columns `up_e * g_e` of linear units (widening.py) reproduce an expert exactly."""

import copy
from dataclasses import replace

import torch
from torch import Tensor

from .experts import ViewExperts, expert_layers, view_gates
from .unet import StereoTalkerUNet
from .widening import append_units


@torch.no_grad()
def merge_view_experts(
    model: StereoTalkerUNet, experts: ViewExperts, yaw: float, strength: float = 1.0
) -> StereoTalkerUNet:
    """Return a copy of the model with these experts merged for `yaw` degrees.

    model: the denoiser; experts: its view experts; yaw: degrees; strength: of the experts.

    The copy's config counts the added units (`merged`), so it is saved and loaded like any other. Mask experts, whose
    gates differ between pixels, can still be used with it. ValueError where the experts belong to another network."""
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
    return merged


def _at_camera(experts: ViewExperts, name: str, gates: Tensor, rank: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the layer's expert matrices, down (n, D) and up (D, n) times the gates; zeros for a layer without experts.

    name: of the layer; gates: (E,) at the camera, times the strength; rank: of one expert, n = E * rank; width: D."""
    if name not in experts.index:
        empty = experts.down[0].new_zeros(len(gates) * rank, width)
        return empty, empty.T
    i = experts.index[name]
    return experts.down[i], experts.up[i].float() * gates.to(experts.up[i].device).repeat_interleave(rank)
