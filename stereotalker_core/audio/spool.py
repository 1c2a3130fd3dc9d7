"""Recordings of hours: their samples lie in temporary files and are read piece by piece, so memory stays constant."""

import logging
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..records import Audio
from ..shapes import FPS, SAMPLE_RATE, frame_count
from .load import (
    MIN_SECONDS,
    RATES,
    check_channel,
    check_file,
    check_peak,
    decoded,
    is_silent,
    mix_of,
    offset_of,
    unreadable,
)

logger = logging.getLogger(__name__)
_BYTES = 4  # float32: what `load_audio` gives, bit for bit where nothing is resampled


class SpooledWaveform:
    """The samples (S,) of a recording in a file on disk; len() and [a:b] work as on the tensor `Audio.waveform`."""

    def __init__(self, samples: int):
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - deleted with this object
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    @property
    def shape(self) -> tuple[int]:
        """Return (S,), as a tensor would."""
        return (self.samples,)

    def __getitem__(self, part: slice) -> Tensor:
        start, stop, step = part.indices(self.samples)
        if step != 1:
            raise ValueError(f"samples on disk are read in order, not in steps of {step}")
        self.file.seek(start * _BYTES)
        return torch.from_numpy(np.fromfile(self.file, np.float32, max(0, stop - start)))

    def cpu(self) -> "SpooledWaveform":
        """Return self, as a CPU tensor would."""
        return self


class SpooledOriginal:
    """The samples (C, S) of a recording in a file on disk; `shape` and [:, a:b] work as on the tensor `Audio.original`.
    """

    def __init__(self) -> None:
        self.shape, self.file = (0, 0), tempfile.TemporaryFile()  # noqa: SIM115 - deleted with this object

    def add(self, block: np.ndarray) -> None:
        """Append samples (C, N)."""
        np.ascontiguousarray(block.T, np.float32).tofile(self.file)
        self.shape = (len(block), self.shape[1] + block.shape[1])

    def __getitem__(self, part: tuple[slice, slice]) -> Tensor:
        channels = self.shape[0]
        start, stop, step = part[1].indices(self.shape[1])
        if step != 1:
            raise ValueError(f"samples on disk are read in order, not in steps of {step}")
        self.file.seek(start * channels * _BYTES)
        found = np.fromfile(self.file, np.float32, max(0, stop - start) * channels)
        return torch.from_numpy(found).view(-1, channels).T[part[0]]


class SpooledAudio:
    """The recording whose samples stay on disk: `waveform`, `seconds` and `frame_count()` as in `records.Audio`."""

    def __init__(self, waveform: SpooledWaveform):
        self.waveform = waveform

    @property
    def seconds(self) -> float:
        return len(self.waveform) / SAMPLE_RATE

    def frame_count(self, fps: float = FPS) -> int:
        """Return the number of video frames that cover the recording."""
        return frame_count(self.seconds, fps)


def spool_audio(path: str | Path, track: int = 1, channel: int | None = None) -> SpooledAudio:
    """Load a recording of any length, decoding the file twice, in blocks; arguments, results and errors as in
    `load_audio`."""
    return SpooledAudio(_spooled(check_file(path), track, channel, None)[0])


def spool_recording(path: str | Path, track: int = 1, channel: int | None = None) -> Audio:
    """Load a recording of any length with its original samples, for muxing, all of them on disk.

    path, track, channel: as in `load_audio`, with its errors; so is the result, but for where the samples lie."""
    original: Any = SpooledOriginal()
    waveform: Any
    waveform, rate = _spooled(check_file(path), track, channel, original)
    return Audio(waveform, original, rate)


def _spooled(
    path: Path, track: int, channel: int | None, original: SpooledOriginal | None
) -> tuple[SpooledWaveform, int]:
    """Return the 16 kHz mix of a recording on disk, and the rate of the file in Hz; fills `original` where it is given.

    path, track, channel: as in `load_audio`."""
    with unreadable(path):
        statistics = _survey(path, track, channel, original)
        weights, (offset, peak) = statistics.weights(), statistics.offset_and_peak()
        gain = 0.0 if is_silent(peak) else 1 / max(1.0, peak)
        samples = math.ceil(statistics.samples * SAMPLE_RATE / statistics.rate)
        waveform = SpooledWaveform(samples)
        left = samples
        for piece in _resampled_pieces(path, track, weights, offset, gain, statistics.rate):
            piece[:left].tofile(waveform.file)
            left -= len(piece[:left])
        np.zeros(left, np.float32).tofile(waveform.file)  # the resampler rounds the count down at times
    return waveform, statistics.rate


