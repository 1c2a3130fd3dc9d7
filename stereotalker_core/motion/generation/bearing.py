"""Posture and gaze: head turns with the phrases, glances, weight shifts, breathing; idle arms.

The denoiser predicts the mean of what heads do and so hardly turns them. These random processes are added to its
motion. Each event depends on (seed, its number) alone, so any part of a motion can be computed by itself. Their sizes
make the head turn as far in a minute of speech as in the teacher's sentences."""

import functools
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...geometry.skeleton import JOINT_INDEX, NECK_SHARE
from ...records import Motion
from ..arkit import ARKIT_INDEX
from ..edit import PARTS, mix_rotations

REST_POSE = Path(__file__).parent / "rest_pose.json"  # made by python -m stereotalker_core.synthetic.movement.rest_pose
_TURN_FRAMES, _SHIFT_FRAMES = 58, 170  # mean distance of two turns of the head, of two shifts of weight
_TURN_DEGREES = (4.6, 1.6, 1.7)  # deviation of yaw, pitch, roll
_SHIFT_DEGREES = (1.6, 0.4, 1.0)
_MOST = 1.9  # deviations beyond which nobody turns: the viewer is looked at
_GLANCE = 0.3  # share of the turns that the eyes go along with; in the others they stay on the viewer
_EYE_DEGREES = 32.0  # of an eyeLook coefficient of 1
_BREATH_HZ, _BREATH_DEGREES = 0.24, 0.45
_TURN, _SHIFT = 1, 2  # the kinds of events, part of their seed
_SPINE = {"root": 0.2, "spine03": 0.4, "spine01": 0.4}


def with_bearing(motion: Motion, seed: int, first: int, quiet: Tensor, head: float = 1.0, body: float = 1.0) -> Motion:
    """Add turns of the head, glances, weight shifts and breathing to a chunk of a motion.

    motion: the chunk.
    seed: of the events.
    first: number of its first frame.
    quiet: (F,) of the whole recording, 1 where nobody speaks; heads turn between phrases.
    head: size of turns and glances; 1 = as people usually do, 0 = none.
    body: size of shifts and breathing."""
    if head == body == 0:
        return motion
    count, device = len(motion), motion.rotations.device
    turn = wander(seed, _TURN, first, count, quiet).to(device) * torch.tensor(_TURN_DEGREES, device=device) * head
    shift = wander(seed, _SHIFT, first, count, quiet).to(device) * torch.tensor(_SHIFT_DEGREES, device=device) * body
    breath = torch.sin((torch.arange(first, first + count) / motion.fps * _BREATH_HZ + seed % 7 / 7) * 6.2832)
    shift[:, 1] += _BREATH_DEGREES * body * breath.to(shift)
    rotations = motion.rotations.clone()
    for curve, shares in ((turn, NECK_SHARE), (shift, _SPINE)):
        vector = torch.deg2rad(torch.stack([curve[:, 1], curve[:, 2], curve[:, 0]], 1))  # about x, y and z
        for name, share in shares.items():
            rotations[:, JOINT_INDEX[name]] += share * vector
    away = glances(seed, first, count, quiet).to(device)
    gaze = -0.8 * (turn[:, :2] + shift[:, :2]) * away[:, None]
    return Motion(rotations, _looking(motion.expression, gaze), motion.fps)


def wander(seed: int, kind: int, first: int, count: int, quiet: Tensor) -> Tensor:
    """Return a random walk (count, 3) of about unit size: values that are held, with smooth transitions between them.

    seed: of the events.
    kind: _TURN or _SHIFT.
    first: number of the first frame.
    count: of frames.
    quiet: (F,) of the whole recording, 1 where nobody speaks."""
    out = torch.zeros(count, 3)
    for target, before, start, size in _events(seed, kind, first, count, quiet):
        u = ((torch.arange(first, first + count) - start) / size).clamp(0, 1)[:, None]
        out = out + (target - before) * (u * u * u * (10 - 15 * u + 6 * u * u))  # least jerk
        if float(u[0]) == 1:
            out = target.expand(count, 3)
    return out


