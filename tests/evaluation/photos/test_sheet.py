"""The tool that draws contact sheets of real photos."""

import importlib.util
from pathlib import Path

import pytest
import torch
from PIL import Image

from stereotalker_core.motion.arkit import ARKIT_INDEX
from stereotalker_core.records import Motion


@pytest.fixture(scope="module")
def tool():
    path = Path(__file__).parents[3] / "tools" / "pictures" / "photo_sheet.py"
    spec = importlib.util.spec_from_file_location("photo_sheet", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_column_shows_an_open_mouth_of_its_part(tool):
    expression = torch.zeros(52, 52)
    widest = [3, 17, 30, 33, 50]
    expression[widest, ARKIT_INDEX["jawOpen"]] = 0.5
    assert tool.moments(Motion(torch.zeros(52, 49, 3), expression), 5) == widest


def test_pictures_keep_their_place_and_their_shape(tool):
    tall = -torch.ones(3, 60, 40)
    tall[0, :40] = 1  # red above; what is cut off is at the bottom
    wide = -torch.ones(3, 30, 90)
    wide[1, :, 30:60] = 1  # green in the middle
    sheet = tool.draw_sheet([[tall, wide, tall, tall, tall, wide]], 32)
    assert sheet.size == (6 * 36 - 4, tool.TITLE + 32)
    assert sheet.getpixel((16, tool.TITLE + 30)) == (255, 0, 0)
    for x in (37, 52, 66):
        assert sheet.getpixel((x, tool.TITLE + 16)) == (0, 255, 0)


def test_the_file_stays_small_or_the_tool_says_why(tool, tmp_path, monkeypatch):
    noise = (torch.rand(200, 200, 3, generator=torch.Generator().manual_seed(0)) * 255).byte().numpy()
    picture = Image.fromarray(noise)
    monkeypatch.setattr(tool, "LARGEST", 40_000)
    tool.save(picture, tmp_path / "a.jpg")
    assert 20_000 < (tmp_path / "a.jpg").stat().st_size <= 40_000
    monkeypatch.setattr(tool, "LARGEST", 1000)
    with pytest.raises(ValueError, match="fewer photos"):
        tool.save(picture, tmp_path / "b.jpg")
