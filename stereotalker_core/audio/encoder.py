"""Speech -> features and phone log-probabilities at the video's frame rate (Stereo-Talker, section 3.1).

`SpeechEncoder` is the small encoder that ships with its weights; `pretrained.py` wraps the public full-size ones."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..records import Audio, SpeechFeatures
from ..shapes import SAMPLE_RATE, dims
from .level import Levelled
from .phones import PHONE_INDEX, PHONES
from .spool import SpooledAudio, SpooledWaveform
from .voice import VoiceDetector

HOP = 320  # samples of one encoder frame: 50 Hz, two frames a video frame
CHUNK = 400  # encoder frames computed at a time (8 s), beside the context on either side: what bounds the memory


class LogMel(nn.Module):
    """Map (B, S) at 16 kHz -> (B, bins, S / 160) log mel energies; frame j is centred on sample 160 j + 80."""

    taper: Tensor
    filters: Tensor

    def __init__(self, bins: int, window: int = 400) -> None:
        super().__init__()
        self.bins, self.window, self.step, self.size = bins, window, HOP // 2, 512
        self.register_buffer("taper", torch.hann_window(window), persistent=False)
        self.register_buffer("filters", mel_filters(bins, self.size // 2 + 1), persistent=False)

    def forward(self, waveforms: Tensor) -> Tensor:
        edge = (self.window - self.step) // 2
        frames = F.pad(waveforms.float(), (edge, edge)).unfold(-1, self.window, self.step)
        with torch.autocast(waveforms.device.type, enabled=False):  # energies span more than bf16 resolves
            power = torch.fft.rfft(frames * self.taper.float(), self.size).abs().square()
            mel = (power @ self.filters.float()).clamp_min(1e-5).log()
        return ((mel + 4) / 4).transpose(1, 2)  # about zero mean and unit variance for speech of normal loudness


def mel_filters(bins: int, n_frequencies: int, low: float = 40.0, high: float = 7800.0) -> Tensor:
    """Return (n_frequencies, bins) triangular filters, equally spaced on the mel scale m = 2595 log10(1 + f / 700).

    low, high: Hz of the outer edges of the first and the last triangle."""
    mel = torch.linspace(2595 * math.log10(1 + low / 700), 2595 * math.log10(1 + high / 700), bins + 2).double()
    corners = 700 * (10 ** (mel / 2595) - 1)
    frequencies = torch.linspace(0, SAMPLE_RATE / 2, n_frequencies).double()[:, None]
    rise = (frequencies - corners[:-2]) / (corners[1:-1] - corners[:-2])
    fall = (corners[2:] - frequencies) / (corners[2:] - corners[1:-1])
    return torch.minimum(rise, fall).clamp_min(0).float()


class MelFront(nn.Module):
    """Map waveforms (B, S) -> features (B, S/320, width) for the transformer: log mel, then two convolutions to 50 Hz.

    bins: number of mel bands.
    width: channels of the features.
    keep: in a call, as in `SpeechEncoder.encode_batch`.

    It replaces the strided waveform convolutions of wav2vec 2.0, which need far more than hours of speech to learn a
    filter bank. Every feature depends on the sound nearby alone and nothing is normalised over time, so a recording can
    be encoded in chunks with the same result as in one pass."""

    def __init__(self, bins: int, width: int) -> None:
        super().__init__()
        self.mel = LogMel(bins)
        self.conv1 = nn.Conv1d(bins, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 4, 2, padding=1)

    def forward(self, waveforms: Tensor, keep: Tensor | None = None) -> Tensor:
        mel = self.mel(waveforms).to(self.conv1.weight.dtype)  # (B, bins, 2T)
        if keep is not None:
            mel = mel * keep
        return F.gelu(self.conv2(F.gelu(self.conv1(mel))))  # (B, width, T)


class SpeechEncoder(nn.Module):
    """The small wav2vec 2.0 transformer over log mel, with a phone classifier; each layer sees +-`context` frames.

    Where the file holds a voice detector, too, sound in which it hears nobody is encoded as silence."""

    @dataclass(frozen=True)
    class Config:
        bins: int = 80
        width: int = 192
        layers: int = 4
        heads: int = 4
        feed_forward: int = 768
        context: int = 24  # frames of 20 ms that a layer sees on either side
        position_kernel: int = 31
        dropout: float = 0.05
        phones: int = len(PHONES)
        voice: bool = False  # whether the file holds a `VoiceDetector`, too

        def __post_init__(self) -> None:
            if self.width % self.heads or self.position_kernel % 2 == 0:
                raise ValueError(f"width {self.width} must divide by heads {self.heads}, position_kernel must be odd")

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        from transformers import Wav2Vec2Config, Wav2Vec2Model

        self.config = c = config or self.Config()
        self.model = Wav2Vec2Model(
            Wav2Vec2Config(
                hidden_size=c.width,
                num_hidden_layers=c.layers,
                num_attention_heads=c.heads,
                intermediate_size=c.feed_forward,
                conv_dim=(c.width,),
                conv_kernel=(3,),
                conv_stride=(2,),
                num_conv_pos_embeddings=c.position_kernel,
                num_conv_pos_embedding_groups=c.heads * 4,
                hidden_dropout=c.dropout,
                attention_dropout=c.dropout,
                activation_dropout=c.dropout,
                feat_proj_dropout=c.dropout,
                layerdrop=0.0,
                mask_time_prob=0.0,
                attn_implementation="sdpa",
            )
        )
        front: Any = MelFront(c.bins, c.width)
        self.model.feature_extractor = front
        self.head = nn.Linear(c.width, c.phones)
        self.voice = VoiceDetector() if c.voice else None

    @property
    def feature_width(self) -> int:
        """Return the width D of the features: two 50 Hz frames concatenated per video frame."""
        return 2 * self.config.width

    @property
    def reach(self) -> int:
        """Return the receptive field of an output frame: how many 20 ms frames on either side it can depend on."""
        return self.config.layers * self.config.context + self.config.position_kernel // 2 + 2

    def encode_batch(self, waveforms: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map waveforms (B, S) -> hidden states (B, S/320, width) and phone logits (B, S/320, phones).

        waveforms: at 16 kHz, loudness-normalised; S is a multiple of 320, else ValueError.
        keep: (B, bins, S/160) multiplied onto the log mel, for masking in training.

        Frame i describes samples 320 i .. 320 (i + 1)."""
        samples = dims(waveforms, "B S")["S"]
        if samples % HOP:
            raise ValueError(f"{samples} samples are not whole frames of {HOP}; pad them with zeros")
        front = self.model.feature_extractor(waveforms, keep).transpose(1, 2)
        hidden, _ = self.model.feature_projection(front)
        encoder = self.model.encoder
        hidden = encoder.dropout(encoder.layer_norm(hidden + encoder.pos_conv_embed(hidden)))
        index = torch.arange(hidden.shape[1], device=hidden.device)
        mask = ((index[:, None] - index).abs() <= self.config.context)[None, None]  # a band: no global context
        for layer in encoder.layers:
            hidden = layer(hidden, attention_mask=mask)
        return hidden, self.head(hidden)

    @torch.no_grad()
    def encode(self, audio: Audio | SpooledAudio, features: bool = True) -> SpeechFeatures:
        """Return the features (T, 2 * width) and phone log-probabilities (T, 40) on the CPU, with T =
        audio.frame_count().

        features: False leaves the features empty, (T, 0), which saves nine tenths of the memory.

        Video frame t describes the sound of t/25 .. (t+1)/25 s. Long recordings run in chunks with enough context on
        either side to equal one pass, so memory grows with the output alone. Loudness does not matter."""
        frames, levelled, done = audio.frame_count(), Levelled(audio.waveform), 0
        phones = torch.empty(frames, self.config.phones)
        hidden = torch.empty(frames, self.feature_width if features else 0)
        for piece, cut in pieces(levelled, 2 * frames, self.reach):
            found, logits = self.encode_batch(piece[None].to(self.head.weight.device))
            new = pair_log_probabilities(logits[0, cut].float().log_softmax(-1).cpu())
            span = slice(done, done := done + len(new))
            phones[span] = new
            if features:
                hidden[span] = pair(found[0, cut].float().cpu())
        if self.voice is not None:
            phones[~self.voice.speaking(levelled, frames)] = silence(phones)
        return SpeechFeatures(hidden, phones, audio.seconds)


