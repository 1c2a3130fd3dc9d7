"""LoRA adapters (Hu et al., arXiv 2106.09685) with the parameter names of the `peft` library.

`peft` itself would install `accelerate` into every ComfyUI with this pack. The layout is the same, so adapters trained
with `peft` load here and ours load there; the tests compare the two."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

ADAPTER = "default"  # the name `peft` gives to a model's only adapter


class LoraLinear(nn.Module):
    """Compute base(x) + scale * up(down(x)); the up projection starts at zero, so a fresh adapter changes nothing."""

    def __init__(self, base: nn.Module, rank: int, scale: float):
        super().__init__()
        weight = base.get_parameter("weight")
        columns, rows = weight.shape if _is_transposed(base) else weight.shape[::-1]
        down, up = nn.Linear(columns, rank, bias=False), nn.Linear(rank, rows, bias=False)
        self.base_layer = base
        self.lora_A, self.lora_B = nn.ModuleDict({ADAPTER: down}), nn.ModuleDict({ADAPTER: up})
        nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
        nn.init.zeros_(up.weight)
        self.scale, self.enabled = scale, True

    def forward(self, x: Tensor) -> Tensor:
        out = self.base_layer(x)
        if not self.enabled:
            return out
        return out + self.lora_B[ADAPTER](self.lora_A[ADAPTER](x)) * self.scale

    def merged(self) -> nn.Module:
        """Merge the adapter into the base layer's weight, in place, and return that layer; equal up to rounding."""
        down, up = (part.get_parameter(f"{ADAPTER}.weight") for part in (self.lora_A, self.lora_B))
        delta, weight = up @ down * self.scale, self.base_layer.get_parameter("weight")
        with torch.no_grad():
            weight += delta.T if _is_transposed(self.base_layer) else delta
        return self.base_layer


def add_lora(model: nn.Module, rank: int, alpha: float) -> nn.Module:
    """Wrap every linear layer of `model` in place; only the adapters stay trainable. ValueError where there is none.

    rank: of the adapters; alpha: their scale is alpha / rank."""
    if rank < 1:
        raise ValueError(f"the rank of LoRA adapters must be at least 1, got {rank}")
    model.requires_grad_(False)
    places = [(name, module) for name, module in model.named_modules() if _is_linear(module)]
    if not places:
        raise ValueError(f"{type(model).__name__} has no linear layer to adapt")
    for name, module in places:
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, LoraLinear(module, rank, alpha / rank))
    return model


def merge_lora(model: nn.Module) -> nn.Module:
    """Merge all adapters into the weights, in place; return the model with plain layers that compute the same."""
    for name, module in [(n, m) for n, m in model.named_modules() if isinstance(m, LoraLinear)]:
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, module.merged())
    return model


@contextmanager
def adapters(model: nn.Module, enabled: bool) -> Iterator[None]:
    """Switch the adapters of `model` on or off within a with block."""
    layers = [m for m in model.modules() if isinstance(m, LoraLinear)]
    before = [layer.enabled for layer in layers]
    try:
        for layer in layers:
            layer.enabled = enabled
        yield
    finally:
        for layer, value in zip(layers, before, strict=True):
            layer.enabled = value


def _is_transposed(module: nn.Module) -> bool:
    """Tell whether a layer stores its weight as (in, out), as GPT-2's `Conv1D` does."""
    return type(module).__name__ == "Conv1D"


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or _is_transposed(module)
