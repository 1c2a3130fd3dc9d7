import math

import torch

from stereotalker_core.evaluation.photos.hair import colours_within


def test_like_colours_lie_within_and_skin_does_not():
    generator = torch.Generator().manual_seed(0)
    hair = torch.tensor([[-0.6], [-0.7], [-0.75]]) + 0.05 * torch.randn(3, 4000, generator=generator)
    assert colours_within(hair[:, :2000], hair[:, 2000:]) > 0.94
    skin = torch.tensor([[0.5], [0.1], [0.0]]) + 0.05 * torch.randn(3, 2000, generator=generator)
    assert colours_within(skin, hair) < 0.01
    half = colours_within(torch.cat([skin, hair[:, :2000]], 1), hair)
    assert 0.45 < half < 0.5


def test_few_pixels_tell_nothing():
    assert math.isnan(colours_within(torch.zeros(3, 5), torch.zeros(3, 1000)))
    assert math.isnan(colours_within(torch.zeros(3, 1000), torch.zeros(3, 5)))
