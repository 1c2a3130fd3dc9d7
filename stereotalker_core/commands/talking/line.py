"""The parser of `talk` options that do not come from the terminal, and one-line error messages for them."""

import argparse
import os
import stat

from . import talk

FAULTS = (ValueError, OSError, OverflowError, RecursionError, MemoryError)  # of what a user gives
_ENDLESS = (stat.S_ISFIFO, stat.S_ISCHR, stat.S_ISBLK, stat.S_ISSOCK)


class _Refusing(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise ValueError(message)


def talk_parser() -> argparse.ArgumentParser:
    """Return a parser of `talk` that raises ValueError for a bad line."""
    parser = _Refusing(prog="talk")
    commands = parser.add_subparsers(dest="command", required=True)
    talk.add_parsers(commands)
    return parser


def refuse_devices(args: argparse.Namespace) -> None:
    """Raise ValueError where an option names a pipe or a device: reading those may never end, or wait for input."""
    for value in vars(args).values():
        for word in value if isinstance(value, list) else [value]:
            if not isinstance(word, str) or not word:
                continue
            if "\0" in word:
                raise ValueError(f"{word!r} is no name of a file")
            try:
                mode = os.stat(word.removeprefix("@")).st_mode
            except OSError:  # nothing of that name, or no name at all: whoever opens it will say so
                continue
            if any(kind(mode) for kind in _ENDLESS):
                raise ValueError(f"{word} is a pipe or a device; give a file")


def message(error: Exception) -> str:
    """Return one line that describes an error of one of the types in FAULTS."""
    text = str(error)
    if isinstance(error, RecursionError):
        return "a file is nested too deeply"
    if isinstance(error, MemoryError):
        return f"not enough memory {text}".strip()
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(text.split())
