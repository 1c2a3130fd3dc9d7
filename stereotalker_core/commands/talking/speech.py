"""Options of `talk` and `motion` about the recording and the performance, and what they mean."""

import argparse

from ...audio.listening.ways import AUTO, WAYS, best_way
from ...motion.emotions import parse_emotions
from ...motion.generation.sampling import MotionOptions
from ...options import option_of

RATES = (24, 25, 30, 50, 60)
SIDES = {"left": 1, "right": 2}


def speech_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument("--track", type=int, default=1, metavar="N", help="which sound track of the file; 1 = first")
    parser.add_argument("--channel", metavar="N", help="listen to this channel alone: 1, 2, ..., left or right")
    emotions = 'emotions in time, or @FILE: [{"start": 0, "emotion": "happy", "intensity": 0.8}, ...]'
    parser.add_argument("--emotions", default="", metavar="JSON", help=emotions)
    ways = "without a transcript: gesture words spotted in the phones (the same everywhere); recognised: all words, by "
    ways += "pocketsphinx; auto: recognised where that is installed; off: none"
    parser.add_argument("--words", default="spotted", choices=(AUTO, *WAYS), help=ways)
    lively = option_of(MotionOptions, "liveliness")
    parser.add_argument("--liveliness", type=float, default=lively.default, metavar="X", help=lively.line)
    rates = ", ".join(map(str, RATES))
    parser.add_argument("--fps", type=int, default=25, metavar="N", help=f"frames a second: {rates}")
    parser.add_argument("--loop", action="store_true", help="the end of the motion leads into its beginning")


def hands_argument(parser: argparse.ArgumentParser, framed: bool = False) -> None:
    """Declare --hands. framed: a camera is known, so that "auto", the default then, can look at what it shows."""
    told = "on: gestures; low: smaller ones; off: arms at rest"
    auto = "; auto: on where the frame shows the body down to the elbows"
    parser.add_argument("--hands", default="auto" if framed else "on", metavar="H", help=told + auto * framed)


def view_hands(args: argparse.Namespace) -> str:
    """What `View` makes of --hands: small gestures are gestures."""
    return "on" if args.hands == "low" else args.hands


def speech_options(args: argparse.Namespace) -> dict:
    """Fields of MotionOptions; ValueError for a frame rate or emotions that make no sense."""
    if args.fps not in RATES:
        raise ValueError(f"--fps must be one of {', '.join(map(str, RATES))}, got {args.fps}")
    hands = "on" if args.hands == "auto" else args.hands
    return {
        "liveliness": args.liveliness, "hands": hands, "emotions": parse_emotions(args.emotions),
        "fps": float(args.fps), "loop": args.loop, "words": best_way(args.words),
    }  # fmt: skip


def sound_of(args: argparse.Namespace) -> tuple[int, int | None]:
    """(track, channel) as `load_audio` takes them; ValueError for a channel that is no number or side."""
    if args.channel is None:
        return args.track, None
    name = args.channel.strip().lower()
    if name not in SIDES and not name.isdigit():
        raise ValueError(f"--channel takes a number from 1, left or right, got {args.channel!r}")
    return args.track, SIDES.get(name) or int(name)
