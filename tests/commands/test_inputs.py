"""Words of the command line -> values."""

import json

import pytest
import torch

from stereotalker_core.commands.talking.inputs import (
    parse_background,
    parse_orbit,
    parse_size,
    read_keypoints,
    read_transcript,
)
from stereotalker_core.image import Portrait, save_image

FACE = {"iris.R": [80, 100], "iris.L": [120, 100], "body.nose": [100, 120], "face.8": [100, 180], "face.27": [100, 100]}


def test_orbit():
    assert parse_orbit("-40:40") == (-40.0, 40.0)
    for text in ("40", "a:b", "1:2:3", ""):
        with pytest.raises(ValueError, match="two yaws"):
            parse_orbit(text)


def test_size():
    assert parse_size("512") == 512 and parse_size("576x1024") == (1024, 576)  # height, width
    for text in ("", "x", "12x", "-128", "1e3", "128*256"):
        with pytest.raises(ValueError, match="WIDTHxHEIGHT"):
            parse_size(text)


def test_background(tmp_path):
    assert parse_background("portrait", (8, 8)) == "portrait"
    assert parse_background("#ff0080", (8, 8)) == (1.0, 0.0, 128 / 255)
    save_image(torch.zeros(3, 10, 20), tmp_path / "b.png")
    assert parse_background(str(tmp_path / "b.png"), (8, 8)).shape == (3, 8, 8)
    with pytest.raises(ValueError, match="six hex digits"):
        parse_background("#12345", (8, 8))
    with pytest.raises(FileNotFoundError, match="nothing.png"):
        parse_background(str(tmp_path / "nothing.png"), (8, 8))


def test_transcript(tmp_path):
    assert read_transcript(None) is None and read_transcript("Hello.") == "Hello."
    (tmp_path / "t.txt").write_text("Grüße.\n", encoding="utf-8")
    assert read_transcript(f"@{tmp_path / 't.txt'}") == "Grüße."
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match="UTF-8"):
        read_transcript(f"@{tmp_path / 'bad.txt'}")
    with pytest.raises(FileNotFoundError, match="no transcript"):
        read_transcript(f"@{tmp_path / 'nothing.txt'}")


def test_keypoints_follow_a_portrait_that_was_made_smaller(tmp_path):
    """The file speaks of the portrait's own pixels, the pipeline of the image it works on."""
    (tmp_path / "k.json").write_text(json.dumps(FACE))
    half = read_keypoints(str(tmp_path / "k.json"), Portrait(torch.zeros(3, 100, 100), None, (200, 200)))
    assert torch.allclose(half.point("body.nose"), torch.tensor([50.0, 60.0]))
    assert read_keypoints(None, Portrait(torch.zeros(3, 4, 4), None, (4, 4))) is None
