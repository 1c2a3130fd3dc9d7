"""The speech corpus: many voices, exact labels, reproducible from a seed.

Command: python -m stereotalker_core.synthetic.speech.corpus --split train --minutes 150 --seed 1 --out data/speech

A split is a folder: waveforms.npy (int16, 16 kHz, all utterances one after the other), index.jsonl (one utterance a
line) and an empty file DONE once it is complete. Validation has sentences and voices that training never has.
"""

import argparse
import json
import logging
import random
import shutil
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...shapes import SAMPLE_RATE
from .phones import PHONE_INDEX, SILENCE
from .sentences import Sentence, sentence
from .tts import ENGINES, available_engines, synthesise
from .utterance import Phone, Utterance, Word

logger = logging.getLogger(__name__)

SPLITS = ("train", "val")
ESPEAK_ACCENTS = ("en-us",) * 6 + ("en",) * 2 + ("en-us-nyc", "en-gb-x-rp", "en-gb-scotland")
ESPEAK_TRAIN = (
    "adam", "Alex", "Alicia", "Andy", "Annie", "antonio", "belinda", "benjamin", "boris", "caleb", "Denis",
    "Diogo", "ed", "edward", "Gene", "Gene2", "gustave", "announcer", "Henrique", "Hugo", "iven", "iven2",
    "iven3", "iven4", "Jacky", "john", "Lee", "linda", "marcelo", "Marco", "Mario", "max", "Michael", "michel",
    "miguel", "Mike", "pablo", "paul", "pedro", "quincy", "rob", "robert", "steph", "steph2", "Storm", "zac",
    "anika", "f1", "f2", "f3", "f5", "klatt", "klatt2", "klatt3", "m1", "m2", "m3", "m4", "m6", "m7", "m8",
    "norbert", "sandro", "shelby", "travis", "victor", "grandma", "grandpa",
)  # fmt: skip
ESPEAK_HELD_OUT = ("f4", "m5", "Andrea", "david", "steph3", "klatt4")  # never in training, with any accent
# flite has four speakers; awb played more slowly is a fifth, as no speed of awb is ever trained on
FLITE_TRAIN, FLITE_HELD_OUT = ("slt", "rms"), ("awb", "kal16", "awb@0.88")
# Kokoro: the last letter group names the speaker; the held-out ones are two women and two men
KOKORO_HELD_OUT = ("af_sarah", "am_eric", "bf_lily", "bm_daniel")
# emotion -> (tempo factor, pitch shift) at full intensity: the voice follows the label, so that the sound can tell
_PROSODY = {
    "neutral": (1.0, 0.0), "happy": (1.08, 0.25), "sad": (0.86, -0.25), "angry": (1.12, 0.05), "surprised": (1.02, 0.4),
    "fear": (1.1, 0.35), "disgusted": (0.92, -0.15), "contempt": (0.94, -0.1),
}  # fmt: skip


def in_validation(text: str) -> bool:
    """Tell whether a sentence belongs to the validation split: one in ten, by its checksum."""
    return zlib.crc32(text.encode()) % 10 == 0


def draw_voice(engine: str, split: str, rng: random.Random) -> str:
    """Draw a random voice of an engine, from those that belong to the split."""
    train = split == "train"
    if engine == "espeak":
        return f"{rng.choice(ESPEAK_ACCENTS)}+{rng.choice(ESPEAK_TRAIN if train else ESPEAK_HELD_OUT)}"
    if engine == "flite":
        factor = f"@{rng.uniform(0.85, 1.18):.2f}" if train else ""
        return rng.choice(FLITE_TRAIN if train else FLITE_HELD_OUT) + factor
    from .tts_kokoro import ENGLISH_VOICES

    own = [v for v in ENGLISH_VOICES if (v in KOKORO_HELD_OUT) != train]
    if train and rng.random() < 0.6:  # a mixture of two voices is another speaker
        return f"{rng.choice(own)}+{rng.choice(own)}:{rng.uniform(0.2, 0.8):.2f}@{rng.uniform(0.88, 1.14):.2f}"
    return rng.choice(own)


