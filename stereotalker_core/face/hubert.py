"""The audio encoder of the full-size ProbTalk3D: HuBERT at 50 Hz, pairs of frames concatenated to 25 Hz (section 4.2).
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from ..shapes import dims

FROZEN_LAYERS = 2
_PIECE = 1 << 20  # samples


@dataclass(frozen=True)
class HubertSize:
    """The sizes of a HuBERT; the defaults are those of hubert-base."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    inner: int = 3072
    convolutions: tuple[int, ...] = (512,) * 7
    position_kernel: int = 128
    position_groups: int = 16


def prepare_waveform(waveform: Tensor) -> Tensor:
    """Map mono sound (S,) at 16 kHz -> zero mean and unit variance, after scaling to [-1, 1] as for the released
    models."""
    dims(waveform, "S")
    mean, factor = waveform_scale(waveform)
    return (waveform - mean) * factor


def waveform_scale(waveform: Tensor) -> tuple[float, float]:
    """Return (mean, factor) of `prepare_waveform`, to prepare pieces of a long recording without copying it.

    Scaling 2 (a - low) / (high - low) - 1, then (b - mean) / sqrt(var + 1e-5) with the population variance, as in the
    transformers version of the released models. ValueError for a constant waveform."""
    low, high, total, squares = math.inf, -math.inf, 0.0, 0.0
    for first in range(0, len(waveform), _PIECE):  # in doubles, and without a copy of hours of sound
        piece = waveform[first : first + _PIECE].double()
        low, high = min(low, float(piece.min())), max(high, float(piece.max()))
        total, squares = total + float(piece.sum()), squares + float(piece.square().sum())
    if not high > low:
        raise ValueError("the recording is silent: all its samples are equal; give a recording of speech")
    mean = total / len(waveform)
    variance, stretch = max(0.0, squares / len(waveform) - mean**2), 2 / (high - low)
    return mean, stretch / math.sqrt(stretch**2 * variance + 1e-5)


def pair_frames(hidden: Tensor) -> Tensor:
    """Map (B, Ts, D) at 50 Hz -> (B, Ts // 2, 2D): frames 2t and 2t + 1 concatenated, an odd last frame dropped."""
    even = hidden[:, : hidden.shape[1] // 2 * 2]
    return even.reshape(hidden.shape[0], -1, 2 * hidden.shape[2])


class HubertFeatures(nn.Module):
    """Hugging Face's HuBERT under the released name `audiomodel`; its weights come from the checkpoint."""

    def __init__(self, size: HubertSize) -> None:
        super().__init__()
        from transformers import HubertConfig, HubertModel

        self.audiomodel = HubertModel(
            HubertConfig(
                hidden_size=size.width,
                num_hidden_layers=size.layers,
                num_attention_heads=size.heads,
                intermediate_size=size.inner,
                conv_dim=size.convolutions,
                num_conv_pos_embeddings=size.position_kernel,
                num_conv_pos_embedding_groups=size.position_groups,
            )
        )

    def freeze(self) -> None:
        """Freeze the convolutions, the projection and the first two layers, as in the paper."""
        encoder = self.audiomodel
        for part in (encoder.feature_extractor, encoder.feature_projection, *encoder.encoder.layers[:FROZEN_LAYERS]):
            part.requires_grad_(False)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Map prepared waveforms (B, S) at 16 kHz -> features (B, Ts, D) at 50 Hz."""
        dims(waveforms, "B S")
        return self.audiomodel(waveforms).last_hidden_state
