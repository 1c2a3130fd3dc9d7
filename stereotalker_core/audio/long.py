"""Hidden states of wav2vec 2.0, HuBERT and WavLM over long recordings, equal to one pass of the model to rounding.

One pass over minutes of sound would need an activation for every sample and a score for every pair of frames. Here
nothing is approximated, only reordered: the convolutional front end runs over overlapping pieces, with the statistics
of its group norm gathered from the whole recording first; the positional convolution gets its full context; every
attention sees all keys and values, a block of queries at a time; feed-forward layers work frame by frame anyway.

Time still grows with the square of the length, so beyond `limit` frames the transformer runs in windows."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FRONT = 500  # frames of 20 ms that the front end computes at a time
SCORES = 1 << 25  # attention scores held at a time
WINDOW, CONTEXT = 3000, 500  # frames of a window beyond the limit, and of its context on either side


@torch.no_grad()
def long_hidden(model: Any, waveform: Tensor, limit: int) -> Tensor:
    """Map a waveform (S,), normalised as the model expects -> last hidden states (T, D), float32 on the CPU.

    model: Wav2Vec2Model, HubertModel or WavLMModel of transformers, in evaluation mode.
    waveform: (S,) at 16 kHz.
    limit: frames beyond which the transformer runs in windows.

    ValueError for a model with a convolutional adapter, whose frames are further apart."""
    if getattr(model, "adapter", None) is not None:
        raise ValueError("speech encoders with an adapter of strided convolutions do not fit; take the base model")
    encoder, stable = model.encoder, model.config.do_stable_layer_norm
    x = positioned(encoder, front(model, waveform))
    if not stable:
        x = encoder.layer_norm(x)
    parts = []
    for start, stop in _piece_spans(len(x), WINDOW if len(x) > limit else len(x)):
        first, last = max(0, start - CONTEXT), min(len(x), stop + CONTEXT)
        h = x[first:last]
        table = _position_table(encoder.layers[0].attention, len(h))
        for layer in encoder.layers:
            h = _layer(layer, h, table, stable)
        parts.append((encoder.layer_norm(h) if stable else h)[start - first : stop - first].float().cpu())
    return torch.cat(parts)


def front(model: Any, waveform: Tensor) -> Tensor:
    """Map (S,) -> (T, D): convolutional front end and feature projection, piece by piece."""
    config, layers = model.config, model.feature_extractor.conv_layers
    weight = layers[0].conv.weight
    reach, hop = 1, 1  # samples that a frame sees, samples between frames
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        reach, hop = reach + (kernel - 1) * hop, hop * stride
    frames = (len(waveform) - reach) // hop + 1
    norm = _clip_norm(layers[0], waveform, FRONT * hop) if config.feat_extract_norm == "group" else None
    parts = []
    for start, stop in _piece_spans(frames, FRONT):
        x = waveform[start * hop : (stop - 1) * hop + reach].to(weight.device, weight.dtype)[None, None]
        for number, layer in enumerate(layers):
            x = layer.activation(norm(layer.conv(x))) if norm and number == 0 else layer(x)
        projected = model.feature_projection(x.transpose(1, 2))
        parts.append((projected[0] if isinstance(projected, tuple) else projected)[0])  # HuBERT gives no second one
    return torch.cat(parts)


def _clip_norm(layer: Any, waveform: Tensor, step: int):
    """Return a function x (C, n) -> (C, n): the first layer's group norm with the statistics of the whole recording.

    layer: the first convolution layer; waveform: (S,); step: samples per piece."""
    conv, norm = layer.conv, layer.layer_norm
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    count = (len(waveform) - kernel) // stride + 1
    total = torch.zeros(2, conv.out_channels, dtype=torch.float64)
    for start, stop in _piece_spans(count, step // stride):
        piece = waveform[start * stride : (stop - 1) * stride + kernel].to(conv.weight.device, conv.weight.dtype)
        y = conv(piece[None, None])[0].double()
        total += torch.stack([y.sum(1), y.square().sum(1)]).cpu()
    mean = total[0] / count
    scale = norm.weight.double().cpu() / (total[1] / count - mean.square() + norm.eps).sqrt()
    shift = norm.bias.double().cpu() - mean * scale
    scale, shift = (v.float().to(conv.weight.device)[:, None] for v in (scale, shift))
    return lambda y: (y.float() * scale + shift).to(y.dtype)


def positioned(encoder: Any, x: Tensor) -> Tensor:
    """Add the positional convolution to hidden states (T, D), piece by piece, each piece with the whole kernel's
    context."""
    reach = encoder.config.num_conv_pos_embeddings // 2 + 1
    out = torch.empty_like(x)
    for start, stop in _piece_spans(len(x), FRONT):
        first, last = max(0, start - reach), min(len(x), stop + reach)
        places = encoder.pos_conv_embed(x[None, first:last])[0, start - first : stop - first]
        out[start:stop] = x[start:stop] + places
    return out


def _layer(layer: Any, h: Tensor, table: Tensor | None, stable: bool) -> Tensor:
    """Run one transformer layer of the public model over hidden states (T, D) -> (T, D).

    layer: the layer.
    h: (T, D) hidden states.
    table: WavLM's position biases, see `_position_table`; None for other models.
    stable: layer norms come before attention and feed-forward (pre-norm), else after them."""
    attention = layer.attention
    source = layer.layer_norm(h) if stable else h
    key, value = (_heads(attention, project(source)) for project in (attention.k_proj, attention.v_proj))
    out = torch.empty_like(h)
    for start, stop in _piece_spans(len(h), max(1, SCORES // (len(h) * attention.num_heads))):
        query = _heads(attention, attention.q_proj(source[start:stop]))
        bias = None if table is None else _position_bias(attention, source[start:stop], table, start)
        found = F.scaled_dot_product_attention(query[None], key[None], value[None], attn_mask=bias)[0]
        y = h[start:stop] + attention.out_proj(found.transpose(0, 1).flatten(1))
        if stable:
            y = y + layer.feed_forward(layer.final_layer_norm(y))
            adapter = getattr(layer, "adapter_layer", None)
            out[start:stop] = y if adapter is None else y + adapter(y)
        else:
            y = layer.layer_norm(y)
            out[start:stop] = layer.final_layer_norm(y + layer.feed_forward(y))
    return out


def _heads(attention: Any, x: Tensor) -> Tensor:
    """Map (T, D) -> (heads, T, D / heads)."""
    return x.unflatten(-1, (attention.num_heads, -1)).transpose(0, 1)


def _position_table(attention: Any, frames: int) -> Tensor | None:
    """Return WavLM's position bias (heads, 2 frames - 1) for distances 1 - frames .. frames - 1; None for other models.
    """
    if not hasattr(attention, "rel_attn_embed"):
        return None
    distance = torch.arange(1 - frames, frames, device=attention.rel_attn_embed.weight.device)
    return attention.rel_attn_embed(attention._relative_positions_bucket(distance)).T


def _position_bias(attention: Any, source: Tensor, table: Tensor, start: int) -> Tensor:
    """Return WavLM's gated position bias (1, heads, n, T) for the queries `source` (n, D), the first at frame `start`;
    table: from `_position_table`."""
    projected = attention.gru_rel_pos_linear(_heads(attention, source))
    a, b = projected.unflatten(-1, (2, 4)).sum(-1).sigmoid().chunk(2, -1)  # (heads, n, 1)
    gate = a * (b * attention.gru_rel_pos_const[0] - 1.0) + 2.0
    frames = (table.shape[1] + 1) // 2
    rows = torch.arange(frames - 1 - start, frames - 1 - start - len(source), -1, device=table.device)
    return (gate * table.unfold(1, frames, 1)[:, rows])[None]


def _piece_spans(count: int, step: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, step):
        yield start, min(start + step, count)
