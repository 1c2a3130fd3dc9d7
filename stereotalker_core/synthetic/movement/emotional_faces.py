"""A substitute for 3DMEAD: spoken sentences performed in eight emotions, three intensities, by 32 identities.

The rules are explicit: the mouth of `visemes.mouth` with the speaker's and the emotion's jaw, the static expression of
the emotion at its intensity, and variation between performances (drift, asymmetry, pulses on stressed words, brows).
Gaze and blinks are left out, as in 3DMEAD; lip closures stay complete."""

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from ...face.layout import EMOTIONS, IDENTITIES, INTENSITIES, FaceStyle
from ...motion.arkit import ARKIT, ARKIT_INDEX
from ...shapes import N_EXPRESSIONS, frame_count
from ..speech.phones import CLOSURES
from ..speech.utterance import Utterance
from .gestures import accents
from .head_motion import brows, bump, wander
from .visemes import check_expression, frame_times, mouth

LOOKS: dict[str, dict[str, float]] = {
    "neutral": {"mouthSmile": 0.05},
    "happy": {"mouthSmile": 0.6, "cheekSquint": 0.5, "mouthDimple": 0.15, "browOuterUp": 0.15, "eyeSquint": 0.15},
    "sad": {"browInnerUp": 0.65, "mouthFrown": 0.5, "eyeSquint": 0.1, "mouthShrugLower": 0.12},
    "surprised": {"browInnerUp": 0.55, "browOuterUp": 0.7, "eyeWide": 0.6, "mouthFunnel": 0.06},
    "fear": {"browInnerUp": 0.7, "browDown": 0.2, "eyeWide": 0.4, "mouthStretch": 0.4, "mouthLowerDown": 0.15},
    "disgusted": {"noseSneer": 0.7, "mouthUpperUp": 0.3, "browDown": 0.35, "cheekSquint": 0.25, "mouthFrown": 0.15},
    "angry": {"browDown": 0.8, "eyeSquint": 0.45, "noseSneer": 0.2, "mouthFrown": 0.2, "jawForward": 0.2},
    "contempt": {"mouthSmileLeft": 0.45, "mouthDimpleLeft": 0.5, "browOuterUpRight": 0.35, "eyeSquint": 0.2},
}
LEVELS = {"low": 0.4, "medium": 0.7, "high": 1.0}
_JAW = {"happy": 0.1, "sad": -0.2, "surprised": 0.12, "fear": 0.05, "disgusted": -0.1, "angry": 0.18, "contempt": -0.12}
_PARTING = ("mouthFunnel", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight",
            "mouthStretchLeft", "mouthStretchRight", "jawForward")  # fmt: skip
_ROUND = ("mouthFunnel", "mouthPucker")
_REACH = 0.09  # s: how long before and after a closure the look leaves the lips alone


@dataclass(frozen=True)
class Speaker:
    """The habits of one identity: factors of jaw, rounding, look and brows; a resting smile; asymmetry `side`, -1..1.
    """

    jaw: float
    rounding: float
    look: float
    brows: float
    smile: float
    side: float


def speaker(identity: str) -> Speaker:
    """Return the habits of one of the 32 identities, deterministically."""
    rng = random.Random(f"speaker {IDENTITIES.index(identity)}")
    jaw, rounding, look = (rng.uniform(0.86, 1.14) for _ in range(3))
    return Speaker(jaw, rounding, look, rng.uniform(0.5, 1.5), rng.uniform(0.0, 0.06), rng.uniform(-1, 1))


def look(emotion: str) -> Tensor:
    """Return the static expression (52,) of an emotion at full intensity."""
    out = torch.zeros(N_EXPRESSIONS)
    for stem, weight in LOOKS[emotion].items():
        for name in (stem, f"{stem}Left", f"{stem}Right"):
            if name in ARKIT_INDEX:
                out[ARKIT_INDEX[name]] = weight
    return out


