"""Where stage 2 spends its time: milliseconds a frame of every part, on this machine.

    python benchmarks/render.py [--size 256] [--frames 32] [--steps 1] [--threads N] [--json F]

A synthetic person with the true fit, an orbit from -40 to 40 degrees, windows of 16 frames; the best of three runs.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from stereotalker_core.body.model import HalfBody
from stereotalker_core.precision import cpu_has_bf16
from stereotalker_core.records import Motion
from stereotalker_core.synthetic.avatar import make_avatar
from stereotalker_core.synthetic.performance import random_motion
from stereotalker_core.synthetic.portrait import canonical_cameras, reference_portrait, true_identity
from stereotalker_core.synthetic.poses import joint_heads
from stereotalker_core.video.guides import background_plate, guide_tensor, render_guides
from stereotalker_core.video.render import Renderer, composite, load_nano, render_video

PERSON, WINDOW, REPEATS = 1_500_000, 16, 3


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--threads", type=int, help="default: as PyTorch chooses")
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    body, renderer = HalfBody(), load_nano()
    figures = measure(body, renderer, options.size, options.frames, options.steps)
    print(f"{torch.get_num_threads()} threads, {options.size} px, {options.steps} step(s), bf16: {cpu_has_bf16()}")
    print("| part | ms a frame |\n|---|---|")
    for name, value in figures.items():
        print(f"| {name} | {value:.1f} |")
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def measure(body: HalfBody, renderer: Renderer, size: int, frames: int, steps: int) -> dict[str, float]:
    """Part -> milliseconds a frame; "all (streamed)" is render_video, which also renders the overlaps twice."""
    avatar = make_avatar(body, PERSON)
    identity = true_identity(body, avatar, reference_portrait(body, avatar, PERSON))
    rest = body.rest(identity.shape[None], identity.shell[None])
    motion = random_motion(body, joint_heads(body, rest), frames, torch.Generator().manual_seed(0))
    cameras = canonical_cameras(body, identity.shape, torch.linspace(-40, 40, frames), size)
    part = Motion(motion.rotations[:WINDOW], motion.expression[:WINDOW])
    view = cameras[:WINDOW]
    noise, plate = renderer.noise((size, size), 0), background_plate(identity, view)
    guides = render_guides(body, identity, part, view, rest)
    guide = guide_tensor(guides, len(body.part_names))
    regions = renderer.predict_regions(guides, guide)
    portrait = renderer.encode_portrait(plate[None])
    latents = renderer.denoise(guides, guide, regions, portrait, noise, steps)
    picture = renderer.decode(latents, guide)
    count = len(view)
    figures = {
        "portrait, once a video": best(lambda: renderer.encode_portrait(plate[None]), 1),
        "guides: pose, rasterise, texture, light": best(lambda: render_guides(body, identity, part, view, rest), count),
        "guide tensor": best(lambda: guide_tensor(guides, len(body.part_names)), count),
        "mask predictor": best(lambda: renderer.predict_regions(guides, guide), count),
        "encode lift + denoise": best(lambda: renderer.denoise(guides, guide, regions, portrait, noise, steps), count),
        "guided decoder": best(lambda: renderer.decode(latents, guide), count),
        "composite": best(lambda: composite(picture, regions.person.float(), plate, True), count),
    }
    figures["sum of the parts"] = sum(list(figures.values())[1:])
    figures["all (streamed)"] = best(lambda: list(render_video(body, renderer, identity, motion, cameras)), frames)
    return figures


def best(run: Callable[[], Tensor | object], count: int) -> float:
    """Fastest of a few runs, in milliseconds for one of `count` frames."""
    found = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return 1000 * min(found) / count


if __name__ == "__main__":
    main()
