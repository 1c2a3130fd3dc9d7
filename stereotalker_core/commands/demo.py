"""`demo`: a synthetic person says a synthesised sentence while the camera orbits; `synth demo` writes its inputs."""

import argparse

from ..synthetic.example import PERSON, SPEECH, TRANSCRIPT
from ..video.writing.writer import check_output
from .data import write_portrait
from .talking import talk
from .talking.line import talk_parser


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Declare `demo`."""
    parser = commands.add_parser("demo", help="the main job on a synthetic person", description=__doc__)
    parser.add_argument("--out", default="out/demo.mp4", metavar="V")
    parser.add_argument("--person", type=int, default=PERSON, metavar="N", help="seed of the avatar")
    parser.add_argument("--size", type=int, default=512, metavar="N", help="pixels of a side")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of motion and noise")
    parser.add_argument("--json", metavar="F", help="write a report: times, memory")
    parser.add_argument("--quiet", action="store_true", help="no progress line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the portrait beside the video, then run `talk` on it; ValueError before anything is written."""
    out = check_output(args.out)
    portrait = out.with_name(f"{out.stem}_portrait.png")
    mask = portrait.with_name(f"{portrait.stem}_mask.png")
    words = ["talk", "--portrait", str(portrait), "--mask", str(mask), "--audio", str(SPEECH)]
    words += ["--out", str(out), "--orbit=-40:40"]
    words += ["--transcript", f"@{TRANSCRIPT}", "--size", str(args.size), "--seed", str(args.seed)]
    words += ["--json", args.json] if args.json else []
    words += ["--quiet"] if args.quiet else []
    line = talk_parser().parse_args(words)
    talk.checked(line)  # before a portrait is written for it
    write_portrait(portrait, args.person, 512, labels=True)  # the renderer knows the mask; a photo's is estimated
    return line.run(line)
