"""Command-line flags made from the options that records of the core declare (stereotalker_core/options.py)."""

import argparse
from typing import Any

from ...options import choice_of, option_of

Parser = argparse.ArgumentParser | argparse._ArgumentGroup


def number(parser: Parser, flag: str, record: type, name: str, metavar: str = "X", **more: Any) -> None:
    """Declare a flag with the number's default and help; the record checks the limits when it is built.

    parser: of the command.
    flag: such as "--yaw".
    record: the dataclass that declares the option.
    name: of its field.
    metavar: in the help text.
    more: further settings of argparse, which take precedence."""
    told = option_of(record, name)
    kind = float if told.default is None else type(told.default)
    settings = {"type": kind, "default": told.default, "help": told.line.replace("%", "%%")}
    parser.add_argument(flag, metavar=metavar, **(settings | more))


def word(parser: Parser, flag: str, record: type, name: str, metavar: str | None = "W", **more: Any) -> None:
    """Declare a flag with the choice's default and help; the record checks the value when it is built.

    parser: of the command.
    flag: such as "--hands".
    record: the dataclass that declares the choice.
    name: of its field.
    metavar: in the help text.
    more: further settings of argparse, which take precedence."""
    told = choice_of(record, name)
    settings = {"default": told.default, "help": told.line.replace("%", "%%")}
    parser.add_argument(flag, metavar=metavar, **(settings | more))
