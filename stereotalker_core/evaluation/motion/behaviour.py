"""Metrics of `evaluate motion` that need no teacher: silence, rest, head turns, jerks, energy, and real recordings."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...audio.activity import speechless, voice_activity
from ...audio.align import Word
from ...audio.listening.recogniser import can_recognise, recognised_words
from ...audio.listening.spotting import spotted_words
from ...body.model import HalfBody
from ...motion.conditioning import Style
from ...motion.generation.sampling import MotionModels, MotionOptions, sample_motion
from ...motion.lips import CLOSED_MM, lip_gap, lip_gap_weights
from ...records import Audio
from ...shapes import FPS, SAMPLE_RATE
from ...synthetic.movement.gestures import accents
from ...synthetic.sound.ambience import ambience
from ...synthetic.sound.augment import reverberate, telephone
from ...synthetic.speech.corpus import Corpus
from ...synthetic.speech.utterance import Utterance
from ...synthetic.speech.vocabulary import HELD_OUT_WORDS, TRAINING_WORDS
from ..bootstrap import bootstrap
from .liveliness import head_yaw_range, jerk_frames, open_share, rest_share, wrist_speed
from .meaning import arm_templates, drawn, shown_gestures

Metrics = dict[str, dict[str, float]]
GAP, MARGIN = 1.6, 0.32  # s between utterances; s beside speech that are not judged
ENERGIES = (0.6, 1.4)
DEGRADED = ("reverb", "telephone", "music10")


def sound_of(wave: np.ndarray | Tensor) -> Audio:
    """Return a waveform (S,) as a recording, scaled to a peak of at most 0.9."""
    samples = torch.as_tensor(wave, dtype=torch.float32)
    samples = samples * min(1.0, 0.9 / max(float(samples.abs().max()), 1e-9))
    return Audio(samples, samples[None], SAMPLE_RATE)


def spaced(utterances: list[Utterance]) -> tuple[np.ndarray, np.ndarray]:
    """Join utterances with `GAP` s of silence between them -> samples (S,), and (T,) bool frames that are surely
    silent."""
    size = round(GAP * SAMPLE_RATE)
    pieces, spans, at = [np.zeros(size, np.float32)], [], size
    for utterance in utterances:
        wave = utterance.waveform.numpy()
        spoken = [(s, e) for name, s, e, _ in utterance.phones if name != "sil"]
        spans += [(at / SAMPLE_RATE + s - MARGIN, at / SAMPLE_RATE + e + MARGIN) for s, e in spoken]
        pieces += [wave * (0.5 / max(float(np.abs(wave).max()), 1e-6)), np.zeros(size, np.float32)]
        at += len(wave) + size
    whole = np.concatenate(pieces)
    middle = (np.arange(-(-len(whole) * FPS // SAMPLE_RATE)) + 0.5) / FPS
    quiet = np.ones(len(middle), bool)
    for start, end in spans:
        quiet &= (middle < start) | (middle > end)
    return whole, quiet


def speechless_metrics(
    models: MotionModels, utterances: list[Utterance], options: MotionOptions, count: int
) -> Metrics:
    """Measure speechless_open_*, the fraction of frames without speech in which the lips are apart.

    models: of the motion.
    utterances: that recordings are made of.
    options: of sampling.
    count: recordings of each kind."""
    gap, rows = lip_gap_weights(HalfBody()), {}
    for i in range(count):
        rng = np.random.default_rng((9001, i))
        own = [utterances[(3 * i + k) % len(utterances)] for k in range(3)]
        speech, quiet = spaced(own)
        level = float(np.sqrt(np.square(speech[speech != 0]).mean()))
        music = ambience(len(speech), rng, "music") * 10
        sounds = {
            "music": (ambience(12 * SAMPLE_RATE, rng, "music"), None),
            "beside": (speech + music * level * 10 ** (-10 / 20), quiet),
            "room": (0.05 * ambience(12 * SAMPLE_RATE, rng, "room"), None),
            "silence": (np.zeros(6 * SAMPLE_RATE, np.float32), None),
            "pauses": (speech + 1e-4 * rng.standard_normal(len(speech)), quiet),
        }
        for name, (wave, frames) in sounds.items():
            motion = sample_motion(models, sound_of(wave), options=drawn(options, i))
            mask = torch.ones(len(motion), dtype=torch.bool) if frames is None else torch.from_numpy(frames)
            rows.setdefault(name, []).append(open_share(motion, mask[: len(motion)], gap))
    return {f"speechless_open_{name}": bootstrap(*zip(*found, strict=True)) for name, found in rows.items()}


def reads(models: MotionModels) -> bool:
    """Tell whether the language prior has the tokenizer that a transcript needs."""
    return models.prior is not None and models.prior.config.tokenizer_bytes > 0


def body_metrics(models: MotionModels, utterances: list[Utterance], options: MotionOptions, count: int) -> Metrics:
    """Return rest_share, head_yaw_range, arm_jerk_frames (from sound and from transcript) and energy_effect.

    models: of the motion.
    utterances: that recordings are made of.
    options: of sampling.
    count: recordings of one minute."""
    body, rows = HalfBody(), {}
    for i in range(count):
        own, seconds, at = [], 0.0, (7 * i) % len(utterances)
        while seconds < 60:
            own.append(utterances[at % len(utterances)])
            seconds, at = seconds + own[-1].seconds, at + 1
        audio, text = sound_of(torch.cat([u.waveform for u in own])), " ".join(u.text for u in own)
        speech, chosen = models.encoder.encode(audio), drawn(options, i)
        heard = sample_motion(models, audio, speech=speech, options=chosen)
        read = sample_motion(models, audio, speech=speech, options=chosen, transcript=text) if reads(models) else None
        performed = [replace(chosen, style=Style(energy=energy)) for energy in ENERGIES]
        moved = [sample_motion(models, audio, speech=speech, options=own_energy) for own_energy in performed]
        speeds = [float(wrist_speed(motion, body).mean()) for motion in moved]
        found = {
            "rest_share": rest_share(heard, body), "head_yaw_range": head_yaw_range(heard),
            "arm_jerk_frames": float(jerk_frames(heard)),
            "energy_effect": speeds[1] / speeds[0],
        }  # fmt: skip
        if read is not None:
            found["arm_jerk_frames_text"] = float(jerk_frames(read))
        for name, value in found.items():
            rows.setdefault(name, []).append(value)
    return {name: bootstrap(values) for name, values in rows.items()}


def real_corpora(data: Path) -> list[Corpus]:
    """Return the labelled recordings of people: the folders real and real_* of the data."""
    folders = sorted(p for p in Path(data).glob("real*") if (p / "DONE").is_file())
    return [c for c in map(Corpus, folders) if any(e["phones"] for e in c.entries)]


def degraded(wave: Tensor, kind: str, seed: int) -> Tensor:
    """Degrade a waveform (S,): "reverb" of 0.6 s, "telephone" band, or music 10 dB below the speech.

    kind: "reverb", "telephone", any other for music; seed: of the random draws."""
    rng, plain = np.random.default_rng((9002, seed)), wave.numpy()
    if kind == "reverb":
        return torch.from_numpy(reverberate(plain, 0.6, 0.0, rng))
    if kind == "telephone":
        return torch.from_numpy(telephone(plain, 300, 3400))
    level = float(np.sqrt(np.square(plain).mean()))
    return torch.from_numpy(plain + 10 * level * 10 ** (-10 / 20) * ambience(len(plain), rng, "music"))


def real_metrics(models: MotionModels, corpora: list[Corpus], options: MotionOptions, count: int) -> Metrics:
    """Measure how often lips close on p, b and m in real recordings: overall, for the worst speaker with at least 10 of
    these sounds, and with reverberation, telephone band or music.

    models: of the motion.
    corpora: of real speech.
    options: of sampling.
    count: recordings per corpus."""
    gap, speakers, kinds = lip_gap_weights(HalfBody()), {}, {}
    for corpus in corpora:
        chosen = np.unique(np.linspace(0, len(corpus) - 1, min(count, len(corpus))).astype(int)).tolist()
        for i in chosen:
            utterance = corpus[i]
            for kind in ("plain", *DEGRADED):
                wave = utterance.waveform if kind == "plain" else degraded(utterance.waveform, kind, i)
                score = closure_score(models, utterance, sound_of(wave), drawn(options, i), gap)
                kinds.setdefault(kind, []).append(score)
                if kind == "plain":
                    speakers.setdefault(utterance.voice, []).append(score)
    metrics = {f"real_closure_{kind}": bootstrap(*zip(*kinds[kind], strict=True)) for kind in DEGRADED if kind in kinds}
    for name, scores in sorted(speakers.items()):
        if sum(weight for _, weight in scores):
            metrics[f"real_closure_recall_{name}"] = bootstrap(*zip(*scores, strict=True))
    enough = [n for n, scores in speakers.items() if sum(weight for _, weight in scores) >= 10]
    if enough:
        each = [metrics[f"real_closure_recall_{name}"] for name in enough]
        metrics["real_closure_worst"] = min(each, key=lambda row: row["value"])
    return metrics


def closure_score(
    models: MotionModels, utterance: Utterance, audio: Audio, options: MotionOptions, gap: tuple[Tensor, Tensor]
) -> tuple[float, int]:
    """Return the fraction of the p, b and m of an utterance at which the lips close within a frame, and their number.

    models: of the motion; audio: what they hear; options: of sampling; gap: from `lip_gap_weights`."""
    wanted = [int((s + e) / 2 * FPS) for name, s, e, _ in utterance.phones if name in ("p", "b", "m")]
    if not wanted:
        return 0.0, 0
    shut = lip_gap(sample_motion(models, audio, options=options).expression, gap) < CLOSED_MM
    near = torch.nn.functional.max_pool1d(shut.float()[None], 3, 1, 1)[0]
    return float(near[[min(w, len(near) - 1) for w in wanted]].mean()), len(wanted)


def meaning_real(models: MotionModels, corpora: list[Corpus], options: MotionOptions, count: int) -> Metrics:
    """Measure meaning gestures on real speech: their recall on words that have one, and the fraction of false words.

    models: of the motion.
    corpora: of real speech, from which utterances are taken in turn.
    options: of sampling.
    count: utterances at most.

    The recall is measured from the sound alone (words spotted in the phones), with the transcript, and with the words
    of the optional recogniser, if installed; false are spotted or recognised gesture words that were not said."""
    classes = TRAINING_WORDS | HELD_OUT_WORDS
    templates, rows, weights, false = arm_templates(HalfBody()), {}, [], {"spotted": [], "recognised": []}
    for utterance, index in _in_turn(corpora):
        marks = [m for m in accents(utterance) if m.word.lower() in classes and m.time > 0.3]
        if not marks or len(weights) >= count:
            continue
        weights.append(len(marks))
        audio = sound_of(utterance.waveform)
        speech, ways = models.encoder.encode(audio), dict[str, str | list[Word] | None](audio=None)
        if reads(models):
            ways["text"] = utterance.text
            false["spotted"] += _false_words(spotted_words(speech), utterance, classes)
            if can_recognise():
                words = recognised_words(audio)
                ways["recognised"] = words or None
                false["recognised"] += _false_words(words, utterance, classes)
        for way, transcript in ways.items():
            motion = sample_motion(models, audio, speech=speech, options=drawn(options, index), transcript=transcript)
            hits = [classes[m.word.lower()] in shown_gestures(motion, m.time, templates) for m in marks]
            rows.setdefault(way, []).append(sum(hits) / len(hits))
    metrics = {f"meaning_real_{way}": bootstrap(values, weights) for way, values in rows.items()}
    return metrics | {f"{way}_false": bootstrap(found) for way, found in false.items() if found}


def _in_turn(corpora: list[Corpus]) -> Iterator[tuple[Utterance, int]]:
    """Yield (utterance, its index): the first of each corpus, the second of each, ..."""
    for i in range(max((len(c) for c in corpora), default=0)):
        yield from ((corpus[i], i) for corpus in corpora if i < len(corpus))


def _false_words(words: list[Word], utterance: Utterance, classes: dict[str, str]) -> list[bool]:
    """Tell for each recognised word that has a gesture whether no word of its class is said at that time."""
    said = [(classes[w.lower()], start, end) for w, start, end in utterance.words if w.lower() in classes]
    return [
        not any(kind == classes[word.text] and start < word.end and end > word.start for kind, start, end in said)
        for word in words
        if word.text in classes
    ]


def spoken_share(models: MotionModels, audio: Audio) -> float:
    """Return the fraction of frames with speech, according to the encoder."""
    return 1 - float(speechless(voice_activity(models.encoder.encode(audio, features=False).phones)).float().mean())
