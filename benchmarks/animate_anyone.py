"""The denoiser's speed beside the classes of Moore Threads' AnimateAnyone, whose weights ours reads.

    git clone https://github.com/MooreThreads/Moore-AnimateAnyone FOLDER
    python benchmarks/animate_anyone.py FOLDER [--frames 8] [--size 256] [--repeats 9] [--pose]

Theirs: UNet3DConditionModel, UNet2DConditionModel and ReferenceAttentionControl as their pipeline calls them, from a
checkout, which is not part of this project. It is written for diffusers 0.24; names that have moved since are put back.
Random weights at a tenth of Stable Diffusion's widths, fp32, one step with guidance, processor time of one thread, the
two by turns. The reference pass, once a video for both, is not timed; the pose guider, once a video in their pipeline,
only with --pose, and then on both sides.
"""

import argparse
import importlib
import os
import statistics
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")  # processor time adds up over threads
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from benchmarks.unet import SET, networks
from stereotalker_core.video.networks.guidance import guided
from stereotalker_core.video.networks.unet import Condition
from tests.convert import public_files


def put_back_names() -> None:
    """Give today's diffusers the names of version 0.24 that the checkout imports; those of unused parts are empty."""
    parts = ("attention", "attention_processor", "embeddings", "lora", "normalization")
    attention, processor, embeddings, lora, normalization = (
        importlib.import_module(f"diffusers.models.{part}") for part in parts
    )
    attention.AdaLayerNorm, attention.Attention = normalization.AdaLayerNorm, processor.Attention
    for name in ("CaptionProjection", "PositionNet"):
        setattr(embeddings, name, getattr(embeddings, name, type(name, (), {})))

    class Conv(nn.Conv2d):
        def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
            return super().forward(x)

    class Linear(nn.Linear):
        def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
            return super().forward(x)

    lora.LoRACompatibleConv, lora.LoRACompatibleLinear = Conv, Linear
    dual = types.ModuleType("diffusers.models.dual_transformer_2d")
    dual.DualTransformer2DModel = object
    sys.modules.setdefault(dual.__name__, dual)


def theirs(folder: Path, files: dict[str, dict[str, Tensor]], widths: tuple[int, ...], cross: int) -> tuple[Any, ...]:
    """Return their (denoiser, reference network, pose guider, ReferenceAttentionControl) with the weights of a set.

    folder: the checkout; files: {"denoising_unet", ...: {key: tensor}}; widths, cross: of the networks."""
    put_back_names()
    sys.path.insert(0, str(folder))
    parts = ("unet_3d", "unet_2d_condition", "pose_guider", "mutual_self_attention")
    unet_3d, unet_2d, pose_guider, control = (importlib.import_module(f"src.models.{part}") for part in parts)
    sizes = {"block_out_channels": widths, "cross_attention_dim": cross, "attention_head_dim": 8}
    motion = {
        "num_attention_heads": 8, "num_transformer_block": 1, "attention_block_types": ["Temporal_Self"] * 2,
        "temporal_position_encoding": True, "temporal_position_encoding_max_len": 32, "temporal_attention_dim_div": 1,
    }  # fmt: skip
    denoiser = unet_3d.UNet3DConditionModel(
        **sizes, use_inflated_groupnorm=True, unet_use_cross_frame_attention=False, unet_use_temporal_attention=False,
        use_motion_module=True, motion_module_mid_block=True, motion_module_type="Vanilla",
        motion_module_kwargs=motion,
    ).eval()  # fmt: skip
    reference = unet_2d.UNet2DConditionModel(**sizes).eval()
    pose = pose_guider.PoseGuider(widths[0], block_out_channels=(16, 32, 96, 256)).eval()
    denoiser.load_state_dict(files["denoising_unet"] | files["motion_module"])
    reference.load_state_dict(files["reference_unet"], strict=False)  # its last layers are in no file
    pose.load_state_dict(files["pose_guider"])
    return denoiser, reference, pose, control.ReferenceAttentionControl


def by_turns(first: Callable[[], object], second: Callable[[], object], repeats: int) -> tuple[list[float], ...]:
    """Return the processor times in seconds of two functions, called by turns, the order swapped each time."""
    times: tuple[list[float], ...] = ([], [])
    for i in range(repeats):
        for k in (0, 1) if i % 2 else (1, 0):
            start = time.process_time()
            (first, second)[k]()
            times[k].append(time.process_time() - start)
    return times


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="a checkout of Moore-AnimateAnyone")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=256, help="pixels")
    parser.add_argument("--scale", type=float, default=3.5, help="guidance")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--pose", action="store_true", help="time the pose guider, too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    files = {n: public_files.small(n, i) for i, n in enumerate(SET)}
    unet, reference = (network.eval() for network in networks(files))
    cross, side = unet.config.cross_dim, args.size // 8
    other, other_reference, guider, control = theirs(args.folder, files, unet.config.widths, cross)
    torch.manual_seed(0)
    x, portrait = (torch.randn(n, 4, side, side) for n in (args.frames, 1))
    tokens, drawing = torch.randn(1, 1, cross), torch.rand(args.frames, 3, args.size, args.size)
    cond = Condition(drawing, tokens, torch.zeros(args.frames), clip_length=args.frames,
                     reference=unet.cache_reference(reference(portrait, tokens)))  # fmt: skip
    features, both = unet.pose(drawing), torch.cat([torch.zeros_like(tokens), tokens])
    kinds = {"do_classifier_free_guidance": True, "batch_size": 1, "fusion_blocks": "full"}
    writer, reader = control(other_reference, mode="write", **kinds), control(other, mode="read", **kinds)
    other_reference(portrait.repeat(2, 1, 1, 1), torch.tensor(0), encoder_hidden_states=both, return_dict=False)
    reader.update(writer, dtype=torch.float32)
    clip, skeletons = (t.transpose(0, 1)[None].contiguous() for t in (x, drawing))
    drawn = guider(skeletons)

    def ours_step() -> Tensor:
        if args.pose:
            return -guided(unet, x, 1.0, cond, args.scale)
        with mock.patch.object(unet.pose, "forward", lambda _: features):
            return -guided(unet, x, 1.0, cond, args.scale)

    def their_step() -> Tensor:
        pose = torch.cat([guider(skeletons) if args.pose else drawn] * 2)
        out = other(torch.cat([clip] * 2), torch.tensor(999), encoder_hidden_states=both, pose_cond_fea=pose)
        free, with_portrait = out.sample.chunk(2)
        return (free + args.scale * (with_portrait - free))[0].transpose(0, 1)

    found, wanted = ours_step(), their_step()
    fast, slow = by_turns(ours_step, their_step, args.repeats)
    ratios = [a / b for a, b in zip(fast, slow, strict=True)]
    print(f"{args.frames} frames of {args.size} px, fp32, one thread, {'with' if args.pose else 'without'} pose guider")
    print(f"difference {float((found - wanted).norm() / wanted.norm()):.1e} relative, "
          f"largest {float((found - wanted).abs().max() / wanted.abs().max()):.1e} of the largest value")  # fmt: skip
    print(f"theirs {min(slow):.2f} s (median {statistics.median(slow):.2f})")
    print(f"ours   {min(fast):.2f} s (median {statistics.median(fast):.2f})   ratio of the best "
          f"{min(fast) / min(slow):.2f}, by turns {min(ratios):.2f} to {max(ratios):.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
