"""A line of `talk` that did not come from the terminal: its parser, and what is wrong with it in one line."""

import argparse

from . import talk


class _Refusing(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise ValueError(message)


def talk_parser() -> argparse.ArgumentParser:
    """The parser of `talk` alone; a bad line is a ValueError."""
    parser = _Refusing(prog="talk")
    commands = parser.add_subparsers(dest="command", required=True)
    talk.add_parsers(commands)
    return parser


def message(error: ValueError | OSError) -> str:
    """One line that says what is wrong."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(text.split())
