"""Random recording conditions: microphone colour, noise, reverberation, telephone, gain; labels stay valid."""

import numpy as np
from numpy.random import Generator

from ...shapes import SAMPLE_RATE


def augment(waveform: np.ndarray, rng: Generator) -> np.ndarray:
    """Degrade a waveform (S,) at 16 kHz at random -> (S,) float32 in [-1, 1]; about one in five stays clean."""
    if waveform.ndim != 1 or not np.isfinite(waveform).all():
        raise ValueError(f"expected a finite waveform (S,), got shape {waveform.shape}")
    out = waveform.astype(np.float32)
    if rng.random() < 0.8:
        if rng.random() < 0.6:
            out = colour(out, rng)
        if rng.random() < 0.4:
            out = reverberate(out, rng.uniform(0.05, 0.5), rng.uniform(2.0, 12.0), rng)
        if rng.random() < 0.4:
            out = band_limit(out, rng.uniform(20, 250), rng.uniform(3000, 8000))
        if rng.random() < 0.7:
            out = add_noise(out, rng.uniform(8, 40), rng.uniform(-2.0, 0.0), rng)
        if rng.random() < 0.2:
            out = telephone(out, rng.uniform(200, 350), rng.uniform(3200, 3700))
    peak = max(float(np.abs(out).max()), 1e-5)
    return (out * min(10 ** rng.uniform(-1.2, 0.0) / peak, 20.0)).astype(np.float32)


def reverberate(waveform: np.ndarray, decay: float, direct_db: float, rng: Generator) -> np.ndarray:
    """Add reverberation to a waveform (S,); the direct sound keeps its time.

    decay: seconds until the tail has fallen by 60 dB.
    direct_db: level of the direct sound above the tail.
    rng: random generator."""
    n = max(int(decay * SAMPLE_RATE), 2)
    tail = rng.standard_normal(n) * np.exp(-6.9 * np.arange(n) / n)
    tail[: SAMPLE_RATE // 500] = 0  # the first echo comes 2 ms after the direct sound
    impulse = tail / max(np.sqrt((tail**2).sum()), 1e-9) * 10 ** (-direct_db / 20)
    impulse[0] = 1.0
    size = len(waveform) + n
    spectrum = np.fft.rfft(waveform, size) * np.fft.rfft(impulse, size)
    return np.fft.irfft(spectrum, size)[: len(waveform)].astype(np.float32)


def band_limit(waveform: np.ndarray, low: float, high: float) -> np.ndarray:
    """Band-pass a waveform to low..high Hz with gentle zero-phase slopes (second order on both sides)."""
    frequency = np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE)
    with np.errstate(divide="ignore"):
        gain = 1 / (1 + (low / np.maximum(frequency, 1e-3)) ** 4) / (1 + (frequency / high) ** 8)
    return np.fft.irfft(np.fft.rfft(waveform) * gain, len(waveform)).astype(np.float32)


def colour(waveform: np.ndarray, rng: Generator, most_db: float = 8.0) -> np.ndarray:
    """Apply a random microphone response: a smooth curve over log frequency, of up to about +-`most_db`."""
    frequency = np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE)
    octave = np.log2(np.maximum(frequency, 60.0) / 60.0)  # 0 .. 7
    curve = np.interp(octave, np.linspace(0, 7.1, 6), rng.uniform(-most_db, most_db, 6))
    return np.fft.irfft(np.fft.rfft(waveform) * 10 ** (curve / 20), len(waveform)).astype(np.float32)


def telephone(waveform: np.ndarray, low: float, high: float, mu: float = 255.0) -> np.ndarray:
    """Pass speech through a telephone line: the voice band low..high Hz, coded in 8 bits by the mu law (ITU-T G.711).
    """
    narrow = band_limit(waveform, low, high)
    peak = max(float(np.abs(narrow).max()), 1e-5)
    scaled = narrow / peak * 0.7
    coded = np.round(np.sign(scaled) * np.log1p(mu * np.abs(scaled)) / np.log1p(mu) * 127) / 127
    line = np.sign(coded) * np.expm1(np.abs(coded) * np.log1p(mu)) / mu
    return band_limit(line.astype(np.float32) * (peak / 0.7), low, high)


def add_noise(waveform: np.ndarray, snr_db: float, slope: float, rng: Generator) -> np.ndarray:
    """Add noise with a power spectrum f**slope (0 white, -1 pink, -2 brown), `snr_db` below the signal's power."""
    frequency = np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE)
    shape = np.maximum(frequency, 40.0) ** (slope / 2)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(len(waveform))) * shape, len(waveform))
    power = float((waveform.astype(np.float64) ** 2).mean())
    scale = np.sqrt(power / max(float((noise**2).mean()), 1e-20) * 10 ** (-snr_db / 10))
    return (waveform + scale * noise).astype(np.float32)
