"""Stage 1 of ProbTalk3D: the motion prior, a VQ-VAE (or VAE) over clips of face parameters (section 4.1)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..shapes import dims
from .layers import NORMS, LinearEmbedding, PositionTable, Transformer, conv_block
from .layout import N_PARAMETERS
from .quantiser import ROWS, TEMPERATURE, Draw, Quantised, Quantiser, normal_track

KINDS = ("vq", "vae")


class MotionEncoder(nn.Module):
    """Map face parameters (B, T, 53), about [0, 1] -> latent (B, T, C), one vector per frame.

    width: C; layers, heads, inner: of the transformer; norm: see `conv_block`; dropout: probability in training."""

    def __init__(self, width: int, layers: int, heads: int, inner: int, norm: str, dropout: float) -> None:
        super().__init__()
        self.feature_mapping = nn.Sequential(nn.Linear(N_PARAMETERS, width), nn.LeakyReLU(0.2))
        self.squasher = conv_block(width, norm)
        self.encoder_linear_embedding = LinearEmbedding(width)
        self.encoder_pos_embedding = PositionTable(width, dropout)
        self.encoder_transformer = Transformer(width, layers, heads, inner)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squasher(self.feature_mapping(x).transpose(1, 2)).transpose(1, 2)
        return self.encoder_transformer(self.encoder_pos_embedding(self.encoder_linear_embedding(x)))


class MotionDecoder(nn.Module):
    """Map latent (B, T, C) -> face parameters (B, T, 53); linear at the end, so values may leave [0, 1].

    width, layers, heads, inner, norm, dropout: as in `MotionEncoder`."""

    def __init__(self, width: int, layers: int, heads: int, inner: int, norm: str, dropout: float) -> None:
        super().__init__()
        self.expander = conv_block(width, norm)
        self.decoder_linear_embedding = LinearEmbedding(width)
        self.decoder_pos_embedding = PositionTable(width, dropout)
        self.decoder_transformer = Transformer(width, layers, heads, inner)
        self.feature_mapping_reverse = nn.Linear(width, N_PARAMETERS, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        z = self.expander(z.transpose(1, 2)).transpose(1, 2)
        z = self.decoder_transformer(self.decoder_pos_embedding(self.decoder_linear_embedding(z)))
        return self.feature_mapping_reverse(z)


class MotionPrior(nn.Module):
    """The motion prior: encoder, quantiser (or the Gaussian of the VAE variant), decoder. Default sizes as released."""

    @dataclass(frozen=True)
    class Config:
        kind: str = "vq"
        width: int = 256
        encoder_layers: int = 6
        decoder_layers: int = 6
        heads: int = 8
        inner: int = 384
        codes: int = 256
        code_width: int = 128
        rows: str = "time"
        norm: str = "clip"
        dropout: float = 0.1
        unit: float = 1.0  # of squared distances between codes; temperatures are relative to it
        noise: float = 20.0  # VAE: scale of the noise at the default temperature

        def __post_init__(self) -> None:
            for name, choices in (("kind", KINDS), ("rows", ROWS), ("norm", NORMS)):
                if getattr(self, name) not in choices:
                    raise ValueError(f"{name} {getattr(self, name)!r} is not one of {', '.join(choices)}")
            if self.rows == "channel" and self.width % self.code_width:
                raise ValueError(f"width {self.width} must divide by code_width {self.code_width}")

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        self.config = c = config or self.Config()
        self.motion_encoder = MotionEncoder(c.width, c.encoder_layers, c.heads, c.inner, c.norm, c.dropout)
        self.motion_decoder = MotionDecoder(c.width, c.decoder_layers, c.heads, c.inner, c.norm, c.dropout)
        if c.kind == "vq":
            self.quantize = Quantiser(c.codes, c.code_width, c.rows, c.unit)
        else:
            self.mean, self.logvar = nn.Linear(c.width, c.width), nn.Linear(c.width, c.width)

    def encode(self, motion: Tensor) -> Tensor:
        """Map face parameters (B, T, 53) in [0, 1] -> latent (B, T, C) before the bottleneck."""
        dims(motion, f"B T {N_PARAMETERS}")
        return self.motion_encoder(motion)

    def bottleneck(self, z: Tensor, draw: Draw | None = None, rounded: bool = False) -> Quantised:
        """Map latent (B, T, C) -> the quantised (or, in the VAE variant, Gaussian) latent and its loss.

        draw: None takes the nearest code, or the mean of the Gaussian; rounded: see `Quantiser.forward`."""
        if self.config.kind == "vq":
            return self.quantize(z, draw, rounded)
        mean, logvar = self.mean(z), self.logvar(z).clamp(-30, 20)
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        noise = torch.zeros_like(mean)
        if draw is not None and draw.temperature > 0:
            noise = _latent_noise(mean, draw) * (self.config.noise * draw.temperature / TEMPERATURE)
        latent = mean + (0.5 * logvar).exp() * noise
        return Quantised(latent, mean, z.new_zeros(0, dtype=torch.long), kl, z.new_zeros(()))

    def decode(self, latent: Tensor) -> Tensor:
        """Map latent (B, T, C) after the bottleneck -> face parameters (B, T, 53)."""
        return self.motion_decoder(latent)

    def forward(self, motion: Tensor, draw: Draw | None = None, rounded: bool = False) -> tuple[Tensor, Quantised]:
        """Map face parameters (B, T, 53) -> their reconstruction, and the output of the bottleneck.

        draw, rounded: see `bottleneck`."""
        passed = self.bottleneck(self.encode(motion), draw, rounded)
        return self.decode(passed.latent), passed


def _latent_noise(like: Tensor, draw: Draw) -> Tensor:
    """Return standard normal noise (B, T, C), correlated over about draw.coherence frames if that is not 0."""
    batch, frames, width = like.shape
    if draw.coherence:
        tracks = [normal_track(draw.seed + i, draw.first, frames, width, draw.coherence) for i in range(batch)]
        return torch.stack(tracks).to(like)
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(draw.seed)).to(like)
