"""Big models built from named tensors without initialising them first: made on the meta device, then given weights."""

import math
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .. import checkpoint
from ..config import from_json, to_json
from .weights import check_header

M = TypeVar("M", bound=nn.Module)


def skeleton(cls: type[M], config: Any) -> M:
    """Build cls(config) on the meta device: parameters and buffers have shapes but no memory."""
    with torch.device("meta"):
        return cls(config)


def fill(model: M, state: dict[str, Tensor], dtype: torch.dtype | None = None) -> M:
    """Load weights into a skeleton, in `dtype` (None: their own); initialise what the weights do not contain.

    Absent layers whose name ends in proj_out or conv_out are set to zero, so that new motion modules and pose guiders
    change nothing at first; others are initialised as their class does."""
    if dtype is not None:
        state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    model.load_state_dict(state, strict=False, assign=True)
    kind = next((v.dtype for v in state.values() if v.is_floating_point()), torch.float32)
    for name, module in model.named_modules():
        absent = [k for k, tensor in _own_dtype(module).items() if tensor.is_meta]
        if absent == ["position_ids"]:  # not saved with the weights
            count = module.get_buffer("position_ids").shape[-1]
            module._buffers["position_ids"] = torch.arange(count)[None]
        elif absent:
            _start(name, module)
            module.to(kind)
    return model.requires_grad_(False).eval()


def _own_dtype(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))


def _start(name: str, module: Any) -> None:
    """Initialise one module of a skeleton; name: its path in the model."""
    module.to_empty(device="cpu", recurse=False)
    if name.endswith("pos_embed"):
        table = module.get_buffer("pe")
        table.copy_(sinusoids(*table.shape[1:]))
    elif name.endswith(("proj_out", "pose.conv_out")):
        for parameter in module.parameters():
            nn.init.zeros_(parameter)
    else:
        module.reset_parameters()


def sinusoids(length: int, width: int) -> Tensor:
    """Return AnimateDiff's sinusoidal position table (1, length, width): sines in even channels, cosines in odd ones.
    """
    angle = torch.arange(length)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], -1).reshape(1, length, width)


def save_model(model: nn.Module, path: str | Path, **provenance: Any) -> None:
    """Save a model in the format of `checkpoint.save`, every tensor in its own dtype."""
    meta = {"model": type(model).__name__, "config": to_json(model.config), **provenance}
    checkpoint.save_tensors(model.state_dict(), meta, path)


def load_model(cls: type[M], path: str | Path, device: str = "cpu", dtype: torch.dtype | None = None) -> M:
    """Load a big model as `checkpoint.load` does, without a second copy in memory; dtype None keeps the file's."""
    path = Path(path)
    if path.is_file():
        check_header(path)
    state, meta = checkpoint.load_tensors(path, device)
    if meta.get("model") != cls.__name__:
        raise ValueError(f"{path} holds {meta.get('model', 'no model name')!r}, not {cls.__name__!r}")
    kind: Any = cls
    model: M = skeleton(kind, from_json(kind.Config, meta["config"]))
    expected = model.state_dict()
    missing, unexpected = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    if missing or unexpected:
        raise ValueError(f"{path} does not fit {cls.__name__}: missing {missing[:5]}, unexpected {unexpected[:5]}")
    return fill(model, state, dtype)
