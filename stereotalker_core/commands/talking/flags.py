"""Command-line flags made from the options that records of the core declare (stereotalker_core/options.py)."""

import argparse
from collections.abc import Callable
from typing import Any

from ...options import Option, choice_of, option_of

Parser = argparse.ArgumentParser | argparse._ArgumentGroup


def number(parser: Parser, flag: str, record: type, name: str, metavar: str = "X", **more: Any) -> None:
    """Declare a flag with the number's default, limits and help; a fault is told by the flag's name, not the field's.

    parser: the command's, which gets the flag.
    flag: such as "--yaw".
    record: the dataclass that declares the option.
    name: the field's name.
    metavar: what the help text calls the value.
    more: further settings of argparse, which take precedence."""
    told = option_of(record, name)
    settings = {"type": _within(told), "default": told.default, "help": told.line.replace("%", "%%")}
    parser.add_argument(flag, metavar=metavar, **(settings | more))


def _within(told: Option) -> Callable[[str], float]:
    """Return a type for argparse: text -> the number; ArgumentTypeError for one outside the option's limits."""
    kind = float if told.default is None else type(told.default)

    def number(text: str) -> float:
        value = kind(text)
        fault = told.fault("", value)
        if fault is not None:
            raise argparse.ArgumentTypeError(fault.strip())
        return value

    number.__name__ = kind.__name__  # what argparse calls it where the text is no such number
    return number


def word(parser: Parser, flag: str, record: type, name: str, metavar: str | None = "W", **more: Any) -> None:
    """Declare a flag with the choice's default and help; the record checks the value when it is built.

    parser: the command's, which gets the flag.
    flag: such as "--hands".
    record: the dataclass that declares the choice.
    name: the field's name.
    metavar: what the help text calls the value.
    more: further settings of argparse, which take precedence."""
    told = choice_of(record, name)
    settings = {"default": told.default, "help": told.line.replace("%", "%%")}
    parser.add_argument(flag, metavar=metavar, **(settings | more))
