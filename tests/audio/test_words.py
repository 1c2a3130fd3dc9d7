"""Words with their times, in the formats people have them in."""

import json

import pytest

from stereotalker_core.audio.words import read_words
from tests.training.clips.samples import textgrid

ROWS = [["ten", 0.1, 0.4], ["of", 0.4, 0.5], ["clubs", 0.5, 1.0]]
NAMED = [dict(zip(("word", "start", "end"), row, strict=True)) for row in ROWS]


SEGMENTS = {"segments": [{"words": NAMED[:1]}, {"words": ROWS[1:]}]}


@pytest.mark.parametrize("found", [ROWS, NAMED, {"words": NAMED}, SEGMENTS])
def test_json(tmp_path, found):
    path = tmp_path / "w.json"
    path.write_text(json.dumps(found))
    assert [tuple(word) for word in read_words(path)] == [tuple(row) for row in ROWS]


def test_subtitles_share_the_time_of_a_cue(tmp_path):
    path = tmp_path / "w.srt"
    path.write_text(
        "1\n00:00:01,000 --> 00:00:02,000\n<i>Hello</i> there\n\n2\n00:01:00,500 --> 00:01:01,500\n[music] good\n"
    )
    words = read_words(path)
    assert [w.text for w in words] == ["Hello", "there", "good"]
    assert words[0] == ("Hello", 1.0, 1.5) and words[2][1:] == pytest.approx((60.5, 61.5))


@pytest.mark.parametrize("short", [False, True])
def test_textgrids(tmp_path, short):
    path = tmp_path / "w.TextGrid"
    path.write_text(textgrid(3.0, short))
    words = read_words(path)
    assert words and all(0 <= w.start <= w.end <= 3.0 for w in words)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "cannot be read"),
        ("a.json", "[]", "no timed words"),
        ("a.json", '[["a", 2, 1]]', "word 1 .* lasts from"),
        ("a.json", '[["a", 2, 3], ["b", 1, 4]]', "starts before"),
        ("a.json", '[{"word": "a"}]', "entry 1"),
        ("a.srt", "nothing", "no timed words"),
        ("a.doc", "x", "no file of timed words"),
    ],
)
def test_refusals_say_what_is_wrong(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_words(tmp_path / name)
    (tmp_path / "bytes.TextGrid").write_bytes(b"ooTextFile\xff\xfeTextGrid")
    with pytest.raises(ValueError, match=r"bytes\.TextGrid cannot be read"):
        read_words(tmp_path / "bytes.TextGrid")
    with pytest.raises(FileNotFoundError, match="absent"):
        read_words(tmp_path / "absent.json")
