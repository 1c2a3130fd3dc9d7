"""Sounds without speech: music, noise, room tone, breaths and distant voices, synthesised at random."""

import numpy as np
from numpy.random import Generator

from ...shapes import SAMPLE_RATE
from .augment import band_limit, reverberate

KINDS = ("music", "noise", "room", "breath", "clicks", "silence")
_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9))


def ambience(samples: int, rng: Generator, kind: str = "") -> np.ndarray:
    """Return ambient sound (samples,) float32 at 16 kHz with an RMS of 0.1 (silence: about 1e-4).

    kind: one of KINDS; "" draws one. ValueError for other kinds."""
    if samples < 1:
        raise ValueError(f"samples must be positive, got {samples}")
    kind = kind or str(rng.choice(KINDS, p=(0.42, 0.2, 0.16, 0.08, 0.08, 0.06)))
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is not one of {', '.join(KINDS)}")
    if kind == "silence":
        return (rng.standard_normal(samples) * 10 ** rng.uniform(-6, -3.5)).astype(np.float32)
    made = {"music": music, "noise": noise, "room": room_tone, "breath": breaths, "clicks": clicks}[kind](samples, rng)
    return (made * (0.1 / max(float(np.sqrt(np.square(made).mean())), 1e-9))).astype(np.float32)


def coloured(samples: int, slope: float, rng: Generator) -> np.ndarray:
    """Return Gaussian noise (samples,) with a power spectrum f**slope (0 white, -1 pink, -2 brown)."""
    shape = np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLE_RATE), 30.0) ** (slope / 2)
    return np.fft.irfft(np.fft.rfft(rng.standard_normal(samples)) * shape, samples)


def noise(samples: int, rng: Generator) -> np.ndarray:
    """Return noise such as wind, traffic or applause: coloured noise of varying loudness, (samples,)."""
    out = coloured(samples, rng.uniform(-2.2, 0.3), rng)
    if rng.random() < 0.5:
        out = band_limit(out, rng.uniform(30, 800), rng.uniform(1200, 7500))
    return out * _wander(samples, rng.uniform(0.2, 6.0), rng.uniform(0, 0.8), rng)


def room_tone(samples: int, rng: Generator) -> np.ndarray:
    """Return the sound of a quiet room (samples,): brownish noise, mains hum with harmonics, a fan."""
    out = coloured(samples, rng.uniform(-2.5, -0.8), rng)
    out = out / max(float(np.abs(out).max()), 1e-9)
    time = np.arange(samples) / SAMPLE_RATE
    for harmonic in range(1, int(rng.integers(2, 9))):
        pitch = harmonic * float(rng.choice((50.0, 60.0)))
        out = out + rng.uniform(0, 0.2) / harmonic * np.sin(2 * np.pi * (pitch * time + rng.random()))
    fan = np.sin(2 * np.pi * (rng.uniform(80, 900) * time + rng.random()))
    return out + rng.uniform(0, 0.1) * fan * _wander(samples, 1.0, 0.5, rng)


def breaths(samples: int, rng: Generator) -> np.ndarray:
    """Return breathing sounds (samples,): band-limited noise that rises and falls."""
    out = 0.03 * coloured(samples, -1.0, rng)
    at = int(rng.uniform(0, 0.6) * SAMPLE_RATE)
    while at < samples:
        size = int(rng.uniform(0.25, 1.1) * SAMPLE_RATE)
        centre = rng.uniform(500, 2500)
        piece = band_limit(coloured(size, -0.5, rng), centre * 0.5, centre * rng.uniform(1.6, 3.0))
        envelope = np.sin(np.pi * np.linspace(0, 1, size) ** rng.uniform(0.5, 1.6)) ** 2
        piece = piece / max(float(piece.std()), 1e-9) * envelope
        out[at : at + size] += piece[: samples - at]
        at += size + int(rng.uniform(0.2, 1.5) * SAMPLE_RATE)
    return out


