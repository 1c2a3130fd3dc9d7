"""Recall of meaning gestures on words that training never paired with a gesture.

A gesture counts as shown if, around the word's stress, an arm is nearer to the key pose of the word's class than to
that of any other gesture, beat or rest."""

import random
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...body.model import HalfBody
from ...geometry.skeleton import ARM_JOINTS, JOINT_INDEX
from ...motion.generation.sampling import MotionModels, MotionOptions, sample_motion
from ...records import Audio, Motion
from ...shapes import FPS, SAMPLE_RATE
from ...synthetic.movement.gestures import GESTURES, RESTS, accents
from ...synthetic.movement.key_poses import key_pose, to_angles
from ...synthetic.movement.poses import arm_pose, joint_heads
from ...synthetic.movement.teacher import teach
from ...synthetic.speech.corpus import speak_random
from ...synthetic.speech.tts import available_engines
from ...synthetic.speech.utterance import Utterance
from ...synthetic.speech.vocabulary import GESTURE_WORDS, HELD_OUT_WORDS
from ..bootstrap import bootstrap

_BEFORE, _AFTER = 3, 8  # frames around the stress in which the stroke may be held
CLASSES = tuple(GESTURE_WORDS)
_CANDIDATES = [*GESTURES, *RESTS]
_WAYS = {"off": 0.0, "audio": 1.0, "text": 1.0}  # what the prior gets -> its strength


def arm_templates(body: HalfBody) -> Tensor:
    """Return the arm rotations (2 sides, poses, 18) of every gesture's stroke and of every rest, in order of
    _CANDIDATES."""
    heads = joint_heads(body, body.rest(torch.zeros(1, body.n_shape)))
    keys = [key_pose(g.stroke, g.hand) for g in GESTURES.values()] + [key_pose(*RESTS[name]) for name in RESTS]
    angles = to_angles(torch.stack(keys))
    return torch.stack([_arm_rotations(arm_pose(heads, side, angles), side) for side in "LR"])


def _arm_rotations(rotations: Tensor, side: str) -> Tensor:
    return rotations[:, [JOINT_INDEX[name] for name in ARM_JOINTS[side]]].flatten(1)


def shown_gestures(motion: Motion, time: float, templates: Tensor) -> set[str]:
    """Return the gestures shown around `time` seconds: the nearest template of each side in each frame nearby."""
    first = max(0, int(time * FPS) - _BEFORE)
    near = motion[first : int(time * FPS) + _AFTER]
    shown = set()
    for side, poses in zip("LR", templates, strict=True):
        shown |= {_CANDIDATES[i] for i in torch.cdist(_arm_rotations(near.rotations, side), poses).argmin(1).tolist()}
    return shown


def held_out_utterances(count: int, seed: int = 11) -> list[tuple[Utterance, str]]:
    """Return held-out utterances (voice and sentence) that contain a held-out word, with their emotions.

    count: how many; seed: determines the choice. An empty list where no speech engine is installed."""
    engines = [name for name in available_engines() if name != "kokoro"]
    rng, found = random.Random(seed), []
    while engines and len(found) < count:
        utterance, sentence = speak_random("val", engines[len(found) % len(engines)], rng)
        if any(mark.word in HELD_OUT_WORDS and mark.time > 0.3 for mark in accents(utterance)):
            found.append((utterance, sentence.emotion))
    return found


def drawn(options: MotionOptions, index: int) -> MotionOptions:
    """Return the options with another seed for each item, so that not all utterances share the noise of one posture.

    index: number of the item."""
    return replace(options, seed=1000 * options.seed + index)


@dataclass(frozen=True)
class MeaningResult:
    """The result of `meaning_metrics`.

    metrics: {name: {"value", "low", "high"}}.
    confusion: {how words reach the model: counts (12, 13) of words}, a row for each class of gesture that the word has,
        a column for each class that was shown; the last column: no gesture was shown."""

    metrics: dict[str, dict[str, float]]
    confusion: dict[str, np.ndarray]


def meaning_metrics(models: MotionModels, options: MotionOptions, count: int, seed: int = 11) -> MeaningResult:
    """Measure how often a meaning gesture is shown on its word, for synonyms that training never paired with a gesture.

    models: the networks of stage 1; options: settings of the motion; count: utterances; seed: determines their choice.

    The metrics are "meaning_recall_WAY", WAY: off (no language prior), audio (it hears the sound), text (it reads the
    transcript) or teacher (the rule-based one), and "meaning_gain_WAY", by how much a way is better than off. The
    result is empty where no speech engine is installed."""
    templates = arm_templates(HalfBody())
    rows: dict[str, list[float]] = {way: [] for way in (*_WAYS, "teacher")}
    confusion = {way: np.zeros((len(CLASSES), len(CLASSES) + 1)) for way in rows}
    weights = []
    for index, (utterance, emotion) in enumerate(held_out_utterances(count, seed)):
        audio = Audio(utterance.waveform, utterance.waveform[None], SAMPLE_RATE)
        own = drawn(options, index)
        marks = [m for m in accents(utterance) if m.word in HELD_OUT_WORDS and m.time > 0.3]
        weights.append(len(marks))
        motions = {"teacher": teach(None, utterance, 0, emotion=emotion, gesture_words=set(HELD_OUT_WORDS))}
        for way, strength in _WAYS.items():
            transcript = utterance.text if way == "text" else None
            motions[way] = sample_motion(
                models, audio, options=own, style=emotion, transcript=transcript, prior_strength=strength
            )
        for way, motion in motions.items():
            hits = []
            for mark in marks:
                wanted, shown = HELD_OUT_WORDS[mark.word], shown_gestures(motion, mark.time, templates)
                hits.append(wanted in shown)
                others = [CLASSES.index(name) for name in CLASSES if name in shown]
                column = CLASSES.index(wanted) if wanted in shown else (others or [len(CLASSES)])[0]
                confusion[way][CLASSES.index(wanted), column] += 1
            rows[way].append(sum(hits) / len(hits))
    if not weights:
        return MeaningResult({}, {})
    metrics = {f"meaning_recall_{way}": bootstrap(values, weights) for way, values in rows.items()}
    for way in ("audio", "text"):
        gain = [a - b for a, b in zip(rows[way], rows["off"], strict=True)]
        metrics[f"meaning_gain_{way}"] = bootstrap(gain, weights)
    return MeaningResult(metrics, confusion)
