"""`talk`: portrait + speech -> video file. `motion`: speech -> motion file."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ... import __version__
from ...audio.align import Word
from ...audio.load import load_audio
from ...audio.spool import spool_audio, spool_recording
from ...body.model import HalfBody
from ...camera.view import LARGEST, SIZES
from ...image import load_mask, load_portrait, save_image
from ...motion.conditioning import Style
from ...motion.files.bvh import save_bvh
from ...motion.files.io import READERS, load_motion, save_live_link_csv, save_npz
from ...motion.files.preview import preview_frames, strip
from ...motion.generation.sampling import MotionModels, MotionOptions, sample_motion
from ...options import choice_of, option_of
from ...perception.keypoints import Keypoints
from ...pipeline import Look, Models, Scene, View, heard_warnings, prepare, render
from ...records import Audio, Motion
from ...shapes import size_of
from ...video.rendering.bundle import Bundle
from ...video.rendering.composite import straight
from ...video.writing.background_writer import BackgroundWriter
from ...video.writing.join import Part
from ...video.writing.writer import VideoWriter, check_output
from . import baking, flags, outputs
from .inputs import parse_background, parse_orbit, parse_size, read_keypoints, read_transcript
from .measure import give_memory_back, peak_memory_mb, share_arenas, trimmed
from .outputs import Target
from .progress import ProgressLine, held_warnings
from .speech import hands_argument, sound_of, speech_arguments, speech_options, view_hands
from .workshop import Workshop, saved_person

_TRIMMED_EVERY = 20  # frames of a video, after which freed memory goes back to the system
SAVERS = {
    ".safetensors": Motion.save, ".npz": save_npz, ".csv": save_live_link_csv,
    ".bvh": lambda motion, path: save_bvh(motion, HalfBody(), path),
}  # fmt: skip


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Declare `talk` and `motion`."""
    talk = commands.add_parser("talk", help="portrait + speech -> talking video", description=__doc__)
    talk.add_argument("--portrait", metavar="P", help="JPG, PNG or WebP; alpha is taken as the mask")
    several = "which of several people, 1 = the largest; without it the largest is taken, with a warning"
    talk.add_argument("--person", type=int, metavar="N", help=several)
    talk.add_argument("--audio", metavar="A", help="wav, flac, mp3, ogg, m4a, or a video with sound")
    talk.add_argument(
        "--out", required=True, metavar="V", help=f"{', '.join(outputs.KINDS)}; pictures: frames/%%05d.png"
    )
    camera = talk.add_mutually_exclusive_group()
    flags.number(camera, "--yaw", View, "yaw", "D")
    camera.add_argument("--orbit", metavar="D0:D1", help="from one yaw to another, like -40:40")
    flags.word(talk, "--yaw-origin", View, "yaw_origin", "O")
    flags.number(talk, "--pitch", View, "pitch", "D")
    flags.number(talk, "--distance", View, "distance")
    flags.word(talk, "--framing", View, "framing")
    talk.add_argument("--keypoints", metavar="K.json", help="OpenPose JSON, or {name: [x, y]} in its pixels")
    talk.add_argument("--mask", metavar="M.png", help="the person, white on black; its inverse is recognised")
    sides = f"{SIZES[0]} to {SIZES[1]}; default: the portrait, up to {LARGEST}"
    size = f"pixels: of a square, WIDTHxHEIGHT, or of the narrower side; {sides}"
    talk.add_argument("--size", metavar="N", help=size)
    flags.word(talk, "--aspect", View, "aspect", "W:H")
    flags.word(talk, "--mode", Look, "mode", None, choices=choice_of(Look, "mode").words, default="play")
    flags.number(talk, "--steps", Look, "steps", "N")
    flags.number(talk, "--face-scale", Look, "face_scale", "N")
    behind = "portrait, transparent, #rrggbb, or a picture"
    talk.add_argument("--background", default="portrait", metavar="B", help=behind)
    for kind in ("view", "mask"):
        strength = f"strength of the {kind}-MoE of mode diffusion, {option_of(Bundle, f'{kind}_strength').line}"
        flags.number(talk, f"--{kind}-experts", Bundle, f"{kind}_strength", help=strength)
    baking.add_arguments(talk)
    talk.add_argument("--no-mask-predictor", action="store_true", help="use the bare body's own silhouette")
    formats = f"use this motion instead of sampling one: {', '.join(READERS)}"
    talk.add_argument("--motion", metavar="M", help=formats)
    talk.add_argument("--save-motion", metavar="M.safetensors", help="keep the sampled motion")
    talk.add_argument("--json", metavar="F", help="write a report: sizes, times, memory, fit quality and warnings")
    outputs.add_arguments(talk)
    _motion_arguments(talk)
    hands_argument(talk, framed=True)
    talk.set_defaults(run=run_talk)
    motion = commands.add_parser("motion", help="speech -> motion file", description="Sample a motion from speech.")
    motion.add_argument("--audio", required=True, metavar="A", help="as in talk")
    motion.add_argument(
        "--out", required=True, metavar="M", help=".safetensors, .npz, .csv (face and head), .bvh (body)"
    )
    motion.add_argument(
        "--strip", metavar="S.png", help="eight moments of the shaded body, from the front and the side"
    )
    flags.number(motion, "--yaw", View, "yaw", "D", help="of the preview, degrees")
    motion.add_argument("--preview", metavar="V.mp4", help="a plain shaded body that performs it, with the speech")
    _motion_arguments(motion)
    hands_argument(motion)
    motion.set_defaults(run=run_motion)


