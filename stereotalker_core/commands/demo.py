"""`demo`: somebody who does not exist says a synthesised sentence while the camera orbits."""

import argparse

from ..image import save_image
from ..synthetic.example import PEOPLE, PERSON, SPEECH, TRANSCRIPT, example_portrait
from ..video.writing.writer import check_output
from .data import write_portrait
from .talking import talk
from .talking.line import talk_parser


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Declare `demo`."""
    parser = commands.add_parser("demo", help="the main job on a synthetic person", description=__doc__)
    parser.add_argument("--out", default="out/demo.mp4", metavar="V")
    known = f"{', '.join(PEOPLE)}, or a number: the seed of an avatar"
    parser.add_argument("--person", type=_person, default=PERSON, metavar="NAME", help=known)
    parser.add_argument("--size", type=int, default=512, metavar="N", help="pixels of a side")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of motion and noise")
    parser.add_argument("--json", metavar="F", help="write a report: times, memory")
    parser.add_argument("--quiet", action="store_true", help="no progress line")
    parser.set_defaults(run=run)


def _person(text: str) -> str | int:
    """Read the name of an example person, or the number of an avatar; ArgumentTypeError for anything else."""
    if text in PEOPLE:
        return text
    try:
        return int(text)
    except ValueError:
        known = ", ".join(PEOPLE)
        raise argparse.ArgumentTypeError(f"{text!r} is nobody; take {known}, or the number of an avatar") from None


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
    if isinstance(args.person, int):
        write_portrait(portrait, args.person, 512, labels=True)
    else:
        image, alpha = example_portrait(args.person)
        save_image(image, portrait)
        save_image(alpha.expand(3, -1, -1) * 2 - 1, mask)
    return line.run(line)
