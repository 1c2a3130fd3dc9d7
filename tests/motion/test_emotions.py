"""Emotions in time."""

import pytest
import torch

from stereotalker_core.motion.conditioning import Style
from stereotalker_core.motion.emotions import TimedEmotion, parse_emotions, style_track
from stereotalker_core.motion.generation.sampling import sample_motion
from tests.motion.samples import make_audio


def test_one_emotion_becomes_the_next_smoothly():
    plan = parse_emotions('[{"start": 4, "emotion": "sad", "intensity": 0.5}, {"start": 0, "emotion": "happy"}]')
    assert [e.start for e in plan] == [0, 4]
    track = style_track(Style(energy=1.3), plan, 200)
    assert torch.equal(track[0], Style("happy", energy=1.3).vector())
    torch.testing.assert_close(track[-1], Style("sad", 0.5, 1.3).vector())
    assert float(track.diff(dim=0).abs().max()) < 0.06
    assert float((track[100] - track[:: 199].mean(0)).abs().max()) < 0.06  # half of each at the start of the second
    assert torch.equal(style_track(Style("fear"), (), 3), Style("fear").vector().expand(3, -1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"), ("{}", "a list"), ('[{"start": 1}]', "emotion 1"), ('[3]', "emotion 1"),
        ('[{"start": 0, "emotion": "bored"}]', "bored"), ('[{"start": -1, "emotion": "sad"}]', "0 s or later"),
        ('[{"start": 0, "emotion": "sad"}, {"start": "x", "emotion": "sad"}]', "emotion 2 .*'x'"),
        ('[{"start": 0, "emotion": "sad"}, {"start": 1, "emotion": "bored"}]', "emotion 2 .*bored"),
    ],
)
def test_refusals(text, message):
    with pytest.raises(ValueError, match=message):
        parse_emotions(text)


def test_an_empty_plan_and_a_file(tmp_path):
    assert parse_emotions("") == ()
    (tmp_path / "e.json").write_text('[{"start": 1.5, "emotion": "angry"}]')
    assert parse_emotions(f"@{tmp_path / 'e.json'}") == (TimedEmotion(1.5, "angry"),)
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match="b.json is not UTF-8"):
        parse_emotions(f"@{tmp_path / 'b.json'}")
    with pytest.raises(FileNotFoundError, match="absent"):
        parse_emotions("@absent.json")


def test_the_motion_changes_where_the_emotion_does(models):
    audio = make_audio(16_000 * 4)
    plain = sample_motion(models, audio, steps=1)
    turned = sample_motion(models, audio, steps=1, emotions=(TimedEmotion(3.0, "angry"),))
    assert torch.equal(plain.expression[:20], turned.expression[:20])
    assert not torch.equal(plain.expression[-20:], turned.expression[-20:])
