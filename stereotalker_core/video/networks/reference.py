"""Reference attention: the portrait's features as extra keys and values of the U-Net's spatial self-attention.

The layout of AnimateAnyone (Hu et al. 2024): a second U-Net reads the clean portrait once per video; the input of each
of its spatial self-attentions becomes, through the denoiser's own to_k and to_v, extra keys and values of the layer of
the same name. Diffusers is imported where the network is built."""

import math
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...shapes import dims

Bank = dict[str, Tensor]  # layer name -> (I, N, D) input of its self-attention
ReferenceCache = dict[str, tuple[Tensor, Tensor]]  # layer name -> keys, values (I, heads, N, D / heads)

ROWS = 16  # that the CPU's fused attention works on at once: numbers in the widest vector


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Map (B, N, D) -> (B, heads, N, D / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def repeat_rows(x: Tensor, rows: int) -> Tensor:
    """Repeat each of I entries for rows / I consecutive rows, (I, ...) -> (rows, ...), without a copy where I is 1."""
    if len(x) == 1:
        return x.expand(rows, *x.shape[1:])
    if rows % len(x):
        raise ValueError(f"{rows} frames cannot be shared by {len(x)} portraits; give every portrait equally many")
    return x.repeat_interleave(rows // len(x), 0)


class SpatialAttention(Protocol):
    """The methods and fields of diffusers' `Attention` that are used here."""

    heads: int
    to_q: nn.Module
    to_k: nn.Module
    to_v: nn.Module
    to_out: nn.ModuleList

    def set_processor(self, processor: "ReferenceAttention | TemporalAttention") -> None:
        """Compute the attention by this processor from now on."""
        ...


class ReferenceAttention:
    """The attention processor of one spatial layer: each token of a frame attends to the frame's own tokens and to the
    portrait's.

    cross_attention_kwargs holds a `Bank` under "bank", which is filled (reference network), or a `ReferenceCache` under
    "reference", which is read (denoiser)."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(
        self,
        attn: SpatialAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        reference: ReferenceCache | None = None,
        bank: Bank | None = None,
    ) -> Tensor:
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if bank is not None and encoder_hidden_states is None:
            bank[self.name] = hidden_states
        if encoder_hidden_states is not None and source.shape[1] == 1:  # one token: whoever asks gets its value
            return attn.to_out[1](attn.to_out[0](attn.to_v(source))).expand(-1, hidden_states.shape[1], -1)
        query = split_heads(attn.to_q(hidden_states), attn.heads)
        key, value = split_heads(attn.to_k(source), attn.heads), split_heads(attn.to_v(source), attn.heads)
        if reference is not None and encoder_hidden_states is None and self.name in reference:
            extra_key, extra_value = (repeat_rows(x.to(key.dtype), len(key)) for x in reference[self.name])
            key, value = torch.cat([key, extra_key], 2), torch.cat([value, extra_value], 2)
        out = attend(query, key, value)
        return attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2)))


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute softmax attention over (B, heads, N, D) -> (B, heads, N, D). bfloat16 on a CPU is computed in float32,
    where the fused kernel is up to 1.7 times faster.

    mask: (N, N) added to the logits, or None."""
    dtype = query.dtype
    if dtype == torch.bfloat16 and query.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
        query, key, value = query.float(), key.float(), value.float()
    mask = None if mask is None else mask.to(query.dtype)
    return F.scaled_dot_product_attention(query, key, value, mask).to(dtype)


class TemporalAttention:
    """The attention processor of the motion modules: each place attends over its own frames.

    On a CPU the fused kernel works on rows of `ROWS`, and shorter clips leave most of a row idle. There several places
    share a row, and a mask keeps them apart, which gives exactly the same weights."""

    def __call__(
        self,
        attn: SpatialAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **unused: object,
    ) -> Tensor:
        places, frames = hidden_states.shape[:2]
        shared = math.gcd(places, ROWS // frames or 1) if hidden_states.device.type == "cpu" else 1
        query, key, value = (
            split_heads(layer(hidden_states).reshape(places // shared, shared * frames, -1), attn.heads)
            for layer in (attn.to_q, attn.to_k, attn.to_v)
        )
        mask = own_frames(shared, frames) if shared > 1 else None
        out = attend(query, key, value, mask).transpose(1, 2).reshape(places, frames, -1)
        return attn.to_out[1](attn.to_out[0](out))


def own_frames(places: int, frames: int) -> Tensor:
    """Return the mask (places * frames, places * frames) that lets each place see its own frames alone: 0 or -inf."""
    place = torch.arange(places).repeat_interleave(frames)
    return torch.zeros(len(place), len(place)).masked_fill(place[:, None] != place, -math.inf)


def install_reference_attention(unet: nn.Module) -> None:
    """Set a named `ReferenceAttention` as processor of every spatial attention of a diffusers U-Net, a
    `TemporalAttention` as that of its motion modules; weight keys stay."""
    for name, module in unet.named_modules():
        if name.endswith(("attn1", "attn2")):
            processor = TemporalAttention() if "motion_modules" in name else ReferenceAttention(name)
            cast(SpatialAttention, module).set_processor(processor)


def cache_keys(unet: nn.Module, bank: Bank) -> ReferenceCache:
    """Compute {layer: (keys, values)} of a portrait's features by the denoiser's own to_k and to_v, once per video.

    unet: the denoiser; bank: {layer: input of its spatial self-attention}, from the reference network."""
    layers = dict(unet.named_modules())
    cache = {}
    for name, x in bank.items():
        layer = cast(SpatialAttention, layers[name])
        cache[name] = split_heads(layer.to_k(x), layer.heads), split_heads(layer.to_v(x), layer.heads)
    return cache


@dataclass(frozen=True)
class ReferenceConfig:
    """The sizes of the reference network, which are those of its denoiser. SD1.5 has widths (320, 640, 1280, 1280),
    layers 2, heads 8, groups 32, cross_dim 768."""

    latent_channels: int = 8
    widths: tuple[int, ...] = (64, 96, 128)
    layers: int = 1
    heads: tuple[int, ...] = (2, 3, 4)
    attention: tuple[bool, ...] = (False, True, True)
    groups: int = 16
    cross_dim: int = 32


class _Dropped(nn.Module):
    """The placeholder of an unused output block: takes its skip connections off the list and does nothing else."""

    has_cross_attention = False

    def __init__(self, resnets: int) -> None:
        super().__init__()
        self.resnets = range(resnets)

    def forward(self, hidden_states: Tensor, **unused: object) -> Tensor:
        return hidden_states


class ReferenceNet(nn.Module):
    """The stock `UNet2DConditionModel` without the layers after its last spatial attention, whose output is never used.
    """

    Config = ReferenceConfig

    def __init__(self, config: ReferenceConfig | None = None) -> None:
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        super().__init__()
        self.config = c = config or ReferenceConfig()
        heads: Any = c.heads  # diffusers writes tuple[int] where it means any number of them
        self.unet: Any = UNet2DConditionModel(
            in_channels=c.latent_channels,
            out_channels=c.latent_channels,
            block_out_channels=c.widths,
            layers_per_block=c.layers,
            down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in c.attention),
            up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(c.attention)),
            cross_attention_dim=c.cross_dim,
            norm_num_groups=c.groups,
            attention_head_dim=heads,
        )
        for i in reversed(range(len(c.widths))):
            if c.attention[len(c.widths) - 1 - i]:
                break
            self.unet.up_blocks[i] = _Dropped(len(self.unet.up_blocks[i].resnets))
        self.unet.conv_norm_out, self.unet.conv_out = None, nn.Identity()
        install_reference_attention(self.unet)

    def forward(self, latents: Tensor, tokens: Tensor) -> Bank:
        """Map clean portrait latents (I, C, h, w) and embeddings (I, N, D) -> {layer: input of its spatial
        self-attention}."""
        dims(latents, "I C h w", C=self.config.latent_channels)
        bank: Bank = {}
        self.unet(latents, 0, encoder_hidden_states=tokens, cross_attention_kwargs={"bank": bank})
        return bank
