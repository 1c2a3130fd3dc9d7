"""Where bfloat16 pays: on GPUs, and on CPUs with tiles (AMX)."""

from contextlib import AbstractContextManager, nullcontext

import torch


def cpu_has_bf16() -> bool:
    """Whether matrix products in bfloat16 are faster than in float32 on this CPU: where it has tiles (AMX).

    AVX-512's bf16 dot products alone are not enough: measured at 0.6 of float32's speed on a Xeon without tiles.
    """
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe()) if probe is not None else False


def rendering_precision(device: torch.device) -> AbstractContextManager:
    """bfloat16 on CPUs where it is faster; elsewhere the networks' own dtype."""
    return torch.autocast("cpu", torch.bfloat16) if device.type == "cpu" and cpu_has_bf16() else nullcontext()


def mixed_precision(device: str | torch.device, wanted: bool = True) -> AbstractContextManager:
    """The autocast of a training step on `device`: bfloat16 where it pays and is `wanted`, else as the weights are."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=wanted and (kind != "cpu" or cpu_has_bf16()))
