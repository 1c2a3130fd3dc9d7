"""Options declared once: the default, limits and text of an option are metadata of the field that holds it.

The record checks itself with `check_limits`; the node's widget (nodes/options.py), its help page, and the command
line's flag and help (commands/talking/flags.py) read the same metadata."""

import math
from collections.abc import Iterable
from dataclasses import Field, dataclass, field, fields
from typing import Any

_KEY = "option"


@dataclass(frozen=True)
class Option:
    """The declaration of a number.

    default: None stands for "not set".
    low, high: allowed values.
    text: one line for people.
    widget: (low, high) of a slider, where that is narrower than what is allowed; step: of that slider.
    unit: of the number, for messages."""

    default: Any
    low: float
    high: float
    text: str
    widget: tuple[float, float]
    step: float | None = None
    unit: str = ""

    @property
    def line(self) -> str:
        """Return the help text for the command line, with the limits in front."""
        return f"{self._limits(f'{self.low:g}', f'{self.high:g}')}: {_begun(self.text)}"

    def fault(self, name: str, value: Any) -> str | None:
        """Return what is wrong with a value, None where it is valid; name: of the option."""
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
    """The declaration of a choice among some words. default: None stands for "not set"; text: one line for people."""

    default: str | None
    words: tuple[str, ...]
    text: str

    @property
    def line(self) -> str:
        """Return the help text for the command line, with the words in front unless the text names them all."""
        named = all(f"{word}:" in self.text for word in self.words)
        return _begun(self.text) if named else f"{', '.join(self.words)}; {_begun(self.text)}"

    def fault(self, name: str, value: Any) -> str | None:
        """Return what is wrong with a value, None where it is valid; name: of the option."""
        return None if value in self.words else f"{name} {value!r} is unknown; use one of {', '.join(self.words)}"


def _begun(text: str) -> str:
    """Change a sentence to follow a colon: its first letter small, its full stop removed."""
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
    """Return a dataclass field that declares a number; see `Option` for the arguments."""
    return _field(Option(default, low, high, text, widget or (low, high), step, unit))


def choice(default: str | None, words: Iterable[str], text: str = "") -> Any:
    """Return a dataclass field that declares a choice among words; see `Choice`."""
    return _field(Choice(default, tuple(words), text))


def same_as(record: type, name: str) -> Any:
    """Return a dataclass field with the same declaration as another record's field. KeyError where that has none."""
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
    """Return the `Option` (default, limits, text) of a record's numeric field. KeyError where it declares none."""
    told = _declared(record, name)
    if not isinstance(told, Option):
        raise KeyError(f"{record.__name__}.{name} is one of some words, no number")
    return told


def choice_of(record: type, name: str) -> Choice:
    """Return the `Choice` (default, words, text) of a record's field. KeyError where it declares none."""
    told = _declared(record, name)
    if not isinstance(told, Choice):
        raise KeyError(f"{record.__name__}.{name} is a number, not one of some words")
    return told


def check_limits(record: Any) -> None:
    """Raise ValueError for a field outside its limits or its words; None stands for "not set" and is valid."""
    for one in fields(record):
        told, value = _of(one), getattr(record, one.name)
        fault = None if told is None or value is None else told.fault(one.name, value)
        if fault is not None:
            raise ValueError(fault)