def level(style: FaceStyle) -> float:
    """Return the factor by which a style's intensity scales the emotion's expression; 1 for neutral."""
    return 1.0 if style.emotion == "neutral" else LEVELS[style.intensity]


def spoken_mouth(utterance: Utterance, style: FaceStyle) -> Tensor:
    """Return the mouth (T, 52) of the words alone, for this speaker and emotion, without randomness."""
    who = speaker(style.identity)
    out = mouth(utterance.phones, frame_count(utterance.seconds))
    jaw = who.jaw * (1 + _JAW.get(style.emotion, 0.0) * level(style))
    for name in ("jawOpen", "mouthClose"):
        out[:, ARKIT_INDEX[name]] *= jaw
    for name in _ROUND:
        out[:, ARKIT_INDEX[name]] *= who.rounding
    return out


def perform(utterance: Utterance, style: FaceStyle, seed: int) -> Tensor:
    """Return one performance (T, 52) in [0, 1], T = ceil(seconds * 25); the seed varies everything but the lips."""
    frames = frame_count(utterance.seconds)
    if frames < 1:
        raise ValueError("the utterance is empty; give at least one frame of sound (40 ms)")
    who, times = speaker(style.identity), frame_times(frames)
    rng = random.Random(f"{seed} {utterance.text} {style}")
    shown = _look_over_time(utterance, style, who, times, rng)
    closed = _closing(utterance, times)
    for name in _PARTING:
        shown[:, ARKIT_INDEX[name]] *= 1 - closed
    raised = who.brows * brows(utterance, [], times, rng)
    out = spoken_mouth(utterance, style) + shown + raised
    for name in ("mouthSmileLeft", "mouthSmileRight"):
        out[:, ARKIT_INDEX[name]] += who.smile
    return check_expression(out)


def _look_over_time(utterance: Utterance, style: FaceStyle, who: Speaker, times: Tensor, rng: random.Random) -> Tensor:
    """Return the emotion's expression over time (T, 52): drifting, stronger on some stressed words, slightly
    asymmetric.

    style: emotion and intensity; who: the speaker's habits; times: (T,) s."""
    drift = 1 + 0.1 * wander(times, rng, 0.05, 0.4)
    upper = rng.uniform(0.85, 1.15)  # some performances are more in the brows, some more in the mouth
    for mark in accents(utterance):
        if mark.stressed and rng.random() < 0.35:
            drift = drift + rng.uniform(0.1, 0.3) * bump(times, mark.time, 0.25, 0.5)
    amount = level(style) * who.look * rng.uniform(0.92, 1.08) * drift
    side = 0.12 * who.side + rng.uniform(-0.08, 0.08)
    weights = look(style.emotion).clone()
    for i, name in enumerate(ARKIT):
        weights[i] *= upper if name.startswith(("brow", "eye")) else 2 - upper
        weights[i] *= 1 + side if name.endswith("Left") else 1 - side if name.endswith("Right") else 1.0
    return amount[:, None] * weights


def _closing(utterance: Utterance, times: Tensor) -> Tensor:
    """Return how far the lips are shut for p, b or m at times (T,) s: 1 during the phone, falling to 0 before and after
    it."""
    out = torch.zeros_like(times)
    for name, start, end, _ in utterance.phones:
        if name in CLOSURES:
            away = torch.maximum(start - 0.02 - times, times - end - 0.02).clamp_min(0) / _REACH
            out = torch.maximum(out, 0.5 + 0.5 * torch.cos(torch.pi * away.clamp_max(1)))
    return out


def draw_style(rng: random.Random) -> FaceStyle:
    """Draw a random identity, emotion and intensity; all emotions and neutral are equally likely."""
    emotion = rng.choice(EMOTIONS)
    intensity = "low" if emotion == "neutral" else rng.choice(INTENSITIES)
    return FaceStyle(rng.choice(IDENTITIES), emotion, intensity)
