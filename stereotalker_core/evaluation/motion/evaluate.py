"""Held-out quality of stage 1, on voices and sentences not used in training: `evaluate_motion`.

The reference is the procedural teacher, whose mouth depends on the exact phone times alone."""

import logging
import random
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...audio.phones import CLOSURES
from ...body.model import HalfBody
from ...motion.arkit import ARKIT_INDEX, MOUTH
from ...motion.conditioning import Style
from ...motion.edit import PARTS
from ...motion.generation.sampling import MotionModels, MotionOptions, condition_tracks, sample_motion, sampling_windows
from ...motion.lips import CLOSED_MM, lip_gap, lip_gap_weights
from ...records import Audio, Motion
from ...shapes import FPS, SAMPLE_RATE
from ...synthetic.movement.teacher import teach
from ...synthetic.speech.corpus import Corpus, speak_random
from ...synthetic.speech.tts import available_engines
from ...synthetic.speech.utterance import Utterance
from ..bootstrap import bootstrap
from ..plots import confusion_picture, interval_picture
from .behaviour import body_metrics, meaning_real, real_corpora, real_metrics, speechless_metrics
from .meaning import CLASSES, MeaningResult, drawn, meaning_metrics
from .motion_statistics import (
    FeatureSpace,
    beat_alignment,
    lag_milliseconds,
    motion_features,
    nearest_neighbour_motion,
    spread,
)

logger = logging.getLogger(__name__)
Metrics = dict[str, dict[str, float]]
SILENT_DB = 50.0  # below the loud frames of a recording, where lips may be shut whatever the teacher's phone times say
STYLE_ENERGY = {"neutral": 1.0, "lively": 1.4, "calm": 0.6}  # what a user sets for the teacher's styles


@dataclass(frozen=True)
class HeldOut:
    """The test item: an utterance not used in training, and the emotion, its intensity 0..1 and the style it was spoken
    in."""

    utterance: Utterance
    emotion: str
    style: str
    intensity: float = 1.0

    @property
    def audio(self) -> Audio:
        return audio_of(self.utterance)


class NoSpeechError(ValueError):
    """The error that there is neither a corpus nor a speech engine to speak the held-out sentences."""


def style_of(item: HeldOut) -> Style:
    """Return the style that the model is asked for: emotion, intensity and energy of an item."""
    return Style(item.emotion, item.intensity, STYLE_ENERGY[item.style])


def audio_of(utterance: Utterance) -> Audio:
    """Return the utterance as the recording that the pipeline would receive."""
    return Audio(utterance.waveform, utterance.waveform[None], SAMPLE_RATE)


