"""Dataclass configs <-> JSON. Unknown keys raise, missing keys take the default, lists become tuples again."""

import dataclasses
import functools
import json
import types
import typing
from typing import Any, TypeVar

T = TypeVar("T")


def to_json(config: Any) -> str:
    """Return one line of JSON for a (nested) dataclass config."""
    return json.dumps(dataclasses.asdict(config), sort_keys=True)


def from_json(cls: type[T], text: str) -> T:
    """Build `cls` from the JSON that `to_json` wrote; ValueError names an unknown key."""
    return from_dict(cls, json.loads(text))


def from_dict(cls: type[T], values: dict[str, Any]) -> T:
    """Build dataclass `cls` from plain values, restoring nested dataclasses and tuples."""
    hints = _hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"{cls.__qualname__} has no setting {', '.join(unknown)}; it knows {', '.join(sorted(hints))}")
    return cls(**{key: _restore(hints[key], value) for key, value in values.items()})


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields; finding them takes longer than building a thousand of them."""
    return typing.get_type_hints(cls)


def _restore(hint: Any, value: Any) -> Any:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        options = [a for a in typing.get_args(hint) if a is not type(None)]
        return None if value is None else _restore(options[0], value)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return from_dict(hint, value)
    if isinstance(value, list):  # JSON has no tuples: a config with a list would not equal the saved one
        inner = (typing.get_args(hint) or (Any,))[0]
        return tuple(_restore(inner, v) for v in value)
    return value
