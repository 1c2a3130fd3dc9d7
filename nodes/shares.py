"""Inputs and outputs shared by the nodes that render: part of a clip, its sound, pictures with alpha."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from . import host

FILES = {"mp4": ".mp4", "webm (transparent)": ".webm", "mov, ProRes 4444 (transparent)": ".mov"}
_LEAST_ALPHA = 0.02  # below, the colour of a pixel cannot be told from rounding


def advanced(inputs: dict, *names: str) -> dict:
    """Mark some widgets as "advanced inputs", which ComfyUI folds away -> the same inputs, changed in place.

    inputs: {"required" or "optional": {name: (type, settings)}}, as from INPUT_TYPES; names: of the widgets."""
    for part in ("required", "optional"):
        for name in names:
            if name in inputs.get(part, {}):
                inputs[part][name][1]["advanced"] = True
    return inputs


def first_input() -> tuple:
    """Return (type, settings), the widget of the first frame of a part."""
    tip = "First frame that is rendered, from 0: several machines render a part each, equal to that of the whole clip."
    return ("INT", {"default": 0, "min": 0, "max": 10_000_000, "tooltip": tip})


def frames_input() -> tuple:
    """Return (type, settings), the widget of the length of a part."""
    return ("INT", {"default": 0, "min": 0, "max": 10_000_000, "tooltip": "Frames that are rendered; 0 = to the end."})


def alpha_input() -> tuple:
    """Return (type, settings), the widget `alpha`, which requests transparent pictures."""
    tip = "Pictures with the person's alpha as a fourth channel instead of a background; for Save Image."
    return ("BOOLEAN", {"default": False, "tooltip": tip})


def file_input() -> tuple:
    """Return (choices, settings), the widget of the kind of file."""
    tip = "mp4: H.264; webm: VP9; mov: ProRes 4444. The transparent ones hold the person alone, without background."
    return (list(FILES), {"default": "mp4", "tooltip": tip})


def part_of(first_frame: int, frames: int, count: int) -> tuple[int, int] | None:
    """Return (first, stop) of a part of a clip of `count` frames; None where the part is the whole clip.

    first_frame: where the part begins, from 0; ValueError for a frame behind the clip.
    frames: length of the part; 0 = up to the clip's end."""
    if first_frame == 0 and not 0 < frames < count:
        return None
    if first_frame >= count:
        raise ValueError(f"first_frame {first_frame} is behind the clip, which has {count} frames")
    return first_frame, min(count, first_frame + frames) if frames else count


def sound_of(audio: dict | None, part: tuple[int, int] | None, fps: float) -> dict | None:
    """Return the sound of a part of a clip, as AUDIO {"waveform" (1, C, S), "sample_rate"}; None where there is none.

    audio: AUDIO of the whole clip, or None; part: (first, stop) frames, None for all; fps: frames per second."""
    if audio is None or part is None:
        return audio
    begin, end = (round(frame * audio["sample_rate"] / fps) for frame in part)
    return {**audio, "waveform": audio["waveform"][..., begin:end]}


def with_alpha(frames: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    """Convert pictures of the person over black, and masks, to IMAGE (T, H, W, 4) with straight alpha.

    frames: chunks (t, 3, H, W) in [-1, 1].
    masks: chunks (t, 1, H, W)."""
    from ..stereotalker_core.video.rendering.composite import coverage

    colour, alpha = host.image_out(frames), coverage(host.mask_out(masks))[..., None]
    return torch.cat([(colour / alpha.clamp_min(_LEAST_ALPHA)).clamp(0, 1), alpha], -1)


@contextmanager
def transparent_file(
    path: Path, size: tuple[int, int], fps: float, part: tuple[int, int], count: int, sound, tags: dict[str, str]
) -> Iterator:
    """Yield the `ClipWriter` of a file that shows the person without a background.

    path: .webm or .mov.
    size: (H, W) px.
    fps: frames per second.
    part: (first, stop) of the clip.
    count: frames of the clip.
    sound: Audio of the whole clip, or None.
    tags: {name: text}, metadata of the file.

    An interrupted run leaves no file."""
    from ..stereotalker_core.video.writing.containers import format_for
    from ..stereotalker_core.video.writing.join import Part
    from ..stereotalker_core.video.writing.parts import ClipWriter

    writer = ClipWriter(path, size, fps, format_for(path, transparent=True), Part(*part, count), sound, tags)
    try:
        with writer:
            yield writer
    finally:
        shutil.rmtree(writer.folder, ignore_errors=True)
