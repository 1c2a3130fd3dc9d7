"""The controls that apply after sampling, frame by frame: strengths of body parts, and blinks at a chosen rate."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..records import Motion
from .arkit import BLINK
from .edit import gain

# eyelid over the frames of one blink at 25 fps: faster down than up
_BLINK_SHAPE = (0.35, 0.95, 1.0, 0.7, 0.35, 0.1)


class Strengths(Protocol):
    """The settings of the controls, 1 = as sampled: those fields of `sampling.MotionOptions` that are used here."""

    @property
    def seed(self) -> int: ...
    @property
    def motion_strength(self) -> float: ...
    @property
    def head_strength(self) -> float: ...
    @property
    def hands_strength(self) -> float: ...
    @property
    def face_strength(self) -> float: ...
    @property
    def blink_rate(self) -> float | None: ...


def apply_controls(motion: Motion, centre: Motion, first: int, options: Strengths) -> Motion:
    """Apply the controls to a chunk of a motion.

    motion: the chunk.
    centre: one frame, the mean pose.
    first: number of the chunk's first frame.
    options: the strengths (sizes of movements, 1 = as sampled) and the blink rate; with strengths of 1 and a rate of
        None the motion is bitwise unchanged."""
    body = options.motion_strength
    motion = gain(
        motion,
        spine=body,
        head=min(3.0, body * options.head_strength),
        hands=min(3.0, body * options.hands_strength),
        face=options.face_strength,
        centre=centre,
    )
    if options.blink_rate is None:
        return motion
    lid = blink_curve(options.seed, options.blink_rate, first, len(motion), motion.fps).to(motion.expression)
    expression = motion.expression.clone()
    expression[:, list(BLINK)] = lid[:, None]
    return Motion(motion.rotations, expression, motion.fps)


def blink_curve(seed: int, rate: float, first: int, frames: int, fps: float) -> Tensor:
    """Return the eyelid closure (frames,) in 0..1 of blinks at irregular times.

    seed: determines the times.
    rate: blinks per minute.
    first: number of the first frame.
    frames: how many to return.
    fps: frames per second.

    Blink i lies at a random point of the i-th interval and depends on (seed, i) alone, so any part of the curve can be
    computed by itself."""
    curve = torch.zeros(frames)
    if rate == 0:
        return curve
    interval = 60 * fps / rate
    for i in range(max(0, int((first - len(_BLINK_SHAPE)) / interval) - 1), int((first + frames) / interval) + 1):
        start = round((i + np.random.default_rng((seed, i)).uniform(0.1, 0.9)) * interval) - first
        for k, value in enumerate(_BLINK_SHAPE):
            if 0 <= start + k < frames:
                curve[start + k] = max(float(curve[start + k]), value)
    return curve
