"""Where stage 2 spends its time: milliseconds a frame of every part, on this machine, and what of it is worth what.

    python benchmarks/render.py [--size 256 512] [--frames 32] [--steps 1] [--threads N] [--quick] [--json F]

A synthetic person with the true fit, an orbit from -40 to 40 degrees; the best of three runs. Both modes, with and
without numba, in one run: compare within a run, the same machine can be twice as fast an hour later. CPU: seconds of
all threads together, which others on the machine disturb least.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.loops import available as body_loops
from stereotalker_core.pipeline import Models, fit_person
from stereotalker_core.precision import cpu_has_bf16
from stereotalker_core.records import Cameras, Identity, Motion
from stereotalker_core.synthetic.movement.poses import joint_heads
from stereotalker_core.synthetic.people.avatar import make_avatar
from stereotalker_core.synthetic.people.performance import random_motion
from stereotalker_core.synthetic.people.portrait import canonical_cameras, reference_portrait, true_identity
from stereotalker_core.video.guides import maps as guide_maps
from stereotalker_core.video.guides.loops import loops
from stereotalker_core.video.guides.maps import background_plate, guide_tensor, render_guides
from stereotalker_core.video.networks import mask, vae
from stereotalker_core.video.rendering import steady as steadying
from stereotalker_core.video.rendering.composite import composite
from stereotalker_core.video.rendering.render import render_video
from stereotalker_core.video.rendering.renderer import MODES, Renderer
from stereotalker_core.video.rendering.steady import steadied
from stereotalker_core.video.writing.writer import VideoWriter

PERSON, WINDOW, REPEATS, FPS = 1_500_000, 8, 3, 25
Times = dict[str, tuple[float, float]]  # part -> wall and CPU milliseconds


@dataclass(frozen=True)
class Job:
    """The scene that is drawn (identity, motion, cameras), what draws it, and the denoising steps of mode diffusion."""

    body: HalfBody
    renderer: Renderer
    identity: Identity
    motion: Motion
    cameras: Cameras
    steps: int


def main() -> None:
    """Measure, print one table per size, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--threads", type=int, help="default: as PyTorch chooses")
    parser.add_argument("--quick", action="store_true", help="one run of everything instead of the best of three")
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    repeats = 1 if options.quick else REPEATS
    print(f"{torch.get_num_threads()} threads, {options.steps} step(s), bf16: {cpu_has_bf16()}")
    models, once = starts()
    found = {"once": once}
    show("once", once)
    for size in options.size:
        job = scene(models, size, options.frames, options.steps)
        found[str(size)] = parts(job, repeats) | streams(job, repeats)
        show(f"{size} px, a frame", found[str(size)])
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def show(name: str, times: Times) -> None:
    """Print {part: (wall ms, CPU ms)} as a table called `name`.

    Its column "of the paper's mode" is the CPU time relative to that of mode diffusion without numba."""
    print(f"\n| {name} | ms | CPU ms | of the paper's mode | CPU s per second |\n|---|---|---|---|---|")
    whole = times.get("stream: diffusion, without numba", (None, None))[1]
    for part, (wall, cpu) in times.items():
        share = f"{cpu / whole:.2f}" if whole else ""
        speed = f"{cpu * FPS / 1000:.2f}" if part.startswith("stream") else ""
        print(f"| {part} | {wall:.1f} | {cpu:.1f} | {share} | {speed} |", flush=True)


def starts() -> tuple[Models, Times]:
    """Return the models, and {one-off cost: (wall ms, CPU ms)}: reading files, compiling the guides, the fit."""
    times: Times = {}
    times["load: what fit and playback need"], _ = timed(lambda: Models.load_nano(mode="play", later=True), 1, 1)
    times["load: stage 1, U-Net, reference, experts too"], models = timed(lambda: Models.load_nano(), 1, 1)
    times["compiled guides made ready, or waited for"], _ = timed(lambda: loops(torch.device("cpu")), 1, 1)
    portrait = reference_portrait(models.body, make_avatar(models.body, PERSON), PERSON, 512)
    fit = timed(lambda: fit_person(models.body, portrait.image, networks=models.perception), 1, 1)
    return models, times | {"fit, once a person": fit[0]}


def scene(models: Models, size: int, frames: int, steps: int) -> Job:
    """Return a scene of a synthetic person who gestures before a moving camera.

    models: the networks; size: px of a side; frames: length; steps: denoising steps of mode diffusion."""
    body, avatar = models.body, make_avatar(models.body, PERSON)
    identity = true_identity(body, avatar, reference_portrait(body, avatar, PERSON))
    heads = joint_heads(body, body.rest(identity.shape[None], identity.shell[None]))
    motion = random_motion(body, heads, frames, torch.Generator().manual_seed(0))
    cameras = canonical_cameras(body, identity.shape, torch.linspace(-40, 40, frames), size)
    return Job(body, models.renderer, identity, motion, cameras, steps)


