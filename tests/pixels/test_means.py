import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.pixels.means import mean_around, mean_within


@pytest.mark.parametrize("shape", [(3, 40, 31), (2, 1, 9, 50)])
@pytest.mark.parametrize("radius", [0, 1, 6])
def test_the_mean_of_squares_is_that_of_pooling_them(shape, radius):
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    batch = values.reshape(-1, *shape[-3:])
    plain = F.avg_pool2d(F.pad(batch, (radius,) * 4, mode="replicate"), 2 * radius + 1, 1)
    assert torch.allclose(mean_around(values, radius), plain.reshape(shape), atol=1e-6)


def test_what_has_no_weight_does_not_count():
    generator = torch.Generator().manual_seed(1)
    values, weight = torch.randn(3, 20, 25, generator=generator), torch.rand(1, 20, 25, generator=generator)
    weight[:, :, :8] = 0.0
    wild = torch.where(weight > 0, values, values + 1e3)
    there = mean_around(weight, 2) > 0.01
    found = mean_within(wild, weight, 2)
    assert torch.allclose(found * there, mean_within(values, weight, 2) * there, atol=1e-5)
    assert torch.allclose(mean_within(values, torch.ones_like(weight), 2), mean_around(values, 2), atol=1e-6)
