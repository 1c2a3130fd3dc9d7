"""AnimateAnyone's denoiser written a second time, from its description, straight on the public files' keys.

Functions over dicts of tensors, no module, no cache, attention spelt out: the slow twin for parity and speed.
video: (F, C, h, w). Widths, levels and layers are read from the keys; 8 heads, 32 groups everywhere.
"""

import math

import torch
import torch.nn.functional as F

HEADS, GROUPS = 8, 32


def linear(s, name, x):
    y = x @ s[f"{name}.weight"].flatten(1).T
    return y + s[f"{name}.bias"] if f"{name}.bias" in s else y


def conv(s, name, x, stride=1):
    weight = s[f"{name}.weight"]
    return F.conv2d(x, weight, s[f"{name}.bias"], stride, weight.shape[-1] // 2)


def group_norm(s, name, x, eps):
    """Statistics of each frame alone, groups of neighbouring channels."""
    n, c, h, w = x.shape
    groups = x.reshape(n, GROUPS, -1)
    groups = (groups - groups.mean(-1, keepdim=True)) / (groups.var(-1, correction=0, keepdim=True) + eps).sqrt()
    return groups.reshape(n, c, h, w) * s[f"{name}.weight"][:, None, None] + s[f"{name}.bias"][:, None, None]


def layer_norm(s, name, x):
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    return x * s[f"{name}.weight"] + s[f"{name}.bias"]


def attention(s, name, x, context):
    """x (B, N, D) asks, context (B, M, D') answers."""
    q, k, v = linear(s, f"{name}.to_q", x), linear(s, f"{name}.to_k", context), linear(s, f"{name}.to_v", context)
    q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in (q, k, v))
    weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
    return linear(s, f"{name}.to_out.0", (weights @ v).transpose(1, 2).flatten(2))


def feed_forward(s, name, x):
    value, gate = linear(s, f"{name}.net.0.proj", x).chunk(2, -1)
    return linear(s, f"{name}.net.2", value * F.gelu(gate))


def resnet(s, name, x, time):
    h = conv(s, f"{name}.conv1", F.silu(group_norm(s, f"{name}.norm1", x, 1e-5)))
    h = h + linear(s, f"{name}.time_emb_proj", F.silu(time))[None, :, None, None]
    h = conv(s, f"{name}.conv2", F.silu(group_norm(s, f"{name}.norm2", h, 1e-5)))
    return h + (conv(s, f"{name}.conv_shortcut", x) if f"{name}.conv_shortcut.weight" in s else x)


def spatial(s, name, x, tokens, bank, write):
    """Transformer of each frame. write: note the self-attention's input in bank. Else: attend to bank[name] too."""
    n, c, h, w = x.shape
    y = group_norm(s, f"{name}.norm", x, 1e-6)
    y = linear(s, f"{name}.proj_in", y.flatten(2).transpose(1, 2))
    block = f"{name}.transformer_blocks.0"
    z = layer_norm(s, f"{block}.norm1", y)
    if write:
        bank[name] = z
    context = torch.cat([z, bank[name].expand(n, -1, -1)], 1) if bank and not write else z
    y = y + attention(s, f"{block}.attn1", z, context)
    y = y + attention(s, f"{block}.attn2", layer_norm(s, f"{block}.norm2", y), tokens.expand(n, -1, -1))
    y = y + feed_forward(s, f"{block}.ff", layer_norm(s, f"{block}.norm3", y))
    return x + linear(s, f"{name}.proj_out", y).transpose(1, 2).reshape(n, c, h, w)


def temporal(s, name, x):
    """Motion module: every place attends over the frames; sines of the frame number are added inside the clip."""
    f, c, h, w = x.shape
    name = f"{name}.temporal_transformer"
    y = group_norm(s, f"{name}.norm", x, 1e-6).flatten(2).permute(2, 0, 1)  # (h w, F, C)
    y = linear(s, f"{name}.proj_in", y)
    block = f"{name}.transformer_blocks.0"
    for i in (0, 1):
        z = layer_norm(s, f"{block}.norms.{i}", y) + s[f"{block}.attention_blocks.{i}.pos_encoder.pe"][:, :f]
        y = y + attention(s, f"{block}.attention_blocks.{i}", z, z)
    y = y + feed_forward(s, f"{block}.ff", layer_norm(s, f"{block}.ff_norm", y))
    return x + linear(s, f"{name}.proj_out", y).permute(1, 2, 0).reshape(f, c, h, w)


def pose_features(s, drawing):
    x = F.silu(conv(s, "conv_in", drawing))
    for i in range(6):
        x = F.silu(conv(s, f"blocks.{i}", x, stride=1 + i % 2))
    return conv(s, "conv_out", x)


def time_embedding(s, t, width):
    half, weight = width // 2, s["time_embedding.linear_1.weight"]
    angle = t * torch.exp(-math.log(10000) * torch.arange(half, device=weight.device) / half)
    h = linear(s, "time_embedding.linear_1", torch.cat([angle.cos(), angle.sin()]).to(weight.dtype))
    return linear(s, "time_embedding.linear_2", F.silu(h))


def unet(s, motion, x, t, tokens, pose=None, bank=None, write=False):
    """(F, C, h, w) -> v (F, C, h, w). motion: keys of the motion file, or None. bank: of the reference network."""
    x = conv(s, "conv_in", x)
    time = time_embedding(s, t, x.shape[1])
    if pose is not None:
        x = x + pose

    def stage(block, i, x):
        x = resnet(s, f"{block}.resnets.{i}", x, time)
        if f"{block}.attentions.{i}.norm.weight" in s:
            x = spatial(s, f"{block}.attentions.{i}", x, tokens, bank, write)
        return temporal(motion, f"{block}.motion_modules.{i}", x) if motion else x

    skips = [x]
    for level in range(4):
        for i in range(2):
            x = stage(f"down_blocks.{level}", i, x)
            skips.append(x)
        if level < 3:
            x = conv(s, f"down_blocks.{level}.downsamplers.0.conv", x, stride=2)
            skips.append(x)
    x = stage("mid_block", 0, x)
    x = resnet(s, "mid_block.resnets.1", x, time)
    for level in range(4):
        for i in range(3):
            x = stage(f"up_blocks.{level}", i, torch.cat([x, skips.pop()], 1))
        if level < 3:
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            x = conv(s, f"up_blocks.{level}.upsamplers.0.conv", x)
    if write:
        return x
    return conv(s, "conv_out", F.silu(group_norm(s, "conv_norm_out", x, 1e-5)))


def denoise(files, x, t, portrait, tokens, drawing, scale):
    """v with guidance: files = the four public dicts; portrait (1, C, h, w) latents; drawing (F, 3, 8h, 8w) in 0..1."""
    bank = {}
    unet(files["reference_unet"], None, portrait, 0, tokens, bank=bank, write=True)
    pose = pose_features(files["pose_guider"], drawing)
    s, motion = files["denoising_unet"], files["motion_module"]
    cond = unet(s, motion, x, t, tokens, pose, bank)
    free = unet(s, motion, x, t, torch.zeros_like(tokens), pose, {})
    return free + scale * (cond - free)
