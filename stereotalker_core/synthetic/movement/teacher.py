"""The motion teacher: an utterance with exact times -> a rule-based performance of face, head, arms and hands.

It replaces the motion capture that nobody published: training data for stage 1 with all labels known."""

import functools
import random

import torch
from torch import Tensor

from ...body.model import HalfBody
from ...geometry.skeleton import N_JOINTS
from ...records import Motion
from ...shapes import dims, frame_count
from ..speech.sentences import EMOTIONS, STYLES
from ..speech.utterance import Utterance
from ..speech.vocabulary import HELD_OUT_WORDS, TRAINING_WORDS
from .gestures import GestureEvent, arm_track, plan
from .head_motion import brows, eyes, head_angles, wander
from .key_poses import to_angles
from .poses import arm_pose, head_pose, joint_heads, spine_pose
from .visemes import check_expression, emotion_face, frame_times, mouth

_AMOUNT = {"neutral": 1.0, "lively": 1.06, "calm": 0.85}  # size of the strokes
# emotion at full intensity -> (strokes larger by, head down by, trunk forward by; degrees)
_BEARING = {
    "neutral": (0.0, 0.0, 0.0), "happy": (0.02, -1.5, 0.0), "sad": (-0.12, 5.0, 1.5), "angry": (0.04, 2.0, 2.0),
    "surprised": (0.02, -3.0, -1.5), "fear": (-0.08, 1.0, -2.0), "disgusted": (-0.04, -1.0, -1.5),
    "contempt": (-0.05, -3.5, -1.0),
}  # fmt: skip
_TREMOR = {0: 0.6, 1: 0.8, 2: 1.2, 4: 1.5, 5: 1.0, 7: 1.5, 8: 1.5, 9: 1.5, 10: 1.5}  # degrees by angle column
_RESTS = {"hang": 0.2, "bent": 0.15, "front": 0.35, "high": 0.3}  # chance of a posture


@functools.lru_cache(maxsize=1)
def mean_heads() -> Tensor:
    """Return the joint heads (49, 3) of the mean body."""
    body = HalfBody()
    return joint_heads(body, body.rest(torch.zeros(1, body.n_shape)))


def teach(
    rest_bones: Tensor | None,
    utterance: Utterance,
    seed: int,
    style: str = "neutral",
    emotion: str = "neutral",
    gesture_words: set[str] | None = None,
    intensity: float = 1.0,
) -> Motion:
    """Perform an utterance at 25 fps, with ceil(seconds * 25) frames.

    rest_bones: (49, 3) from `poses.joint_heads` of the identity; None for the mean body.
    utterance: speech with exact times.
    seed: of blinks, gaze, head, gestures and posture; the mouth depends on utterance, style and emotion alone.
    style: of speaking.
    emotion: of the face.
    gesture_words: the words that may trigger a meaning gesture; None for the training words, so held-out synonyms do
    not.
    intensity: of the emotion, 0..1."""
    return teach_with_labels(rest_bones, utterance, seed, style, emotion, gesture_words, intensity=intensity)[0]


def teach_with_labels(
    rest_bones: Tensor | None,
    utterance: Utterance,
    seed: int,
    style: str = "neutral",
    emotion: str = "neutral",
    gesture_words: set[str] | None = None,
    handedness: float = 0.0,
    intensity: float = 1.0,
) -> tuple[Motion, list[GestureEvent]]:
    """Perform as `teach` does, and return the gestures as well; handedness: -1 (left) .. 1 (right)."""
    if style not in STYLES or emotion not in EMOTIONS:
        raise ValueError(f"style {style!r} must be of {STYLES}, emotion {emotion!r} of {EMOTIONS}")
    if not 0 <= intensity <= 1:
        raise ValueError(f"intensity must be 0..1, got {intensity}")
    frames = frame_count(utterance.seconds)
    if frames < 1:
        raise ValueError("the utterance is empty; give at least one frame of sound (40 ms)")
    heads = mean_heads() if rest_bones is None else rest_bones
    dims(heads, f"{N_JOINTS} 3")
    rng = random.Random(f"{seed} {utterance.text}")
    words = TRAINING_WORDS | HELD_OUT_WORDS
    triggers = TRAINING_WORDS if gesture_words is None else {w: g for w, g in words.items() if w in gesture_words}
    events = plan(utterance, triggers, style, rng, handedness)
    times = frame_times(frames)
    size, droop, lean = (intensity * value for value in _BEARING[emotion])
    pitch, yaw, roll = head_angles(utterance, events, style, times, rng)
    head = pitch + droop, yaw, roll
    arms = _arms(heads, events, _AMOUNT[style] * (1 + size), times, rng)
    rotations = arms + _trunk(events, times, rng, lean) + head_pose(*head)
    face = mouth(utterance.phones, frames, style, emotion, intensity)
    calm, look = (emotion_face(name, torch.ones(frames)) for name in ("neutral", emotion))
    face = face + torch.lerp(calm, look, intensity)
    face = face + brows(utterance, events, times, rng) + eyes(utterance, times, head[1], head[0], rng)
    return Motion(rotations, check_expression(face)), events


def _arms(heads: Tensor, events: list[GestureEvent], amount: float, times: Tensor, rng: random.Random) -> Tensor:
    """Return both arms (T, 49, 3): posture, gestures, and a slight tremor.

    heads: from `joint_heads`; events: the gestures; amount: scales strokes; times: (T,) s; rng: random generator."""
    rests = rng.choices(list(_RESTS), list(_RESTS.values()), k=2)
    if rng.random() < 0.7:
        rests[1] = rests[0]  # most people hold both arms alike
    breath = _breath(times, rng)
    total = torch.zeros(len(times), N_JOINTS, 3)
    for side, rest in zip("LR", rests, strict=True):
        track = arm_track(events, side, rest, amount, times, rng)
        for column, degrees in _TREMOR.items():
            track[:, column] += degrees * wander(times, rng)
        track[:, 13] += 1.0 + breath
        total = total + arm_pose(heads, side, to_angles(track))
    return total


def _trunk(events: list[GestureEvent], times: Tensor, rng: random.Random, lean_forward: float) -> Tensor:
    """Return the trunk (T, 49, 3): breathing, sway, posture, and a slight turn towards the gesturing hand.

    events: the gestures; times: (T,) s; rng: random generator; lean_forward: degrees."""
    pitch = lean_forward + 0.5 * _breath(times, rng) + 0.6 * wander(times, rng, 0.05, 0.2)
    yaw, roll = 1.2 * wander(times, rng, 0.05, 0.25), 0.9 * wander(times, rng, 0.05, 0.2)
    for event in events:
        lean = {"L": -1.5, "R": 1.5, "both": 0.0}[event.side]  # the shoulder of the moving hand comes forward
        centre, width = event.stroke, max(event.end - event.stroke, 0.5)
        yaw = yaw + lean * torch.exp(-(((times - centre) / width) ** 2) * 2)
    return spine_pose(pitch, yaw.clamp(-6, 6), roll)


def _breath(times: Tensor, rng: random.Random) -> Tensor:
    return torch.sin(6.2832 * rng.uniform(0.2, 0.3) * times + rng.uniform(0, 6.2832))
