"""A widget of an option that a record of the core declares (stereotalker_core/options.py)."""

from __future__ import annotations

from typing import Any

from ..stereotalker_core.options import option_of

SEED: dict[str, Any] = {"control_after_generate": True}


def widget(record: type, name: str, tip: str | None = None, **more: object) -> tuple[str, dict]:
    """Return (type, settings) with the option's default, limits, step and text.

    tip: another text, where the node says it differently. more: settings that only a widget has, over the option's.
    """
    told = option_of(record, name)
    kind = float if isinstance(told.default, float) else int
    settings: dict[str, object] = {"default": told.default, "min": kind(told.widget[0]), "max": kind(told.widget[1])}
    if told.step is not None:
        settings["step"] = told.step
    return kind.__name__.upper(), settings | more | {"tooltip": told.text if tip is None else tip}
