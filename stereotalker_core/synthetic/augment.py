"""Microphone and room, drawn at random: gain, noise, band limits, reverberation; labels stay valid (no shift)."""

import numpy as np
from numpy.random import Generator

from ..shapes import SAMPLE_RATE


def augment(waveform: np.ndarray, rng: Generator) -> np.ndarray:
    """waveform (S,) float at 16 kHz -> a degraded copy (S,) float32 in [-1, 1]; about one in five stays clean."""
    if waveform.ndim != 1 or not np.isfinite(waveform).all():
        raise ValueError(f"expected a finite waveform (S,), got shape {waveform.shape}")
    out = waveform.astype(np.float32)
    if rng.random() < 0.8:
        if rng.random() < 0.4:
            out = reverberate(out, rng.uniform(0.05, 0.5), rng.uniform(2.0, 12.0), rng)
        if rng.random() < 0.5:
            out = band_limit(out, rng.uniform(20, 250), rng.uniform(3000, 8000))
        if rng.random() < 0.7:
            out = add_noise(out, rng.uniform(8, 40), rng.uniform(-2.0, 0.0), rng)
    peak = max(float(np.abs(out).max()), 1e-5)
    return (out * min(10 ** rng.uniform(-1.2, 0.0) / peak, 20.0)).astype(np.float32)


def reverberate(waveform: np.ndarray, decay: float, direct_db: float, rng: Generator) -> np.ndarray:
    """Add a room tail of `decay` seconds to -60 dB, `direct_db` below the direct sound, whose time does not move."""
    n = max(int(decay * SAMPLE_RATE), 2)
    tail = rng.standard_normal(n) * np.exp(-6.9 * np.arange(n) / n)
    tail[: SAMPLE_RATE // 500] = 0  # the first echo comes 2 ms after the direct sound
    impulse = tail / max(np.sqrt((tail**2).sum()), 1e-9) * 10 ** (-direct_db / 20)
    impulse[0] = 1.0
    size = len(waveform) + n
    spectrum = np.fft.rfft(waveform, size) * np.fft.rfft(impulse, size)
    return np.fft.irfft(spectrum, size)[: len(waveform)].astype(np.float32)


def band_limit(waveform: np.ndarray, low: float, high: float) -> np.ndarray:
    """Keep low..high Hz with gentle zero-phase slopes (second order on both sides)."""
    frequency = np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE)
    with np.errstate(divide="ignore"):
        gain = 1 / (1 + (low / np.maximum(frequency, 1e-3)) ** 4) / (1 + (frequency / high) ** 8)
    return np.fft.irfft(np.fft.rfft(waveform) * gain, len(waveform)).astype(np.float32)


def add_noise(waveform: np.ndarray, snr_db: float, slope: float, rng: Generator) -> np.ndarray:
    """Add noise with a power spectrum f**slope (0 white, -1 pink, -2 brown) at `snr_db` below the whole signal."""
    frequency = np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE)
    shape = np.maximum(frequency, 40.0) ** (slope / 2)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(len(waveform))) * shape, len(waveform))
    power = float((waveform.astype(np.float64) ** 2).mean())
    scale = np.sqrt(power / max(float((noise**2).mean()), 1e-20) * 10 ** (-snr_db / 10))
    return (waveform + scale * noise).astype(np.float32)
