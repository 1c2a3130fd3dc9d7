"""The inputs of the motion networks: per-frame channels of the sound, and the style of the speaker."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..audio.level import Levelled
from ..audio.phones import PHONES
from ..audio.spool import SpooledWaveform
from ..options import check_limits, choice, option
from ..records import SpeechFeatures
from ..shapes import FPS, SAMPLE_RATE, dims, frame_count

EMOTIONS = ("neutral", "happy", "sad", "angry", "surprised", "fear", "disgusted", "contempt")
N_PROSODY = 5  # loudness, its slope, log pitch, its slope, voicing
_HOP = round(SAMPLE_RATE / FPS)  # 640 samples a frame
_WINDOW = 1024
_PITCH_HZ = (70.0, 400.0)
_CHUNK = 256  # frames whose pitch is found at once: bounds the memory of long recordings


@dataclass(frozen=True)
class Style:
    """The style of the speaker's movement.

    emotion: one of EMOTIONS.
    intensity: how strongly the emotion is shown, 0..1.
    energy: size and rate of the gestures, 0..2 (1 = as in the training data).
    handedness: which hand gestures more, -1 (left) .. 1 (right)."""

    emotion: str = choice("neutral", EMOTIONS, "Style of the performance.")
    intensity: float = option(1.0, 0, 1, "Of the emotion.")
    energy: float = option(1.0, 0, 2, "Size and rate of the gestures: 0.6 calm, 1.4 lively.", step=0.05)
    handedness: float = option(0.0, -1, 1)

    def __post_init__(self) -> None:
        check_limits(self)

    def vector(self) -> Tensor:
        """Return (10,): the intensity at the emotion's index in EMOTIONS (8), energy - 1, handedness; all zero is the
        default."""
        emotion = torch.zeros(len(EMOTIONS))
        if self.emotion != "neutral":
            emotion[EMOTIONS.index(self.emotion)] = self.intensity
        return torch.cat([emotion, torch.tensor([self.energy - 1, self.handedness])])


STYLE_WIDTH = len(EMOTIONS) + 2


@dataclass(frozen=True, eq=False)
class MotionCondition:
    """The inputs of `MotionDenoiser` beside the noisy motion, for B sequences of T frames.

    audio: (B, T, F) channels of the sound, from `speech_channels`.
    style: (B, 10) emotion, energy and handedness, from `Style.vector`.
    seed: (B, T, D) frames that are given where seed_mask (B, T, 1) is 1.
    prior: (B, T, P) hidden states of the language model, already multiplied by `MotionOptions.prior_strength`; None for
        no language model.
    keep_audio: (B, 1, 1), 0 where the sound is withheld (classifier-free guidance).
    told: (B, T, W) the embedding of everything here but the style, from `MotionDenoiser.tell`; it does not depend on
        the noise level, so it is computed once per window and reused in every step. None: compute it in this call."""

    audio: Tensor
    style: Tensor
    seed: Tensor
    seed_mask: Tensor
    prior: Tensor | None = None
    keep_audio: Tensor = field(default_factory=lambda: torch.ones(1, 1, 1))
    told: Tensor | None = None

    def __post_init__(self) -> None:
        known = dims(self.audio, "B T F")
        known = dims(self.seed, "B T D", **known)
        dims(self.seed_mask, "B T 1", **known)
        dims(self.style, f"B {STYLE_WIDTH}", B=known["B"])
        if self.prior is not None:
            dims(self.prior, "B T P", B=known["B"], T=known["T"])


def prosody(waveform: Tensor | SpooledWaveform | Levelled, frames: int) -> Tensor:
    """Map waveform (S,) at 16 kHz -> (frames, 5): loudness, its slope, log2(pitch / 140 Hz), its slope, voicing 0..1.

    Frame t covers 64 ms around (t + 0.5) / 25 s. Loudness is in tens of dB relative to the speaker's loud frames."""
    early = (_WINDOW - _HOP) // 2  # samples that the first window begins before the sound
    rows = waveform[:0].new_empty(frames, 3)  # filled in place, as recordings may last hours
    for first in range(0, frames, _CHUNK):
        count = min(_CHUNK, frames - first)
        begin, size = first * _HOP - early, (count - 1) * _HOP + _WINDOW
        piece = waveform[max(0, begin) : begin + size]  # only this much is copied: recordings may last hours
        before = max(0, -begin)
        piece = F.pad(piece, (before, size - before - len(piece)))
        rows[first : first + count] = _frame_prosody(piece.unfold(0, _WINDOW, _HOP))  # (count, 1024) windows
    loudness, pitch, voicing = rows.unbind(-1)
    reference = torch.quantile(loudness[:100_000], 0.95) if frames else loudness.sum()
    loudness = ((loudness - reference) / 10).clamp(-5, 1) + 1
    pitch = torch.where(voicing > 0.5, pitch, torch.zeros_like(pitch))
    return torch.stack([loudness, _slope(loudness), pitch, _slope(pitch), voicing], -1)


