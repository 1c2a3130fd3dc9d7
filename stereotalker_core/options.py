"""An option's default, limits and text, declared once: as metadata of a field of the record that holds it.

The record checks itself with `check_limits`; the node's widget (nodes/options.py), its help page, and the command
line's flag and help (commands/talking/flags.py) read the same metadata.
"""

import math
from collections.abc import Iterable
from dataclasses import Field, dataclass, field, fields
from typing import Any

_KEY = "option"


@dataclass(frozen=True)
class Option:
    """Describe a number. default: None stands for "not set"; low, high: allowed values; text: one line for people.

    widget: (low, high) that a slider offers where that is less than what is allowed; step: of that slider. unit: what
    the number counts, for messages.
    """

    default: Any
    low: float
    high: float
    text: str
    widget: tuple[float, float]
    step: float | None = None
    unit: str = ""

    @property
    def line(self) -> str:
        """The text with the limits in front, for a command line."""
        return f"{self._limits(f'{self.low:g}', f'{self.high:g}')}: {_begun(self.text)}"

    def fault(self, name: str, value: Any) -> str | None:
        """Return what is wrong with a value, None where nothing is."""
        if self.low <= value <= self.high and math.isfinite(value):
            return None
        if self.unit:
            return f"{name} {value} is outside {self.low:g}..{self.high:g} {self.unit}"
        return f"{name} must be {self._limits(self.low, self.high)}, got {value}"

    @staticmethod
    def _limits(low: float | str, high: float | str) -> str:
        return f"{low} or more" if high in (math.inf, "inf") else f"{low}..{high}"


@dataclass(frozen=True)
class Choice:
    """Describe a choice among some words. default: None stands for "not set"; text: one line for people."""

    default: str | None
    words: tuple[str, ...]
    text: str

    @property
    def line(self) -> str:
        """The text, behind the words where it does not name them all, for a command line."""
        named = all(f"{word}:" in self.text for word in self.words)
        return _begun(self.text) if named else f"{', '.join(self.words)}; {_begun(self.text)}"

    def fault(self, name: str, value: Any) -> str | None:
        """Return what is wrong with a value, None where nothing is."""
        return None if value in self.words else f"{name} {value!r} is unknown; use one of {', '.join(self.words)}"


def _begun(text: str) -> str:
    """Turn a sentence into what follows a colon."""
    return f"{text[:1].lower()}{text[1:].rstrip('.')}"


def option(
    default: Any,
    low: float,
    high: float,
    text: str = "",
    widget: tuple[float, float] | None = None,
    step: float | None = None,
    unit: str = "",
) -> Any:
    """Return a dataclass field of a number with these limits; see `Option`."""
    return _field(Option(default, low, high, text, widget or (low, high), step, unit))


def choice(default: str | None, words: Iterable[str], text: str = "") -> Any:
    """Return a dataclass field of one of these words; see `Choice`."""
    return _field(Choice(default, tuple(words), text))


def same_as(record: type, name: str) -> Any:
    """Return a dataclass field that declares what another record's does. KeyError where that declares nothing."""
    return _field(_declared(record, name))


def _field(told: Option | Choice) -> Any:
    return field(default=told.default, metadata={_KEY: told})


def _of(one: Field) -> Option | Choice | None:
    return one.metadata.get(_KEY)


def _declared(record: type, name: str) -> Option | Choice:
    told = next((_of(one) for one in fields(record) if one.name == name), None)
    if told is None:
        raise KeyError(f"{record.__name__}.{name} declares no limits")
    return told


def option_of(record: type, name: str) -> Option:
    """The number that a record's field declares. KeyError where it declares none."""
    told = _declared(record, name)
    if not isinstance(told, Option):
        raise KeyError(f"{record.__name__}.{name} is one of some words, no number")
    return told


def choice_of(record: type, name: str) -> Choice:
    """The words that a record's field declares. KeyError where it declares none."""
    told = _declared(record, name)
    if not isinstance(told, Choice):
        raise KeyError(f"{record.__name__}.{name} is a number, not one of some words")
    return told


def check_limits(record: Any) -> None:
    """Raise ValueError for a field outside of its limits or its words; None stands for "not set"."""
    for one in fields(record):
        told, value = _of(one), getattr(record, one.name)
        fault = None if told is None or value is None else told.fault(one.name, value)
        if fault is not None:
            raise ValueError(fault)
