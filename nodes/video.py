"""Render Video: identity + motion + cameras -> frames, in windows, with previews and cancel."""

from __future__ import annotations

import dataclasses

from torch import nn

from ..stereotalker_core.records import Cameras, Identity, Motion
from ..stereotalker_core.shapes import FPS
from . import host
from .guides import check_lengths

BACKGROUNDS = ("portrait", "grey", "green", "white", "black")
COLOURS = {"grey": (0.5, 0.5, 0.5), "green": (0.0, 0.69, 0.25), "white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}
BYTES_PER_PIXEL = 4 * (3 + 1)  # float32 IMAGE and MASK of one pixel


def check_memory(frames: int, cameras: Cameras) -> None:
    """Refuse before the first step what cannot be held: the whole IMAGE batch lives in memory on a ComfyUI canvas."""
    needed = int(frames * cameras.size[0] * cameras.size[1] * BYTES_PER_PIXEL * 2)  # chunks + their concatenation
    free = host.free_memory()
    if needed > free:
        raise ValueError(
            f"{frames} frames of {cameras.size[0]}x{cameras.size[1]} need {needed / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free: render a shorter piece, a smaller size, or write a file with "
            "`python -m stereotalker_core talk`"
        )


class RenderVideo:
    DISPLAY_NAME = "Render Video (Stereo-Talker)"
    CATEGORY = "Stereo-Talker/video"
    DESCRIPTION = (
        "Render the person performing the motion from the cameras. One node for guides, masks, U-Net, decoder."
    )
    SEARCH_ALIASES = ["video sampler", "talking video", "render", "novel view"]
    RETURN_TYPES = ("IMAGE", "MASK", "FLOAT")
    RETURN_NAMES = ("images", "mask", "fps")
    OUTPUT_TOOLTIPS = ("The frames.", "The person in every frame.", "Frames a second, for Create Video.")
    FUNCTION = "render"

    @classmethod
    def INPUT_TYPES(cls):
        seed = {
            "default": 0,
            "min": 0,
            "max": 2**64 - 1,
            "control_after_generate": True,
            "tooltip": "Noise of the U-Net.",
        }
        return {
            "required": {
                "renderer": ("ST_RENDERER", {"tooltip": "From Load Renderer, Load View-MoE or Load Mask-MoE."}),
                "identity": ("ST_IDENTITY", {"tooltip": "From Fit Portrait."}),
                "motion": ("ST_MOTION", {"tooltip": "From Sample Motion."}),
                "cameras": ("ST_CAMERAS", {"tooltip": "From Camera Trajectory."}),
                "seed": ("INT", seed),
                "steps": (
                    "INT",
                    {"default": 1, "min": 1, "max": 50, "tooltip": "Denoising steps; 1 is sharpest here."},
                ),
                "background": (BACKGROUNDS, {"tooltip": "portrait keeps the background behind the person."}),
            },
            "optional": {
                "mask_predictor": (
                    "ST_MASK_PREDICTOR",
                    {"tooltip": "From Load Mask Predictor. Without it the body's own silhouette is used."},
                ),
                "background_image": ("IMAGE", {"tooltip": "Replaces the background; resized to the canvas."}),
            },
        }

    def render(
        self,
        renderer,
        identity: Identity,
        motion: Motion,
        cameras: Cameras,
        seed: int,
        steps: int,
        background: str,
        mask_predictor=None,
        background_image=None,
    ):
        from ..stereotalker_core.video.render import render_video

        check_lengths(motion, cameras)
        check_memory(len(motion), cameras)
        if mask_predictor is not None:
            renderer = dataclasses.replace(renderer, mask_predictor=mask_predictor)
        device = host.Managed(*networks(renderer)).load(working_bytes(cameras))
        behind = "portrait" if background == "portrait" else COLOURS[background]
        if background_image is not None:
            behind = host.fit_canvas(host.image_in(background_image), cameras.size)
        progress, frames, masks, done = host.Progress(len(motion)), [], [], 0
        chunks = render_video(
            host.body().to(device), renderer, identity.to(device), motion.to(device), cameras.to(device),
            steps=steps, seed=seed, background=behind, use_predicted_mask=mask_predictor is not None,
            callback=lambda *_: host.check_interrupted(),
        )  # fmt: skip
        for chunk in chunks:
            frames.append(chunk.frames.cpu())
            masks.append(chunk.masks.cpu())
            done += len(chunk.frames)
            progress(done, frames[-1][-1])
        return host.image_out(frames), host.mask_out(masks), FPS


def networks(renderer) -> list:
    """The networks that are really loaded in a renderer."""
    values = (getattr(renderer, field.name) for field in dataclasses.fields(renderer))
    return [value for value in values if isinstance(value, nn.Module)]


def working_bytes(cameras: Cameras) -> int:
    """Activations of one window, from its pixels (measured: about 1.2 kB a pixel and frame at a window of 16)."""
    return int(16 * cameras.size[0] * cameras.size[1] * 1200)


NODES = {"StereoTalkerRenderVideo": RenderVideo}
