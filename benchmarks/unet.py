"""The denoiser's speed beside a plain implementation that gives the same output.

    python benchmarks/unet.py [--device cpu] [--dtype fp32] [--frames 8] [--size 256] [--full] [--repeats 3]

Plain: tests/video/networks/plain_denoiser.py, written from the description of AnimateAnyone: attention spelt out,
reference keys computed again for every frame and step. Ours: reference keys cached, fused attention,
channels_last. One step with guidance, random weights; default widths are a tenth of Stable Diffusion's, --full
takes them whole (GPU). The reference pass, once a video for both, is not timed. On the CPU the time is processor time
of one thread.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # processor time adds up over threads
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from stereotalker_core.convert.assemble import fill, skeleton
from stereotalker_core.convert.names import motion_from_animatediff, renamed
from stereotalker_core.convert.renderer import unet_config
from stereotalker_core.video.networks.guidance import guided
from stereotalker_core.video.networks.reference import ReferenceNet
from stereotalker_core.video.networks.unet import SD15, Condition, StereoTalkerUNet
from tests.convert import public_files
from tests.video.networks import plain_denoiser as plain

SET = ("denoising_unet", "reference_unet", "pose_guider", "motion_module")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def best(work: Callable[[], object], repeats: int, device: str) -> float:
    """Return the time in seconds of the fastest of some calls, after one to warm up.

    work: what is called; repeats: number of calls; device: on a CPU processor time is measured, on "cuda" the clock."""
    cuda = device.startswith("cuda")
    clock, times = time.perf_counter if cuda else time.process_time, []
    for _ in range(repeats + 1):
        start = clock()
        work()
        if cuda:
            torch.cuda.synchronize(device)
        times.append(clock() - start)
    return min(times[1:])


def networks(files: dict[str, dict[str, Tensor]]) -> tuple[StereoTalkerUNet, ReferenceNet]:
    """Return our denoiser and reference network with the weights of the four files of an AnimateAnyone set.

    files: {"denoising_unet", "motion_module", "pose_guider", "reference_unet": {key: tensor}}."""
    given = dict(files["denoising_unet"]) | motion_from_animatediff(files["motion_module"])
    given |= renamed(files["pose_guider"], lambda key: f"pose.{key}")
    config = unet_config(given, SD15, "benchmark")
    named = renamed(given, lambda key: key if key.startswith("pose.") else f"unet.{key}")
    unet = fill(skeleton(StereoTalkerUNet, config), named)
    reference = fill(
        skeleton(ReferenceNet, config.reference()), renamed(files["reference_unet"], lambda key: f"unet.{key}")
    )
    return unet.to(memory_format=torch.channels_last), reference.to(memory_format=torch.channels_last)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=256, help="pixels")
    parser.add_argument("--scale", type=float, default=3.5, help="guidance")
    parser.add_argument("--full", action="store_true", help="Stable Diffusion's own widths (needs 16 GB)")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    device, dtype = args.device, DTYPES[args.dtype]
    divisor = 1 if args.full else 10
    files = {n: public_files.small(n, i, divisor) for i, n in enumerate(SET)}
    files = {n: {k: v.to(device, dtype) for k, v in f.items()} for n, f in files.items()}
    unet, reference = networks(files)
    torch.manual_seed(0)
    side, cross = args.size // 8, unet.config.cross_dim
    x, portrait = (torch.randn(n, 4, side, side).to(device, dtype) for n in (args.frames, 1))
    tokens = torch.randn(1, 1, cross).to(device, dtype)
    drawing = torch.rand(args.frames, 3, args.size, args.size).to(device, dtype)
    yaw = torch.zeros(args.frames, device=device)
    cond = Condition(drawing, tokens, yaw, reference=unet.cache_reference(reference(portrait, tokens)),
                     clip_length=args.frames)  # fmt: skip
    bank: dict[str, Tensor] = {}
    plain.unet(files["reference_unet"], None, portrait, 0, tokens, bank=bank, write=True)

    def plain_step() -> Tensor:
        pose = plain.pose_features(files["pose_guider"], drawing)
        s, motion = files["denoising_unet"], files["motion_module"]
        with_bank = plain.unet(s, motion, x, 999, tokens, pose, bank)
        free = plain.unet(s, motion, x, 999, torch.zeros_like(tokens), pose, {})
        return free + args.scale * (with_bank - free)

    ours, theirs = -guided(unet, x, 1.0, cond, args.scale), plain_step().float()
    error = float((ours - theirs).norm() / theirs.norm())
    fast = best(lambda: guided(unet, x, 1.0, cond, args.scale), args.repeats, device)
    slow = best(plain_step, args.repeats, device)
    print(f"{args.frames} frames of {args.size} px, {args.dtype} on {device}, {'full' if args.full else 'tenth'} width")
    print(f"difference {error:.1e} relative")
    print(f"plain {1e3 * slow / args.frames:8.1f} ms a frame and guided step")
    print(f"ours  {1e3 * fast / args.frames:8.1f} ms a frame and guided step   ratio {fast / slow:.2f}")


if __name__ == "__main__":
    main()
