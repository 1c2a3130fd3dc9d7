"""Turned squares: there and back, crops of known pictures, pasting."""

import math

import pytest
import torch

from stereotalker_core.perception.squares import Pyramid, Square, direction, paste, square_around


def ramp(height=200, width=160):
    """A picture whose red is x and whose green is y of the pixel centre, over 200."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y, torch.zeros_like(x)]) / 200


@pytest.mark.parametrize("turn", [0.0, 0.7, -2.5])
@pytest.mark.parametrize("side", [20.0, 64.0, 120.0])
def test_crop_shows_what_lies_there(turn, side):
    square = Square(80.0, 100.0, side, turn)
    unit = torch.tensor([[0.5, 0.5], [0.3, 0.6], [0.7, 0.4]])
    size = 32
    crop = Pyramid(ramp()).crops([square], size)[0]
    for (u, v), (x, y) in zip(unit.tolist(), square.to_picture(unit).tolist(), strict=True):
        column, row = int(u * size), int(v * size)
        px, py = square.to_picture(torch.tensor([[(column + 0.5) / size, (row + 0.5) / size]]))[0].tolist()
        assert crop[0, row, column] * 200 == pytest.approx(px, abs=0.1) and abs(px - x) < side / 16
        assert crop[1, row, column] * 200 == pytest.approx(py, abs=0.1) and abs(py - y) < side / 16


def test_there_and_back():
    square = Square(30.0, 50.0, 70.0, 1.1)
    points = torch.randn(9, 2) * 40
    assert torch.allclose(square.to_picture(square.to_unit(points)), points, atol=1e-4)
    moved = square.moved(0.0, 0.5)
    assert torch.allclose(moved.to_unit(torch.tensor([30.0, 50.0])), torch.tensor([0.5, 0.0]), atol=1e-5)


def test_shrinking_averages():
    stripes = (torch.arange(256) % 2).float().expand(3, 256, 256)
    crop = Pyramid(stripes).crops([Square(128.0, 128.0, 256.0)], 32)
    assert float((crop - 0.5).abs().max()) < 0.02  # picking single pixels would give 0 or 1


def test_outside_is_black_or_the_border():
    picture, square = Pyramid(torch.ones(3, 40, 40)), Square(20.0, 20.0, 80.0)
    assert float(picture.crops([square], 16, "zeros")[0, 0, 0, 0]) == 0
    assert float(picture.crops([square], 16)[0, 0, 0, 0]) == pytest.approx(1)


def test_square_around_a_turned_cloud():
    cloud = torch.tensor([[-2.0, -1.0], [2.0, -1.0], [2.0, 1.0], [-2.0, 1.0]])
    c, s = math.cos(0.6), math.sin(0.6)
    turned = cloud @ torch.tensor([[c, s], [-s, c]]) + torch.tensor([10.0, 20.0])
    square = square_around(turned, 1.5, 0.6)
    assert (square.x, square.y, square.side) == pytest.approx((10.0, 20.0, 6.0), abs=1e-4)
    assert direction(turned[0], turned[1]) == pytest.approx(0.6, abs=1e-5)


def test_pasting_undoes_cropping():
    image = ramp()
    square = Square(70.0, 90.0, 100.0, 0.4)
    crop = Pyramid(image).crops([square], 100)
    back = paste(crop[0], square, 200, 160)
    assert torch.allclose(back[:, 70:110, 50:90], image[:, 70:110, 50:90], atol=0.01)
    assert float(back[:, 0, 0].abs().max()) == 0
