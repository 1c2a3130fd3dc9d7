"""Widgets made from the options that records of the core declare (stereotalker_core/options.py)."""

from __future__ import annotations

from typing import Any

from ..stereotalker_core.options import choice_of, option_of

SEED: dict[str, Any] = {"control_after_generate": True}
ANGLE: dict[str, Any] = {"display": "slider"}


def widget(record: type, name: str, tip: str | None = None, **more: object) -> tuple[str, dict]:
    """Return (type, settings) with the number's default, limits, step and text.

    record: the dataclass that declares the number.
    name: of its field.
    tip: a text that replaces the option's.
    more: settings of the widget alone, which take precedence."""
    told = option_of(record, name)
    default = 0.0 if told.default is None else told.default
    kind = float if isinstance(default, float) else int
    settings: dict[str, object] = {"default": default, "min": kind(told.widget[0]), "max": kind(told.widget[1])}
    if told.step is not None:
        settings["step"] = told.step
    return kind.__name__.upper(), settings | more | {"tooltip": told.text if tip is None else tip}


def combo(record: type, name: str, tip: str | None = None, **more: object) -> tuple[list[str], dict]:
    """Return (words, settings) with the choice's default and text; tip, more: as in `widget`."""
    told = choice_of(record, name)
    settings: dict[str, object] = {} if told.default is None else {"default": told.default}
    return list(told.words), settings | more | {"tooltip": told.text if tip is None else tip}
