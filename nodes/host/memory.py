"""Networks under ComfyUI's memory management: loaded, offloaded and freed like its own; plain `.to` outside."""

from __future__ import annotations

import copy
import functools
import math
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .folders import INSIDE


def compute_device() -> torch.device:
    """Return the device of the networks: ComfyUI's choice, else the first CUDA device, else the CPU."""
    if INSIDE:
        import comfy.model_management

        return comfy.model_management.get_torch_device()
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def weight_dtype(vae: bool = False) -> torch.dtype:
    """Return the dtype for full-size weights: ComfyUI's choice, or outside it fp16 on CUDA and fp32 on a CPU.

    vae: whether they are an autoencoder's."""
    device = compute_device()
    if not INSIDE:
        return torch.float16 if device.type == "cuda" else torch.float32
    import comfy.model_management

    kinds = [torch.float16, torch.bfloat16, torch.float32]
    if vae:  # Stable Diffusion's overflows in fp16
        return comfy.model_management.vae_dtype(device, [torch.bfloat16, torch.float32])
    found = comfy.model_management.unet_dtype(device, supported_dtypes=kinds)
    return found if found in kinds else torch.float16  # fp8 options are of layers that ComfyUI makes itself


@functools.cache
def body(device: str | torch.device = "cpu"):
    """Return the parametric body (8 MB of buffers), one copy per device and process."""
    from ...stereotalker_core.body.model import HalfBody

    if str(device) == "cpu":
        return HalfBody()
    return copy.deepcopy(body("cpu")).to(device)


@functools.cache
def _patcher_class() -> type:
    import comfy.model_patcher

    class WholeModelPatcher(comfy.model_patcher.ModelPatcher):
        """The ModelPatcher that moves a network as a whole, because diffusers layers cannot be loaded in part."""

        def load(self, device_to=None, lowvram_model_memory=0, force_patch_weights=False, full_load=False):
            super().load(device_to, force_patch_weights=force_patch_weights, full_load=True)

        def partially_unload(self, *args, **kwargs):
            return 0  # nothing: ComfyUI then unloads the whole network

    return WholeModelPatcher


def patcher_of(module: nn.Module):
    """Wrap the network in a ComfyUI ModelPatcher with its compute and offload devices."""
    import comfy.model_management

    management = comfy.model_management
    return _patcher_class()(
        module, load_device=management.get_torch_device(), offload_device=management.unet_offload_device()
    )


class Managed:
    """The value of our sockets: one network, or several that are used together, behind one ModelPatcher."""

    def __init__(self, *modules: nn.Module):
        self.modules = modules
        self.bundle = modules[0] if len(modules) == 1 else nn.ModuleList(modules)
        self.bundle.requires_grad_(False)
        self.patcher = patcher_of(self.bundle) if INSIDE else None

    def load(self, working_bytes: int = 0) -> torch.device:
        """Load the networks to the compute device, with `working_bytes` free for activations -> that device."""
        return load_all([self], working_bytes)


def load_all(items: Sequence[Any], working_bytes: int = 0) -> torch.device:
    """Load several items together (Managed, MODEL, anything with a `patcher` or a `bundle`) -> the compute device.

    working_bytes: memory to keep free for activations."""
    device = compute_device()
    if not INSIDE:
        for item in items:
            item.bundle.to(device)
        return device
    import comfy.model_management

    patchers = []
    for item in items:
        patcher = getattr(item, "patcher", item)
        patchers += [patcher, *patcher.get_nested_additional_models()]
    comfy.model_management.load_models_gpu(patchers, memory_required=working_bytes)
    return device


@functools.lru_cache(maxsize=2)
def nano_models(mode: str = "play"):
    """Return the embedded networks of the simple node (`pipeline.Models`) and the `Managed` that moves them between
    devices.

    mode: "play" omits U-Net, reference network and experts. Read once per process, on the CPU until `Managed.load`."""
    from ...stereotalker_core.pipeline import Models

    models = Models.load_nano("cpu", mode)
    motion, renderer = models.motion, models.renderer
    modules = [models.body, models.perception, models.bake, *vars(motion).values(), *vars(renderer).values()]
    return models, Managed(*(module for module in modules if isinstance(module, nn.Module)))


def free_memory() -> float:
    """Return the bytes of free main memory; infinite where the system does not report it."""
    if INSIDE:
        import comfy.model_management

        return comfy.model_management.get_free_memory(torch.device("cpu"))
    if "SC_AVPHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return math.inf
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_memory(frames: int, size: tuple[int, int], bytes_per_pixel: float, instead: str) -> None:
    """Raise ValueError, before any work, where frames do not fit in main memory.

    frames: their number; size: (H, W) px; bytes_per_pixel: memory per pixel of a frame; instead: advice in the
    message."""
    needed, free = frames * size[0] * size[1] * bytes_per_pixel, free_memory()
    if needed > free:
        raise ValueError(
            f"{frames} frames of {size[0]}x{size[1]} need {needed / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free: {instead}"
        )
