"""Widgets, checks and help lines of an option come from the record that declares it."""

from dataclasses import dataclass
from importlib import import_module

import pytest
from graph import load_pack

PACK = load_pack()
options = import_module(f"{PACK.__name__}.stereotalker_core.options")
widget = import_module(f"{PACK.__name__}.nodes.options").widget


@dataclass(frozen=True)
class Walk:
    speed: float = options.option(1.0, 0, 3, "How fast; 0 = still.", widget=(0, 2), step=0.1)
    steps: int = options.option(4, 1, 9, "How many.")
    name: str = "walk"

    def __post_init__(self):
        options.check_limits(self)


def test_a_widget_shows_what_the_field_declares():
    slider = {"default": 1.0, "min": 0.0, "max": 2.0, "step": 0.1, "tooltip": "How fast; 0 = still."}
    assert widget(Walk, "speed") == ("FLOAT", slider)
    counter = {"default": 4, "min": 1, "max": 9, "display": "slider", "tooltip": "Steps."}
    assert widget(Walk, "steps", "Steps.", display="slider") == ("INT", counter)
    assert options.option_of(Walk, "speed").line == "0..3: how fast; 0 = still"


def test_the_record_checks_its_limits():
    assert Walk(speed=3, steps=None).speed == 3
    with pytest.raises(ValueError, match=r"speed must be 0\.\.3, got 3\.5"):
        Walk(speed=3.5)
    with pytest.raises(KeyError, match="Walk.name declares no limits"):
        options.option_of(Walk, "name")


RECORDS = ["motion.generation.sampling:MotionOptions", "motion.conditioning:Style", "pipeline:Look"]


@pytest.mark.parametrize("record", RECORDS)
def test_defaults_lie_within_their_limits(record):
    module, _, name = record.partition(":")
    kind = getattr(import_module(f"{PACK.__name__}.stereotalker_core.{module}"), name)
    kind()
    declared = [field.metadata["option"] for field in kind.__dataclass_fields__.values() if field.metadata]
    assert len(declared) >= 3
    for told in declared:
        assert told.low <= told.widget[0] <= told.default <= told.widget[1] <= told.high
