"""Memory of the full profile, computed from parameter and activation counts on the meta device: docs/full_profile.md.

    python tools/vram_table.py [--frames 24]

Weights: parameters x bytes. Denoising: the peak over the layers of what is alive at once (a layer's input, its output
and the skip connections kept so far) for one pass, plus cached reference keys and values; attention is fused and keeps
no weights. Decoding: the same count for the VAE's decoder. Allocator slack, CUDA context and kernels' scratch space are
not in it: add about 1-2 GB. Computed, not measured.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import nn

from stereotalker_core.convert.assemble import skeleton
from stereotalker_core.video.networks.image_encoder import ImageEncoder, ImageEncoderConfig
from stereotalker_core.video.networks.public_autoencoder import PublicAutoencoder, PublicAutoencoderConfig
from stereotalker_core.video.networks.reference import ReferenceNet
from stereotalker_core.video.networks.unet import SD15, Condition, StereoTalkerUNet

GB = 1e9
TILE = 40  # latents


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def peak_elements(module: nn.Module, run) -> int:
    """Return the largest number of elements alive during run(): a leaf module's inputs and output, and the skip
    connections kept so far."""
    kept, peak, hooks = [0], [0], []

    def leaf(layer: nn.Module, args: tuple, out: torch.Tensor) -> None:
        if isinstance(out, torch.Tensor):
            size = out.numel() + sum(a.numel() for a in args if isinstance(a, torch.Tensor))
            peak[0] = max(peak[0], kept[0] + size)

    def block(layer: nn.Module, args: tuple, out: object) -> None:
        tensor = out[0] if isinstance(out, tuple) else out
        kept[0] += tensor.numel()

    for name, layer in module.named_modules():
        if not list(layer.children()):
            hooks.append(layer.register_forward_hook(leaf))
        if "down_blocks" in name and name.rpartition(".")[2].isdigit() and name.rpartition(".")[0].endswith("resnets"):
            hooks.append(layer.register_forward_hook(block))
    run()
    for hook in hooks:
        hook.remove()
    return peak[0]


def rows(frames: int) -> list[str]:
    """Return the lines of the table."""
    unet, reference = skeleton(StereoTalkerUNet, SD15), skeleton(ReferenceNet, SD15.reference())
    vae, clip = skeleton(PublicAutoencoder, PublicAutoencoderConfig()), skeleton(ImageEncoder, ImageEncoderConfig())
    weights = [parameters(m) for m in (unet, reference, vae, clip)]
    lines = [
        f"Parameters: denoiser {weights[0] / 1e6:.0f} M, reference {weights[1] / 1e6:.0f} M, "
        f"VAE {weights[2] / 1e6:.0f} M, image encoder {weights[3] / 1e6:.0f} M; "
        f"in fp16 {2 * sum(weights) / GB:.1f} GB.",
        "",
        "| size | weights fp16 | reference cache | one pass | decode a frame | decode in 40-latent tiles | total |",
        "|---|---|---|---|---|---|---|",
    ]
    layers = [m for n, m in unet.unet.named_modules() if n.endswith("attn1") and "motion" not in n]
    levels = {320: 1, 640: 2, 1280: 4}
    for size in (512, 640, 768):
        side = size // 8
        with torch.device("meta"):
            cond = Condition(torch.empty(frames, 3, size, size), torch.empty(1, 1, 768), torch.empty(frames),
                             clip_length=frames)  # fmt: skip
            x = torch.empty(frames, 4, side, side)
        cache = sum(2 * layer.to_k.in_features * (side // levels[layer.to_k.in_features]) ** 2 for layer in layers)
        with torch.no_grad():
            denoise = 2 * peak_elements(unet, lambda x=x, cond=cond: unet_pass(unet, x, cond)) / GB
            decode, tile = (2 * peak_elements(vae, lambda n=n: decode_pass(vae, n)) / GB for n in (side, TILE))
        cached, fixed = 2 * cache / GB, 2 * sum(weights) / GB
        total = fixed + cached + max(denoise, min(decode, tile))
        lines.append(
            f"| {size} px | {fixed:.1f} GB | {cached:.2f} GB | {denoise:.1f} GB | {decode:.1f} GB | {tile:.1f} GB | "
            f"{total:.1f} GB |"
        )
    return lines


def decode_pass(vae: PublicAutoencoder, side: int) -> torch.Tensor:
    """Run one frame through the decoder."""
    return vae.decode(torch.empty(1, 4, side, side, device="meta"))


def unet_pass(model: StereoTalkerUNet, x: torch.Tensor, cond: Condition) -> torch.Tensor:
    """Run one pass of the network alone; the sampler's noise levels cannot be computed on the meta device."""
    sample = x.unflatten(0, (1, len(x))).transpose(1, 2)
    model.unet.conv_in.features = model.pose(cond.guide)
    tokens = cond.tokens.expand(len(x), -1, -1)
    return model.unet(sample, 500, encoder_hidden_states=tokens, cross_attention_kwargs={"reference": {}})[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=24, help="frames of one context window")
    print("\n".join(rows(parser.parse_args().frames)))


if __name__ == "__main__":
    main()