def _motion_arguments(parser: argparse.ArgumentParser) -> None:
    words = "the words spoken, or @FILE; with their times: @FILE.json, .srt or .TextGrid; @heard: found by pocketsphinx"
    parser.add_argument("--transcript", metavar="T", help=words)
    speech_arguments(parser)
    parser.add_argument("--seed", type=int, default=MotionOptions.seed, metavar="N", help="same seed, same result")
    flags.word(parser, "--style", Style, "emotion", "E")
    for flag, record, name in (
        ("--intensity", Style, "intensity"),
        ("--energy", Style, "energy"),
        ("--blink-rate", MotionOptions, "blink_rate"),
        ("--motion-steps", MotionOptions, "steps"),
        ("--prior-strength", MotionOptions, "prior_strength"),
    ):
        flags.number(parser, flag, record, name)
    parser.add_argument("--device", default="auto", metavar="D", help="cpu, cuda, ...; auto = cuda where there is one")
    parser.add_argument("--quiet", action="store_true", help="no progress line, no warnings")


def motion_options(args: argparse.Namespace) -> MotionOptions:
    """Return the settings of stage 1; ValueError for one out of range."""
    style = Style(args.style, args.intensity, args.energy)
    chosen = {"prior_strength": args.prior_strength, "blink_rate": args.blink_rate}
    return MotionOptions(seed=args.seed, steps=args.motion_steps, style=style, **chosen, **speech_options(args))


def device(args: argparse.Namespace) -> str:
    """Return the device on which the networks run; ValueError where it does not exist."""
    if args.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if args.device.partition(":")[0] == "meta":  # tensors without values
        raise ValueError("device 'meta' computes nothing; choose cpu or cuda")
    try:
        torch.zeros(1, device=args.device)
    except (RuntimeError, AssertionError) as error:  # torch raises either, by the way it was built
        raise ValueError(f"device {args.device!r} is not available ({str(error).splitlines()[0]})") from error
    return args.device


def run_talk(args: argparse.Namespace) -> int:
    """Make the clip, print its path, and return the exit status."""
    share_arenas()
    report = make_clip(args, Workshop(), ProgressLine(enabled=not args.quiet))
    print(report["out"] if report["frames"] else f"nothing to do for shard {args.shard}: the clip is too short")
    return 0 if report["complete"] else 130


