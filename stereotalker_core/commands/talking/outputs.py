"""The output of a clip: its options in `talk`, checks before any work, and the writer for each kind of file."""

import argparse
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ... import __version__
from ...pipeline import Scene
from ...records import Audio
from ...video.rendering.ranges import parse_frames, shares
from ...video.writing.containers import PICTURES, QUALITIES, STREAMED, TRANSPARENT, format_for
from ...video.writing.join import Part
from ...video.writing.parts import GRID, ClipWriter
from ...video.writing.pictures import GifWriter, PictureWriter, check_numbered
from ...video.writing.provenance import container_tags
from ...video.writing.writer import check_output

KINDS = (*STREAMED, *PICTURES)
TOLD = ("transcript", "emotions")  # text in place, or @FILE
INPUTS = ("portrait", "identity", "audio", "mask", "keypoints", "motion", "background", *TOLD, "bake_model")
RESULTS = ("out", "json", "save_motion", "save_identity", "preview", "strip")
_IRRELEVANT = {*RESULTS, "run", "command", "quiet", "verbose", "resume", "shard", "frames", "device", "rest"}
EXAMPLES = """examples:
  talk --portrait me.jpg --audio hello.wav --out hello.mp4
  talk --portrait me.jpg --audio hello.wav --out hello.mp4 --orbit -40:40 --size 512 --aspect 9:16
  talk --portrait me.jpg --audio hello.wav --out hello.webm --background transparent
  talk --portrait me.jpg --audio hello.wav --out hello.mp4 --save-identity me.safetensors
  talk --identity me.safetensors --audio more.wav --out more.mp4 --resume
  talk --identity me.safetensors --audio long.wav --out part1.mp4 --frames 0:1500
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --identity, --frames and the options of the output file."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--identity", metavar="P.safetensors", help="a person who was fitted before, for --portrait")
    parser.add_argument("--save-identity", metavar="P.safetensors", help="keep the fitted person for --identity")
    parser.add_argument(
        "--frames", metavar="A:B", help="only frames A to B - 1 of the clip; `join` puts parts together"
    )
    shard = "the I-th of N parts, 1..N; written as NAME.part-I-of-N; `join` puts them together"
    parser.add_argument("--shard", metavar="I/N", help=shard)
    quality = f"{', '.join(QUALITIES)}: default high; the next better one is about twice as large"
    parser.add_argument("--quality", default="high", metavar="Q", help=quality)
    parser.add_argument("--resume", action="store_true", help="go on where a killed run of this very clip stopped")


@dataclass(frozen=True)
class Target:
    """The output of a clip as requested.

    path: the file; quality: one of QUALITIES; transparent: without a background; frames, shard: the text of --frames,
    and (i, n) of --shard, None for the whole clip; resume: use what an interrupted run has written."""

    path: Path
    quality: str
    transparent: bool
    frames: str | None
    shard: tuple[int, int] | None
    resume: bool

    def part(self, count: int) -> Part | None:
        """Return the frames of a clip of `count` that --frames or --shard selects; None for a shard that gets none.

        ValueError for a bad range."""
        if self.shard:
            found = shares(count, self.shard[1], GRID)
            if self.shard[0] > len(found):
                return None
            return Part(*found[self.shard[0] - 1], count)
        first, stop = parse_frames(self.frames, count) if self.frames else (0, count)
        return Part(first, stop, count)

    def writer(self, scene: Scene, part: Part, audio: Audio | None, seed: int, job: object):
        """Return the writer of the output: a context manager with `write(frames, alpha)`, `frames`, `done` and
        `partial`.

        scene: the person and the motion.
        part: the frames to write.
        audio: the recording, None for a silent file.
        seed: for the metadata.
        job: identifies the clip when resuming."""
        size, fps, suffix = scene.cameras.size, scene.motion.fps, self.path.suffix.lower()
        if suffix == ".png":
            return PictureWriter(self.path, part, self.transparent, self.resume)
        if suffix == ".gif":
            return GifWriter(self.path, size, fps, self.transparent)
        form = format_for(self.path, self.quality, self.transparent)
        tags = container_tags("nano", seed)
        return ClipWriter(self.path, size, fps, form, part, audio, tags, job, self.resume)


def target_of(args: argparse.Namespace) -> Target:
    """Return the checked output of `talk`; ValueError and OSError before any work."""
    path, transparent = Path(args.out), args.background == "transparent"
    shard = parse_shard(args.shard) if args.shard is not None else None
    if shard and args.frames is not None:
        raise ValueError("--shard chooses the frames; leave --frames away")
    check_output(path, KINDS)
    suffix = path.suffix.lower()
    if suffix == ".png":
        check_numbered(path)
    if transparent and suffix not in TRANSPARENT:
        raise ValueError(f"{suffix} holds no transparency; with --background transparent use {', '.join(TRANSPARENT)}")
    if suffix in STREAMED or args.quality not in QUALITIES:
        format_for(path if suffix in STREAMED else "a.mp4", args.quality, transparent and suffix in STREAMED)
    if suffix == ".gif" and args.resume:
        raise ValueError("--resume: a GIF cannot be continued; write .mp4 or .webm")
    if args.frames is not None:
        parse_frames(args.frames)
    if shard and suffix != ".png":
        path = path.with_name(f"{path.stem}.part-{shard[0]}-of-{shard[1]}{path.suffix}")
    check_not_input(args, [path])
    return Target(path, args.quality, transparent, args.frames, shard, args.resume)


def parse_shard(text: str) -> tuple[int, int]:
    """Parse a shard: "2/4" -> (2, 4). ValueError for another form, or numbers out of range."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"--shard takes I/N with I from 1 to N, like 2/4, got {text!r}")
    return int(found[1]), int(found[2])


