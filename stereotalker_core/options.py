"""An option's default, limits and text, declared once: as metadata of a field of the record that holds it.

The record checks itself with `check_limits`; the node's widget (nodes/options.py), its help page, and the command
line's help read the same metadata.
"""

from dataclasses import dataclass, field, fields
from typing import Any

_KEY = "option"


@dataclass(frozen=True)
class Option:
    """Describe an option: default; low, high: allowed values; text: one line for people.

    widget: (low, high) that a slider offers where that is less than what is allowed; step: of that slider.
    """

    default: Any
    low: float
    high: float
    text: str
    widget: tuple[float, float]
    step: float | None = None

    @property
    def line(self) -> str:
        """The text with the limits in front, for a command line."""
        return f"{self.low:g}..{self.high:g}: {self.text[0].lower()}{self.text[1:].rstrip('.')}"


def option(
    default: Any,
    low: float,
    high: float,
    text: str = "",
    widget: tuple[float, float] | None = None,
    step: float | None = None,
) -> Any:
    """Return a dataclass field with these limits; see `Option`."""
    return field(default=default, metadata={_KEY: Option(default, low, high, text, widget or (low, high), step)})


def option_of(record: type, name: str) -> Option:
    """The option that a record's field declares. KeyError where it declares none."""
    for one in fields(record):
        if one.name == name and _KEY in one.metadata:
            return one.metadata[_KEY]
    raise KeyError(f"{record.__name__}.{name} declares no limits")


def check_limits(record: Any) -> None:
    """Raise ValueError for a field outside of its limits; None stands for "not set"."""
    for one in fields(record):
        told, value = one.metadata.get(_KEY), getattr(record, one.name)
        if told is not None and value is not None and not told.low <= value <= told.high:
            raise ValueError(f"{one.name} must be {told.low}..{told.high}, got {value}")
