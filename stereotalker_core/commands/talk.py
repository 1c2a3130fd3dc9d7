"""`talk`: portrait + speech -> video file. `motion`: speech -> motion file."""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from .. import __version__
from ..audio.load import load_audio
from ..audio.spool import spool_audio
from ..body.model import HalfBody
from ..image import load_mask, load_portrait, save_image
from ..motion.bvh import save_bvh
from ..motion.conditioning import Style
from ..motion.io import READERS, load_motion, save_live_link_csv, save_npz
from ..motion.preview import preview_frames, strip
from ..motion.sampling import MotionModels, MotionOptions, sample_motion
from ..pipeline import ASPECTS, BAKED, Look, Models, Scene, View, heard_warnings, prepare, render
from ..records import Audio, Identity, Motion
from ..video.background_writer import BackgroundWriter
from ..video.provenance import container_tags
from ..video.render import MODES
from ..video.writer import VideoWriter, check_output
from .inputs import parse_background, parse_orbit, parse_size, read_keypoints, read_transcript
from .measure import peak_memory_mb
from .progress import ProgressLine, held_warnings

SAVERS = {
    ".safetensors": Motion.save, ".npz": save_npz, ".csv": save_live_link_csv,
    ".bvh": lambda motion, path: save_bvh(motion, HalfBody(), path),
}  # fmt: skip

