"""The only file that knows ComfyUI: model folders, memory management, progress, interruption; plain torch outside."""

from __future__ import annotations

import functools
import importlib.util
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

INSIDE = all(importlib.util.find_spec(name) is not None for name in ("comfy", "folder_paths"))
EMBEDDED = "nano (embedded)"
FOLDER = "stereotalker"
EXTENSIONS = {".safetensors"}


def register_model_folder() -> None:
    """Tell ComfyUI about models/stereotalker (extra_model_paths.yaml may add more places); nothing outside ComfyUI."""
    if not INSIDE:
        return
    import folder_paths

    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))
    # a new key is registered with the empty set, which means "every file": name ours
    folder_paths.folder_names_and_paths[FOLDER][1].update(EXTENSIONS)


def model_choices() -> list[str]:
    """Options of a loader's combo: the embedded file first, then what lies in models/stereotalker."""
    if not INSIDE:
        return [EMBEDDED]
    import folder_paths

    return [EMBEDDED, *folder_paths.get_filename_list(FOLDER)]


def resolve_model(name: str, embedded: Path) -> Path:
    """The file behind a combo entry; FileNotFoundError names the folder where it is expected."""
    if name == EMBEDDED:
        return embedded
    if INSIDE:
        import folder_paths

        found = folder_paths.get_full_path(FOLDER, name)
        if found:
            return Path(found)
    raise FileNotFoundError(f"no model file {name!r}; put it into ComfyUI/models/{FOLDER}")


def compute_device() -> torch.device:
    """Where networks run: ComfyUI's choice, else the first CUDA device, else the CPU."""
    if INSIDE:
        import comfy.model_management

        return comfy.model_management.get_torch_device()
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@functools.lru_cache(maxsize=1)
def body():
    """The parametric body, loaded once a process."""
    from ..stereotalker_core.body.model import HalfBody

    return HalfBody()


@functools.lru_cache(maxsize=1)
def nano_models():
    """The embedded networks of the simple node on the compute device, loaded once a process."""
    from ..stereotalker_core.pipeline import Models

    return Models.load_nano(compute_device())


class Managed:
    """A network (or several in one ModuleList) that ComfyUI may load, offload and free like its own models."""

    def __init__(self, *modules: nn.Module):
        self.bundle = nn.ModuleList(modules)
        self.patcher = None
        if INSIDE:
            import comfy.model_management
            import comfy.model_patcher

            management = comfy.model_management
            self.patcher = comfy.model_patcher.ModelPatcher(
                self.bundle,
                load_device=management.get_torch_device(),
                offload_device=management.unet_offload_device(),
            )

    def load(self, working_bytes: int = 0) -> torch.device:
        """Bring the networks to the compute device, leaving `working_bytes` free for activations -> that device."""
        device = compute_device()
        if self.patcher is None:
            self.bundle.to(device)
        else:
            import comfy.model_management

            comfy.model_management.load_models_gpu([self.patcher], memory_required=working_bytes)
        return device


def free_memory() -> float:
    """Bytes of main memory that can be taken now; infinite where the system does not say."""
    if INSIDE:
        import comfy.model_management

        return comfy.model_management.get_free_memory(torch.device("cpu"))
    if "SC_AVPHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return math.inf
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class Progress:
    """ComfyUI's progress bar with a preview picture; raises its interruption at every step. Logs outside ComfyUI."""

    def __init__(self, total: int):
        self.total = max(1, total)
        self.bar = None
        if INSIDE:
            import comfy.utils

            self.bar = comfy.utils.ProgressBar(self.total)

    def __call__(self, done: int, preview: Tensor | None = None) -> None:
        """done steps of the total; preview (3, H, W) in [-1, 1]."""
        check_interrupted()
        if self.bar is None:
            return
        picture = None if preview is None else ("JPEG", to_pil(preview), 512)
        self.bar.update_absolute(min(done, self.total), self.total, picture)


def check_interrupted() -> None:
    """Raise ComfyUI's InterruptProcessingException when the user pressed cancel; never to be swallowed."""
    if INSIDE:
        import comfy.model_management

        comfy.model_management.throw_exception_if_processing_interrupted()


def to_pil(image: Tensor):
    """(3, H, W) in [-1, 1] -> PIL image."""
    from PIL import Image

    pixels = ((image.detach().float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
    return Image.fromarray(pixels.cpu().numpy())


def image_out(frames: Sequence[Tensor]) -> Tensor:
    """Chunks (t, 3, H, W) in [-1, 1] -> IMAGE (T, H, W, 3) in 0..1 on the CPU."""
    joined = torch.cat([f.detach().float().cpu() for f in frames])
    return ((joined.clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).contiguous()


def image_in(image: Tensor) -> Tensor:
    """First picture of an IMAGE (B, H, W, C) in 0..1 -> (3, H, W) in [-1, 1]; ValueError for an odd shape."""
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(f"an IMAGE has shape [B, H, W, 3], got {tuple(image.shape)}")
    first = image[0, ..., :3].float()
    first = first.expand(-1, -1, 3) if first.shape[-1] == 1 else first
    return (first.permute(2, 0, 1) * 2 - 1).clamp(-1, 1).contiguous()


def mask_out(masks: Sequence[Tensor]) -> Tensor:
    """Chunks (t, 1, H, W) -> MASK (T, H, W) on the CPU."""
    return torch.cat([m.detach().float().cpu()[:, 0] for m in masks]).clamp(0, 1)


def mask_in(mask: Tensor | None, size: tuple[int, int]) -> Tensor | None:
    """First MASK (B, H, W), 1 = person -> (1, H, W) at size (H, W); None, or an empty stock mask, stays None."""
    if mask is None:
        return None
    first = mask[:1].float() if mask.ndim == 3 else mask[None].float()
    if float(first.max()) == 0.0:
        return None
    resized = torch.nn.functional.interpolate(first[None], size, mode="bilinear", align_corners=False)
    return resized[0].clamp(0, 1)


def fit_canvas(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, H, W) scaled and cropped in the middle to cover a canvas of size (rows, columns)."""
    rows, columns = size
    factor = max(rows / image.shape[-2], columns / image.shape[-1])
    scaled = torch.nn.functional.interpolate(
        image[None],
        (max(rows, round(image.shape[-2] * factor)), max(columns, round(image.shape[-1] * factor))),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )[0]
    top, left = (scaled.shape[-2] - rows) // 2, (scaled.shape[-1] - columns) // 2
    return scaled[:, top : top + rows, left : left + columns]
