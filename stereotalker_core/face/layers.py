"""Building blocks of ProbTalk3D, named so that the released weights load as they are (ProbTalk3D, section 4)."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

MAX_FRAMES = 5000  # rows of the position table: the longest clip that one pass takes
NORMS = ("clip", "frame")


class PositionTable(nn.Module):
    """Add a sine and cosine position table to (B, T, C), then dropout. The table `pe` is computed, not stored."""

    pe: Tensor

    def __init__(self, width: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("pe", position_table(width), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > MAX_FRAMES:
            raise ValueError(f"{x.shape[1]} frames in one pass; at most {MAX_FRAMES}, longer sound goes in windows")
        return self.dropout(x + self.pe[: x.shape[1], 0])


def position_table(width: int, frames: int = MAX_FRAMES) -> Tensor:
    """Return positions (frames, 1, width): sin (even channels) and cos (odd channels) of t exp(-2i ln(10000) / width).

    The exponent is rounded to float32 as in the released models; exp itself is computed in float64, because its last
    float32 bit differs between processors, and grows to 1e-4 at frame 5000."""
    time = torch.arange(frames, dtype=torch.float32)[:, None]
    exponent = torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width)
    frequency = torch.exp(exponent.double()).float()
    table = torch.zeros(frames, 1, width)
    table[:, 0, 0::2] = torch.sin(time * frequency)
    table[:, 0, 1::2] = torch.cos(time * frequency)
    return table


class FrameNorm(nn.Module):
    """Normalise the channels of each frame of (B, C, T) to zero mean and unit variance, each frame separately."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.transpose(1, 2), x.shape[1:2]).transpose(1, 2)


def conv_block(width: int, norm: str) -> nn.Sequential:
    """Return a block on (B, C, T): convolution over time, LeakyReLU, normalisation.

    width: C.
    norm: "clip" normalises each channel over the whole clip, as in the released models, which also removes what is
        constant in it; "frame" keeps that, and does not depend on the clip's length."""
    layer = nn.InstanceNorm1d(width) if norm == "clip" else FrameNorm()
    conv = nn.Conv1d(width, width, 5, padding=2, padding_mode="replicate")
    return nn.Sequential(nn.Sequential(conv, nn.LeakyReLU(0.2), layer))


class LinearEmbedding(nn.Module):
    """Apply a linear layer to (B, T, C), in front of a transformer; `net` is its name in the released weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Attention(nn.Module):
    """Apply full self-attention to (B, T, C), without a mask; scores are scaled by the whole width, not by a head's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, width**-0.5
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.to_qkv(x), "b t (part h d) -> part b h t d", part=3, h=self.heads)
        mixed = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.to_out(rearrange(mixed, "b h t d -> b t (h d)"))


class FeedForward(nn.Module):
    """Apply two linear layers with the tanh form of GELU between to (B, T, C); inner: width between them."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.l1, self.l2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.l2(F.gelu(self.l1(x), approximate="tanh"))


class PreNorm(nn.Module):
    """Compute fn(LayerNorm(x)), a layer behind its normalisation."""

    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(width), fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))


class Residual(nn.Module):
    """Compute x + fn(x), a layer with a shortcut."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fn(x)


class Transformer(nn.Module):
    """Apply pre-norm layers to (B, T, C), attention and feed-forward in turn; no final norm, no mask.

    width: C; layers: number of pairs; heads: of the attention, ValueError where they do not divide C; inner: width
        inside the feed-forward."""

    def __init__(self, width: int, layers: int, heads: int, inner: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} must divide by heads {heads}")
        blocks = []
        for _ in range(layers):
            blocks.append(Residual(PreNorm(width, Attention(width, heads))))
            blocks.append(Residual(PreNorm(width, FeedForward(width, inner))))
        self.net = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.net:
            x = block(x)
        return x
