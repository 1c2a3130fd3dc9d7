"""The motion of head, brows, eyes and breathing: smooth drift, accents on stressed syllables, blinks and gaze."""

import random

import torch
from torch import Tensor

from ...motion.arkit import ARKIT_INDEX
from ...shapes import FPS, N_EXPRESSIONS
from ..speech.phones import SILENCE
from ..speech.utterance import Utterance
from ..speech.vocabulary import FUNCTION_WORDS
from .gestures import BEATS, GestureEvent, accents

ENERGY = {"neutral": 1.0, "lively": 1.3, "calm": 0.7}
_NOD_CHANCE, _BROW_CHANCE = 0.55, 0.3
_EYE_DEGREES = 32.0  # the eyes turn by this for an eyeLook coefficient of 1
_BLINK = (0.35, 0.95, 1.0, 0.75, 0.4, 0.12)  # at 25 fps: shutting takes 2 frames, opening 4


def wander(times: Tensor, rng: random.Random, low: float = 0.08, high: float = 0.55, waves: int = 4) -> Tensor:
    """Return a smooth random curve (T,) of about unit size: a sum of a few sines of random frequency (Hz) and phase.

    times: (T,) s; low, high: range of the frequencies, Hz; waves: number of sines."""
    out = torch.zeros_like(times)
    for _ in range(waves):
        frequency, phase = rng.uniform(low, high), rng.uniform(0, 6.2832)
        out += torch.sin(6.2832 * frequency * times + phase) * rng.uniform(0.4, 1.0)
    return out / waves**0.5


def bump(times: Tensor, centre: float, rise: float, fall: float) -> Tensor:
    """Return a smooth pulse (T,) of height 1 at `centre` (s), rising over `rise` and falling over `fall` seconds."""
    width = torch.where(times < centre, rise, fall)
    return 0.5 + 0.5 * torch.cos(torch.pi * ((times - centre) / width).clamp(-1, 1))


def head_angles(
    utterance: Utterance, events: list[GestureEvent], style: str, times: Tensor, rng: random.Random
) -> tuple[Tensor, Tensor, Tensor]:
    """Return pitch, yaw, roll (T,) in degrees: drift, nods on stressed words, and the head motion of meaning gestures.

    events: the gestures; style: of speaking, "neutral", "lively" or "calm"; times: (T,) s."""
    energy = ENERGY[style]
    pitch, yaw, roll = 1.3 * wander(times, rng), 2.6 * wander(times, rng), 1.6 * wander(times, rng)
    for mark in accents(utterance):
        if mark.stressed and mark.word not in FUNCTION_WORDS and rng.random() < _NOD_CHANCE:
            depth = rng.uniform(2.0, 5.0) * energy
            pitch += depth * bump(times, mark.time + 0.04, 0.2, 0.3)
            yaw += rng.uniform(-2.5, 2.5) * bump(times, mark.time, 0.35, 0.6)
    for event in events:
        phase = times - event.stroke
        if event.gesture == "no":
            yaw += 8.0 * torch.sin(6.2832 * 1.7 * phase) * bump(times, event.stroke + 0.2, 0.45, 0.6)
        elif event.gesture in ("yes", "greet"):
            pitch += 6.5 * bump(times, event.stroke + 0.03, 0.2, 0.26)
            pitch += 4.0 * bump(times, event.stroke + 0.5, 0.22, 0.3)
        elif event.gesture in ("up", "think", "down"):
            pitch += {"up": -6.0, "think": -3.5, "down": 6.0}[event.gesture] * bump(times, event.stroke, 0.4, 0.8)
            roll += (5.0 if event.gesture == "think" else 0.0) * bump(times, event.stroke, 0.4, 0.9)
        elif event.gesture in BEATS:
            pitch += 1.5 * energy * bump(times, event.stroke, 0.2, 0.3)
    return pitch.clamp(-18, 22), yaw.clamp(-22, 22), roll.clamp(-12, 12)


