"""The settings of motion sampling by keyword, for type checkers and editors; `sampling.MotionOptions` declares them."""

from typing import TypedDict

from ..conditioning import Style
from ..emotions import TimedEmotion


class MotionChanges(TypedDict, total=False):
    """The fields of `MotionOptions`, all optional; their meaning and limits are declared there."""

    seed: int
    steps: int
    sampler: str
    style: str | Style
    prior_strength: float
    guidance_audio: float
    guidance_prior: float
    motion_strength: float
    head_strength: float
    hands_strength: float
    face_strength: float
    blink_rate: float | None
    smoothing: float
    lip_closure: float
    liveliness: float
    hands: str
    words: str
    emotions: tuple[TimedEmotion, ...]
    fps: float
    loop: bool
