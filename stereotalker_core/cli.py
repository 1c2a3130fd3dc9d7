"""The command line: python -m stereotalker_core COMMAND, talk | batch | join | serve | motion | avatar | demo | ..."""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence

from . import __version__
from .commands import avatar, convert, data, demo, evaluate, face, info, join, serve, train
from .commands.batching import batch
from .commands.forwarded import split_words
from .commands.talking import talk
from .commands.talking.line import FAULTS, message, refuse_devices

FORWARDED = {"synth": data.GENERATORS, "train": train.TRAINERS}
_PAIRS = ("--orbit", "--yaw", "--pitch")  # their values may start with a minus, which argparse takes for an option


class Parser(argparse.ArgumentParser):
    """The parser of the command line; it reports a fault in one line instead of printing the usage."""

    def error(self, message: str) -> None:
        """Raise ValueError with one line, without the usage, which would hide it; `main` tells it as all others."""
        command = self.prog.rpartition(" ")[2]
        hint = f"{command} --help" if " " in self.prog else "--help"
        raise ValueError(f"{' '.join(message.split())} (see {hint})")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands with their options."""
    parser = Parser(prog="python -m stereotalker_core", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--verbose", action="store_true", help="show log messages")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (talk, batch, join, serve, face, avatar, demo, info, convert, evaluate, data, train):
        module.add_parsers(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command -> exit status: 0 done, 1 jobs failed, 2 bad input (one line on stderr), 130 stopped by the user.
    """
    words = join_pairs(list(sys.argv[1:] if arguments is None else arguments))
    words, rest = split_words(words, FORWARDED)
    if "batch" in words[:2] and "--" in words:  # what follows belongs to every job
        words, rest = words[: words.index("--")], words[words.index("--") + 1 :]
    try:
        args = build_parser().parse_args(words)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if rest:
        args.rest = rest
    logging.basicConfig(level=logging.INFO if args.verbose else logging.WARNING, format="%(levelname)s: %(message)s")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill leaves a playable file too
    try:
        refuse_devices(args)
        return args.run(args)
    except FAULTS as error:
        sys.stderr.write(f"error: {message(error)}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return 130


def join_pairs(words: list[str]) -> list[str]:
    """Join an option with a value that begins with a minus sign: ["--orbit", "-40:40"] -> ["--orbit=-40:40"]."""
    out: list[str] = []
    for word in words:
        if out and out[-1] in _PAIRS and word.startswith("-"):
            out[-1] += f"={word}"
        else:
            out.append(word)
    return out