def clicks(samples: int, rng: Generator) -> np.ndarray:
    """Return sounds like those of keys, steps or dishes (samples,): short decaying resonances at random times, and
    faint noise."""
    out = 0.01 * coloured(samples, -1.0, rng)
    for _ in range(int(rng.integers(1, 3 + samples // 3000))):
        _add(out, int(rng.integers(0, samples)), _hit(rng) * rng.uniform(0.2, 1.0))
    return out


def music(samples: int, rng: Generator) -> np.ndarray:
    """Return a short piece of music (samples,): a beat, chords, bass and melody in one key, sometimes with drums."""
    out = np.zeros(samples)
    step = 60 / rng.uniform(60, 170) / 2  # seconds of an eighth
    scale, key = _SCALES[int(rng.integers(0, len(_SCALES)))], rng.integers(0, 12)
    parts = [p for p, chance in (("chords", 0.75), ("bass", 0.6), ("melody", 0.75)) if rng.random() < chance]
    parts = parts or ["melody"]
    timbres = {part: _timbre(rng) for part in parts}
    drums, offset = rng.random() < 0.45, rng.random()
    for beat in range(int(samples / SAMPLE_RATE / step) + 2):
        at = int((beat - offset) * step * SAMPLE_RATE)
        for part in parts:
            if rng.random() < {"chords": 0.3, "bass": 0.5, "melody": 0.65}[part]:
                seconds = step * float(rng.choice((1, 2, 4)))
                for degree in _degrees(part, rng):
                    octave, place = divmod(degree, len(scale))
                    pitch = 55.0 * 2 ** ((key + scale[place]) / 12 + octave)
                    _add(out, at, _note(pitch, seconds, timbres[part], rng) * rng.uniform(0.4, 1.0))
        if drums and rng.random() < 0.8:
            _add(out, at, _hit(rng) * rng.uniform(0.3, 1.5))
    out = out if np.abs(out).max() > 0 else coloured(samples, -1.0, rng)
    return reverberate(out, rng.uniform(0.1, 1.2), rng.uniform(0, 9), rng) if rng.random() < 0.5 else out


def _degrees(part: str, rng: Generator) -> list[int]:
    """Draw the notes that sound together in one note or chord of music -> steps of the scale above A1.

    part: the instrument that plays them, as named in `music`."""
    if part == "bass":
        return [int(rng.integers(0, 8))]
    root = int(rng.integers(7, 20 if part == "chords" else 30))
    return [root, root + 2, root + 4][: int(rng.integers(2, 4))] if part == "chords" else [root]


def _timbre(rng: Generator) -> dict[str, float]:
    """Return a random timbre {"slope": of the harmonics, dB per octave, "attack", "decay": s, "vibrato": relative
    pitch, "odd": how far only odd harmonics sound, 0..1}."""
    return {
        "slope": rng.uniform(-14, -3), "attack": 10 ** rng.uniform(-2.6, -0.9), "decay": 10 ** rng.uniform(-1, 0.6),
        "vibrato": rng.uniform(0, 0.008) * (rng.random() < 0.5), "odd": rng.uniform(0, 1) * (rng.random() < 0.3),
    }  # fmt: skip


def _note(pitch: float, seconds: float, timbre: dict[str, float], rng: Generator) -> np.ndarray:
    time = np.arange(int(seconds * 1.3 * SAMPLE_RATE) + 1) / SAMPLE_RATE
    phase = pitch * time + timbre["vibrato"] * pitch / 5.5 / 6.3 * np.sin(2 * np.pi * 5.5 * time)
    out = np.zeros(len(time))
    for harmonic in range(1, min(13, int(7000 / pitch) + 1)):
        even = 1 - timbre["odd"] * (harmonic % 2 == 0)
        level = even * harmonic ** (timbre["slope"] / 6.02)
        out += level * np.sin(2 * np.pi * (harmonic * phase + rng.random()))
    rise = np.minimum(time / timbre["attack"], 1)
    fall = np.minimum((time[-1] - time) / max(0.25 * seconds, 0.01), 1)
    return out * rise * np.exp(-time / timbre["decay"]) * fall


def _hit(rng: Generator) -> np.ndarray:
    """Return a struck sound of up to a quarter second: decaying noise and a falling tone."""
    time = np.arange(int(rng.uniform(0.03, 0.25) * SAMPLE_RATE)) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * rng.uniform(50, 2500) * time * (1 - rng.uniform(0, 0.5) * time))
    hiss = coloured(len(time), rng.uniform(-1, 1), rng)
    hiss = hiss / max(float(np.abs(hiss).max()), 1e-9)
    return (rng.random() * tone + rng.random() * hiss) * np.exp(-time / rng.uniform(0.005, 0.08)) * 2


def _wander(samples: int, rate: float, depth: float, rng: Generator) -> np.ndarray:
    """Return a loudness curve (samples,) around 1 that changes about `rate` times per second by up to `depth`."""
    knots = max(2, int(samples / SAMPLE_RATE * rate) + 2)
    curve = rng.uniform(1 - depth, 1 + depth, knots)
    return np.interp(np.linspace(0, knots - 1, samples), np.arange(knots), curve)


def _add(out: np.ndarray, at: int, piece: np.ndarray) -> None:
    """Add a piece to `out` from sample `at` on, in place, cropped to what lies inside."""
    piece = piece[max(0, -at) :]
    at = max(0, at)
    if at < len(out):
        out[at : at + len(piece)] += piece[: len(out) - at]