def glances(seed: int, first: int, count: int, quiet: Tensor) -> Tensor:
    """Return (count,), 1 where the eyes stay on the viewer while the head turns, 0 where they follow the head.

    seed: of the events; first: number of the first frame; quiet: (F,), 1 where nobody speaks."""
    out = torch.ones(count)
    for index in _indices(_TURN_FRAMES, first, count):
        start, size = _moment(seed, _TURN, index, quiet)
        kept = float(np.random.default_rng((seed, _TURN, abs(index), 1)).random() >= _GLANCE)
        share = ((torch.arange(first, first + count) - start) / 4).clamp(0, 1)
        out = torch.lerp(out, torch.full_like(out, kept), share)
    return out


def _indices(interval: int, first: int, count: int) -> range:
    return range(first // interval - 2, (first + count) // interval + 1)


def _events(seed: int, kind: int, first: int, count: int, quiet: Tensor):
    """Yield the events that overlap the frames from `first` on, in order, as (target (3,), previous target (3,), first
    frame, length in frames); arguments as in `wander`."""
    interval = _TURN_FRAMES if kind == _TURN else _SHIFT_FRAMES
    for index in _indices(interval, first, count):
        start, size = _moment(seed, kind, index, quiet)
        yield _target(seed, kind, index), _target(seed, kind, index - 1), start, size


def _target(seed: int, kind: int, index: int) -> Tensor:
    if index < 0:  # a recording begins with the person facing as the motion has it
        return torch.zeros(3)
    drawn = np.random.default_rng((seed, kind, index)).standard_normal(3).clip(-_MOST, _MOST)
    return torch.from_numpy(drawn).float()


def _moment(seed: int, kind: int, index: int, quiet: Tensor) -> tuple[int, int]:
    """Return the first frame and length in frames of event `index`: within its interval, in a pause of the speech if
    any."""
    interval = _TURN_FRAMES if kind == _TURN else _SHIFT_FRAMES
    rng = np.random.default_rng((seed, kind, abs(index), 2))
    size = int(rng.integers(11, 22)) * (1 if kind == _TURN else 3)
    begin = index * interval
    places = np.arange(begin, begin + interval - (size if kind == _TURN else interval // 3))
    liking = rng.random(len(places)) * 0.3
    inside = (places >= 0) & (places < len(quiet))
    liking[inside] += quiet.numpy()[places[inside]]
    return int(places[int(liking.argmax())]), size


def _looking(expression: Tensor, degrees: Tensor) -> Tensor:
    """Turn the gaze of expressions (T, 52) by degrees (T, 2): to the person's own left, and down."""
    out = expression.clone()
    for negative, positive, axis in (
        (("eyeLookInLeft", "eyeLookOutRight"), ("eyeLookOutLeft", "eyeLookInRight"), 0),
        (("eyeLookUpLeft", "eyeLookUpRight"), ("eyeLookDownLeft", "eyeLookDownRight"), 1),
    ):
        for less, more in zip(negative, positive, strict=True):
            value = expression[:, ARKIT_INDEX[more]] - expression[:, ARKIT_INDEX[less]]
            value = value + degrees[:, axis] / _EYE_DEGREES
            out[:, ARKIT_INDEX[more]], out[:, ARKIT_INDEX[less]] = value.clamp(0, 1), (-value).clamp(0, 1)
    return out


@functools.cache
def rest_pose() -> Tensor:
    """Return the rotations (42, 3) of relaxed hanging arms and hands, in the order of edit.PARTS["hands"]."""
    return torch.tensor(json.loads(REST_POSE.read_text(encoding="utf-8")), dtype=torch.float32)


def lowered(motion: Motion, weight: Tensor) -> Motion:
    """Lower the arms towards hanging by weight (T,) in 0..1, 1 = hanging."""
    moved = weight > 0
    if not bool(moved.any()):
        return motion
    ids = list(PARTS["hands"])
    rotations = motion.rotations.clone()
    arms = rotations[moved][:, ids]
    hanging = rest_pose().to(arms).expand_as(arms)
    mixed = rotations[moved]
    mixed[:, ids] = mix_rotations(arms, hanging, weight[moved].to(arms)[:, None, None])
    rotations[moved] = mixed
    return Motion(rotations, motion.expression, motion.fps)
