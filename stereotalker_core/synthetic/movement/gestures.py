"""Arm gestures: which gesture goes on which word, and smooth tracks of arm angles from key pose to key pose.

A gesture has a preparation (the hand lifts), a stroke that lands on a stressed syllable, a hold, and a retraction.
Beats mark stressed content words; meaning gestures belong to the words of `vocabulary.GESTURE_WORDS`."""

import random
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..speech.phones import VOWELS
from ..speech.utterance import Utterance
from ..speech.vocabulary import FUNCTION_WORDS
from .key_poses import N_ANGLES, key_pose

SIDES = ("L", "R", "both")
BEATS = ("beat", "open", "press")
_STROKE, _PREPARE, _HOLD, _RETRACT = 0.2, 0.42, 0.3, 0.65  # s
_MIN_MEANING, _MIN_BEAT = 0.7, {"neutral": 0.6, "lively": 0.45, "calm": 1.1}  # s between strokes
_BEAT_CHANCE = {"neutral": 0.75, "lively": 0.95, "calm": 0.5}


class GestureEvent(NamedTuple):
    """The gesture in time: its class ("you", "big", ... or a kind of beat), the word, start, end and stroke in seconds,
    side "L", "R" or "both"."""

    gesture: str
    word: str
    start: float
    end: float
    side: str
    stroke: float  # s, time of the end of the stroke


class Accent(NamedTuple):
    """The stressed syllable of a word: its time in seconds, the word (lower case), whether it has primary stress."""

    time: float
    word: str
    stressed: bool


@dataclass(frozen=True)
class Gesture:
    """The key poses of one arm gesture.

    prepare, stroke: names of the arm poses (`key_poses`) before the stroke and at it.
    hand: name of the hand's shape.
    sides: arms that may do it.
    wave: degrees that the hand swings sideways during the hold.
    hold: seconds that the stroke's pose is held.
    variety: factor on random variation."""

    prepare: str
    stroke: str
    hand: str = "open"
    sides: tuple[str, ...] = ("L", "R")
    wave: float = 0.0  # degrees the hand swings sideways during the hold
    hold: float = _HOLD
    variety: float = 1.0  # how much the pose may vary; 0 where the hand is near the body


GESTURES: dict[str, Gesture] = {
    "beat": Gesture("beat_prep", "beat_stroke", "relaxed", SIDES, hold=0.12),
    "open": Gesture("open_prep", "open_stroke", "open", SIDES, hold=0.2),
    "press": Gesture("press_prep", "press_stroke", "cup", SIDES, hold=0.12),
    "you": Gesture("open_prep", "you_stroke", "open"),
    "me": Gesture("me_prep", "me_stroke", "open", variety=0.0),
    "no": Gesture("no_prep", "no_stroke", "flat", SIDES, variety=0.5),
    "yes": Gesture("yes_prep", "yes_stroke", "fist"),
    "big": Gesture("big_prep", "big_stroke", "spread", ("both",), hold=0.45),
    "small": Gesture("small_prep", "small_stroke", "flat", ("both",), hold=0.4, variety=0.0),
    "up": Gesture("up_prep", "up_stroke", "point"),
    "down": Gesture("down_prep", "down_stroke", "flat", SIDES),
    "many": Gesture("many_prep", "many_stroke", "spread", ("both",), hold=0.4),
    "think": Gesture("think_prep", "think_stroke", "point", hold=0.5, variety=0.0),
    "stop": Gesture("stop_prep", "stop_stroke", "flat", SIDES, hold=0.45),
    "greet": Gesture("greet_prep", "greet_stroke", "open", wave=14.0, hold=0.7),
}
RESTS = {
    "hang": ("hang", "relaxed"), "bent": ("hang_bent", "relaxed"), "front": ("front", "relaxed"),
    "high": ("front_high", "relaxed"),
}  # fmt: skip


def accents(utterance: Utterance) -> list[Accent]:
    """Return the accent of each word, on its first vowel with the strongest stress; words without a vowel have none."""
    rank = {1: 0, 2: 1, 0: 2}
    out = []
    for word, start, end in utterance.words:
        inside = [p for p in utterance.phones if p[0] in VOWELS and start <= (p[1] + p[2]) / 2 < end]
        if inside:
            name, vowel_start, vowel_end, stress = min(inside, key=lambda p: (rank[p[3]], p[1]))
            out.append(Accent(vowel_start + 0.35 * (vowel_end - vowel_start), word.lower(), stress == 1))
    return out


