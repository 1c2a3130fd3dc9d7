import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.pixels.dilation import largest_around


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 4, 7, 12, 40])
def test_it_is_the_largest_value_of_a_square(radius):
    values = torch.randn(2, 1, 20, 31)
    padded = F.pad(values, (radius,) * 4, value=float("-inf"))
    assert torch.equal(largest_around(values, radius), F.max_pool2d(padded, 2 * radius + 1, 1))


def test_rows_and_columns_apart():
    values = torch.randn(1, 1, 9, 11)
    assert torch.equal(largest_around(values, (0, 2)), F.max_pool2d(values, (1, 5), 1, (0, 2)))
    assert torch.equal(largest_around(values, (3, 0)), F.max_pool2d(values, (7, 1), 1, (3, 0)))


def test_whole_numbers_work_too():
    values = torch.zeros(8, 8, dtype=torch.uint8)
    values[0, 0] = 1
    assert int(largest_around(values, 2).sum()) == 9
