"""Held-out quality of stage 1, on voices and sentences that training never had: `evaluate_motion`.

The reference is the procedural teacher, whose mouth depends on the exact phone times alone.
"""

import logging
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..audio.phones import CLOSURES
from ..body.model import HalfBody
from ..motion.arkit import ARKIT_INDEX, MOUTH
from ..motion.edit import PARTS
from ..motion.lips import CLOSED_MM, lip_gap, lip_gap_weights
from ..motion.sampling import MotionModels, MotionOptions, sample_motion, windows
from ..records import Audio, Motion
from ..shapes import FPS, SAMPLE_RATE
from ..synthetic.corpus import Corpus, speak_random
from ..synthetic.teacher import teach
from ..synthetic.tts import Utterance, available_engines
from .bootstrap import bootstrap
from .meaning import meaning_metrics

logger = logging.getLogger(__name__)
Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class HeldOut:
    """One unseen utterance and the labels it was spoken with."""

    utterance: Utterance
    emotion: str
    style: str

    @property
    def audio(self) -> Audio:
        return audio_of(self.utterance)


def audio_of(utterance: Utterance) -> Audio:
    """The utterance as the pipeline would receive it."""
    return Audio(utterance.waveform, utterance.waveform[None], SAMPLE_RATE)


def held_out(count: int, data: Path | None = None, seed: int = 7) -> list[HeldOut]:
    """Unseen utterances: from the validation corpus where there is one, else spoken now by the installed engines.

    ValueError with the remedy when neither exists.
    """
    rng = random.Random(seed)
    if data is not None and (Path(data) / "val" / "DONE").is_file():
        corpus = Corpus(Path(data) / "val")
        chosen = rng.sample(range(len(corpus)), min(count, len(corpus)))
        entries = [corpus.entries[i] for i in chosen]
        return [HeldOut(corpus[i], e["emotion"], e["style"]) for i, e in zip(chosen, entries, strict=True)]
    engines = [name for name in available_engines() if name != "kokoro"]
    if not engines:
        raise ValueError("no held-out speech: install espeak-ng or flite1-dev, or give the folder of a speech corpus")
    out = []
    for i in range(count):
        utterance, sentence = speak_random("val", engines[i % len(engines)], rng)
        out.append(HeldOut(utterance, sentence.emotion, sentence.style))
    return out


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson correlation over the first axis of (T, ...); 0 where one of them is constant."""
    a, b = a - a.mean(0), b - b.mean(0)
    norm = (a.square().sum(0) * b.square().sum(0)).sqrt()
    return torch.where(norm > 1e-9, (a * b).sum(0) / norm.clamp_min(1e-9), torch.zeros_like(norm))


def closure_times(utterance: Utterance, frames: int) -> list[int]:
    """The frame in the middle of every p, b and m."""
    middles = [(start + end) / 2 for name, start, end, _ in utterance.phones if name in CLOSURES]
    return [min(frames - 1, int(m * FPS)) for m in middles]


def mouth_scores(item: HeldOut, motion: Motion, gap: tuple[Tensor, Tensor]) -> dict[str, tuple[float, float]]:
    """{metric: (value, weight)} of one utterance against the teacher."""
    target = teach(None, item.utterance, 0, item.style, item.emotion)
    jaw = ARKIT_INDEX["jawOpen"]
    moving = [i for i in MOUTH if float(target.expression[:, i].std()) > 0.02]
    shut = lip_gap(motion.expression, gap) < CLOSED_MM
    near = torch.nn.functional.max_pool1d(shut.float()[None], 3, 1, 1)[0]  # within a frame
    wanted = closure_times(item.utterance, len(motion))
    opened = lip_gap(target.expression, gap) > 2 * CLOSED_MM
    return {
        "jaw_correlation": (float(correlation(motion.expression[:, jaw], target.expression[:, jaw])), 1.0),
        "mouth_correlation": (
            float(correlation(motion.expression[:, moving], target.expression[:, moving]).mean()), float(bool(moving))
        ),
        "closure_recall": (float(near[wanted].mean()) if wanted else 0.0, len(wanted)),
        "closure_false": (float(shut[opened].float().mean()) if opened.any() else 0.0, int(opened.sum())),
    }  # fmt: skip


def arm_acceleration(motion: Motion) -> Tensor:
    """(T,) rms second difference of the arm and hand rotations; the first and last frame are 0."""
    arms = motion.rotations[:, list(PARTS["hands"])].flatten(1)
    second = (arms[2:] - 2 * arms[1:-1] + arms[:-2]).square().mean(1).sqrt()
    return torch.nn.functional.pad(second, (1, 1))


def seam_ratio(models: MotionModels, audio: Audio, options: MotionOptions) -> float:
    """Acceleration at the joints of windows over acceleration elsewhere; 1 = no seam."""
    motion = sample_motion(models, audio, options=options)
    config = models.denoiser.config
    plan = windows(len(motion), config.window, config.seed, config.lookahead)
    seams = torch.zeros(len(motion), dtype=torch.bool)
    for window in plan[1:]:
        seams[window.start - 1 : window.start + 2] = True
    acceleration = arm_acceleration(motion)
    return float(acceleration[seams].mean() / acceleration[~seams].mean())


def diversity(models: MotionModels, item: HeldOut, options: MotionOptions, seeds: int = 3) -> float:
    """Spread of the arms over seeds, relative to the teacher's."""
    arms = list(PARTS["hands"])
    ours, theirs = [], []
    for seed in range(seeds):
        sampled = sample_motion(models, item.audio, options=options, seed=seed, style=item.emotion)
        ours.append(sampled.rotations[:, arms])
        theirs.append(teach(None, item.utterance, seed, item.style, item.emotion).rotations[:, arms])
    return float(torch.stack(ours).std(0).mean() / torch.stack(theirs).std(0).mean())