def plan(
    utterance: Utterance, triggers: dict[str, str], style: str, rng: random.Random, handedness: float = 0.0
) -> list[GestureEvent]:
    """Return the gestures of an utterance in order of time: meaning gestures on trigger words, beats between them.

    utterance: the speech.
    triggers: {word: gesture class}.
    style: of speaking, "neutral", "lively" or "calm": how many beats.
    rng: random generator.
    handedness: -1 (left) .. 1 (right)."""
    marks = accents(utterance)
    events: list[GestureEvent] = []
    for mark in marks:
        free = all(abs(mark.time - e.stroke) >= _MIN_MEANING for e in events)
        if mark.word in triggers and mark.time > 0.12 and free:
            events.append(_event(triggers[mark.word], mark, rng, handedness))
    kind, gap = rng.choice(BEATS), _MIN_BEAT[style]
    for mark in marks:
        if mark.word in FUNCTION_WORDS or mark.word in triggers or not mark.stressed or mark.time < 0.3:
            continue
        free = all(abs(mark.time - e.stroke) >= (gap if e.gesture in BEATS else 0.9) for e in events)
        if free and rng.random() < _BEAT_CHANCE[style]:
            kind = rng.choice(BEATS) if rng.random() < 0.3 else kind  # a speaker stays with one kind for a while
            events.append(_event(kind, mark, rng, handedness))
    return sorted(events, key=lambda e: e.stroke)


def _event(name: str, mark: Accent, rng: random.Random, handedness: float) -> GestureEvent:
    gesture = GESTURES[name]
    right = 0.5 + 0.45 * handedness
    weights = [{"L": 1 - right, "R": right, "both": 0.35}[side] for side in gesture.sides]
    side = rng.choices(gesture.sides, weights)[0]
    start = max(0.0, mark.time - _STROKE - _PREPARE)
    return GestureEvent(name, mark.word, start, mark.time + gesture.hold + _RETRACT, side, mark.time)


def arm_track(
    events: list[GestureEvent], side: str, rest: str, amount: float, times: Tensor, rng: random.Random
) -> Tensor:
    """Return the angles (T, 14) in degrees of one arm that performs its gestures, and rests before, between and after
    them.

    events: all gestures; those of the other arm are left out.
    side: "L" or "R".
    rest: name of the rest pose.
    amount: size of the strokes relative to the rest pose, 1 = usual.
    times: (T,) seconds.
    rng: random generator."""
    base = key_pose(*RESTS[rest])
    keys: list[tuple[float, Tensor]] = [(-1.0, base)]
    waves: list[tuple[float, float, float]] = []
    own = [e for e in events if e.side in (side, "both")]
    for i, event in enumerate(own):
        gesture = GESTURES[event.gesture]
        stroke = _vary(key_pose(gesture.stroke, gesture.hand), base, gesture, amount, rng)
        prepare = _vary(key_pose(gesture.prepare, gesture.hand), base, gesture, amount, rng)
        until = own[i + 1].stroke - _STROKE if i + 1 < len(own) else float("inf")
        _prepare_stroke(keys, event.stroke, prepare, stroke)
        hold = min(event.stroke + gesture.hold, max(until - 0.25, event.stroke + 0.04))
        keys.append((hold, stroke))
        if until - hold > _RETRACT + _PREPARE + 0.1:
            keys.append((hold + _RETRACT, base))
        if gesture.wave:
            waves.append((event.stroke - 0.1, hold + 0.1, gesture.wave))
    track = _minimum_jerk(keys, times)
    for start, end, degrees in waves:
        inside = ((times - start) / (end - start)).clamp(0, 1)
        track[:, 6] += degrees * torch.sin(torch.pi * inside) * torch.sin(2 * torch.pi * 2.2 * (times - start))
    return track


def _prepare_stroke(keys: list[tuple[float, Tensor]], stroke_time: float, prepare: Tensor, stroke: Tensor) -> None:
    """Append the key poses of lift-off, preparation and stroke, leaving out those for which there is no time.

    keys: (time s, pose (14,)) so far, extended in place; stroke_time: s; prepare, stroke: the poses."""
    last_time, last_pose = keys[-1]
    ready = stroke_time - _STROKE
    if ready - last_time > _PREPARE + 0.05:
        keys.append((ready - _PREPARE, last_pose))
    if ready - keys[-1][0] > 0.2:
        keys.append((ready, prepare))
    keys.append((stroke_time, stroke))


def _vary(pose: Tensor, base: Tensor, gesture: Gesture, amount: float, rng: random.Random) -> Tensor:
    scale = 1 + (amount - 1) * gesture.variety
    noise = torch.zeros(N_ANGLES)
    for i, degrees in enumerate((3, 4, 5, 3, 5, 4, 3)):
        noise[i] = gesture.variety * rng.uniform(-degrees, degrees)
    return base + (pose - base) * scale + noise


def _minimum_jerk(keys: list[tuple[float, Tensor]], times: Tensor) -> Tensor:
    """Interpolate key poses (time, (A,)) at times (T,) -> (T, A), by minimum-jerk steps that rest at each key."""
    moments = torch.tensor([k[0] for k in keys])
    poses = torch.stack([k[1] for k in keys])
    right = torch.searchsorted(moments, times.contiguous()).clamp(1, max(len(keys) - 1, 1))
    if len(keys) == 1:
        return poses.expand(len(times), -1).clone()
    left = right - 1
    u = ((times - moments[left]) / (moments[right] - moments[left]).clamp_min(1e-3)).clamp(0, 1)[:, None]
    step = u**3 * (10 - 15 * u + 6 * u**2)
    return poses[left] + (poses[right] - poses[left]) * step
