import pytest
import torch

from stereotalker_core.pixels.lines import lines_below

HIGH, WIDE, BROAD = 24, 160, 10


def _creases(slope):
    """Two dark lines on grey cloth; x at the lower edge is 50 and 110."""
    y, x = torch.meshgrid(torch.arange(HIGH) + 0.5, torch.arange(WIDE) + 0.5, indexing="ij")
    picture = torch.zeros(HIGH, WIDE)
    for start in (50, 110):
        picture -= 0.2 * torch.exp(-((x - start - slope * (y - HIGH)) / 1.5).square())
    return picture.expand(3, -1, -1)


@pytest.mark.parametrize("slope", [0.0, 0.4, -0.4])
def test_lines_go_on_in_their_direction(slope):
    line = lines_below(_creases(slope), torch.ones(HIGH, WIDE, dtype=torch.bool), 40, BROAD)
    assert line.shape == (3, 40, WIDE)
    for start in (50, 110):
        for row in (0, 20, 39):
            there = start + slope * (row + 0.5)
            near = line[0, row, round(there) - 12 : round(there) + 12]
            assert abs(int(near.argmin()) + round(there) - 12 + 0.5 - there) <= 2.5
            assert float(near.min()) < -0.1


def test_a_slope_of_shade_and_a_weave_are_no_lines():
    shade = torch.linspace(-0.5, 0.5, WIDE).expand(3, HIGH, -1)
    weave = 0.05 * torch.randn(3, HIGH, WIDE, generator=torch.Generator().manual_seed(0))
    known = torch.ones(HIGH, WIDE, dtype=torch.bool)
    assert float(lines_below(shade, known, 30, BROAD)[:, :, 20:-20].abs().max()) < 0.01
    assert float(lines_below(weave, known, 30, BROAD).std()) < 0.02


def test_what_is_not_known_does_not_go_on():
    known = torch.ones(HIGH, WIDE, dtype=torch.bool)
    known[:, 90:] = False
    line = lines_below(_creases(0.0), known, 30, BROAD)
    assert float(line[0, 10, 50]) < -0.1 and float(line[..., 100:].abs().max()) < 1e-6
