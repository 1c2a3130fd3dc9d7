"""Emotions that change during a recording: `[{"start", "emotion", "intensity"}]` -> the style of every frame."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..shapes import FPS
from .conditioning import Style

BLEND_SECONDS = 1.2  # in which one emotion becomes the next, around its start


@dataclass(frozen=True)
class TimedEmotion:
    """The emotion of the speaker from `start` seconds on; checked as in `Style`."""

    start: float
    emotion: str
    intensity: float = 1.0

    def __post_init__(self) -> None:
        Style(self.emotion, self.intensity)
        if not 0 <= self.start < float("inf"):
            raise ValueError(f"an emotion starts at 0 s or later, got {self.start}")


def parse_emotions(text: str) -> tuple[TimedEmotion, ...]:
    """Parse emotions from JSON, or from @FILE that holds it, in order of their start; () for an empty text.

    ValueError names the invalid entry; FileNotFoundError the missing file."""
    if text.startswith("@"):
        path = Path(text[1:])
        if not path.is_file():
            raise FileNotFoundError(f"no emotions at {path}")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 text ({error})") from error
    if not text.strip():
        return ()
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"emotions are no JSON ({error}); give {_EXAMPLE}") from error
    if not isinstance(rows, list):
        raise ValueError(f"emotions are a list; give {_EXAMPLE}")
    found = []
    for number, row in enumerate(rows, 1):
        try:
            found.append(TimedEmotion(float(row["start"]), str(row["emotion"]), float(row.get("intensity", 1.0))))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"emotion {number} ({row!r}) is incomplete; give {_EXAMPLE}") from error
        except ValueError as error:
            raise ValueError(f"emotion {number} ({row!r}): {error}") from error
    return tuple(sorted(found, key=lambda entry: entry.start))


_EXAMPLE = '[{"start": 0, "emotion": "happy", "intensity": 0.8}, {"start": 4.5, "emotion": "sad"}]'


def style_track(style: Style, emotions: Sequence[TimedEmotion], frames: int) -> Tensor:
    """Return style vectors (frames, 10): the style's own, then each emotion's from its start on, with blends in
    between."""
    track = style.vector().expand(frames, -1).clone()
    time = torch.arange(frames) / FPS
    for entry in sorted(emotions, key=lambda e: e.start):
        target = replace(style, emotion=entry.emotion, intensity=entry.intensity).vector()
        share = ((time - entry.start) / BLEND_SECONDS + 0.5).clamp(0, 1)
        if entry.start == 0:
            share = torch.ones_like(share)
        share = (share * share * (3 - 2 * share))[:, None]
        track = torch.lerp(track, target.expand_as(track), share)
    return track
