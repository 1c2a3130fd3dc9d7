"""The loudness that the encoder hears: a gain that follows the recording, so that quiet passages are recognised, too.
"""

import math

import torch
from torch import Tensor

from ..shapes import SAMPLE_RATE
from .load import ACTIVE_RMS, MAX_GAIN, active_level, frame_rms
from .spool import SpooledWaveform

FRAMES = 50  # of 20 ms between two places where the level is measured
AROUND = 200  # of 20 ms on either side of such a place: 4 s, so that a pause alone is not taken for quiet speech
DEEPEST = 10 ** (-30 / 20)  # a passage this far below the recording's own level is brought up no further


class Levelled:
    """The waveform scaled to the usual loudness of speech; behaves like the (S,) tensor or `SpooledWaveform` it wraps.

    Supports len(), shape and [a:b]. Gains are interpolated in decibels between points one second apart; a recording of
    even loudness gets one constant gain."""

    def __init__(self, waveform: Tensor | SpooledWaveform):
        self.waveform = waveform
        self.decibel = local_gain(waveform)

    def __len__(self) -> int:
        return len(self.waveform)

    @property
    def shape(self) -> tuple[int]:
        """Return (S,), as a tensor would."""
        return (len(self.waveform),)

    def __getitem__(self, part: slice) -> Tensor:
        piece = self.waveform[part]
        start = part.indices(len(self.waveform))[0]
        step = FRAMES * SAMPLE_RATE // 50
        position = (torch.arange(start, start + len(piece)) / step - 0.5).clamp(0, len(self.decibel) - 1)
        low = position.long().clamp_max(max(len(self.decibel) - 2, 0))
        high = (low + 1).clamp_max(len(self.decibel) - 1)
        gain = torch.lerp(self.decibel[low], self.decibel[high], position - low)
        return piece * (10 ** (gain / 20)).to(piece)

    def cpu(self) -> "Levelled":
        """Return self: slices are read on the CPU."""
        return self


def local_gain(waveform: Tensor | SpooledWaveform) -> Tensor:
    """Return the gain (K,) in dB, one per second, that brings the active frames around that second to an RMS of 0.1."""
    rms = frame_rms(waveform)
    if len(rms) == 0 or float(rms.max()) == 0:
        return torch.zeros(1)
    own = active_level(rms)
    levels = []
    for first in range(0, len(rms), FRAMES):
        middle = first + FRAMES // 2
        around = rms[max(0, middle - AROUND) : middle + AROUND]
        levels.append(max(active_level(around), own * DEEPEST))
    gains = [20 * math.log10(min(MAX_GAIN, ACTIVE_RMS / level)) for level in levels]
    return torch.tensor(gains)

