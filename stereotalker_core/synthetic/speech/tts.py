"""Text to speech with exact phone and word times, by whichever engine is installed.

espeak-ng (formant synthesis, about a hundred voices), flite (parametric voices of real speakers) and Kokoro (neural).
"""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import torch

from .utterance import EngineMissing, Utterance, polyphase

ENGINES = ("espeak", "flite", "kokoro")


def synthesise(
    text: str, engine: str = "espeak", voice: str = "", speed: float = 1.0, pitch: float = 0.0, seed: int = 0
) -> Utterance:
    """Speak a text -> utterance with phone and word times.

    text: to speak.
    engine: one of ENGINES.
    voice: of the engine; "@factor" at its end ("slt@0.93") plays the recording at that speed, which changes pitch,
        formants and tempo together and so makes another speaker.
    speed: 0.5..2, 1 = the voice's own.
    pitch: -1..1.
    seed: varies the intonation.

    EngineMissing with the remedy where the engine is not installed."""
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
    """Return the names of the engines that work on this machine."""
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


def play_at(utterance: Utterance, factor: float) -> Utterance:
    """Play an utterance `factor` times as fast (0.8..1.25), with its times: it sounds like another speaker."""
    if not 0.8 <= factor <= 1.25:
        raise ValueError(f"play-back factor {factor} must be in 0.8..1.25")
    ratio = Fraction(1 / factor).limit_denominator(64)
    waveform = polyphase(utterance.waveform.numpy(), ratio.denominator, ratio.numerator)
    scale = float(ratio)
    return replace(
        utterance,
        waveform=torch.from_numpy(waveform),
        words=tuple((w, s * scale, e * scale) for w, s, e in utterance.words),
        phones=tuple((p, s * scale, e * scale, k) for p, s, e, k in utterance.phones),
        voice=f"{utterance.voice}@{factor:g}",
    )
