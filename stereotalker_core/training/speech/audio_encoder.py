"""Train `SpeechEncoder`: frame-wise phone classification at 50 Hz on random crops of the speech corpus.

`python -m stereotalker_core train audio-encoder --data data/speech --steps N --out X.safetensors` trains, resumes,
evaluates on the unseen voices and saves. An optional teacher (speech_teacher.py) adds its features as a second target:
phones come from synthetic voices only, the teacher has heard real ones. A folder of recordings without labels
(`synth real-speech --unlabelled`) joins with the teacher's features and the phones that its probe is sure of, or with
--anchor: what the encoder that training starts from hears in the clean recording is asked of the degraded one.
--ambience adds music, noise, rooms and far voices, in all of which nobody speaks: their label is silence. With
--faithful every degraded crop is also asked for the features and the phones that the anchor has of the clean one:
noise costs less, and what was known of clean speech stays.
"""

import argparse
import json
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import checkpoint
from ...audio.encoder import HOP, SpeechEncoder
from ...audio.load import loudness_gain
from ...audio.phones import CLOSURES, PHONE_INDEX, PHONES
from ...shapes import SAMPLE_RATE
from ...synthetic.sound.augment import augment
from ...synthetic.sound.surroundings import Surroundings
from ...synthetic.speech.corpus import Corpus, phone_labels
from ..loop import Batch, Schedule, fit, generator
from ..provenance import made

logger = logging.getLogger(__name__)
MARGIN = 0.15  # seconds of silence that a short utterance may get in front
IGNORED = -100  # label of a frame whose phone is not known


@dataclass(frozen=True)
class CropSettings:
    """The settings of the random crops that are a training batch.

    batch: crops per step; seconds: length of each; seed: determines all of them.
    tempo: crops are played up to this fraction faster or slower (0.1 = 10 %), which makes other speakers.
    augment: fraction of the crops that is degraded.
    mask_bands, mask_frames: largest number of neighbouring bands, or frames, of the spectrum that is blanked at once.
    ambience: fraction of the crops that have other sounds beside the speech.
    alone: fraction of the crops that have other sounds and no speech; None: a third of `ambience`."""

    batch: int = 16
    seconds: float = 2.0
    tempo: float = 0.15
    augment: float = 0.8
    mask_bands: int = 12
    mask_frames: int = 8
    ambience: float = 0.0  # fraction of crops with other sound beside the speech
    alone: float | None = None  # fraction of crops with other sound only; None = a third of `ambience`
    seed: int = 0


class Source:
    """The speech corpus prepared for crops: loudness gains, phone borders in samples, the teacher's features if
    requested.

    folder: of the corpus; teach: read the teacher's features; weight: how often a second of this corpus is drawn,
        relative to a second of a corpus of weight 1."""

    def __init__(self, folder: Path, teach: bool = False, weight: float = 1.0) -> None:
        self.corpus, self.weight = Corpus(folder), weight
        self.teacher = TeacherFeatures(self.corpus) if teach else None
        self.gains = [loudness_gain(utterance_wave(self.corpus, i)) for i in range(len(self.corpus))]
        guessed = self.teacher.guesses if self.teacher else None
        rows = enumerate(self.corpus.entries)
        spans = (borders(e) if e["phones"] else guessed_borders(guessed, self.teacher, i) for i, e in rows)
        self.edges, self.labels = zip(*spans, strict=True)

    def play(self, i: int, start: float, factor: float, size: int) -> np.ndarray:
        """Return `size` samples of an utterance, played from a sample on at another speed; silence before and after its
        end.

        i: its number; start: the sample, may be negative; factor: how many times as fast (linear interpolation); size:
            samples."""
        entry = self.corpus.entries[i]
        first, last = max(0, int(start)), min(entry["samples"], int(start + factor * size) + 2)
        begin = entry["start_sample"]
        piece = self.corpus.samples[begin + first : begin + last].astype(np.float32) * (self.gains[i] / 32768)
        at = start + factor * np.arange(size) - first
        return np.interp(at, np.arange(len(piece)), piece, left=0.0, right=0.0).astype(np.float32)


