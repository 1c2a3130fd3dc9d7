import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.pixels.means import mean_around


@pytest.mark.parametrize("shape", [(3, 40, 31), (2, 1, 9, 50)])
@pytest.mark.parametrize("radius", [0, 1, 6])
def test_the_mean_of_squares_is_that_of_pooling_them(shape, radius):
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    batch = values.reshape(-1, *shape[-3:])
    plain = F.avg_pool2d(F.pad(batch, (radius,) * 4, mode="replicate"), 2 * radius + 1, 1)
    assert torch.allclose(mean_around(values, radius), plain.reshape(shape), atol=1e-6)