def make_clip(args: argparse.Namespace, workshop: Workshop, progress: ProgressLine) -> dict:
    """Make a clip: check everything, prepare the scene, stream frames into the file -> the report {name: plain value}.

    args: options of `talk`; workshop: holds networks and people; progress: shows what is being done.

    "out": the file; "frames": written; "complete": whether all were; "seconds", "fps", "part" [first, stop, count],
    "size" [width, height], "seed", "words", "fit_quality", "baked" 0..1, "warnings", "stage_seconds" {stage: s},
    "wall_seconds", "seconds_per_second" of video, "peak_memory_mb", "version"; only the first three for a shard without
    frames."""
    started = time.perf_counter()
    view, look, target, given = checked(args)
    portrait, mask, keypoints, warnings = read_person(args)
    canvas = view.canvas(size_of(portrait))
    if not target.transparent:
        look = replace(look, background=parse_background(args.background, canvas))
    if given.count is not None and target.part(given.count) is None:
        return {"out": str(target.path), "frames": 0, "complete": True}
    key = workshop.key(args)
    identity = saved_person(args.identity) if args.identity else workshop.person(key)
    network = baking.bake_network(args, device(args))  # before anything is fitted: the file may be a bad one
    progress("load", 0, 1)
    models = workshop.models(device(args), args.mode).with_experts(args.view_experts, args.mask_experts)
    models = models if network is None else replace(models, bake=network)
    progress("load", 1, 1)
    if args.identity and identity is not None:
        identity = baking.saved_bake(models, identity, args, progress)
    with held_warnings():
        scene = prepare(
            models, portrait, given.audio, view, mask=mask, keypoints=keypoints, person=args.person, identity=identity,
            motion=given.motion, transcript=given.transcript, options=given.options, progress=trimmed(progress),
            fitted=progress.fitted, unseen=baking.bake_options(args),
        )  # fmt: skip
    audio = given.audio and replace(given.audio, waveform=torch.empty(0))  # motion by now; the file needs the rest
    given = replace(given, audio=None)
    workshop.keep_person(key, scene.identity)
    for path, record in ((args.save_motion, scene.motion), (args.save_identity, scene.identity)):
        if path:
            record.save(path)
    part = target.part(len(scene.motion)) or Part(0, len(scene.motion), len(scene.motion))
    frames, complete = write_video(
        target.path, models, scene, look, audio, progress, target, part, outputs.fingerprint(args)
    )
    seconds = frames / scene.motion.fps
    report = {
        "out": str(target.path), "frames": frames, "complete": complete, "seconds": seconds, "fps": scene.motion.fps,
        "part": [part.first, part.stop, part.count], "size": [canvas[1], canvas[0]], "seed": args.seed,
        "words": given.options.words if given.transcript is None else "given",
        "fit_quality": float(scene.identity.quality), "baked": scene.identity.baked,
        "warnings": [*warnings, *scene.identity.warnings],
        "stage_seconds": progress.seconds, "wall_seconds": time.perf_counter() - started,
        "seconds_per_second": sum(progress.seconds.get(s, 0.0) for s in ("motion", "render")) / max(seconds, 1e-9),
        "peak_memory_mb": peak_memory_mb(), "version": __version__,
    }  # fmt: skip
    if args.json:
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


@dataclass(frozen=True)
class Given:
    """The speech or motion that the user gave, with its settings.

    audio, motion: the recording, or a ready motion; the other one is None.
    transcript: the words, as text or with their times; None where not given.
    options: settings of the motion.
    count: number of frames, None where it is not known yet."""

    audio: Audio | None
    motion: Motion | None
    transcript: str | Sequence[Word] | None
    options: MotionOptions
    count: int | None


def checked(args: argparse.Namespace) -> tuple[View, Look, Target, Given]:
    """Check all options that can be checked without opening the portrait -> their values, grouped by what they
    describe.

    ValueError or OSError for an invalid one."""
    size = None if args.size is None else parse_size(args.size)
    yaw, until = parse_orbit(args.orbit) if args.orbit is not None else (args.yaw, None)
    view = View(
        yaw, until, args.pitch, args.framing, size, args.yaw_origin, args.aspect, view_hands(args),
        distance=args.distance,
    )  # fmt: skip
    check_person(args)
    baking.check_bake(args)
    target, options = outputs.target_of(args), motion_options(args)
    named = ((args.save_motion, ".safetensors"), (args.save_identity, ".safetensors"), (args.json, ".json"))
    for path, suffix in named:
        if path:
            check_output(path, (suffix,))
    behind = (0.0, 0.0, 0.0) if target.transparent else "portrait"
    look = Look(args.steps, args.seed, behind, not args.no_mask_predictor, args.face_scale, args.mode)
    audio = spool_recording(args.audio, *sound_of(args)) if args.audio else None
    transcript = read_transcript(args.transcript, audio)
    motion = load_motion(args.motion) if args.motion else None
    if audio is None and motion is None:
        raise ValueError("give --audio (or --motion with a saved motion)")
    count = len(motion) if motion is not None else audio.frame_count(args.fps) if audio is not None else 0
    target.part(count)
    return view, look, target, Given(audio, motion, transcript, options, count)


