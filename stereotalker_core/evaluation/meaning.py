"""Do gestures mean what is said? Recall of meaning gestures on words that training never paired with a gesture.

A generated motion answers a word when, around the word's stress, an arm is nearer to the key pose of the word's class
than to that of any other gesture, beat or rest.
"""

import random

import torch
from torch import Tensor

from ..body.model import HalfBody
from ..body.skeleton import ARM_JOINTS, JOINT_INDEX
from ..motion.sampling import MotionModels, MotionOptions, sample_motion
from ..records import Audio, Motion
from ..shapes import FPS, SAMPLE_RATE
from ..synthetic.corpus import speak_random
from ..synthetic.gestures import GESTURES, RESTS, accents
from ..synthetic.key_poses import key_pose, to_angles
from ..synthetic.poses import arm_pose, joint_heads
from ..synthetic.tts import Utterance, available_engines
from ..synthetic.vocabulary import HELD_OUT_WORDS
from .bootstrap import bootstrap

_BEFORE, _AFTER = 3, 8  # frames around the stress in which the stroke may be held
_CANDIDATES = [*GESTURES, *RESTS]
_WAYS = {"off": 0.0, "audio": 1.0, "text": 1.0}  # what the prior gets -> its strength


def arm_templates(body: HalfBody) -> Tensor:
    """(2 sides, poses, 18) arm rotations at the stroke of every gesture and in every rest, in order of _CANDIDATES."""
    heads = joint_heads(body, body.rest(torch.zeros(1, body.n_shape)))
    keys = [key_pose(g.stroke, g.hand) for g in GESTURES.values()] + [key_pose(*RESTS[name]) for name in RESTS]
    angles = to_angles(torch.stack(keys))
    return torch.stack([_arm(arm_pose(heads, side, angles), side) for side in "LR"])


def _arm(rotations: Tensor, side: str) -> Tensor:
    return rotations[:, [JOINT_INDEX[name] for name in ARM_JOINTS[side]]].flatten(1)


def shown_gestures(motion: Motion, time: float, templates: Tensor) -> set[str]:
    """Gestures that an arm shows around `time` seconds: the nearest template of each side in each frame near it."""
    first = max(0, int(time * FPS) - _BEFORE)
    near = motion[first : int(time * FPS) + _AFTER]
    shown = set()
    for side, poses in zip("LR", templates, strict=True):
        shown |= {_CANDIDATES[i] for i in torch.cdist(_arm(near.rotations, side), poses).argmin(1).tolist()}
    return shown


def held_out_utterances(count: int, seed: int = 11) -> list[tuple[Utterance, str]]:
    """Unseen utterances (voice and sentence) with a held-out word, and their emotion; none without an engine."""
    engines = [name for name in available_engines() if name != "kokoro"]
    rng, found = random.Random(seed), []
    while engines and len(found) < count:
        utterance, sentence = speak_random("val", engines[len(found) % len(engines)], rng)
        if any(mark.word in HELD_OUT_WORDS and mark.time > 0.3 for mark in accents(utterance)):
            found.append((utterance, sentence.emotion))
    return found


def meaning_metrics(models: MotionModels, options: MotionOptions, count: int) -> dict[str, dict[str, float]]:
    """meaning_recall_text, and the gains of transcript and of sound alone over no prior, on held-out synonyms.

    Empty where no speech engine is installed.
    """
    templates = arm_templates(HalfBody())
    rows: dict[str, list[float]] = {"off": [], "audio": [], "text": []}
    weights = []
    for utterance, emotion in held_out_utterances(count):
        audio = Audio(utterance.waveform, utterance.waveform[None], SAMPLE_RATE)
        marks = [m for m in accents(utterance) if m.word in HELD_OUT_WORDS and m.time > 0.3]
        weights.append(len(marks))
        for way, strength in _WAYS.items():
            transcript = utterance.text if way == "text" else None
            motion = sample_motion(
                models, audio, options=options, style=emotion, transcript=transcript, prior_strength=strength
            )
            hits = [HELD_OUT_WORDS[m.word] in shown_gestures(motion, m.time, templates) for m in marks]
            rows[way].append(sum(hits) / len(hits))
    if not weights:
        return {}
    gain = {way: [a - b for a, b in zip(rows[way], rows["off"], strict=True)] for way in ("audio", "text")}
    return {
        "meaning_recall_off": bootstrap(rows["off"], weights),
        "meaning_recall_audio": bootstrap(rows["audio"], weights),
        "meaning_recall_text": bootstrap(rows["text"], weights),
        "meaning_gain_audio": bootstrap(gain["audio"], weights),
        "meaning_gain_text": bootstrap(gain["text"], weights),
    }