def brows(utterance: Utterance, events: list[GestureEvent], times: Tensor, rng: random.Random) -> Tensor:
    """Return the brows (T, 52): raised on some stressed words and with gestures such as "you" and "big"; a frown with
    "no" and "stop". All other coefficients are zero.

    utterance: the speech; events: the gestures; times: (T,) s."""
    out = torch.zeros(len(times), N_EXPRESSIONS)
    raised, frown = torch.zeros_like(times), torch.zeros_like(times)
    for mark in accents(utterance):
        if mark.stressed and mark.word not in FUNCTION_WORDS and rng.random() < _BROW_CHANCE:
            raised = torch.maximum(raised, rng.uniform(0.25, 0.6) * bump(times, mark.time, 0.22, 0.4))
    for event in events:
        if event.gesture in ("you", "big", "many", "up", "greet"):
            raised = torch.maximum(raised, 0.5 * bump(times, event.stroke, 0.25, 0.6))
        elif event.gesture in ("no", "stop"):
            frown = torch.maximum(frown, 0.45 * bump(times, event.stroke, 0.3, 0.7))
    for name, curve in (("browInnerUp", 0.8 * raised), ("browOuterUpLeft", raised), ("browOuterUpRight", raised)):
        out[:, ARKIT_INDEX[name]] = curve
    out[:, ARKIT_INDEX["browDownLeft"]] = out[:, ARKIT_INDEX["browDownRight"]] = frown
    return out


def eyes(utterance: Utterance, times: Tensor, head_yaw: Tensor, head_pitch: Tensor, rng: random.Random) -> Tensor:
    """Return the eyes (T, 52): blinks, and a gaze that stays on the viewer while the head moves, with glances away.

    head_yaw, head_pitch: (T,) degrees."""
    out = torch.zeros(len(times), N_EXPRESSIONS)
    side, height = _gaze(times, rng)
    side, height = side - 0.8 * head_yaw, height + 0.8 * head_pitch  # degrees; + is the own left, + is up
    left, right = (side / _EYE_DEGREES).clamp(0, 0.7), (-side / _EYE_DEGREES).clamp(0, 0.7)
    up, down = (height / _EYE_DEGREES).clamp(0, 0.6), (-height / _EYE_DEGREES).clamp(0, 0.6)
    for name, value in (("OutLeft", left), ("InRight", left), ("InLeft", right), ("OutRight", right)):
        out[:, ARKIT_INDEX[f"eyeLook{name}"]] = value
    for name, value in (("UpLeft", up), ("UpRight", up), ("DownLeft", down), ("DownRight", down)):
        out[:, ARKIT_INDEX[f"eyeLook{name}"]] = value
    lids = (_blinks_of_speech(utterance, times, rng) + 0.25 * down).clamp(0, 1)  # the lid follows a gaze that falls
    out[:, ARKIT_INDEX["eyeBlinkLeft"]] = out[:, ARKIT_INDEX["eyeBlinkRight"]] = lids
    return out


def _gaze(times: Tensor, rng: random.Random) -> tuple[Tensor, Tensor]:
    side, height = torch.zeros_like(times), torch.zeros_like(times)
    moment, end = rng.uniform(0.5, 1.5), float(times[-1])
    while moment < end:
        away = rng.random() < 0.25
        target = (rng.uniform(-9, 9), rng.uniform(-5, 3)) if away else (rng.uniform(-1.5, 1.5), rng.uniform(-1, 1))
        moved = ((times - moment) / 0.08).clamp(0, 1)  # a saccade takes two frames
        side, height = side + (target[0] - side) * moved, height + (target[1] - height) * moved
        moment += rng.uniform(0.4, 0.9) if away else rng.uniform(0.8, 2.6)
    return side, height


def _blinks_of_speech(utterance: Utterance, times: Tensor, rng: random.Random) -> Tensor:
    out = torch.zeros_like(times)
    pauses = [p[1] for p in utterance.phones if p[0] == SILENCE and p[1] > 0.3 and rng.random() < 0.6]
    moment, moments = rng.uniform(0.3, 2.5), list(pauses)
    while moment < float(times[-1]):
        moments.append(moment)
        moment += rng.uniform(1.8, 5.5)
    for start in moments:
        first = int(start * FPS)
        for k, value in enumerate(_BLINK):
            if first + k < len(out):
                out[first + k] = max(float(out[first + k]), value)
    return out