def read_person(args: argparse.Namespace) -> tuple[Tensor, Tensor | None, Keypoints | None, list[str]]:
    """Read the portrait (3, H, W), its mask and keypoints, and the warnings about them.

    The mask and keypoints are None where there are none. ValueError where not exactly one of --portrait and --identity
    is given, or an option does not fit it."""
    if bool(args.portrait) == bool(args.identity):
        raise ValueError("give --portrait, or --identity with a saved person, one of the two")
    if args.identity:
        return saved_person(args.identity).portrait, None, None, []
    portrait = load_portrait(args.portrait)
    mask = load_mask(args.mask, size_of(portrait.image)) if args.mask else portrait.mask
    with heard_warnings() as warnings:
        keypoints = read_keypoints(args.keypoints, portrait, args.person)
    return portrait.image, mask, keypoints, warnings


def check_person(args: argparse.Namespace) -> None:
    """Raise ValueError for a --person number below 1, and for options of a fit beside --identity."""
    if args.person is not None and args.person < 1:
        raise ValueError(f"--person counts from 1, the largest; got {args.person}")
    if args.identity and (args.mask or args.keypoints or args.person):
        raise ValueError("--identity is fitted already: leave --mask, --keypoints and --person away")


def write_video(
    out: Path, models: Models, scene: Scene, look: Look, audio: Audio | None, progress: ProgressLine,
    target: Target | None = None, part: Part | None = None, job: object = None,
) -> tuple[int, bool]:  # fmt: skip
    """Stream the frames into `out` -> (number of frames written, whether those are all). Ctrl-C ends the file early but
    playable.

    out: the file.
    models: the networks.
    scene: the person, motion and cameras.
    look: settings of the rendering.
    audio: the recording, None for a silent file.
    progress: called with each chunk.
    target: the checked output; None for a plain file.
    part: the frames to write; None for all.
    job: what the frames depend on (`fingerprint`); pieces of an interrupted run with another one are not used."""
    target = target or Target(out, "high", False, None, None, False)
    part = part or Part(0, len(scene.motion), len(scene.motion))
    writer = BackgroundWriter(target.writer(scene, part, audio, look.seed, job))
    first = part.first + writer.done
    settings = {} if (first, part.stop) == (0, part.count) else {"frames": (first, part.stop)}
    try:
        with writer:
            since = _TRIMMED_EVERY
            for chunk in render(models, scene, look, progress, **settings) if first < part.stop else ():
                since += len(chunk.frames)
                if since >= _TRIMMED_EVERY:
                    give_memory_back()
                    since = 0
                writer.write(*(straight(chunk.frames, chunk.masks) if target.transparent else (chunk.frames,)))
    except KeyboardInterrupt:
        left = f"{writer.partial} holds the first {writer.frames} of {part.stop - part.first} frames and plays"
        left += "" if out.suffix.lower() == ".gif" else "; --resume goes on"
        sys.stderr.write(f"\nstopped: {left if writer.frames and writer.partial else 'nothing was written'}\n")
        return writer.frames, False
    return writer.frames, True


def run_motion(args: argparse.Namespace) -> int:
    """Sample a motion, save it, draw the preview; return the exit status."""
    out = check_output(args.out, tuple(SAVERS))
    if args.preview:
        check_output(args.preview)
    if args.strip:
        check_output(args.strip, (".png",))
    outputs.check_not_input(args)
    options = motion_options(args)
    audio = spool_audio(args.audio, *sound_of(args))  # on disk: an hour of sound takes no more memory than a minute
    transcript = read_transcript(args.transcript, audio)
    progress = ProgressLine(enabled=not args.quiet)
    motion = sample_motion(
        MotionModels.load_nano(device(args)), audio, transcript=transcript, options=options,
        callback=lambda step, steps, denoised: progress("motion", step + 1, steps),
    )  # fmt: skip
    SAVERS[out.suffix.lower()](motion, out)
    print(out)
    if args.preview:
        with VideoWriter(args.preview, (256, 256), motion.fps, load_audio(args.audio, *sound_of(args))) as writer:
            for frames in preview_frames(motion, HalfBody(), args.yaw):
                writer.write(frames)
                progress("preview", writer.frames, len(motion))
        print(args.preview)
    if args.strip:
        moments = torch.linspace(0, len(motion) - 1, min(8, len(motion))).long().tolist()
        save_image(strip(motion, HalfBody(), moments, [0.0, 60.0]), args.strip)
        print(args.strip)
    return 0