def speak_random(split: str, engine: str, rng: random.Random) -> tuple[Utterance, Sentence]:
    """Speak one utterance of the split with an engine; sentence, voice, tempo and pitch are random."""
    chosen = sentence(rng)
    while in_validation(chosen.text) != (split == "val"):
        chosen = sentence(rng)
    tempo, pitch = _PROSODY[chosen.emotion]
    amount = chosen.intensity / 3
    speed = min(max((1 + amount * (tempo - 1)) * rng.uniform(0.8, 1.2), 0.5), 2.0)
    pitch = min(max(amount * pitch + rng.uniform(-0.5, 0.5), -1.0), 1.0)
    voice = draw_voice(engine, split, rng)
    return synthesise(chosen.text, engine, voice, speed, pitch, rng.randrange(1 << 30)), chosen


def write_corpus(out: Path, split: str, minutes: float, seed: int, engines: tuple[str, ...]) -> dict[str, float]:
    """Write one split of a corpus -> a table of what it holds, see `summary`.

    out: folder of the split; split: its name, one of SPLITS; minutes: amount of speech; seed: determines what is said;
        engines: names of speech engines (of ENGINES), which take turns. ValueError, before anything is written, for
        other names or minutes that are not positive."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    if not minutes > 0:
        raise ValueError(f"minutes must be positive, got {minutes}")
    if not engines or set(engines) - set(ENGINES):
        raise ValueError(f"engines {engines} must be of {', '.join(ENGINES)}")
    out.mkdir(parents=True, exist_ok=True)
    (out / "DONE").unlink(missing_ok=True)
    raw, total, count = out / "waveforms.raw", 0, 0
    with raw.open("wb") as sound, (out / "index.jsonl").open("w", encoding="utf-8") as index:
        while total < minutes * 60 * SAMPLE_RATE:
            rng = random.Random(f"{seed} {split} {count}")  # same choices again; espeak-ng itself varies by 16 ms
            utterance, chosen = speak_random(split, engines[count % len(engines)], rng)
            samples = to_int16(utterance.waveform)
            entry = index_entry(f"{split}-{seed}-{count:06d}", utterance, total, len(samples))
            chose = {"emotion": chosen.emotion, "intensity": chosen.intensity, "style": chosen.style}
            index.write(json.dumps(entry | chose) + "\n")
            sound.write(samples.tobytes())
            total, count = total + len(samples), count + 1
            if count % 500 == 0:
                logger.info("%s: %d utterances, %.1f of %.1f minutes", split, count, total / SAMPLE_RATE / 60, minutes)
    finish_waveforms(raw, total)
    table = summary(out)
    (out / "DONE").touch()
    return table


def to_int16(waveform: Tensor) -> np.ndarray:
    """Map a waveform (S,) float -> int16, scaled to a peak of 0.7 so that nothing clips."""
    samples = waveform.numpy()
    return np.round(samples * (0.7 / max(float(np.abs(samples).max()), 1e-4)) * 32767).astype(np.int16)


def index_entry(name: str, utterance: Utterance, start: int, samples: int) -> dict:
    """Return the entry {"id", "engine", "voice", "text", "seconds", "start_sample", "samples", "words", "phones"} of an
    utterance in index.jsonl.

    name: its id; start, samples: where its waveform begins in the corpus, and its length. words and phones have times
    (s)."""
    return {
        "id": name,
        "engine": utterance.engine,
        "voice": utterance.voice,
        "text": utterance.text,
        "seconds": samples / SAMPLE_RATE,
        "start_sample": start,
        "samples": samples,
        "words": [(w, round(s, 4), round(e, 4)) for w, s, e in utterance.words],
        "phones": [(p, round(s, 4), round(e, 4), k) for p, s, e, k in utterance.phones],
    }


def finish_waveforms(raw: Path, samples: int) -> None:
    """Turn raw int16 samples X.raw into X.npy by prepending the .npy header."""
    with raw.with_suffix(".npy").open("wb") as target, raw.open("rb") as source:
        header = {"descr": "<i2", "fortran_order": False, "shape": (samples,)}
        np.lib.format.write_array_header_1_0(target, header)
        shutil.copyfileobj(source, target, 1 << 20)
    raw.unlink()


class Corpus:
    """The reader of a written split: a sequence of `Utterance`; `entries` are their entries of index.jsonl.

    folder: of the split. ValueError where it holds no complete corpus."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not (self.folder / "DONE").exists():
            raise ValueError(f"{folder} holds no complete corpus; write it with: synth speech")
        index = (self.folder / "index.jsonl").read_text(encoding="utf-8")
        self.entries = [json.loads(line) for line in index.splitlines()]
        self.samples = np.load(self.folder / "waveforms.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, i: int) -> Utterance:
        e = self.entries[i]
        wave = self.samples[e["start_sample"] : e["start_sample"] + e["samples"]].astype(np.float32) / 32768
        words: tuple[Word, ...] = tuple((w, s, t) for w, s, t in e["words"])
        phones: tuple[Phone, ...] = tuple((p, s, t, k) for p, s, t, k in e["phones"])
        return Utterance(torch.from_numpy(wave), words, phones, e["text"], e["engine"], e["voice"])

    def __iter__(self) -> Iterator[Utterance]:
        return (self[i] for i in range(len(self)))


def phone_labels(phones: tuple[Phone, ...], frames: int, rate: float = 50.0) -> Tensor:
    """Return the index of the phone in the middle of each frame, (frames,) int64, at `rate` frames per second."""
    labels = torch.full((frames,), PHONE_INDEX[SILENCE])
    middle = (torch.arange(frames) + 0.5) / rate
    for name, start, end, _ in phones:
        labels[(middle >= start) & (middle < end)] = PHONE_INDEX[name]
    return labels


def summary(folder: Path) -> dict[str, float]:
    """Return what a split holds: {"hours", "utterances", "voices", "words", "different_words", "phones", "sentences":
    number, "hours_ENGINE": of each speech engine}."""
    entries = [json.loads(line) for line in (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    seconds = Counter()
    for e in entries:
        seconds[e["engine"]] += e["seconds"]
    table: dict[str, float] = {
        "hours": sum(seconds.values()) / 3600,
        "utterances": len(entries),
        "voices": len({(e["engine"], e["voice"]) for e in entries}),
        "words": sum(len(e["words"]) for e in entries),
        "different_words": len({w[0].lower() for e in entries for w in e["words"]}),
        "phones": sum(len(e["phones"]) for e in entries),
        "sentences": len({e["text"] for e in entries}),
    }
    return table | {f"hours_{name}": value / 3600 for name, value in sorted(seconds.items())}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `synth speech`."""
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--minutes", type=float, default=150.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("data/speech"))
    parser.add_argument("--name", default="", help="folder name; the split's name by default")
    parser.add_argument("--engines", default="", help="comma separated; all that are installed but kokoro by default")


def run(options: argparse.Namespace) -> dict[str, float]:
    """Write a corpus -> a table of what it holds, see `summary`. ValueError where no speech engine is installed."""
    engines = tuple(x for x in options.engines.split(",") if x) or tuple(
        name for name in available_engines() if name != "kokoro"
    )
    if not engines:
        raise ValueError("no speech engine is installed: apt-get install espeak-ng flite1-dev gcc libc6-dev")
    folder = options.out / (options.name or options.split)
    table = write_corpus(folder, options.split, options.minutes, options.seed, engines)
    for key, value in table.items():
        logger.info("%-16s %.3f", key, value)
    return table