def _frame_prosody(windows: Tensor) -> Tensor:
    """Map windows of samples (N, 1024) -> (N, 3): dB, log2(pitch / 140 Hz), voicing.

    Voicing is the peak of the normalised autocorrelation. The autocorrelation is divided by the window's own (Boersma,
    1993), and short lags get a slight preference, because a lag of two periods fits as well as one."""
    decibel = 10 * torch.log10(windows.square().mean(-1) + 1e-8)
    window = torch.hann_window(_WINDOW, device=windows.device)
    own, correlation = (_autocorrelation(x) for x in (window, windows * window))
    low, high = (int(SAMPLE_RATE / f) for f in reversed(_PITCH_HZ))
    strength = correlation[:, low:high] / (correlation[:, :1] + 1e-6) / (own / own[0])[low:high]
    preference = 1 - 0.15 * torch.arange(low, high, device=windows.device) / high
    lag = (strength * preference).argmax(-1)
    voicing = strength.gather(1, lag[:, None])[:, 0].clamp(0, 1)
    return torch.stack([decibel, torch.log2(SAMPLE_RATE / (lag + low).float() / 140.0), voicing], -1)


def _autocorrelation(x: Tensor) -> Tensor:
    """Map signals (..., 1024) -> autocorrelation (..., 2048), by the power spectrum."""
    return torch.fft.irfft(torch.fft.rfft(x, n=2 * _WINDOW).abs().square())


def _slope(x: Tensor) -> Tensor:
    """Return the central difference (T,) of values (T,)."""
    if len(x) < 2:
        return torch.zeros_like(x)
    padded = torch.cat([x[:1], x, x[-1:]])
    return (padded[2:] - padded[:-2]) / 2


def speech_channels(
    speech: SpeechFeatures, waveform: Tensor | SpooledWaveform, use_features: bool
) -> Tensor:
    """Return the input channels (T, 40 + 5 [+ D]) of a recording: phone probabilities, prosody, raw features.

    speech: the encoder's output.
    waveform: (S,) at 16 kHz, the sound itself.
    use_features: append the D raw features.

    ValueError where the features do not cover the recording frame by frame."""
    frames = frame_count(len(waveform) / SAMPLE_RATE)
    known = dims(speech.phones, f"T {len(PHONES)}")
    if known["T"] != frames:
        raise ValueError(f"features of {known['T']} frames do not fit {frames} frames of sound; encode this recording")
    width = len(PHONES) + N_PROSODY + (speech.features.shape[1] if use_features else 0)
    out = speech.phones.new_empty(frames, width, dtype=torch.float32)  # filled in place: recordings may last hours
    torch.exp(speech.phones.float(), out=out[:, : len(PHONES)])
    out[:, len(PHONES) : len(PHONES) + N_PROSODY] = prosody(Levelled(waveform), frames)
    if use_features:
        out[:, len(PHONES) + N_PROSODY :] = speech.features
    return out
