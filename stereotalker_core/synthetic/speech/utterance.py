"""The common output of all speech engines: an utterance with words and phones, and helpers that make times fit."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ...shapes import SAMPLE_RATE, dims
from .phones import PHONE_INDEX, SILENCE

Word = tuple[str, float, float]  # word, start s, end s
Phone = tuple[str, float, float, int]  # phone, start s, end s, stress 0 none 1 primary 2 secondary


class EngineMissing(RuntimeError):
    """The speech engine is not installed; the message says how to install it."""


@dataclass(frozen=True)
class Utterance:
    """The spoken sentence: waveform (S,) float at 16 kHz, words and phones with times in seconds.

    The phones cover [0, seconds] without gaps; pauses are "sil". Words do not include pauses."""

    waveform: Tensor
    words: tuple[Word, ...]
    phones: tuple[Phone, ...]
    text: str
    engine: str
    voice: str

    def __post_init__(self) -> None:
        dims(self.waveform, "S")
        unknown = sorted({p[0] for p in self.phones} - set(PHONE_INDEX))
        if unknown:
            raise ValueError(f"phones {unknown} are not in PHONES")

    @property
    def seconds(self) -> float:
        return self.waveform.shape[0] / SAMPLE_RATE


def resample(waveform: np.ndarray, rate: int) -> np.ndarray:
    """Resample (S0,) at `rate` Hz -> (S,) at 16 kHz, by a polyphase filter."""
    if rate == SAMPLE_RATE:
        return waveform.astype(np.float32)
    return polyphase(waveform, rate, SAMPLE_RATE)


def polyphase(waveform: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Resample (S0,) at `rate` -> (S,) float32 at `wanted`; only the ratio of the two matters."""
    import librosa

    return librosa.resample(waveform, orig_sr=rate, target_sr=wanted, res_type="polyphase").astype(np.float32)


def tile(phones: list[Phone], seconds: float) -> tuple[Phone, ...]:
    """Return phones that cover [0, seconds]: gaps become silence, neighbouring silences merge, empty phones are
    dropped."""
    filled: list[Phone] = []
    cursor = 0.0
    for name, start, end, stress in [*phones, (SILENCE, seconds, seconds, 0)]:
        start, end = max(start, cursor), min(end, seconds)
        if start - cursor > 1e-4:
            filled.append((SILENCE, cursor, start, 0))
        if end - start > 1e-4:
            filled.append((name, start, end, stress))
        cursor = max(cursor, end, start)
    merged: list[Phone] = []
    for phone in filled:
        if merged and phone[0] == SILENCE and merged[-1][0] == SILENCE:
            phone = (SILENCE, merged.pop()[1], phone[2], 0)
        merged.append(phone)
    return tuple(merged)
