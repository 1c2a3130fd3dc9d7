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


def _cloth(height=100, width=240, noise=0.02):
    return 0.3 + noise * torch.randn(3, height, width, generator=torch.Generator().manual_seed(3))


def test_a_shade_is_no_opening():
    """A dress that is darker in the middle has no buttons below."""
    x = torch.arange(240)
    picture = _cloth() - 0.5 * torch.exp(-((x - 120) / 30.0).square())
    front, plain = continued(picture, torch.ones(100, 240, dtype=torch.bool), METRE, 120.0)
    assert torch.equal(front[:, 100:], plain[:, 100:])


def test_sequins_go_on_and_a_row_of_buttons_does_not():
    blobs = torch.randn(1, 1, 50, 120, generator=torch.Generator().manual_seed(4))
    sequins, buttons = _cloth() + 0.1 * blobs[0].repeat_interleave(2, 1).repeat_interleave(2, 2), _cloth()
    sequins[:, 2::11, 2::9] = 1.0
    buttons[:, 10::30, 118:124] = -0.8
    known = torch.ones(100, 240, dtype=torch.bool)
    dotted, plain = (continued(picture, known, METRE, 120.0)[0][:, 110:] for picture in (sequins, buttons))
    assert float((dotted > 0.8).float().mean()) > 0.5 * float((sequins > 0.8).float().mean())
    assert float((plain < -0.4).float().mean()) == 0


def test_plain_cloth_keeps_its_weave_and_its_tone():
    y = torch.arange(100)[:, None]
    picture = _cloth(noise=0.05) - 0.002 * (100 - y)  # brighter towards the edge
    front, _ = continued(picture, torch.ones(100, 240, dtype=torch.bool), METRE, 120.0)
    below = front[:, 105:]
    seen, gone_on = (p.diff(dim=2).square().mean() for p in (picture, below))
    assert 0.6 < float(gone_on / seen) < 1.4
    assert float((below.mean() - picture[:, -4:].mean()).abs()) < 0.08


def test_a_seam_goes_on_below_the_edge():
    picture = _cloth(noise=0.0)
    picture[:, :, 60:63] -= 0.1
    front, _ = continued(picture, torch.ones(100, 240, dtype=torch.bool), METRE, 120.0)
    row = front[0, 110]
    assert float(row[61]) < float(row[45:57].mean()) - 0.03
