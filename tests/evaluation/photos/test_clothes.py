"""The detail of continued clothes, and the same of real ones in a photograph that shows them."""

import math
from dataclasses import replace

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.evaluation.photos.clothes import _ratios, photographed_detail
from stereotalker_core.synthetic.people.avatar import make_avatar
from stereotalker_core.synthetic.people.portrait import reference_portrait, true_identity


def test_stripes_half_as_strong_below_have_a_quarter_of_the_energy():
    stripes = torch.sin(torch.arange(64) * 0.7).expand(3, 200, 64)
    strength = torch.where(torch.arange(200) < 100, 0.4, 0.2)[None, :, None]
    dressed = torch.ones(200, 64, dtype=torch.bool)
    whole, calm = _ratios(stripes * strength, dressed, 100.0, 400.0)
    assert whole == pytest.approx(0.25, abs=0.01) and calm == pytest.approx(0.25, abs=0.02)
    assert math.isnan(_ratios(stripes, dressed & False, 100.0, 400.0)[0])


def test_a_photograph_tells_what_its_clothes_are_like_where_portraits_end():
    """Noise on the lower half of an avatar's picture counts as detail below."""
    body = HalfBody()
    avatar = make_avatar(body, 5)
    identity = true_identity(body, avatar, reference_portrait(body, avatar, 5, 256))
    plain = photographed_detail(body, identity, 256)
    noise = 0.2 * torch.randn(3, 256, 256, generator=torch.Generator().manual_seed(0))
    noise[:, :150] = 0
    assert photographed_detail(body, replace(identity, portrait=identity.portrait + noise), 256) > 3 * plain
    assert plain > 0
