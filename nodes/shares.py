"""A part of a clip, its sound, and pictures with alpha: what the nodes that render a batch have in common."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import host

_LEAST_ALPHA = 0.02  # below, the colour of a pixel cannot be told from rounding


def first_input() -> tuple:
    """The widget of the first frame of a part."""
    tip = "First frame that is rendered, from 0: several machines render a part each, equal to that of the whole clip."
    return ("INT", {"default": 0, "min": 0, "max": 10_000_000, "tooltip": tip})


def frames_input() -> tuple:
    """The widget of the length of a part."""
    return ("INT", {"default": 0, "min": 0, "max": 10_000_000, "tooltip": "Frames that are rendered; 0 = to the end."})


def alpha_input() -> tuple:
    """The widget of transparent pictures."""
    tip = "Pictures with the person's alpha as a fourth channel instead of a background; for Save Image."
    return ("BOOLEAN", {"default": False, "tooltip": tip})


def part_of(first_frame: int, frames: int, count: int) -> tuple[int, int] | None:
    """(first, stop) of the part; None is the whole clip of `count` frames. ValueError for a part outside of it."""
    if first_frame == 0 and not 0 < frames < count:
        return None
    if first_frame >= count:
        raise ValueError(f"first_frame {first_frame} is behind the clip, which has {count} frames")
    return first_frame, min(count, first_frame + frames) if frames else count


def sound_of(audio: dict | None, part: tuple[int, int] | None, fps: float) -> dict | None:
    """The AUDIO of a part of the clip; unchanged for the whole."""
    if audio is None or part is None:
        return audio
    begin, end = (round(frame * audio["sample_rate"] / fps) for frame in part)
    return {**audio, "waveform": audio["waveform"][..., begin:end]}


def with_alpha(frames: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    """Chunks over black (t, 3, H, W) in [-1, 1], masks (t, 1, H, W) -> IMAGE (T, H, W, 4), colours not dimmed."""
    from ..stereotalker_core.video.render import coverage

    colour, alpha = host.image_out(frames), coverage(host.mask_out(masks))[..., None]
    return torch.cat([(colour / alpha.clamp_min(_LEAST_ALPHA)).clamp(0, 1), alpha], -1)
