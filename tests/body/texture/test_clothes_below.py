import pytest
import torch

from stereotalker_core.body.texture.clothes_below import continued, evened
from stereotalker_core.pixels.quilting import quilt

METRE = 400.0  # px


def _suit(height=60, width=240):
    """A dark coat, open over a white shirt with a red tie, 60 px of it seen."""
    x = torch.arange(width)[None].expand(height, -1)
    picture = torch.full((3, height, width), -0.8)
    picture += 0.01 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    picture[:, (x - 120).abs() < 24] = 0.9
    tie = (x - 120).abs() < 8
    picture[:, tie] = torch.tensor([0.3, -0.8, -0.8])[:, None]
    return picture


def test_a_coat_closes_over_shirt_and_tie():
    picture = _suit()
    front, plain = continued(picture, torch.ones(60, 240, dtype=torch.bool), METRE, 120.0)
    assert torch.equal(front[:, :60], picture) and front.shape == plain.shape and front.shape[1] == 60 + 180
    white = (front.amin(0) > 0.5).sum(1)
    assert white[62] > 20 and white[100] < white[62] and white[220] == 0  # the shirt narrows and ends
    assert float(front[0, 64, 120]) > 0 > float(front[1, 64, 120])  # the tie hangs in its middle
    assert float(plain.amax()) < 0  # sleeves are all of the coat


def test_cloth_without_an_opening_goes_on_in_its_colour():
    picture = torch.full((3, 60, 240), 0.4)
    front, plain = continued(picture, torch.ones(60, 240, dtype=torch.bool), METRE, 120.0)
    assert torch.equal(front, plain)
    assert float((front - 0.4).abs().max()) < 0.1


def test_a_pattern_goes_on_as_strong_as_it_was():
    y, x = torch.meshgrid(torch.arange(80), torch.arange(240), indexing="ij")
    checks = torch.where(((y // 5) + (x // 5)) % 2 == 0, 0.6, -0.6).expand(3, -1, -1).contiguous()
    front, _ = continued(checks, torch.ones(80, 240, dtype=torch.bool), METRE, 120.0)
    seen, gone_on = checks.diff(dim=2).abs().mean(), front[:, 80:].diff(dim=2).abs().mean()
    assert 0.8 < float(gone_on / seen) < 1.25


def test_quilting_continues_stripes_without_seams():
    stripes = torch.sin(torch.arange(96) / 2.0).expand(3, 64, -1).contiguous()
    laid = quilt(stripes, torch.ones(64, 96, dtype=torch.bool), (50, 70), 18)
    assert laid.shape == (3, 50, 70)
    assert float(laid.diff(dim=1).abs().mean()) < 0.05 < float(laid.diff(dim=2).abs().mean())


@pytest.mark.parametrize("known", [torch.zeros(64, 96, dtype=torch.bool), torch.ones(6, 96, dtype=torch.bool)])
def test_quilting_without_a_whole_square_is_none(known):
    assert quilt(torch.zeros(3, *known.shape), known, (50, 70), 18) is None


def test_pieces_of_plain_cloth_bring_no_tone_with_them():
    """A band that was painted in much darker, with streaks, takes the tones around it; checked cloth stays."""
    rows = torch.linspace(0, 0.2, 120)[None, :, None]
    cloth = 0.1 + rows.expand(3, 120, 90) + 0.02 * torch.randn(3, 120, 90, generator=torch.Generator().manual_seed(1))
    sure = torch.ones(120, 90, dtype=torch.bool)
    sure[50:80] = False
    painted = cloth.clone()
    painted[:, 50:80] -= 0.3
    painted[:, 50:80, ::15] += 0.4
    out = evened(painted, sure, METRE)
    assert torch.equal(out[:, sure], painted[:, sure])
    assert float((out - 0.1 - rows)[:, 50:80].mean().abs()) < 0.03 and float((out - 0.1 - rows).abs().max()) < 0.12
    checked = painted + 0.3 * ((torch.arange(90) // 6) % 2)
    assert torch.equal(evened(checked, sure, METRE), checked)