def pieces(
    waveform: Tensor | SpooledWaveform | Levelled, frames: int, reach: int, length: int | None = None
) -> Iterator[tuple[Tensor, slice]]:
    """Split a waveform into overlapping windows: yield (samples of a window, slice of its frames to keep).

    waveform: (S,) at 16 kHz.
    frames: the number of 20 ms frames to cover; the last window is zero-padded to whole frames.
    reach: frames of context on either side of a window.
    length: frames kept per window; CHUNK where None."""
    length = length or CHUNK
    for start in range(0, frames, length):
        stop = min(start + length, frames)
        first, last = max(0, start - reach), min(frames, stop + reach)
        piece = waveform[first * HOP : last * HOP]
        yield F.pad(piece, (0, (last - first) * HOP - piece.shape[0])), slice(start - first, stop - first)


def silence(phones: Tensor) -> Tensor:
    """Return the log-probabilities (40,) of certain silence, in the dtype and on the device of phones (T, 40)."""
    certain = phones.new_full((phones.shape[1],), math.log(1e-10))
    certain[PHONE_INDEX["sil"]] = 0.0
    return certain


def pair(hidden: Tensor) -> Tensor:
    """Map (2T, D) at 50 Hz -> (T, 2D) at 25 Hz by concatenating neighbouring frames."""
    return hidden.reshape(hidden.shape[0] // 2, -1)


def pair_log_probabilities(phones: Tensor) -> Tensor:
    """Map (2T, P) log-probabilities at 50 Hz -> (T, P) at 25 Hz: the mean of the two probabilities."""
    return torch.logsumexp(phones.reshape(-1, 2, phones.shape[1]), 1) - math.log(2)
