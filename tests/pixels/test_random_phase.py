import pytest
import torch

from stereotalker_core.pixels.random_phase import noise_like, quiet_square


def _ribs(size=32):
    """A rib knit, three px a rib, with noise."""
    ribs = torch.sin(torch.arange(size) * (2 * torch.pi / 4)).expand(3, size, -1)
    return 0.1 * ribs + 0.02 * torch.randn(3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [(120, 200), (20, 90), (32, 32)])
def test_the_noise_is_as_strong_as_the_square_and_has_its_direction(size):
    square = _ribs()
    noise = noise_like(square, size)
    assert noise.shape == (3, *size)
    assert float(noise.std() / square.std()) == pytest.approx(1, abs=0.25)
    assert float(noise.diff(dim=2).square().mean()) > 5 * float(noise.diff(dim=1).square().mean())
    assert torch.equal(noise, noise_like(square, size))  # a person looks the same at every fit


def test_colours_that_go_together_stay_together():
    grey = _ribs().mean(0, keepdim=True).expand(3, -1, -1)
    noise = noise_like(grey, (64, 64))
    assert torch.allclose(noise[0], noise[1], atol=1e-5)


def test_a_quiet_square_is_known_and_holds_no_seam():
    grain = 0.01 * torch.randn(3, 60, 60, generator=torch.Generator().manual_seed(2))
    grain[:, :, 30:32] = 1.0
    known = torch.ones(60, 60, dtype=torch.bool)
    known[:, :12] = False
    grain[:, :, :12] = 0.0  # quieter still, but unknown
    square = quiet_square(grain, known, 16, 0.25)
    assert square.shape == (3, 16, 16)
    assert 0.005 < float(square.std()) < 0.05


@pytest.mark.parametrize(("side", "known"), [(70, True), (16, False)])
def test_where_no_square_is_known_there_is_none(side, known):
    assert quiet_square(torch.zeros(3, 60, 60), torch.full((60, 60), known), side, 0.25) is None
