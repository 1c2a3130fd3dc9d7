"""Words found in the sound, with their times: an optional recogniser, PocketSphinx with its own English model.

It needs a third of real time on one core. In clear speech it finds most words that have a gesture, in fast casual
speech few: see docs/motion.md. Without it the language prior listens to the phones alone."""

import importlib.util
import re
from typing import Any

import numpy as np

from ...records import Audio
from ...shapes import SAMPLE_RATE
from ..align import Word
from ..level import Levelled
from ..spool import SpooledAudio

MOST, LEAST = 20, 8  # seconds that are recognised at a time: cut at the quietest moment between these
_CELL = SAMPLE_RATE // 20


def can_recognise() -> bool:
    """Tell whether the optional package of the recogniser is installed."""
    return importlib.util.find_spec("pocketsphinx") is not None


def recognised_words(audio: Audio | SpooledAudio) -> list[Word]:
    """Return the English words of a recording in order; an empty list where no word is recognised.

    ValueError with the remedy where the recogniser is not installed."""
    if not can_recognise():
        raise ValueError("words from the sound need pocketsphinx: pip install '.[recognition]' in the clone")
    from pocketsphinx import Decoder

    decoder, levelled, words, start = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL"), Levelled(audio.waveform), [], 0
    while start < len(levelled):
        piece = levelled[start : start + MOST * SAMPLE_RATE].numpy()
        if start + len(piece) < len(levelled):
            piece = piece[: quietest(piece)]
        if len(piece) > _CELL:
            words += _recognised(decoder, piece, start / SAMPLE_RATE)
        start += len(piece)
    return words


def quietest(piece: np.ndarray) -> int:
    """Return the sample index at which to cut a piece: the middle of its quietest 50 ms after the first `LEAST`
    seconds."""
    cells = len(piece) // _CELL
    loud = np.square(piece[: cells * _CELL].reshape(cells, _CELL)).mean(1)
    first = LEAST * SAMPLE_RATE // _CELL
    return int((first + loud[first:].argmin() + 0.5) * _CELL)


def _recognised(decoder: Any, piece: np.ndarray, offset: float) -> list[Word]:
    raw = (np.clip(piece, -1, 1) * 32767).astype(np.int16).tobytes()
    decoder.start_utt()
    decoder.process_raw(raw, full_utt=True)
    decoder.end_utt()
    found = []
    for segment in decoder.seg() or ():
        name = re.sub(r"\(\d+\)$", "", segment.word)
        if re.fullmatch(r"[a-z][a-z'.-]*", name):  # not <sil>, [NOISE], ++BREATH++
            found.append(Word(name, offset + segment.start_frame / 100, offset + (segment.end_frame + 1) / 100))
    return found
