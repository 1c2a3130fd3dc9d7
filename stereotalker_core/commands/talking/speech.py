"""The options of `talk` and `motion` about the recording and the performance, and their values."""

import argparse

from ...audio.listening.ways import best_way
from ...camera.view import AUTO_HANDS, View
from ...motion.emotions import parse_emotions
from ...motion.generation.sampling import MotionOptions
from ...options import choice_of
from . import flags

RATES = (24, 25, 30, 50, 60)
SIDES = {"left": 1, "right": 2}


def speech_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the recording and the performance."""
    parser.add_argument("--track", type=int, default=1, metavar="N", help="which sound track of the file; 1 = first")
    parser.add_argument("--channel", metavar="N", help="listen to this channel alone: 1, 2, ..., left or right")
    emotions = 'emotions in time, or @FILE: [{"start": 0, "emotion": "happy", "intensity": 0.8}, ...]'
    parser.add_argument("--emotions", default="", metavar="JSON", help=emotions)
    flags.word(parser, "--words", MotionOptions, "words")
    flags.number(parser, "--liveliness", MotionOptions, "liveliness")
    rates = ", ".join(map(str, RATES))
    parser.add_argument("--fps", type=int, default=25, metavar="N", help=f"frames per second: {rates}")
    parser.add_argument("--loop", action="store_true", help="the end of the motion leads into its beginning")


def hands_argument(parser: argparse.ArgumentParser, framed: bool = False) -> None:
    """Declare --hands for a parser.

    parser: the command's; framed: True where the command has a camera: the default is then "auto", which depends on
        what the picture shows."""
    told = choice_of(MotionOptions, "hands")
    auto = {"default": choice_of(View, "hands").default, "help": f"{told.line}; {AUTO_HANDS}"}
    auto |= {"choices": (*told.words, "auto")}  # each record behind it knows but some of them
    flags.word(parser, "--hands", MotionOptions, "hands", "H", **(auto if framed else {}))


def view_hands(args: argparse.Namespace) -> str:
    """Translate --hands to the values of `View.hands`; "low" (small gestures) becomes "on"."""
    return "on" if args.hands == "low" else args.hands


def speech_options(args: argparse.Namespace) -> dict:
    """Return {field: value} of `MotionOptions`: liveliness, hands, emotions, fps, loop and words.

    ValueError for an invalid frame rate or invalid emotions."""
    if args.fps not in RATES:
        raise ValueError(f"--fps must be one of {', '.join(map(str, RATES))}, got {args.fps}")
    hands = "on" if args.hands == "auto" else args.hands
    return {
        "liveliness": args.liveliness, "hands": hands, "emotions": parse_emotions(args.emotions),
        "fps": float(args.fps), "loop": args.loop, "words": best_way(args.words),
    }  # fmt: skip


def sound_of(args: argparse.Namespace) -> tuple[int, int | None]:
    """Return (track, channel) for `load_audio`; ValueError where --channel is neither a number nor a side."""
    if args.channel is None:
        return args.track, None
    name = args.channel.strip().lower()
    if name not in SIDES and not name.isdigit():
        raise ValueError(f"--channel takes a number from 1, left or right, got {args.channel!r}")
    return args.track, SIDES.get(name) or int(name)
