"""A flag of an option that a record of the core declares (stereotalker_core/options.py)."""

import argparse
from typing import Any

from ...options import choice_of, option_of

Parser = argparse.ArgumentParser | argparse._ArgumentGroup


def number(parser: Parser, flag: str, record: type, name: str, metavar: str = "X", **more: Any) -> None:
    """Declare a flag with the number's default and help; the record checks its limits when it is built.

    more: settings of argparse, over those.
    """
    told = option_of(record, name)
    kind = float if told.default is None else type(told.default)
    settings = {"type": kind, "default": told.default, "help": told.line.replace("%", "%%")}
    parser.add_argument(flag, metavar=metavar, **(settings | more))


def word(parser: Parser, flag: str, record: type, name: str, metavar: str | None = "W", **more: Any) -> None:
    """Declare a flag with the choice's default and help; the record checks the word when it is built.

    more: settings of argparse, over those.
    """
    told = choice_of(record, name)
    settings = {"default": told.default, "help": told.line.replace("%", "%%")}
    parser.add_argument(flag, metavar=metavar, **(settings | more))
