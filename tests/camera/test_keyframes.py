"""Keyframes as text."""

import pytest

from stereotalker_core.camera.keyframes import parse_keyframes


def test_percent_and_seconds():
    keys = parse_keyframes("0%: -40, 50%: 20; 2s: 5 3\n100%: -10 -2 1.5", 101, 25.0, pitch=1.0)
    assert keys == [(0, -40.0, 1.0, 1.0), (50, 5.0, 3.0, 1.0), (100, -10.0, -2.0, 1.5)]  # 2 s is frame 50: later wins


def test_times_beyond_the_end_are_the_last_frame():
    assert parse_keyframes("9s: 10", 11, 25.0) == [(10, 10.0, 0.0, 1.0)]


@pytest.mark.parametrize("text", ["", "0: 10", "0%: ", "x%: 3", "0%: 1 2 3 4", "-5%: 1", "50% 20", "0%: nan"])
def test_what_cannot_be_read_is_named(text):
    with pytest.raises(ValueError, match="keyframe"):
        parse_keyframes(text, 10, 25.0)
