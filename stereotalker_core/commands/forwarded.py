"""Commands whose options are declared in a module of their own, which is imported only when its command is run.

Such a module has `add_arguments(parser)` and `run(options)`, which returns None or a table {name: value} to print."""

import argparse
import logging
import shlex
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from ..synthetic.speech.utterance import EngineMissing

PROGRAM = ("python", "-m", "stereotalker_core")


def add_names(kinds: argparse._SubParsersAction, table: Mapping[str, str]) -> None:
    """Declare the commands of a table {name: module, relative to the package}; their modules declare the options later.
    """
    for name, module in table.items():
        parser = kinds.add_parser(name, add_help=False, help=f"--help tells its options ({module})")
        parser.set_defaults(run=run_module, module=module, name=name, rest=[])


def split_words(words: list[str], tables: Mapping[str, Iterable[str]]) -> tuple[list[str], list[str]]:
    """Split a command line behind the name of a command whose options a module of its own declares.

    For example ["train", "prior", "--steps", "5"] -> (["train", "prior"], ["--steps", "5"]). Other lines are returned
    whole, with an empty second list.
    words: the line; tables: {command: names under it with a module of their own}."""
    forwarded = {(command, name) for command, names in tables.items() for name in names}
    for i, pair in enumerate(zip(words, words[1:], strict=False)):
        if pair in forwarded:
            return words[: i + 2], words[i + 2 :]
    return words, []


def parser_of(module: str, command: str) -> argparse.ArgumentParser:
    """Return the parser of a module's options; command: the words in front of them, such as "train prior"."""
    found = import_module(f"..{module}", __package__)
    parser = argparse.ArgumentParser(
        prog=f"{' '.join(PROGRAM)} {command}", description=found.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    found.add_arguments(parser)
    return parser


def run_module(args: argparse.Namespace) -> int:
    """Parse the rest of the line with the module's own options, run it, and print the table that it returns."""
    show(run_words(args.module, f"{args.command} {args.name}", args.rest))
    return 0


def run_words(module: str, command: str, words: list[str], **settings: object) -> Any:
    """Run a module on the words after `command` and return its result.

    module: relative to the package.
    command: the words in front, such as "train prior".
    words: the module's options.
    settings: further attributes of the parsed options.

    options.line holds the whole command line, for the metadata of written files. The progress of a long run is logged.
    ValueError where a speech engine is needed and not installed."""
    line = shlex.join([*PROGRAM, *command.split(), *words])
    options = parser_of(module, command).parse_args(words, argparse.Namespace(line=line, **settings))
    logger = logging.getLogger(__name__.partition(".")[0])
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        return import_module(f"..{module}", __package__).run(options)
    except EngineMissing as error:
        raise ValueError(str(error)) from error
    finally:
        logger.setLevel(before)


def show(table: Any) -> None:
    """Print a table {name: value}; results of other types are ignored."""
    if isinstance(table, dict):
        for name, value in table.items():
            print(f"{name:<24} {value:.3f}" if isinstance(value, float) else f"{name:<24} {value}")
