import json
from dataclasses import dataclass, field

import pytest

from stereotalker_core.config import from_dict, from_json, to_json


@dataclass(frozen=True)
class Inner:
    rates: tuple[float, ...] = (0.5,)
    name: str = "a"


@dataclass(frozen=True)
class Outer:
    width: int = 8
    sizes: tuple[int, ...] = (1, 2)
    pairs: tuple[tuple[int, ...], ...] = ()
    inner: Inner = field(default_factory=Inner)
    teacher: Inner | None = None
    limit: float | None = None


EXAMPLES = [
    Outer(),
    Outer(width=3, sizes=(), pairs=((1, 2), (3,)), inner=Inner((0.1, 0.2), "b")),
    Outer(teacher=Inner(name="t"), limit=2.5),
]


@pytest.mark.parametrize("config", EXAMPLES)
def test_round_trip_restores_nested_configs_and_tuples(config: Outer):
    found = from_json(Outer, to_json(config))
    assert found == config and hash(found) == hash(config)  # a list inside would not be hashable


def test_the_text_is_one_line_with_sorted_keys():
    text = to_json(Outer())
    assert "\n" not in text and list(json.loads(text)) == sorted(json.loads(text))


def test_missing_settings_take_their_defaults():
    assert from_json(Outer, '{"width": 5, "inner": {"name": "c"}}') == Outer(width=5, inner=Inner(name="c"))


def test_unknown_settings_are_named_with_the_known_ones():
    with pytest.raises(ValueError, match="Outer has no setting depth; it knows .*width"):
        from_dict(Outer, {"width": 5, "depth": 2})
    with pytest.raises(ValueError, match="Inner has no setting colour"):
        from_dict(Outer, {"inner": {"colour": 1}})