class PhoneCrops:
    """The source of training batches: called with a step, it returns a dictionary of B random crops of S samples.

    "waveforms" (B, S); "labels" (B, S/320) phone indices, IGNORED where unknown; "keep" (B, bins, S/160), 0 where the
    spectrum is blanked; with other sounds also "clean" (B, S), the crop without them; with a teacher "targets" (B,
    S/320, D), its features, and "heard" (B, S/320), whether they exist."""

    def __init__(self, sources: list[Source], crops: CropSettings, bins: int) -> None:
        self.sources, self.crops, self.bins = sources, crops, bins
        self.surroundings = Surroundings(crops.seed) if crops.ambience else None
        self.size = round(crops.seconds * SAMPLE_RATE / HOP) * HOP
        self.utterances = [(k, i) for k, source in enumerate(sources) for i in range(len(source.corpus))]
        # longer utterances are drawn more often: every second of speech is as likely as any other
        lengths = [sources[k].weight * sources[k].corpus.entries[i]["samples"] for k, i in self.utterances]
        seconds = np.cumsum(lengths, dtype=np.float64)
        self.weights = seconds / seconds[-1]

    def __call__(self, step: int) -> Batch:
        rng = generator(self.crops.seed, step)
        rows = [self._crop(rng) for _ in range(self.crops.batch)]
        batch = {k: torch.from_numpy(np.stack([row[k] for row in rows])) for k in rows[0]}
        return batch | {"keep": torch.from_numpy(self._keep(rng))}

    def _crop(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        k, i = self.utterances[min(int(np.searchsorted(self.weights, rng.random())), len(self.utterances) - 1)]
        source, edge = self.sources[k], MARGIN * SAMPLE_RATE
        factor = 1 + rng.uniform(-self.crops.tempo, self.crops.tempo)
        free = source.corpus.entries[i]["samples"] - factor * self.size + edge
        start = rng.uniform(-edge, max(free, 0.0))
        wave = clean = source.play(i, start, factor, self.size)
        if rng.random() < self.crops.augment:
            loudness = np.sqrt(np.square(wave).mean())
            wave = augment(wave, rng)  # its gain is undone: the encoder always hears normalised speech
            wave = wave * (loudness / max(np.sqrt(np.square(wave).mean()), 1e-6))
        middle = start + factor * HOP * (np.arange(self.size // HOP) + 0.5)
        labels = source.labels[i][np.searchsorted(source.edges[i], middle, "right")]
        if self.surroundings is not None:
            alone = self.crops.ambience / 3 if self.crops.alone is None else self.crops.alone
            if rng.random() < alone:
                wave, labels = self.surroundings.alone(self.size, rng), np.zeros_like(labels)
            elif rng.random() < self.crops.ambience:
                wave = self.surroundings.beside(wave, rng, self._voice)
        wave = wave * 10 ** rng.uniform(-0.2, 0.2)
        row = {"waveforms": wave.astype(np.float32), "labels": labels}
        if self.surroundings is not None:
            row["clean"] = clean
        if source.teacher is not None:
            row["targets"], row["heard"] = source.teacher.at(i, middle / HOP - 0.5)
        return row

    def _voice(self, rng: np.random.Generator) -> np.ndarray:
        """Return samples (S,) of a random utterance, to be mixed in as a distant voice."""
        k, i = self.utterances[int(rng.integers(0, len(self.utterances)))]
        entry = self.sources[k].corpus.entries[i]
        return self.sources[k].play(i, rng.uniform(0, max(1, entry["samples"] - self.size)), 1.0, self.size)

    def _keep(self, rng: np.random.Generator) -> np.ndarray:
        """Return masks (B, bins, S/160) of ones with a few bands and times set to zero (SpecAugment)."""
        c, frames = self.crops, self.size // (HOP // 2)
        keep = np.ones((c.batch, self.bins, frames), np.float32)
        for row in keep:
            for _ in range(2):
                wide, low = rng.integers(0, c.mask_bands + 1), rng.integers(0, self.bins)
                row[low : low + wide] = 0
                long, first = rng.integers(0, c.mask_frames + 1), rng.integers(0, frames)
                row[:, first : first + long] = 0
        return keep


class TeacherFeatures:
    """The files that speech_teacher.py wrote beside a corpus: teacher.npy (N, Dt) at 50 Hz, utterance after utterance.

    guesses: (N,) phones that the teacher's probe is certain of, IGNORED elsewhere; None where none were written."""

    def __init__(self, corpus: Corpus) -> None:
        self.values = np.load(corpus.folder / "teacher.npy", mmap_mode="r")
        guesses = corpus.folder / "guesses.npy"
        self.guesses = np.load(guesses) if guesses.is_file() else None
        counts = [-(-e["samples"] // HOP) for e in corpus.entries]
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        if self.starts[-1] != len(self.values):
            raise ValueError(
                f"{corpus.folder}/teacher.npy has {len(self.values)} frames, the corpus {self.starts[-1]}; "
                "write it again with speech_teacher"
            )
        self.width = self.values.shape[1]

    def at(self, i: int, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interpolate the teacher's features of an utterance -> targets (T, Dt), and whether each position lies inside
        it (T,).

        i: number of the utterance; position: (T,) fractional frames."""
        count = int(self.starts[i + 1] - self.starts[i])
        inside = (position >= 0) & (position <= count - 1)
        clipped = np.clip(position, 0, count - 1)
        below = np.minimum(clipped.astype(int), max(count - 2, 0))
        weight = (clipped - below)[:, None].astype(np.float32)
        rows = self.values[self.starts[i] + below[0] : self.starts[i] + below[-1] + 2].astype(np.float32)
        upper = np.minimum(below - below[0] + 1, len(rows) - 1)
        return rows[below - below[0]] * (1 - weight) + rows[upper] * weight, inside.astype(np.float32)


class Trainee(nn.Module):
    """The encoder and, beside it, the projection onto the teacher's features (discarded after training)."""

    def __init__(self, encoder: SpeechEncoder, teacher_width: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        self.teach = nn.Linear(encoder.config.width, teacher_width) if teacher_width else None


def loss(
    trainee: Trainee,
    batch: Batch,
    teacher_weight: float = 1.0,
    anchor: SpeechEncoder | None = None,
    faithful: float = 0.0,
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss () of a batch, and its terms and accuracies {name: number}.

    It is the cross-entropy over phones (smoothed, as boundaries are uncertain), plus smooth L1 to the teacher's
    features.

    trainee: the encoder with its projection.
    batch: from `PhoneCrops`.
    teacher_weight: factor of the teacher's term.
    anchor: an encoder whose probabilities for the clean crop are the target of frames without a label.
    faithful: weight of the anchor's probabilities and features as targets of all frames."""
    hidden, logits = trainee.encoder.encode_batch(batch["waveforms"], batch["keep"])
    flat, labels = logits.flatten(0, 1).float(), batch["labels"].flatten()
    phones = F.cross_entropy(flat, labels, label_smoothing=0.05, ignore_index=IGNORED)
    known, spoken = labels != IGNORED, labels > 0
    right = (flat.argmax(-1) == labels).float()
    accuracy, voiced = float(right[known].mean()), float(right[spoken].mean())
    parts = {"phones": float(phones.detach()), "accuracy": accuracy, "spoken": voiced}
    # the anchor hears the clean crop: its probabilities are the target where there is no label, or everywhere
    if anchor is not None and (faithful or not known.all()):
        with torch.no_grad():
            features, heard = anchor.encode_batch(batch["clean"])
            heard = heard.flatten(0, 1).float().softmax(-1)
        unknown = flat.new_ones(len(flat), dtype=torch.bool) if faithful else ~known
        guessed = F.cross_entropy(flat[unknown], heard[unknown])
        share = float((~known).float().mean())
        phones = (1 - share) * phones + (faithful or share) * guessed
        parts["guessed"] = float(guessed.detach())
        if faithful:
            near = F.smooth_l1_loss(hidden.float(), features.float())
            phones = phones + faithful * near
            parts["near"] = float(near.detach())
    # features of the public model, where the crop lies inside the recording
    if trainee.teach is None:
        return phones, parts
    error = F.smooth_l1_loss(trainee.teach(hidden).float(), batch["targets"], reduction="none").mean(-1)
    teacher = (error * batch["heard"]).sum() / batch["heard"].sum().clamp_min(1)
    return phones + teacher_weight * teacher, parts | {"teacher": float(teacher.detach())}


@torch.no_grad()
def evaluate(encoder: SpeechEncoder, corpus: Corpus, limit: int = 400) -> dict[str, float]:
    """Measure phone recognition at 50 Hz -> {"WHO_FIGURE": fraction}; WHO: a speech engine of the corpus, or "all".

    FIGURE: accuracy = frames that are right; spoken = the same without silence; closure_recall = frames of p, b or m
    that are recognised as one of these; closure_precision = frames recognised as one of these that are.
    limit: largest number of utterances."""
    closures = torch.tensor([p in CLOSURES for p in PHONES])
    counts: dict[str, Tensor] = {}
    for i in np.unique(np.linspace(0, len(corpus) - 1, min(limit, len(corpus))).astype(int)):
        wave = utterance_wave(corpus, i)
        wave = F.pad(wave * loudness_gain(wave), (0, -len(wave) % HOP))
        guess = encoder.encode_batch(wave[None])[1][0].argmax(-1)
        labels = phone_labels(corpus[int(i)].phones, len(guess))
        right, spoken, closed = guess == labels, labels != 0, closures[labels]
        row = [right.sum(), len(right), (right & spoken).sum(), spoken.sum(), (closures[guess] & closed).sum()]
        row += [closed.sum(), (closures[guess] & ~closed).sum()]
        for key in (corpus.entries[i]["engine"], "all"):
            counts[key] = counts.get(key, torch.zeros(7)) + torch.tensor([float(x) for x in row])
    metrics = {}
    for key, (right, total, right_spoken, spoken, hit, closed, false) in sorted(counts.items()):
        metrics[f"{key}_accuracy"] = float(right / total)
        metrics[f"{key}_spoken"] = float(right_spoken / spoken.clamp_min(1))
        metrics[f"{key}_closure_recall"] = float(hit / closed.clamp_min(1))
        metrics[f"{key}_closure_precision"] = float(hit / (hit + false).clamp_min(1))
    return {k: round(v, 4) for k, v in metrics.items()}


def utterance_wave(corpus: Corpus, i: int) -> Tensor:
    """Return the samples (S,) of utterance i, float in [-1, 1]."""
    entry = corpus.entries[int(i)]
    samples = corpus.samples[entry["start_sample"] : entry["start_sample"] + entry["samples"]]
    return torch.from_numpy(samples.astype(np.float32) / 32768)


def borders(entry: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return the borders between an utterance's K phones, (K + 1,) in samples, and the labels of the phones, (K + 2,).

    The first and the last label are the silence before and after the utterance. entry: of the utterance in the index.
    """
    edges = [p[1] * SAMPLE_RATE for p in entry["phones"]] + [entry["phones"][-1][2] * SAMPLE_RATE]
    return np.array(edges), np.array([0, *(PHONE_INDEX[p[0]] for p in entry["phones"]), 0])


def guessed_borders(
    guesses: np.ndarray | None, teacher: TeacherFeatures | None, i: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return borders and labels as `borders` does, for an utterance without phones: every frame has a label of its own.

    guesses: labels of all frames of the corpus, from the teacher's probe; None: all are unknown. teacher: tells which
        of these frames belong to utterance number i."""
    if guesses is None or teacher is None:
        return np.array([0.0]), np.array([IGNORED, IGNORED])
    own = guesses[teacher.starts[i] : teacher.starts[i + 1]]
    return np.arange(len(own) + 1) * float(HOP), np.concatenate([[0], own, [0]])


def export(trainee: Trainee, out: Path, data: Path, provenance: dict[str, Any]) -> dict[str, float]:
    """Evaluate the encoder on the validation voices, save it without the projection -> its metrics, see `evaluate`.

    out: file to write; data: folder of the corpus, whose split "real" adds metrics "real_*"; provenance: for the file.
    """
    encoder = trainee.encoder.eval()
    metrics = evaluate(encoder, Corpus(data / "val"))
    if (data / "real" / "DONE").exists():
        metrics |= {f"real_{k}": v for k, v in evaluate(encoder, Corpus(data / "real")).items()}
    info: dict[str, Any] = provenance | {"metrics": metrics}
    checkpoint.save(encoder, out, **info)
    logger.info("%s: %s", out, json.dumps(metrics))
    return metrics


def mixed(encoder: SpeechEncoder, other: SpeechEncoder, share: float) -> None:
    """Average the weights of two encoders in `encoder`, which is changed: share * encoder + (1 - share) * other.

    encoder: the trained one; its voice detector keeps its own weights.
    other: where its training started, unchanged here. The mixture keeps earlier abilities (Wortsman et al., arXiv
        2109.01903).
    share: 0..1, the weight of `encoder`."""
    known = dict(other.named_parameters())
    with torch.no_grad():
        for name, own in encoder.named_parameters():
            if not name.startswith("voice."):
                own.lerp_(known[name].to(own), 1 - share)


def averaged(trainee: Trainee, run: Path) -> int:
    """Load the averaged (EMA) weights of an unfinished run into the trainee -> its step."""
    state = torch.load(run / "state.pt", map_location="cpu", weights_only=True)
    trainee.load_state_dict(state["model"])
    with torch.no_grad():
        for parameter, smooth in zip(trainee.parameters(), state["average"], strict=True):
            parameter.copy_(smooth)
    return state["step"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train audio-encoder`."""
    parser.add_argument("--data", type=Path, default=Path("data/speech"))
    parser.add_argument("--train", nargs="+", default=["train"], help="folders of the data, or FOLDER:WEIGHT a second")
    parser.add_argument("--start", type=Path, help="a trained encoder to start from")
    parser.add_argument("--run", type=Path, default=Path("runs/audio_encoder"))
    parser.add_argument("--out", type=Path, default=checkpoint.NANO / "audio_encoder.safetensors")
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--teacher-weight", type=float, default=0.0, help="needs teacher.npy; see speech_teacher.py")
    parser.add_argument("--ambience", type=float, default=0.0, help="share of crops with other sound than speech")
    parser.add_argument("--anchor", type=Path, help="an encoder that labels recordings without labels")
    parser.add_argument("--faithful", type=float, default=0.0, help="weight of the anchor's view of the clean crop")
    parser.add_argument("--alone", type=float, help="share of crops without speech; a third of --ambience")
    parser.add_argument("--mix", metavar="FILE:SHARE", help="save SHARE of what was learnt, the rest from this encoder")
    parser.add_argument("--width", type=int, default=SpeechEncoder.Config.width)
    parser.add_argument("--layers", type=int, default=SpeechEncoder.Config.layers)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--export-only", action="store_true", help="save the run as it stands, do not train")


def run(options: argparse.Namespace) -> dict[str, float]:
    """Train the encoder and write its file -> the held-out metrics of `evaluate`. ValueError for --mix without
    --export-only."""
    if options.mix and not options.export_only:
        raise ValueError("--mix goes with --export-only: train first")
    start = checkpoint.load(SpeechEncoder, options.start) if options.start else None
    fresh = SpeechEncoder.Config(width=options.width, layers=options.layers, feed_forward=4 * options.width)
    config = start.config if start else fresh
    torch.manual_seed(options.seed)
    pairs = [(name.partition(":")[0], float(name.partition(":")[2] or 1)) for name in options.train]
    sources = [Source(options.data / name, options.teacher_weight > 0, weight) for name, weight in pairs]
    trainee = Trainee(SpeechEncoder(config), sources[0].teacher.width if sources[0].teacher else 0)
    if start:
        trainee.encoder.load_state_dict(start.state_dict())
    provenance = made(options) | {"steps": options.steps}
    if options.export_only:
        provenance["steps"] = averaged(trainee, options.run)
        if options.mix:
            file, _, share = options.mix.rpartition(":")
            mixed(trainee.encoder, checkpoint.load(SpeechEncoder, file), float(share))
        return export(trainee, options.out, options.data, provenance)
    crops = CropSettings(batch=options.batch, seed=options.seed, ambience=options.ambience, alone=options.alone)
    batch = PhoneCrops(sources, crops, config.bins)
    anchor = checkpoint.load(SpeechEncoder, options.anchor, options.device) if options.anchor else None
    measured: Any = partial(loss, teacher_weight=options.teacher_weight, anchor=anchor, faithful=options.faithful)
    warmup = min(200, options.steps // 10)
    schedule = Schedule(options.steps, lr=options.lr, warmup=warmup, seed=options.seed, weight_decay=1e-2)
    fit(trainee, batch, measured, schedule, options.run, options.device)
    return export(trainee.cpu(), options.out, options.data, provenance)
