"""Any recording (or the sound of a video) -> `Audio`; every fault of the input is an error before work starts."""

import contextlib
import logging
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..records import Audio
from ..shapes import SAMPLE_RATE, dims

logger = logging.getLogger(__name__)
RATES = (4_000, 384_000)
MAX_CHANNELS = 32
MIN_SECONDS = 0.1
SILENCE_PEAK = 3e-4  # -70 dBFS: ten steps of 16 bits; below it only noise is left
ACTIVE_RMS = 0.1  # loudness that the encoder hears, over the active frames
ACTIVE_RANGE = 10 ** (-30 / 20)  # frames this far below the loudest ones are pauses
MAX_GAIN = 1e4
LARGEST = 1e6  # of a sample: 24-bit integers as floats are far below it, squares of all of them can be added up
_FRAMES = 5000  # of 20 ms, measured at a time
RAW_FORMATS = {".g722": "g722"}  # no header to recognise them by
KNOWN = "wav, flac, mp3, ogg, opus, m4a, aac, g722, or a video with sound (mp4, mov, mkv, webm)"


def load_audio(path: str | Path, track: int = 1, channel: int | None = None) -> Audio:
    """Read a sound file or the sound of a video.

    path: any file that FFmpeg reads.
    track: the sound track, counted from 1.
    channel: the channel to use, counted from 1; None mixes all.

    FileNotFoundError: no such file. ValueError: not a media file, no such track, or whatever `make_audio` refuses."""
    path = check_file(path)
    with unreadable(path):
        blocks = list(decoded(path, track))
        whole = torch.from_numpy(np.concatenate([block for block, _ in blocks], 1))
        return make_audio(whole, blocks[0][1], channel)