_OTHER_PICTURE = 0.01  # mean difference in [-1, 1] from which two pictures are not the same


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Declare `talk` and `motion`."""
    talk = commands.add_parser("talk", help="portrait + speech -> talking video", description=__doc__)
    talk.add_argument("--portrait", required=True, metavar="P", help="JPG, PNG or WebP; alpha is taken as the mask")
    several = "which of several people, 1 = the largest; without it the largest is taken, with a warning"
    talk.add_argument("--person", type=int, metavar="N", help=several)
    talk.add_argument("--audio", metavar="A", help="wav, flac, mp3, ogg, m4a, or a video with sound")
    talk.add_argument("--out", required=True, metavar="V", help=".mp4, .mov or .mkv")
    camera = talk.add_mutually_exclusive_group()
    camera.add_argument("--yaw", type=float, default=0.0, metavar="D", help="degrees; positive: towards the right side")
    camera.add_argument("--orbit", metavar="D0:D1", help="from one yaw to another, like -40:40")
    origin = "where yaw is measured from: the photograph's own view, or the front of the body; default photo"
    talk.add_argument("--yaw-origin", default="photo", metavar="O", help=origin)
    talk.add_argument("--pitch", type=float, default=0.0, metavar="D", help="degrees; positive: camera above")
    talk.add_argument("--framing", default="auto", help="auto, half_body or portrait")
    talk.add_argument("--keypoints", metavar="K.json", help="OpenPose JSON, or {name: [x, y]} in its pixels")
    talk.add_argument("--mask", metavar="M.png", help="the person, white on black; its inverse is recognised")
    size = "pixels: of a square, WIDTHxHEIGHT, or of the narrower side; 128 to 1024, multiples of 8; default 256"
    talk.add_argument("--size", default="256", metavar="N", help=size)
    aspect = f"width to height: {', '.join(ASPECTS)}, or photo: the photograph's own; with --size N"
    talk.add_argument("--aspect", metavar="W:H", help=aspect)
    mode = "play: guides and decoder; diffusion: the denoiser with its experts on every frame, as in the paper"
    talk.add_argument("--mode", choices=MODES, default="play", help=f"{mode}; default play")
    talk.add_argument("--steps", type=int, default=1, metavar="N", help="denoising steps of mode diffusion")
    scale = "draw the face once more, 2 to 4 times as large, and blend it in; 1: no"
    talk.add_argument("--face-scale", type=int, default=1, metavar="N", help=scale)
    invented = "0..1: how much is invented where the portrait shows nothing; 0: colours of what is near"
    talk.add_argument("--bake", type=float, default=BAKED, metavar="X", help=invented)
    kept = "keep the fitted and baked person in this file; a second run with the same portrait reads it"
    talk.add_argument("--identity", metavar="I.safetensors", help=kept)
    talk.add_argument("--background", default="portrait", metavar="B", help="portrait, #rrggbb, or a picture")
    for kind in ("view", "mask"):
        strength = f"strength of the {kind}-MoE of mode diffusion; 0 = off"
        talk.add_argument(f"--{kind}-experts", type=float, default=1.0, metavar="X", help=strength)
    talk.add_argument("--no-mask-predictor", action="store_true", help="use the bare body's own silhouette")
    formats = f"use this motion instead of sampling one: {', '.join(READERS)}"
    talk.add_argument("--motion", metavar="M", help=formats)
    talk.add_argument("--save-motion", metavar="M.safetensors", help="keep the sampled motion")
    talk.add_argument("--json", metavar="F", help="write a report: sizes, times, memory, fit quality and warnings")
    _motion_arguments(talk)
    talk.set_defaults(run=run_talk)
    motion = commands.add_parser("motion", help="speech -> motion file", description="Sample a motion from speech.")
    motion.add_argument("--audio", required=True, metavar="A", help="as in talk")
    motion.add_argument(
        "--out", required=True, metavar="M", help=".safetensors, .npz, .csv (face and head), .bvh (body)"
    )
    motion.add_argument(
        "--strip", metavar="S.png", help="eight moments of the shaded body, from the front and the side"
    )
    motion.add_argument("--yaw", type=float, default=0.0, metavar="D", help="of the preview, degrees")
    motion.add_argument("--preview", metavar="V.mp4", help="a plain shaded body that performs it, with the speech")
    _motion_arguments(motion)
    motion.set_defaults(run=run_motion)


def _motion_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--transcript", metavar="T", help="the words spoken, or @FILE; sharpens meaning gestures")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="same seed, same result")
    parser.add_argument("--style", default="neutral", metavar="E", help="emotion of the motion")
    parser.add_argument("--intensity", type=float, default=1.0, metavar="X", help="of the emotion, 0..1")
    parser.add_argument("--energy", type=float, default=1.0, metavar="X", help="of the gestures: 0.6 calm, 1.4 lively")
    parser.add_argument("--blink-rate", type=float, default=15.0, metavar="N", help="blinks a minute; 0 = none")
    parser.add_argument("--motion-steps", type=int, default=8, metavar="N", help="denoising steps of stage 1")
    parser.add_argument("--prior-strength", type=float, default=1.0, metavar="X", help="language model; 0 = off")
    parser.add_argument("--device", default="auto", metavar="D", help="cpu, cuda, ...; auto = cuda where there is one")
    parser.add_argument("--quiet", action="store_true", help="no progress line, no warnings")


def motion_options(args: argparse.Namespace) -> MotionOptions:
    """The settings of stage 1; ValueError for one out of range."""
    style = Style(args.style, args.intensity, args.energy)
    chosen = {"prior_strength": args.prior_strength, "blink_rate": args.blink_rate}
    return MotionOptions(seed=args.seed, steps=args.motion_steps, style=style, **chosen)


def device(args: argparse.Namespace) -> str:
    """Where the networks run; ValueError for a device that is not there."""
    if args.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=args.device)
    except (RuntimeError, AssertionError) as error:  # torch raises either, by the way it was built
        raise ValueError(f"device {args.device!r} is not available ({str(error).splitlines()[0]})") from error
    return args.device


def run_talk(args: argparse.Namespace) -> int:
    """Check everything, prepare, then stream frames into the file."""
    started = time.perf_counter()
    yaw, until = parse_orbit(args.orbit) if args.orbit else (args.yaw, None)
    view = View(yaw, until, args.pitch, args.framing, parse_size(args.size), args.yaw_origin, args.aspect)
    check_person(args)
    check_strengths(args)
    out, options = check_output(args.out), motion_options(args)
    for path, suffix in ((args.save_motion, ".safetensors"), (args.json, ".json"), (args.identity, ".safetensors")):
        if path:
            check_output(path, (suffix,))
    look = Look(args.steps, args.seed, "portrait", not args.no_mask_predictor, args.face_scale, args.mode)
    transcript = read_transcript(args.transcript)
    audio = load_audio(args.audio) if args.audio else None
    given = load_motion(args.motion) if args.motion else None
    if audio is None and given is None:
        raise ValueError("give --audio (or --motion with a saved motion)")
    portrait = load_portrait(args.portrait)
    canvas = view.canvas(tuple(portrait.image.shape[-2:]))
    look = replace(look, background=parse_background(args.background, canvas))
    mask = load_mask(args.mask, tuple(portrait.image.shape[-2:])) if args.mask else portrait.mask
    with heard_warnings() as warnings:
        keypoints = read_keypoints(args.keypoints, portrait, args.person)
    person = known_person(args.identity, portrait.image)
    progress = ProgressLine(enabled=not args.quiet)
    progress("load", 0, 1)
    models = Models.load_nano(device(args), args.mode, later=True).with_experts(args.view_experts, args.mask_experts)
    progress("load", 1, 1)
    with held_warnings():
        scene = prepare(
            models, portrait.image, audio, view, mask=mask, keypoints=keypoints, person=args.person, motion=given,
            transcript=transcript, options=options, progress=progress, fitted=progress.fitted,
            identity=person, bake_strength=args.bake,
        )  # fmt: skip
    if args.save_motion:
        scene.motion.save(args.save_motion)
    if args.identity and scene.identity is not person:
        scene.identity.save(args.identity)
    frames, complete = write_video(out, models, scene, look, audio, progress)
    seconds = frames / scene.motion.fps
    report = {
        "out": str(out), "frames": frames, "complete": complete, "seconds": seconds, "fps": scene.motion.fps,
        "size": [canvas[1], canvas[0]], "seed": args.seed, "fit_quality": float(scene.identity.quality),
        "warnings": [*warnings, *scene.identity.warnings],
        "stage_seconds": progress.seconds, "wall_seconds": time.perf_counter() - started,
        "seconds_per_second": sum(progress.seconds.get(s, 0.0) for s in ("motion", "render")) / max(seconds, 1e-9),
        "peak_memory_mb": peak_memory_mb(), "version": __version__,
    }  # fmt: skip
    if args.json:
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(out)
    return 0 if complete else 130


def known_person(path: str | None, portrait: Tensor) -> Identity | None:
    """The person that an earlier run kept; None without a file. ValueError where it was fitted to another picture."""
    if path is None or not Path(path).is_file():
        return None
    identity = Identity.load(path)
    same = identity.portrait.shape == portrait.shape
    if not same or float((identity.portrait - portrait).abs().mean()) > _OTHER_PICTURE:
        raise ValueError(f"{path} was fitted to another picture; give another --identity file, or delete this one")
    return identity


def check_person(args: argparse.Namespace) -> None:
    """Refuse a number that nobody has."""
    if args.person is not None and args.person < 1:
        raise ValueError(f"--person counts from 1, the largest; got {args.person}")


def check_strengths(args: argparse.Namespace) -> None:
    """Refuse strengths that make no sense."""
    if not 0 <= args.bake <= 1:
        raise ValueError(f"--bake must be 0..1, got {args.bake}")
    for name in ("view_experts", "mask_experts"):
        if not 0 <= getattr(args, name) <= 4:
            raise ValueError(f"--{name.replace('_', '-')} must be 0..4, got {getattr(args, name)}")


def write_video(
    out: Path, models: Models, scene: Scene, look: Look, audio: Audio | None, progress: ProgressLine
) -> tuple[int, bool]:
    """Stream the frames into `out` -> (frames written, all of them). Ctrl-C ends the file early but well."""
    tags = container_tags("nano", look.seed)
    writer = BackgroundWriter(VideoWriter(out, scene.cameras.size, scene.motion.fps, audio, tags))
    try:
        with writer:
            for chunk in render(models, scene, look, progress):
                writer.write(chunk.frames)
    except KeyboardInterrupt:
        left = f"{out} holds the first {writer.frames} of {len(scene.motion)} frames and plays"
        sys.stderr.write(f"\nstopped: {left if writer.frames else 'nothing was written'}\n")
        return writer.frames, False
    return writer.frames, True


def run_motion(args: argparse.Namespace) -> int:
    """Sample a motion, save it, draw the preview."""
    out = check_output(args.out, tuple(SAVERS))
    if args.preview:
        check_output(args.preview)
    if args.strip:
        check_output(args.strip, (".png",))
    options, transcript = motion_options(args), read_transcript(args.transcript)
    audio = spool_audio(args.audio)  # on disk: an hour of sound takes no more memory than a minute
    progress = ProgressLine(enabled=not args.quiet)
    motion = sample_motion(
        MotionModels.load_nano(device(args)), audio, transcript=transcript, options=options,
        callback=lambda step, steps, denoised: progress("motion", step + 1, steps),
    )  # fmt: skip
    SAVERS[out.suffix.lower()](motion, out)
    print(out)
    if args.preview:
        with VideoWriter(args.preview, (256, 256), motion.fps, load_audio(args.audio)) as writer:
            for frames in preview_frames(motion, HalfBody(), args.yaw):
                writer.write(frames)
                progress("preview", writer.frames, len(motion))
        print(args.preview)
    if args.strip:
        moments = torch.linspace(0, len(motion) - 1, min(8, len(motion))).long().tolist()
        save_image(strip(motion, HalfBody(), moments, [0.0, 60.0]), args.strip)
        print(args.strip)
    return 0
