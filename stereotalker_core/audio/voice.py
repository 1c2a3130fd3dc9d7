"""Voice detection: Silero VAD (MIT; https://github.com/snakers4/silero-vad), its 16 kHz network, reimplemented.

It was trained on thousands of hours of people, music and noise, which the phone encoder was not. A spectrum, four
convolutions and a causal LSTM give one probability per 32 ms."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..shapes import FPS, SAMPLE_RATE
from .level import Levelled
from .spool import SpooledWaveform

STEP, BEFORE, AFTER = 512, 64, 64  # samples of one answer; heard before it; mirrored after it
_BLOCK = 250  # answers computed at a time (8 s): memory grows with the answers alone
SPEAKS = 0.5  # probability, over three answers, from which on somebody speaks
EARLY, LATE = 6, 3  # answers before and after such a one in which the mouth may move: a p is silent before it is heard

State = tuple[Tensor, Tensor]


class VoiceDetector(nn.Module):
    """Map (N, 640) windows of samples -> (N,) probability that somebody speaks in each."""

    taper: Tensor

    def __init__(self) -> None:
        super().__init__()
        widths, strides = ((129, 128), (128, 64), (64, 64), (64, 128)), (1, 2, 2, 1)
        layers = (nn.Conv1d(*w, 3, s, padding=1) for w, s in zip(widths, strides, strict=True))
        self.convolutions = nn.ModuleList(layers)
        self.memory = nn.LSTM(128, 128, batch_first=True)
        self.head = nn.Linear(128, 1)
        self.register_buffer("taper", torch.hann_window(256), persistent=False)

    def forward(self, windows: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Map consecutive windows (N, 640) -> speech probabilities (N,) and the LSTM's state after them.

        state: the LSTM's state before the first window; None at the start of a recording."""
        with torch.autocast(windows.device.type, enabled=False):
            frames = windows.float().unfold(-1, 256, 128)  # (N, 4, 256)
            x = torch.fft.rfft(frames * self.taper.float()).abs().transpose(1, 2).to(self.head.weight.dtype)
        for layer in self.convolutions:
            x = F.relu(layer(x))
        x, after = self.memory(x[None, :, :, 0], state)
        return self.head(F.relu(x[0]))[:, 0].float().sigmoid(), after

    @torch.no_grad()
    def listen(self, waveform: Tensor | SpooledWaveform | Levelled) -> Tensor:
        """Map (S,) samples at 16 kHz -> (ceil(S / 512),) speech probabilities, on the CPU."""
        count, state = -(-len(waveform) // STEP), None
        found = torch.empty(count)  # filled in place: small pieces kept between large ones would scatter the memory
        for first in range(0, count, _BLOCK):
            last = min(first + _BLOCK, count)
            piece = waveform[max(0, first * STEP - BEFORE) : last * STEP].to(self.head.weight.device)
            begin = BEFORE if first == 0 else 0
            piece = F.pad(piece, (begin, (last - first) * STEP + BEFORE - begin - len(piece)))
            windows = F.pad(piece.unfold(0, STEP + BEFORE, STEP)[:, None], (0, AFTER), "reflect")[:, 0]
            heard, state = self(windows, state)
            found[first:last] = heard.cpu()
        return found

    def speaking(self, waveform: Tensor | SpooledWaveform | Levelled, frames: int) -> Tensor:
        """Return (frames,) bool: the video frames, at 25 fps, in which the mouth may move.

        waveform: (S,) samples at 16 kHz.
        frames: number of video frames.

        A run of such frames begins a little before the voice and ends a little after it."""
        heard = self.listen(waveform)
        if len(heard) == 0:
            return torch.zeros(frames, dtype=torch.bool)
        steady = F.avg_pool1d(heard[None], 3, 1, 1, count_include_pad=False)[0]
        sure = (steady > SPEAKS).float()
        wide = F.max_pool1d(F.pad(sure[None], (LATE, EARLY)), EARLY + LATE + 1, 1)[0] > 0
        middle = (torch.arange(frames) + 0.5) * (SAMPLE_RATE / FPS)
        return wide[(middle / STEP).long().clamp_max(len(wide) - 1)]