class _Statistics:
    """The mean, power and peak of a whole recording, gathered block by block before its first sample can be used.

    channels: number of channels; rate: Hz; channel: the one to use (from 1), None mixes all."""

    def __init__(self, channels: int, rate: int, channel: int | None = None):
        self.rate, self.samples = rate, 0
        self.channel = channel and check_channel(channel, channels)
        self.power, self.sums = np.zeros(channels), np.zeros(channels)
        self.mixed = 0.0  # energy of the plain mix
        self.low, self.high = np.full(channels + 1, np.inf), np.full(channels + 1, -np.inf)  # the last one: the mix

    def add(self, block: np.ndarray) -> None:
        """Add a block of samples (C, N) to the statistics. ValueError for NaN or infinite samples."""
        if not np.isfinite(block).all():
            first = self.samples + int(np.argmin(np.isfinite(block).all(0)))
            raise ValueError(f"samples are NaN or infinite, the first at {first / self.rate:.3f} s; export it again")
        check_peak(float(np.abs(block).max(initial=0.0)))
        rows = np.concatenate([block, block.mean(0, keepdims=True)])
        self.power += np.square(block, dtype=np.float64).sum(1)
        self.sums += block.sum(1, dtype=np.float64)
        self.mixed += float(np.square(rows[-1], dtype=np.float64).sum())
        self.low, self.high = np.minimum(self.low, rows.min(1)), np.maximum(self.high, rows.max(1))
        self.samples += block.shape[1]

    def weights(self) -> np.ndarray:
        """Return the weights (C,) of the mono mix: equal ones, or the loudest channel alone where the channels cancel.

        If the user chose a channel, it is used alone."""
        if self.channel:
            return np.eye(len(self.power))[self.channel - 1]
        return mix_of(self.mixed, self.power)

    def offset_and_peak(self) -> tuple[float, float]:
        """Return the constant offset of the mix, and its largest magnitude after that offset is subtracted."""
        weights = self.weights()
        row = -1 if (weights > 0).all() else int(weights.argmax())
        power = self.mixed if row == -1 else float(self.power[row])
        offset = offset_of(float(self.sums @ weights) / self.samples, power / self.samples)
        return offset, max(float(self.high[row]) - offset, offset - float(self.low[row]))


def _survey(path: Path, track: int, channel: int | None, original: SpooledOriginal | None) -> _Statistics:
    found: _Statistics | None = None
    for block, rate in decoded(path, track):
        found = found or _Statistics(len(block), rate, channel)
        found.add(block)
        if original is not None:
            original.add(block)
    if found is None or found.samples < MIN_SECONDS * found.rate:
        seconds = found.samples / found.rate if found else 0.0
        raise ValueError(f"the recording lasts {seconds:.3f} s; at least {MIN_SECONDS} s are needed")
    if not RATES[0] <= found.rate <= RATES[1]:
        raise ValueError(f"sample rate {found.rate} Hz is outside {RATES[0]}..{RATES[1]}")
    return found


def _resampled_pieces(
    path: Path, track: int, weights: np.ndarray, offset: float, gain: float, rate: int
) -> Iterator[np.ndarray]:
    """Yield the mono mix at 16 kHz, float32, piece by piece.

    path, track: as in `load_audio`.
    weights: (C,) by which the channels are mixed.
    offset: constant that is subtracted from the mix.
    gain: factor that is then applied.
    rate: sample rate of the file, Hz."""
    plain = bool((weights == weights[0]).all())
    stream = None
    if rate != SAMPLE_RATE:
        import soxr

        stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32", "HQ")
    for block, _ in decoded(path, track):
        mono = block.mean(0) if plain else block[int(weights.argmax())]
        mono = np.ascontiguousarray((mono - np.float32(offset)) * np.float32(gain), np.float32)
        yield mono if stream is None else stream.resample_chunk(mono)
    if stream is not None:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