def evaluate_motion(
    models: MotionModels, quick: bool = False, data: Path | None = Path("data/speech"), steps: int = 8
) -> dict[str, Metrics]:
    """All metrics of stage 1 -> {"metrics": {name: {"value", "low", "high"}}}; 95 % intervals over utterances.

    quick: 20 utterances instead of 100. data: folder of a speech corpus with a `val` split, used where it exists.
    """
    options = MotionOptions(steps=steps)
    items = held_out(20 if quick else 100, data)
    gap = lip_gap_weights(HalfBody())
    rows: dict[str, list[tuple[float, float]]] = {}
    spent, spoken = 0.0, 0.0
    for item in items:
        start = time.perf_counter()
        motion = sample_motion(models, item.audio, options=options, style=item.emotion)
        spent, spoken = spent + time.perf_counter() - start, spoken + item.audio.seconds
        for name, score in mouth_scores(item, motion, gap).items():
            rows.setdefault(name, []).append(score)
    metrics = {name: bootstrap(*zip(*scores, strict=True)) for name, scores in rows.items()}
    metrics["diversity_ratio"] = bootstrap([diversity(models, item, options) for item in items[: 4 if quick else 20]])
    joined = [_join(items[i : i + 8]) for i in range(0, min(len(items), 16 if quick else 48), 8)]
    metrics["seam_acceleration_ratio"] = bootstrap([seam_ratio(models, audio, options) for audio in joined])
    metrics |= meaning_metrics(models, options, count=16 if quick else 60)
    metrics["realtime_factor"] = bootstrap([spent / spoken])
    for name, row in metrics.items():
        logger.info("%-24s %.3f [%.3f, %.3f]", name, row["value"], row["low"], row["high"])
    return {"metrics": metrics}


def _join(items: list[HeldOut]) -> Audio:
    waveform = torch.cat([item.utterance.waveform for item in items])
    return Audio(waveform, waveform[None], SAMPLE_RATE)