@torch.no_grad()
def parts(job: Job, repeats: int) -> Times:
    """Measure every part of the rendering on one window of frames -> {part: (wall ms, CPU ms) per frame}.

    job: the scene; repeats: number of runs, of which the fastest counts."""
    renderer, view, identity, body = job.renderer, job.cameras[:WINDOW], job.identity, job.body
    part, count = job.motion[:WINDOW], len(job.cameras[:WINDOW])
    rest, plate = body.rest(identity.shape[None], identity.shell[None]), background_plate(identity, view)
    maps = render_guides(body, identity, part, view, rest)
    guide = guide_tensor(maps, len(body.part_names))
    regions = renderer.predict_regions(maps, guide)
    portrait, noise = renderer.encode_portrait(plate[None]), renderer.noise(view.size, 0)
    latents = renderer.denoise(maps, guide, regions, portrait, noise, job.steps)
    picture, alpha = renderer.restore(maps, guide), regions.person.float()
    values = torch.cat([picture, alpha], 1)
    calls = {
        "guides": lambda: render_guides(body, identity, part, view, rest),
        "guide tensor": lambda: guide_tensor(maps, len(body.part_names)),
        "mask predictor": lambda: renderer.alpha(maps, guide),
        "encode lift + denoise (diffusion)": lambda: renderer.denoise(maps, guide, regions, portrait, noise, job.steps),
        "guided decoder": lambda: renderer.decode(latents, guide),
        "encode lift + guided decoder (play)": lambda: renderer.restore(maps, guide),
        "steady": lambda: list(steadied([(values, maps.lift)])),
        "composite": lambda: composite(picture, alpha, plate, True),
        "writer, in its own thread": lambda: write(picture),
    }
    found = {name: timed(call, count, repeats)[0] for name, call in calls.items()}
    with numba(False):
        for name in ("guides", "guide tensor", "mask predictor", "encode lift + guided decoder (play)", "steady"):
            found[f"{name}, without numba"] = timed(calls[name], count, repeats)[0]
    return found | {"portrait, once a video (diffusion)": timed(lambda: renderer.encode_portrait(plate[None]), 1, 1)[0]}


def streams(job: Job, repeats: int) -> Times:
    """Measure `render_video` in both modes, with and without numba -> {"stream: ..." or "first frame: ...": (wall ms,
    CPU ms)}.

    Times of a stream are per frame; those of a first frame last until it is there. job: the scene; repeats: number of
    runs, of which the fastest counts."""
    found, video = {}, (job.body, job.renderer, job.identity, job.motion, job.cameras)
    for compiled in (True, False):
        with numba(compiled):
            for mode in MODES:
                name = f"{mode}, {'with' if compiled else 'without'} numba"
                settings = {"steps": job.steps, "mode": mode}
                whole = timed(lambda s=settings: list(render_video(*video, **s)), len(job.motion), repeats)
                first = timed(lambda s=settings: next(render_video(*video, **s)), 1, repeats)
                found |= {f"stream: {name}": whole[0], f"first frame: {name}": first[0]}
    return found


@contextmanager
def numba(available: bool) -> Iterator[None]:
    """Let everything that has a compiled loop use it, or its twin of tensor operations, within the with block."""
    with ExitStack() as patches:
        for module in (guide_maps, mask, vae, steadying):
            patches.enter_context(mock.patch.object(module, "loops", loops if available else lambda device: None))
        if not available:
            patches.enter_context(mock.patch.object(body_loops, "_loops", lambda: None))
        yield


def write(frames: torch.Tensor) -> None:
    """Encode frames into a temporary file."""
    with tempfile.TemporaryDirectory() as folder, VideoWriter(f"{folder}/v.mp4", frames.shape[-2:]) as writer:
        writer.write(frames)


def timed(run: Callable[[], object], count: int, repeats: int) -> tuple[tuple[float, float], object]:
    """Call run() a few times -> time of the fastest call, (wall ms, CPU ms) for each of `count` frames, and its result.

    run: makes the frames; count: how many it makes; repeats: number of calls."""
    walls, cpus, found = [], [], None
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        found = run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return (1000 * min(walls) / count, 1000 * min(cpus) / count), found


if __name__ == "__main__":
    main()
