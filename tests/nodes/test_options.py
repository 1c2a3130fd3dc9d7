"""Widgets, checks and help lines of an option come from the record that declares it."""

import argparse
from dataclasses import dataclass, replace
from importlib import import_module

import pytest
from graph import load_pack

PACK = load_pack()
options = import_module(f"{PACK.__name__}.stereotalker_core.options")
widget = import_module(f"{PACK.__name__}.nodes.options").widget
combo = import_module(f"{PACK.__name__}.nodes.options").combo


@dataclass(frozen=True)
class Walk:
    speed: float = options.option(1.0, 0, 3, "How fast; 0 = still.", widget=(0, 2), step=0.1)
    steps: int = options.option(4, 1, 9, "How many.")
    name: str = "walk"
    gait: str = options.choice("slow", ("slow", "quick"), "slow: calm; quick: not so.")
    side: str | None = options.choice(None, ("left", "right"), "Of the road.")
    way: float = options.option(1.0, 0, float("inf"), "How far.", widget=(0, 9))
    turn: float | None = options.option(None, -180, 180, "Turn.", unit="degrees")

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


def test_a_choice_shows_its_words():
    assert combo(Walk, "gait") == (["slow", "quick"], {"default": "slow", "tooltip": "slow: calm; quick: not so."})
    assert combo(Walk, "gait", "Gait.", default="quick")[1] == {"default": "quick", "tooltip": "Gait."}
    assert options.choice_of(Walk, "gait").line == "slow: calm; quick: not so"
    assert options.choice_of(Walk, "side").line == "left, right; of the road"
    assert Walk(side=None).side is None and combo(Walk, "side")[1] == {"tooltip": "Of the road."}
    with pytest.raises(ValueError, match="gait 'trot' is unknown; use one of slow, quick"):
        Walk(gait="trot")


def test_numbers_and_words_are_told_apart():
    with pytest.raises(KeyError, match="Walk.gait is one of some words"):
        options.option_of(Walk, "gait")
    with pytest.raises(KeyError, match="Walk.speed is a number"):
        options.choice_of(Walk, "speed")


def test_limits_without_an_end_and_units():
    assert options.option_of(Walk, "way").line == "0 or more: how far"
    for wrong in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"way must be 0 or more, got"):
            Walk(way=wrong)
    with pytest.raises(ValueError, match=r"turn 400 is outside -180\.\.180 degrees"):
        Walk(turn=400)


def core(path: str):
    """An object of the core as the nodes import it: "module:name"."""
    module, _, name = path.partition(":")
    return getattr(import_module(f"{PACK.__name__}.stereotalker_core.{module}"), name)


RECORDS = [
    "motion.generation.sampling:MotionOptions",
    "motion.conditioning:Style",
    "pipeline:Look",
    "camera.view:View",
    "face.layout:FaceStyle",
    "face.sampling:FaceOptions",
]


@pytest.mark.parametrize("record", RECORDS)
def test_defaults_lie_within_their_limits(record):
    kind = core(record)
    kind()
    declared = [field.metadata["option"] for field in kind.__dataclass_fields__.values() if field.metadata]
    assert len(declared) >= 3
    for told in declared:
        if isinstance(told, options.Choice):
            assert told.default is None or told.default in told.words
        else:
            default = 0 if told.default is None else told.default
            assert told.low <= told.widget[0] <= default <= told.widget[1] <= told.high


def flags_of(command: str) -> dict[str, argparse.Action]:
    parser = argparse.ArgumentParser()
    core({"talk": "commands.talking.talk", "face": "commands.face"}[command] + ":add_parsers")(parser.add_subparsers())
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {word: action for action in commands.choices[command]._actions for word in action.option_strings}


def inputs_of(node: str) -> dict[str, tuple]:
    told = PACK.NODE_CLASS_MAPPINGS[node].INPUT_TYPES()
    return told["required"] | told["optional"]


CAMERA, FACE = "StereoTalkerCameraTrajectory", "StereoTalkerSampleEmotionalFace"
NUMBERS = [
    ("camera.view:View", "yaw", ("StereoTalker", CAMERA), "talk --yaw"),
    ("camera.view:View", "pitch", ("StereoTalker", CAMERA), "talk --pitch"),
    ("camera.view:View", "distance", (CAMERA,), "talk --distance"),
    ("face.sampling:FaceOptions", "temperature", (FACE,), "face --temperature"),
    ("face.sampling:FaceOptions", "samples", (FACE,), "face --samples"),
    ("motion.generation.sampling:MotionOptions", "liveliness", ("StereoTalkerSampleMotion",), "talk --liveliness"),
    ("pipeline:Look", "steps", ("StereoTalkerRenderVideo",), "talk --steps"),
]


@pytest.mark.parametrize("record, name, nodes, flag", NUMBERS, ids=[f"{row[0]}.{row[1]}" for row in NUMBERS])
def test_node_flag_and_check_follow_the_field(monkeypatch, record, name, nodes, flag):
    """The only thing that is changed is what the field declares."""
    kind = core(record)
    told = options.option_of(kind, name)
    number = type(told.default)
    other = replace(told, default=number(7), low=5, high=9, widget=(6, 8), text="Something else.")
    monkeypatch.setattr(kind.__dataclass_fields__[name], "metadata", {"option": other})
    for node in nodes:
        _, settings = inputs_of(node)[name]
        assert (settings["default"], settings["min"], settings["max"]) == (7, 6, 8)
        assert settings["tooltip"] == "Something else." or name == "steps"  # which nodes say in other words
    command, word = flag.split()
    action = flags_of(command)[word]
    assert action.default == 7 and action.help == "5..9: something else"
    assert action.type("5") == 5 and type(action.type("5")) is number
    with pytest.raises(argparse.ArgumentTypeError, match=r"5\.\.9"):
        action.type("10")
    usual = {"until_yaw": 7} if name == "yaw" else {}
    assert getattr(kind(**{name: number(5)}, **usual), name) == 5
    with pytest.raises(ValueError, match=rf"{name} .*5\.\.9"):
        kind(**{name: number(10)})


WORDS = [
    ("camera.view:View", "framing", (CAMERA, "framing"), "talk --framing"),
    ("camera.view:View", "yaw_origin", ("StereoTalker", "yaw_origin"), "talk --yaw-origin"),
    ("face.layout:FaceStyle", "emotion", (FACE, "emotion"), "face --emotion"),
    ("motion.conditioning:Style", "emotion", ("StereoTalkerSampleMotion", "emotion"), "talk --style"),
]


@pytest.mark.parametrize("record, name, widget_of, flag", WORDS, ids=[f"{row[0]}.{row[1]}" for row in WORDS])
def test_node_flag_and_check_follow_the_words(monkeypatch, record, name, widget_of, flag):
    kind = core(record)
    monkeypatch.setattr(
        kind.__dataclass_fields__[name], "metadata", {"option": options.Choice("two", ("one", "two"), "Of some.")}
    )
    words, settings = inputs_of(widget_of[0])[widget_of[1]]
    settings.pop("advanced", None)
    assert words == ["one", "two"] and settings == {"default": "two", "tooltip": "Of some."}
    command, word = flag.split()
    action = flags_of(command)[word]
    assert action.default == "two" and action.help == "one, two; of some"
    assert getattr(kind(**{name: "one"}), name) == "one"
    with pytest.raises(ValueError, match=f"{name} 'three' is unknown; use one of one, two"):
        kind(**{name: "three"})