def input_files(args: argparse.Namespace, more: Iterable[str] = ()) -> dict[str, Path]:
    """Return {option: path} for the input options that name a file; more: such options beside INPUTS."""
    found = {}
    for name in (*INPUTS, *more):
        text = getattr(args, name, None)
        if not text or (name in TOLD and not text.startswith("@")):
            continue
        path = Path(text[1:] if name in TOLD else text)
        try:
            if path.is_file():
                found[name] = path
        except OSError:  # no name that a file can have; whoever opens it will say so
            continue
    return found


def check_not_input(args: argparse.Namespace, more: Iterable[Path] = (), inputs: Iterable[str] = ()) -> None:
    """Raise ValueError where a result would overwrite an input or another result, also through links or letter case.

    args: the options of a command; more: results beside those in RESULTS; inputs: options of files beside INPUTS."""
    results = [(name, Path(getattr(args, name))) for name in RESULTS if getattr(args, name, None)]
    results += [("out", path) for path in more if str(path) != str(getattr(args, "out", None))]
    given = input_files(args, inputs)
    for name, path in results:
        for option, source in given.items():
            if _same_file(path, source):
                raise ValueError(f"--{name.replace('_', '-')} {path} is the file of --{option}; choose another name")
    for i, (name, path) in enumerate(results):
        for other, second in results[:i]:
            if name != other and _same_file(path, second):
                raise ValueError(f"--{name.replace('_', '-')} and --{other.replace('_', '-')} are the same file {path}")


def _same_file(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:  # one of them is not there
        return os.path.realpath(a) == os.path.realpath(b)


def fingerprint(args: argparse.Namespace) -> dict[str, str]:
    """Return {name: text} of what the frames of a clip depend on: options, digests of the input files, "version"."""
    known = {k: str(v) for k, v in vars(args).items() if k not in _IRRELEVANT and k not in INPUTS}
    files = input_files(args)
    for name in INPUTS:
        value = getattr(args, name, None)
        known[name] = digest(files[name]) if name in files else str(value)
    return known | {"version": __version__}


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hexadecimal text."""
    with open(path, "rb") as file:
        found = hashlib.sha256()
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()
