"""The only package that knows ComfyUI: folders, memory, progress, interruption, MODEL and VAE; plain torch outside."""

from .folders import (
    EMBEDDED,
    INSIDE,
    file_choices,
    model_choices,
    problem_with_file,
    register_model_folder,
    resolve_file,
    resolve_model,
    save_path,
    stamp,
    temporary_file,
)
from .memory import Managed, body, check_memory, compute_device, free_memory, load_all, nano_models
from .model import Denoiser, experts_of, make_model, model_name, networks_of, with_experts
from .pictures import fit_canvas, image_in, image_out, mask_in, mask_out, strip_of, to_pil
from .progress import Progress, check_finite, check_interrupted, interruptible
from .vae import ClipVAE, vae_of

__all__ = [
    "EMBEDDED",
    "INSIDE",
    "ClipVAE",
    "Denoiser",
    "Managed",
    "Progress",
    "body",
    "check_finite",
    "check_interrupted",
    "check_memory",
    "compute_device",
    "experts_of",
    "file_choices",
    "fit_canvas",
    "free_memory",
    "image_in",
    "image_out",
    "interruptible",
    "load_all",
    "make_model",
    "mask_in",
    "mask_out",
    "model_choices",
    "model_name",
    "nano_models",
    "networks_of",
    "problem_with_file",
    "register_model_folder",
    "resolve_file",
    "resolve_model",
    "save_path",
    "stamp",
    "strip_of",
    "temporary_file",
    "to_pil",
    "vae_of",
    "with_experts",
]