def held_out(count: int, data: Path | None = None, seed: int = 7) -> list[HeldOut]:
    """Return held-out utterances: from the validation corpus if there is one, else spoken now by the installed engines.

    count: how many; data: folder of the corpus; seed: determines the choice. NoSpeechError where neither exists."""
    rng = random.Random(seed)
    if data is not None and (Path(data) / "val" / "DONE").is_file():
        corpus = Corpus(Path(data) / "val")
        chosen = rng.sample(range(len(corpus)), min(count, len(corpus)))
        labels = [(e["emotion"], e["style"], e.get("intensity", 3) / 3) for e in corpus.entries]
        return [HeldOut(corpus[i], *labels[i]) for i in chosen]
    engines = [name for name in available_engines() if name != "kokoro"]
    if not engines:
        remedy = "install espeak-ng or flite1-dev, or give the folder of a speech corpus"
        raise NoSpeechError(f"no held-out speech: {remedy}")
    out = []
    for i in range(count):
        utterance, sentence = speak_random("val", engines[i % len(engines)], rng)
        out.append(HeldOut(utterance, sentence.emotion, sentence.style, sentence.intensity / 3))
    return out


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return the Pearson correlation over the first axis of two (T, ...) -> (...); 0 where one of them is constant."""
    a, b = a - a.mean(0), b - b.mean(0)
    norm = (a.square().sum(0) * b.square().sum(0)).sqrt()
    return torch.where(norm > 1e-9, (a * b).sum(0) / norm.clamp_min(1e-9), torch.zeros_like(norm))


def closure_times(utterance: Utterance, frames: int) -> list[int]:
    """Return the number of the frame in the middle of every p, b and m of an utterance.

    frames: length of the utterance; a later time counts as its last frame."""
    middles = [(start + end) / 2 for name, start, end, _ in utterance.phones if name in CLOSURES]
    return [min(frames - 1, int(m * FPS)) for m in middles]


def audible(waveform: Tensor, frames: int) -> Tensor:
    """Return (frames,) bool: whether the sound is less than `SILENT_DB` below the recording's loud frames.

    Needed because the phone times of Kokoro, and so its teacher's mouth, extend into the digital silence after a
    phrase."""
    size = SAMPLE_RATE // round(FPS)
    padded = torch.nn.functional.pad(waveform, (0, max(0, frames * size - len(waveform))))[: frames * size]
    level = 10 * torch.log10(padded.reshape(frames, size).square().mean(1) + 1e-12)
    return level > level.quantile(0.95) - SILENT_DB


def mouth_scores(item: HeldOut, motion: Motion, gap: tuple[Tensor, Tensor]) -> dict[str, tuple[float, float]]:
    """Compare the mouth of a motion with that of the rule-based teacher -> {metric: (value, weight)} of
    `compare_mouths`.

    item: the utterance; motion: sampled for it; gap: as in `compare_mouths`."""
    target = teach(None, item.utterance, 0, item.style, item.emotion, intensity=item.intensity)
    return compare_mouths(motion.expression, target.expression, item.utterance, gap)


def compare_mouths(
    sampled: Tensor, target: Tensor, utterance: Utterance, gap: tuple[Tensor, Tensor]
) -> dict[str, tuple[float, float]]:
    """Compare two mouths for the same utterance -> {metric: (value, weight in a mean over utterances)}.

    sampled, target: (T, 52) expressions, of the model and of the teacher.
    utterance: with phone times.
    gap: the lip gap as a linear function, from `motion.lips.lip_gap_weights`.

    "jaw_correlation", "mouth_correlation": with the teacher's curves over time. "closure_recall": fraction of the p, b
    and m on which the lips close; "closure_false": fraction of the frames with open lips in which they are shut."""
    jaw, moving = ARKIT_INDEX["jawOpen"], [i for i in MOUTH if float(target[:, i].std()) > 0.02]
    shut = lip_gap(sampled, gap) < CLOSED_MM
    near = torch.nn.functional.max_pool1d(shut.float()[None], 3, 1, 1)[0]  # within a frame
    wanted = closure_times(utterance, len(sampled))
    opened = (lip_gap(target, gap) > 2 * CLOSED_MM) & audible(utterance.waveform, len(sampled))
    return {
        "jaw_correlation": (float(correlation(sampled[:, jaw], target[:, jaw])), 1.0),
        "mouth_correlation": (float(correlation(sampled[:, moving], target[:, moving]).mean()), float(bool(moving))),
        "closure_recall": (float(near[wanted].mean()) if wanted else 0.0, len(wanted)),
        "closure_false": (float(shut[opened].float().mean()) if opened.any() else 0.0, int(opened.sum())),
    }


def arm_acceleration(motion: Motion) -> Tensor:
    """Return (T,) RMS of the second difference of the arm and hand rotations (rad per frame^2); 0 in first and last
    frame."""
    arms = motion.rotations[:, list(PARTS["hands"])].flatten(1)
    second = (arms[2:] - 2 * arms[1:-1] + arms[:-2]).square().mean(1).sqrt()
    return torch.nn.functional.pad(second, (1, 1))


def seam_ratio(models: MotionModels, audio: Audio, options: MotionOptions, share: float = 0.99) -> float:
    """Return a quantile of the arm acceleration at window borders relative to elsewhere; 1 = no visible seam.

    models: the networks of stage 1; audio: the recording; options: settings of its motion; share: the quantile,
    0..1."""
    motion = sample_motion(models, audio, options=options)
    config = models.denoiser.config
    plan = sampling_windows(len(motion), config.window, config.seed, config.lookahead)
    seams = torch.zeros(len(motion), dtype=torch.bool)
    for window in plan[1:]:
        seams[window.start - 1 : window.start + 2] = True
    acceleration = arm_acceleration(motion)
    return float(acceleration[seams].quantile(share) / acceleration[~seams].quantile(share))


def diversity(models: MotionModels, item: HeldOut, options: MotionOptions, seeds: int = 8) -> float:
    """Return how much the arms differ between seeds for one utterance (`spread`), relative to the teacher's; 1 = as
    much.

    models: the networks of stage 1; item: the utterance; options: settings of its motion; seeds: number of motions."""
    style = style_of(item)
    ours = [sample_motion(models, item.audio, options=options, seed=seed, style=style) for seed in range(seeds)]
    theirs = [teach(None, item.utterance, seed, item.style, item.emotion) for seed in range(seeds)]
    return spread(ours) / spread(theirs)


def real_scores(models: MotionModels, corpus: Corpus, options: MotionOptions, count: int) -> Metrics:
    """Measure lip closures and the lag from sound to lips on recordings of people.

    models: the networks of stage 1.
    corpus: recordings with phone times (from forced alignment), with which the lips are compared.
    options: settings of the motion.
    count: number of recordings.

    Returns {"real_closure_recall": fraction of the p, b and m, "real_lag_ms": each {"value", "low", "high"}}."""
    gap = lip_gap_weights(HalfBody())
    recall, lags = [], []
    for i in torch.linspace(0, len(corpus) - 1, min(count, len(corpus))).long().tolist():
        item = HeldOut(corpus[i], "neutral", "neutral")
        motion = sample_motion(models, item.audio, options=drawn(options, i))
        scores = mouth_scores(item, motion, gap)
        recall.append(scores["closure_recall"])
        target = teach(None, item.utterance, 0).expression
        lags.append(lag_milliseconds(lip_gap(motion.expression, gap), lip_gap(target, gap)))
    return {"real_closure_recall": bootstrap(*zip(*recall, strict=True)), "real_lag_ms": bootstrap(lags)}


def statistics(models: MotionModels, items: list[HeldOut], motions: list[Motion], options: MotionOptions) -> Metrics:
    """Compare the motions as a whole with the teacher's -> {name: {"value", "low", "high"}}.

    models: the networks of stage 1.
    items: the utterances.
    motions: sampled for them, in the same order.
    options: settings of the motion.

    "beat_alignment_ratio": `beat_alignment` relative to the teacher's. "frechet_WHO": `FeatureSpace.distance` of WHO's
    motions for the odd items to the teacher's for the even ones. WHO is the model, the mean pose (mean), the motion of
    the nearest sound (nearest), the model without sound (no_audio), or the teacher itself."""
    taught = [teach(None, item.utterance, 1, item.style, item.emotion, intensity=item.intensity) for item in items]
    ours, theirs = ([beat_alignment(m, i.utterance) for m, i in zip(x, items, strict=True)] for x in (motions, taught))
    metrics = {"beat_alignment_ratio": ratio(ours, theirs)}
    space = FeatureSpace(torch.cat([motion_features(m) for m in taught[::2]]))
    sounds = [condition_tracks(models, item.audio, None, None, 0.0)[0] for item in items]
    library = list(zip(sounds[::2], taught[::2], strict=True))
    blind = replace(options, guidance_audio=0.0, guidance_prior=0.0)
    mean = torch.cat([m.rotations for m in taught]).mean(0), torch.cat([m.expression for m in taught]).mean(0)
    others = {
        "model": motions[1::2],
        "mean": [Motion(mean[0].expand(len(m), -1, -1), mean[1].expand(len(m), -1)) for m in motions[1::2]],
        "nearest": [nearest_neighbour_motion(sound, library) for sound in sounds[1::2]],
        "no_audio": [
            sample_motion(models, item.audio, options=drawn(blind, i), style=style_of(item))
            for i, item in list(enumerate(items))[1::2]
        ],
        "teacher": taught[1::2],
    }
    for name, group in others.items():
        features = [found for motion in group if len(found := motion_features(motion)) > 1]
        draws = np.random.default_rng(0).integers(0, len(features), (200, len(features)))
        values = [space.distance(torch.cat([features[i] for i in row])) for row in draws]
        low, high = np.quantile(values, (0.025, 0.975))
        whole = space.distance(torch.cat(features))
        metrics[f"frechet_{name}"] = {"value": whole, "low": min(float(low), whole), "high": max(float(high), whole)}
    return metrics


def ratio(ours: list[tuple[float, int]], theirs: list[tuple[float, int]], draws: int = 2000) -> dict[str, float]:
    """Return the ratio of two weighted means over the same items, {"value", "low", "high"} with its 95 % interval.

    ours, theirs: (value, weight) per item; draws: bootstrap resamplings of the items."""
    a, b = np.array(ours, np.float64), np.array(theirs, np.float64)

    def of(rows: np.ndarray) -> np.ndarray:
        means = [(x[rows, 0] * x[rows, 1]).sum(-1) / np.maximum(x[rows, 1].sum(-1), 1e-9) for x in (a, b)]
        return means[0] / np.maximum(means[1], 1e-9)

    drawn = of(np.random.default_rng(0).integers(0, len(a), (draws, len(a))))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"value": float(of(np.arange(len(a)))), "low": float(low), "high": float(high)}


def speed(models: MotionModels, items: list[HeldOut], options: MotionOptions, seconds: float = 60.0) -> float:
    """Return the seconds of speech turned into motion per second of CPU time, which other load does not affect.

    models, options: as in `seam_ratio`; items: utterances, joined to speech of `seconds`."""
    audio = _join(items, seconds)
    start = time.process_time()
    sample_motion(models, audio, options=options)
    return audio.seconds / (time.process_time() - start)


def evaluate_motion(
    models: MotionModels,
    quick: bool = False,
    data: Path | None = Path("data/speech"),
    steps: int = 8,
    out: Path | None = None,
    seed: int = 0,
) -> dict[str, dict]:
    """Measure all metrics of stage 1, with 95 % intervals over utterances.

    models: the networks of stage 1.
    quick: 84 utterances instead of 120, and a quarter of most other recordings.
    data: folder of a speech corpus, whose splits `val` and `real` are used if they exist.
    steps: denoising steps of the sampler.
    out: folder for the pictures; None for no pictures.
    seed: chooses utterances and noise.

    Returns {"metrics": {name: {"value", "low", "high"}}, "skipped": {name: reason}, "voices": {engine: {voice:
    count}}}."""
    options = MotionOptions(steps=steps, seed=seed, blink_rate=None)  # the network's own lids
    items, skipped = held_out(84 if quick else 120, data, 7 + seed), {}
    gap = lip_gap_weights(HalfBody())
    rows: dict[str, list[tuple[float, float]]] = {}
    parts: dict[str, list[tuple[float, float]]] = {}  # the same by speech engine
    motions = []
    for i, item in enumerate(items):
        motions.append(sample_motion(models, item.audio, options=drawn(options, i), style=style_of(item)))
        for name, score in mouth_scores(item, motions[-1], gap).items():
            rows.setdefault(name, []).append(score)
            parts.setdefault(f"{name}_{item.utterance.engine}", []).append(score)
    metrics = {name: bootstrap(*zip(*scores, strict=True)) for name, scores in rows.items()}
    metrics |= statistics(models, items, motions, options)
    metrics["diversity_ratio"] = bootstrap([diversity(models, item, options) for item in items[: 4 if quick else 16]])
    long = [_join(items[i:] + items[:i], 60.0 if quick else 300.0) for i in range(2)]
    metrics["seam_acceleration_ratio"] = bootstrap([seam_ratio(models, audio, options) for audio in long])
    meaning = meaning_metrics(models, options, 24 if quick else 120, 11 + seed)
    metrics |= meaning.metrics
    usual = replace(options, blink_rate=MotionOptions.blink_rate)
    spoken = [item.utterance for item in items]
    metrics |= speechless_metrics(models, spoken, usual, 2 if quick else 12)
    metrics |= body_metrics(models, spoken, usual, 2 if quick else 8)
    corpora = [] if data is None else real_corpora(data)
    metrics |= real_metrics(models, corpora, options, 30 if quick else 60)
    metrics |= meaning_real(models, corpora, options, 40 if quick else 100)
    if data is not None and (Path(data) / "real" / "DONE").is_file():
        metrics |= real_scores(models, Corpus(Path(data) / "real"), options, 40 if quick else 242)
    else:
        skipped["real_closure_recall"] = skipped["real_lag_ms"] = f"no real recordings in {data}"
    metrics["realtime_factor"] = bootstrap([speed(models, items, options) for _ in range(1 if quick else 3)])
    if out is not None:
        pictures(out, metrics, meaning)
    metrics |= {name: bootstrap(*zip(*x, strict=True)) for name, x in sorted(parts.items()) if any(w for _, w in x)}
    for name, row in metrics.items():
        logger.info("%-24s %.3f [%.3f, %.3f]", name, row["value"], row["low"], row["high"])
    return {"metrics": metrics, "skipped": skipped, "voices": voices(items)}


def voices(items: list[HeldOut]) -> dict[str, dict[str, int]]:
    """Return {speech engine: {voice: number of its utterances}}; an espeak-ng variant counts as one voice in all
    accents."""
    found: dict[str, Counter] = {}
    for utterance in (item.utterance for item in items):
        found.setdefault(utterance.engine, Counter())[utterance.voice.rpartition("+")[2]] += 1
    return {engine: dict(sorted(counts.items())) for engine, counts in sorted(found.items())}


def pictures(out: Path, metrics: Metrics, meaning: MeaningResult) -> None:
    """Write the confusion of gesture classes as out/meaning_WAY.png (WAY: how words reach the model, see
    `MeaningResult`), and all metrics as out/motion_metrics.png."""
    for way, counts in meaning.confusion.items():
        title = f"held-out words ({way}): row = class of the word, column = gesture shown"
        confusion_picture(counts, CLASSES, [*CLASSES, "none"], title, out / f"meaning_{way}.png")
    interval_picture(metrics, "stage 1 on unseen voices and sentences", out / "motion_metrics.png")


def _join(items: list[HeldOut], seconds: float) -> Audio:
    """Concatenate the utterances, repeated until they are `seconds` long."""
    waveform = torch.cat([item.utterance.waveform for item in items])
    samples = round(seconds * SAMPLE_RATE)
    waveform = waveform.repeat(-(-samples // len(waveform)))[:samples]
    return Audio(waveform, waveform[None], SAMPLE_RATE)
