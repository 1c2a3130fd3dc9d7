"""Stage 2 of ProbTalk3D: sound and style -> latents of the motion prior -> face parameters (section 4.2)."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..shapes import dims
from .hubert import HubertFeatures, HubertSize, pair_frames
from .layers import LinearEmbedding, PositionTable, Transformer, conv_block
from .layout import BASES, STYLE_WIDTH
from .prior import MotionPrior
from .quantiser import Draw


class FeaturePredictor(nn.Module):
    """Map sound (B, T, A) and style (B, 43) -> latent (B, T, C), by a transformer over the product of their
    projections.

    audio: A; layers: of the transformer; prior: the motion prior's sizes, which give C and the others."""

    def __init__(self, audio: int, layers: int, prior: MotionPrior.Config) -> None:
        super().__init__()
        width = prior.width
        self.audio_feature_map = nn.Linear(audio, width)
        self.style_embedding = nn.Linear(STYLE_WIDTH, width, bias=False)
        self.squasher = conv_block(width, prior.norm)
        self.encoder_linear_embedding = LinearEmbedding(width)
        self.encoder_pos_embedding = PositionTable(width, prior.dropout)
        self.encoder_transformer = Transformer(width, layers, prior.heads, prior.inner)

    def forward(self, audio: Tensor, style: Tensor) -> Tensor:
        x = self.audio_feature_map(audio) * self.style_embedding(style)[:, None]
        x = self.squasher(x.transpose(1, 2)).transpose(1, 2)
        return self.encoder_transformer(self.encoder_pos_embedding(self.encoder_linear_embedding(x)))


class ProbTalk3D(nn.Module):
    """The whole model: HuBERT, predictor and motion prior.

    The default sizes are the released ones. Without a HuBERT in the config, features come from outside. basis: the
    meaning of the 53 numbers of a frame (see layout.Face)."""

    @dataclass(frozen=True)
    class Config:
        prior: MotionPrior.Config = field(default_factory=MotionPrior.Config)
        hubert: HubertSize | None = field(default_factory=HubertSize)
        audio: int = 1536
        layers: int = 12
        basis: str = "flame"
        coherence: float = 0.0  # frames over which the noise of draws stays similar
        window: int = 1500  # frames computed in one pass

        def __post_init__(self) -> None:
            if self.hubert is not None and self.audio != 2 * self.hubert.width:
                raise ValueError(f"audio {self.audio} must be twice the width {self.hubert.width} of HuBERT")
            if self.basis not in BASES:
                raise ValueError(f"basis {self.basis!r} is not one of {', '.join(BASES)}")

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        self.config = c = config or self.Config()
        self.feature_extractor = None if c.hubert is None else HubertFeatures(c.hubert)
        self.motion_prior = MotionPrior(c.prior)
        self.feature_predictor = FeaturePredictor(c.audio, c.layers, c.prior)

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        return self.feature_predictor.audio_feature_map.weight.device

    def hear(self, waveforms: Tensor) -> Tensor:
        """Map waveforms (B, S) at 16 kHz, prepared by hubert.prepare_waveform -> features (B, T, A) at 25 Hz."""
        if self.feature_extractor is None:
            raise ValueError("this model has no HuBERT of its own; give it the features of its audio encoder")
        return pair_frames(self.feature_extractor(waveforms))

    def predict(self, audio: Tensor, style: Tensor) -> Tensor:
        """Map audio (B, T, A) and style (B, 43) -> latent (B, T, C) before the bottleneck, equal for all performances.
        """
        known = dims(audio, f"B T {self.config.audio}")
        dims(style, f"B {STYLE_WIDTH}", B=known["B"])
        return self.feature_predictor(audio, style)

    def perform(self, latent: Tensor, draw: Draw | None = None) -> Tensor:
        """Map latent (B, T, C) of `predict` -> normalised face parameters (B, T, 53); draw: how codes are sampled; None
        takes the nearest, which is deterministic."""
        return self.motion_prior.decode(self.motion_prior.bottleneck(latent, draw).latent)

    def forward(self, audio: Tensor, style: Tensor, draw: Draw | None = None) -> Tensor:
        """Predict the latent from audio (B, T, A) and style (B, 43), and decode it -> face parameters (B, T, 53); draw:
        as in `perform`."""
        return self.perform(self.predict(audio, style), draw)
