"""Text to speech with exact phone and word times, by whichever engine is installed.

espeak-ng (formant synthesis, about a hundred voices), flite (parametric voices of real speakers) and Kokoro (neural).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from ...shapes import SAMPLE_RATE, dims
from .phones import PHONE_INDEX, SILENCE

Word = tuple[str, float, float]  # word, start s, end s
Phone = tuple[str, float, float, int]  # phone, start s, end s, stress 0 none 1 primary 2 secondary

ENGINES = ("espeak", "flite", "kokoro")


class EngineMissing(RuntimeError):
    """A speech engine is not installed; the message says how to install it."""


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence: waveform (S,) float at 16 kHz, words and phones with times in seconds.

    The phones tile [0, seconds] without gaps; pauses are "sil". Words leave the pauses out.
    """

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


def synthesise(
    text: str, engine: str = "espeak", voice: str = "", speed: float = 1.0, pitch: float = 0.0, seed: int = 0
) -> Utterance:
    """Speak `text`. speed 0.5..2 (1 = the voice's own), pitch -1..1; seed varies the liveliness of the intonation.

    A voice may end in "@factor" (for example "slt@0.93"): the recording is then played at that factor, which moves
    pitch, formants and tempo together and so makes another speaker. Raises EngineMissing with the remedy.
    """
    if not text.strip():
        raise ValueError("text is empty; give a sentence to speak")
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is not one of {', '.join(ENGINES)}")
    if not 0.5 <= speed <= 2 or not -1 <= pitch <= 1:
        raise ValueError(f"speed {speed} must be in 0.5..2 and pitch {pitch} in -1..1")
    base, _, factor = voice.partition("@")
    utterance = _engine(engine)(text, base, speed, pitch, seed)
    return play_at(utterance, float(factor)) if factor else utterance


def available_engines() -> tuple[str, ...]:
    """The engines that work on this machine."""
    found = []
    for name in ENGINES:
        try:
            _engine(name, probe=True)
        except EngineMissing:
            continue
        found.append(name)
    return tuple(found)


def _engine(name: str, probe: bool = False) -> Callable[..., Utterance]:
    if name == "espeak":
        from . import tts_espeak as module
    elif name == "flite":
        from . import tts_flite as module
    else:
        from . import tts_kokoro as module
    if probe:
        module.require()
    return module.speak


def resample(waveform: np.ndarray, rate: int) -> np.ndarray:
    """(S0,) at `rate` -> (S,) at 16 kHz, polyphase."""
    if rate == SAMPLE_RATE:
        return waveform.astype(np.float32)
    return _polyphase(waveform, rate, SAMPLE_RATE)


def play_at(utterance: Utterance, factor: float) -> Utterance:
    """The utterance played `factor` times as fast (0.8..1.25): another speaker; times follow."""
    if not 0.8 <= factor <= 1.25:
        raise ValueError(f"play-back factor {factor} must be in 0.8..1.25")
    ratio = Fraction(1 / factor).limit_denominator(64)
    waveform = _polyphase(utterance.waveform.numpy(), ratio.denominator, ratio.numerator)
    scale = float(ratio)
    return replace(
        utterance,
        waveform=torch.from_numpy(waveform),
        words=tuple((w, s * scale, e * scale) for w, s, e in utterance.words),
        phones=tuple((p, s * scale, e * scale, k) for p, s, e, k in utterance.phones),
        voice=f"{utterance.voice}@{factor:g}",
    )


def _polyphase(waveform: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """(S0,) at `rate` -> (S,) float32 at `wanted`; only their ratio counts."""
    import librosa

    return librosa.resample(waveform, orig_sr=rate, target_sr=wanted, res_type="polyphase").astype(np.float32)


def tile(phones: list[Phone], seconds: float) -> tuple[Phone, ...]:
    """Phones that cover [0, seconds]: gaps become silence, neighbouring silences merge, empty ones vanish."""
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
