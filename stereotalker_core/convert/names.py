"""The tensor names of the original Stable Diffusion 1.5, AnimateDiff and TAESD files, mapped to those of diffusers."""

import re
from collections.abc import Callable

from torch import Tensor

State = dict[str, Tensor]
LDM_UNET, LDM_VAE, LDM_TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_VAE_ATTENTION = {  # the two older layouts -> the present one
    "norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0",
    "query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0",
}  # fmt: skip
_MOTION = {
    "attention_blocks.0": "attn1",
    "attention_blocks.1": "attn2",
    "norms.0": "norm1",
    "norms.1": "norm2",
    "ff_norm": "norm3",
}


def renamed(tensors: State, name: Callable[[str], str | None]) -> State:
    """Rename the keys of {key: tensor} by a function.

    name: key -> new key, or None for a tensor that is dropped. ValueError where two tensors get the same key."""
    out: State = {}
    for key, tensor in tensors.items():
        new = name(key)
        if new is None:
            continue
        if new in out:
            raise ValueError(f"two tensors of the file are the same part {new}")
        out[new] = tensor
    return out


def ldm_unet_modules(levels: int = 4, layers: int = 2) -> dict[str, str]:
    """Return {module prefix in the original Stable Diffusion U-Net: its prefix in diffusers}; "*" marks a residual
    block.

    levels: resolutions of the U-Net; layers: residual blocks per level."""
    out = {
        "time_embed.0": "time_embedding.linear_1",
        "time_embed.2": "time_embedding.linear_2",
        "input_blocks.0.0": "conv_in",
        "middle_block.0": "*mid_block.resnets.0",
        "middle_block.1": "mid_block.attentions.0",
        "middle_block.2": "*mid_block.resnets.1",
        "out.0": "conv_norm_out",
        "out.2": "conv_out",
    }
    for level in range(levels):
        for i in range(layers):
            block = f"input_blocks.{1 + level * (layers + 1) + i}"
            out[f"{block}.0"] = f"*down_blocks.{level}.resnets.{i}"
            out[f"{block}.1"] = f"down_blocks.{level}.attentions.{i}"
        out[f"input_blocks.{(level + 1) * (layers + 1)}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
        for i in range(layers + 1):
            block = f"output_blocks.{level * (layers + 1) + i}"
            out[f"{block}.0"] = f"*up_blocks.{level}.resnets.{i}"
            out[f"{block}.1"] = f"up_blocks.{level}.attentions.{i}"
            for place in (1, 2):  # behind the attention, where the level has one
                out[f"{block}.{place}.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
    return out


def unet_from_ldm(tensors: State, levels: int = 4, layers: int = 2) -> State:
    """Rename the U-Net keys of {key: tensor} from a single-file checkpoint (prefix removed) to diffusers' names.

    levels: resolutions of the U-Net; layers: residual blocks per level. Other keys stay unchanged."""
    modules = ldm_unet_modules(levels, layers)

    def name(key: str) -> str:
        module = longest_prefix(key, modules)
        if module is None:
            return key
        rest, target = key[len(module) :], modules[module]
        if not target.startswith("*"):
            return target + rest
        part, _, kind = rest[1:].rpartition(".")
        return f"{target[1:]}.{_RESNET.get(part, part)}.{kind}"

    return renamed(tensors, name)


def longest_prefix(key: str, prefixes: dict[str, str]) -> str | None:
    """Return the longest of the module prefixes that a key begins with, or None."""
    parts = key.split(".")
    for n in range(len(parts) - 1, 0, -1):
        if ".".join(parts[:n]) in prefixes:
            return ".".join(parts[:n])
    return None


def vae_from_ldm(tensors: State, levels: int = 4) -> State:
    """Rename the keys of {key: tensor} of the original autoencoder (prefix removed), or of an early diffusers one, to
    diffusers' current names; levels: its resolutions."""
    rules = [
        (r"^encoder\.down\.(\d+)\.block\.", r"encoder.down_blocks.\1.resnets."),
        (r"^encoder\.down\.(\d+)\.downsample\.conv\.", r"encoder.down_blocks.\1.downsamplers.0.conv."),
        (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
        (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
        (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
        (r"^(encoder|decoder)\.norm_out\.", r"\1.conv_norm_out."),
        (r"\.nin_shortcut\.", ".conv_shortcut."),
    ]
    for level in range(levels):
        up = f"decoder.up_blocks.{levels - 1 - level}"
        rules.append((rf"^decoder\.up\.{level}\.block\.", f"{up}.resnets."))
        rules.append((rf"^decoder\.up\.{level}\.upsample\.conv\.", f"{up}.upsamplers.0.conv."))

    def name(key: str) -> str:
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        before, mark, part = key.partition("mid_block.attentions.0.")
        module, _, kind = part.rpartition(".")
        return f"{before}{mark}{_VAE_ATTENTION.get(module, module)}.{kind}" if mark else key

    out = renamed(tensors, name)
    return {  # the attention's 1x1 convolutions became linear layers
        k: v.flatten(1) if ".attentions.0.to_" in k and v.ndim == 4 and v.shape[2:] == (1, 1) else v
        for k, v in out.items()
    }


def motion_from_animatediff(tensors: State) -> State:
    """Rename the keys of {key: tensor} of AnimateDiff or AnimateAnyone motion modules to diffusers' names.

    Other keys stay unchanged. Both attentions of a block hold the same position table; one copy is kept."""

    def name(key: str) -> str | None:
        if "motion_modules." not in key or ".temporal_transformer." not in key:
            return key
        key = key.replace(".temporal_transformer.", ".")
        if key.endswith(".pos_encoder.pe"):
            block = key.partition(".attention_blocks.")[0]
            return f"{block}.pos_embed.pe" if ".attention_blocks.0." in key else None
        for old, new in _MOTION.items():
            key = key.replace(f".{old}.", f".{new}.")
        return key

    return renamed(tensors, name)


def tiny_from_taesd(encoder: State, decoder: State) -> State:
    """Join {key: tensor} of the two original TAESD files under the names of diffusers' AutoencoderTiny.

    The decoder's indices shift by one, for a clamp layer without weights."""

    def shifted(key: str) -> str:
        number, _, rest = key.partition(".")
        return f"decoder.layers.{int(number) - 1}.{rest}" if number.isdigit() else key

    return renamed(encoder, lambda key: f"encoder.layers.{key}") | renamed(decoder, shifted)