def check_file(path: str | Path) -> Path:
    """Return the path if it is a file that is not empty; else FileNotFoundError or ValueError says what is wrong."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no file at {path}; check the path of the recording")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give one recording ({KNOWN})")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes); record or export it again as {KNOWN}")
    return path


@contextlib.contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Turn errors of the media library into a ValueError that names the file."""
    from av.error import FFmpegError

    try:
        yield
    except FFmpegError as error:  # some of them are ValueErrors too
        raise ValueError(f"{path} is not a sound file that can be read ({error.strerror}); give {KNOWN}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def make_audio(waveform: Tensor, rate: int, channel: int | None = None) -> Audio:
    """Make a recording: a mono mix at 16 kHz, kept beside the original samples.

    waveform: (C, S0) floats in [-1, 1].
    rate: sample rate of the waveform, Hz.
    channel: the one (from 1) to use instead of the mix; None mixes all. The original keeps all channels.

    The result has ceil(S0 * 16000 / rate) samples, so its frame count equals the original's. ValueError for samples
    that are not floats, none at all, shorter than 0.1 s, NaN or infinite, and for an impossible rate. A silent
    recording becomes all zeros, with a warning: nobody speaks in it. A constant offset is subtracted."""
    _check(waveform, rate)
    original = waveform.detach().to("cpu", torch.float32)
    mono = _mix(original) if channel is None else original[check_channel(channel, len(original)) - 1].clone()
    mono = mono - offset_of(float(mono.double().mean()), float(mono.square().mean()))
    if is_silent(float(mono.abs().max())):
        mono = torch.zeros_like(mono)
    return Audio(resample(mono / max(1.0, float(mono.abs().max())), rate), original, int(rate))


def resample(waveform: Tensor, rate: int) -> Tensor:
    """Map (S0,) at `rate` Hz -> (ceil(S0 * 16000 / rate),) at 16 kHz, by soxr's band-limited interpolation."""
    samples = math.ceil(waveform.shape[0] * SAMPLE_RATE / rate)
    if rate == SAMPLE_RATE:
        return waveform
    import soxr

    out = torch.from_numpy(soxr.resample(waveform.numpy(), rate, SAMPLE_RATE, "HQ"))
    return torch.nn.functional.pad(out, (0, samples - out.shape[0]))  # soxr rounds the count down at times


def normalise_loudness(waveform: Tensor) -> Tensor:
    """Scale (S,) at 16 kHz so that its active 20 ms frames have an RMS of 0.1, whatever the recording's level.

    Active: within 30 dB of the 95th percentile, so pauses and single clicks do not count. For the encoder only."""
    return waveform * loudness_gain(waveform)


def loudness_gain(waveform: Tensor) -> float:
    """Return the factor by which `normalise_loudness` multiplies (S,); at most 10000, and 1 for all-zero samples."""
    rms = frame_rms(waveform)
    if len(rms) == 0 or float(rms.max()) == 0:
        return 1.0
    return min(MAX_GAIN, ACTIVE_RMS / active_level(rms))


def active_level(rms: Tensor) -> float:
    """Return the RMS over the loud frames of a recording, those within 30 dB of the loudest ones; 0 where all are zero.

    rms: (F,) RMS of each frame."""
    reference = float(rms.sort().values[int(0.95 * (len(rms) - 1))]) or float(rms.max())
    active = rms[rms >= reference * ACTIVE_RANGE]
    return float(active.square().mean().sqrt())


def frame_rms(waveform) -> Tensor:
    """Map (S,) samples in memory or on disk -> (S // 320,) RMS of every 20 ms, float64."""
    size = SAMPLE_RATE // 50
    whole = waveform.shape[0] // size
    parts = [torch.zeros(0)]
    for first in range(0, whole, _FRAMES):  # piece by piece: a long recording may lie on disk (spool.py)
        piece = waveform[first * size : min(first + _FRAMES, whole) * size].reshape(-1, size)
        parts.append(torch.linalg.vector_norm(piece, dim=1))
    return torch.cat(parts).double() / math.sqrt(size)


def _check(waveform: Tensor, rate: int) -> None:
    channels, samples = dims(waveform, "C S").values()
    if not waveform.is_floating_point():
        raise ValueError(f"expected float samples in [-1, 1], got {waveform.dtype}; divide 16-bit samples by 32768")
    if not (RATES[0] <= rate <= RATES[1] and rate == int(rate)):
        raise ValueError(f"sample rate {rate} Hz is outside {RATES[0]}..{RATES[1]}; give the recording's real rate")
    if channels > MAX_CHANNELS and samples:
        raise ValueError(f"{channels} channels of {samples} samples: transpose to (channels, samples)")
    if channels == 0 or samples == 0:
        raise ValueError(f"the recording is empty ({channels} channels, {samples} samples); give at least 0.1 s of it")
    if samples < MIN_SECONDS * rate:
        raise ValueError(f"the recording lasts {samples / rate:.3f} s; at least {MIN_SECONDS} s are needed")
    broken = ~torch.isfinite(waveform)
    if broken.any():
        first = int(broken.any(0).nonzero()[0])
        raise ValueError(
            f"{int(broken.sum())} samples are NaN or infinite, the first at {first / rate:.3f} s; export it again"
        )
    check_peak(float(waveform.abs().max()))


def check_peak(peak: float) -> None:
    """Raise ValueError where samples are so large that sums of their squares would overflow."""
    if peak > LARGEST:
        raise ValueError(f"samples reach {peak:g}; they should lie in -1..1: export it again")


def check_channel(channel: int, channels: int) -> int:
    """Return `channel` (from 1) if a recording of `channels` channels has it; else raise ValueError."""
    if not 1 <= channel <= channels:
        raise ValueError(f"channel {channel} does not exist; the sound has {channels}, counted from 1")
    return channel


def _mix(original: Tensor) -> Tensor:
    mono = original.mean(0)
    weights = mix_of(float(mono.square().sum()), original.square().sum(1).numpy())
    return mono if (weights > 0).all() else original[int(weights.argmax())].clone()


def mix_of(mixed: float, power: np.ndarray) -> np.ndarray:
    """Return the weights (C,) of the mono mix: equal ones, or the loudest channel alone where the channels cancel.

    mixed: energy of the plain mean of the channels.
    power: (C,) energy of each channel."""
    weights, loudest = np.full(len(power), 1 / len(power)), int(power.argmax())
    if mixed < 1e-3 * power[loudest]:  # opposite phases cancel: a wrongly wired microphone
        logger.warning("the channels cancel each other; using channel %d of %d alone", loudest + 1, len(power))
        weights = np.eye(len(power))[loudest]
    return weights


def decoded(path: Path, track: int = 1) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the sound track number `track` (from 1) of a file in blocks: (samples (C, N) float32, rate in Hz) of each.

    ValueError where there is none; av's FFmpegError for a file that is no media. A file that breaks off ends with a
    warning."""
    import av
    from av.error import FFmpegError

    with av.open(str(path), format=RAW_FORMATS.get(path.suffix.lower())) as container:
        if not container.streams.audio:
            kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
            raise ValueError(f"no sound track (the file holds: {kinds}); give {KNOWN}")
        if not 1 <= track <= len(container.streams.audio):
            raise ValueError(f"sound track {track} does not exist; the file has {len(container.streams.audio)}")
        convert = av.AudioResampler(format="fltp")  # rate and channels stay those of the file
        samples, rate = 0, 0
        try:
            for frame in container.decode(container.streams.audio[track - 1]):
                rate = rate or frame.sample_rate
                for part in convert.resample(frame):
                    block = part.to_ndarray()
                    samples += block.shape[1]
                    yield block, rate
        except FFmpegError as error:
            if not samples:
                raise
            logger.warning("%s is damaged (%s); using its first %.2f s", path, error.strerror, samples / rate)
    if not samples:
        raise ValueError("a sound track without a single sample; record or export it again")


def is_silent(peak: float) -> bool:
    """Tell whether no sample is loud enough for speech, with a warning where that is so."""
    if peak > SILENCE_PEAK:
        return False
    logger.warning(
        "the recording is silent: its peak is %.2g of full scale (%s), speech needs more than %g; nobody speaks in it: "
        "check the microphone or the track if somebody should",
        *(peak, _decibel(peak), SILENCE_PEAK),
    )
    return True


def offset_of(mean: float, power: float) -> float:
    """Return the constant offset to subtract from a signal of this mean and mean square; 0 where it is negligible."""
    return mean if abs(mean) > 0.02 * math.sqrt(max(power - mean * mean, 0.0)) else 0.0


def _decibel(peak: float) -> str:
    return f"{20 * math.log10(peak):.0f} dBFS" if peak > 0 else "digital silence"
