"""Loops over pictures and of inpainting against their twins in tensor operations."""

import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.perception import matte
from stereotalker_core.pixels import inpaint, inpaint_places
from stereotalker_core.pixels.means import lent, mean_around, share_near


def _random(*size, seed=0):
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


def _smooth(rows, columns, cells=12, seed=0):
    return F.interpolate(_random(1, 3, cells, cells, seed=seed), (rows, columns), mode="bicubic").clamp(0, 1)


def _close(found, wanted, limit):
    assert found.shape == wanted.shape and bool(torch.isfinite(found).all())
    assert float((found - wanted).abs().max()) < limit


@pytest.mark.parametrize("radius", [1, 4, 40])
@pytest.mark.parametrize("size", [(3, 31, 57), (2, 3, 24, 33), (1, 1, 5)])
def test_local_means(both, radius, size):
    _close(*both(lambda: mean_around(_random(*size), radius)), 1e-5)


@pytest.mark.parametrize("size", [(33, 46), (3, 70), (2, 2)])
def test_push_pull(both, size):
    weight = (_random(1, 1, *size, seed=1) - 0.6).clamp_min(0) * 2
    _close(*both(lambda: inpaint_places.push_pull(_random(1, 4, *size), weight)), 1e-4)


def test_membranes(both):
    free = torch.zeros(1, 1, 48, 64)
    free[..., 10:40, 8:60] = 1
    links = [
        (_random(1, 3, *size, seed=k) - 0.5, _random(1, 1, *size, seed=k + 5))
        for k, size in enumerate(((48, 63), (47, 64)))
    ]
    fast, slow = both(lambda: inpaint._membrane(free, *links, 1e-3))
    _close(fast, slow, 1e-4)
    assert float(fast.abs().max()) > 0.1


@pytest.mark.parametrize("radius", [1, 2])
def test_box_means_within_the_picture(both, radius):
    _close(*both(lambda: matte._box_mean(_random(2, 3, 20, 31), radius)), 1e-6)


def test_mattes_follow_lines(both):
    colour = _smooth(96, 128) + 0.01 * _random(1, 3, 96, 128, seed=2)
    alpha = F.avg_pool2d((colour[:, :1] > 0.5).float(), 5, 1, 2)
    trust = torch.where((alpha - 0.5).abs() < 0.45, 0.003, 1.0)
    fast, slow = both(lambda: matte._follow_lines(colour, alpha, trust))
    _close(fast, slow, 2e-3)
    assert float((fast - alpha).abs().max()) > 0.05


def test_foreground_colours(both):
    image = _smooth(70, 91)[0] * 2 - 1
    alpha = F.avg_pool2d((_smooth(70, 91, seed=3)[:, :1] > 0.5).float(), 7, 1, 3)[0]
    _close(*both(lambda: matte.foreground_colours(image, alpha)), 1e-4)


def test_beliefs(both):
    number = torch.full((9, 11), -1)
    inside = _random(9, 11) > 0.2
    number[inside] = torch.arange(int(inside.sum()))
    count = int(inside.sum())
    apart = torch.cdist(*[_random(count, 7, 3)] * 2)
    _close(*both(lambda: inpaint_places._beliefs(_random(count, 7, seed=1), apart, number)), 1e-3)


def _level(rows=40, columns=56):
    known = torch.ones(1, 1, rows, columns, dtype=torch.bool)
    known[..., 12:, 20:40] = False
    return inpaint_places._Level(_smooth(rows, columns, 20), known, 1.0, torch.Generator().manual_seed(0))


def test_the_surety_of_votes(both):
    known = _random(1, 1, 37, 50) > 0.97
    for area in (known, torch.zeros_like(known), torch.ones_like(known)):
        _close(*both(lambda area=area: inpaint_places._Level._surety(area)), 2e-6)


def test_the_nearest_patches(both):
    level = _level()
    features = level._features()
    fast, slow = both(lambda: level._nearest(features))
    assert float((fast == slow).float().mean()) > 0.99  # but for ties


def test_patch_match_finds_as_good_places(both):
    level = _level()
    features, start = level._features(), level._begin(torch.stack([level.y, level.x]).view(2, 40, 56))

    def found():
        level.random = torch.Generator().manual_seed(1)
        at = level._patch_match(features, start)
        assert bool(level.sources[at[level.target]].all())
        return (features[at[level.target]] - features[level.target]).square().sum(1)

    fast, slow = both(found)
    first = (features[start[level.target]] - features[level.target]).square().sum(1)
    assert abs(float(fast.mean() / slow.mean()) - 1) < 0.02 and float(fast.mean()) < 0.8 * float(first.mean())


def test_votes(both):
    start = torch.stack(torch.meshgrid(torch.arange(40), torch.arange(56), indexing="ij")) + torch.tensor(3).view(1, 1)

    def voted():
        level = _level()
        level._vote(level._begin(start.clamp(max=39)))
        return level.colour

    _close(*both(voted), 1e-5)


@pytest.mark.parametrize("size", [(75, 93), (64, 64)])
def test_copies(both, size):
    hole = (_random(1, *size) > 0.6) | (torch.arange(size[1]) > 0.7 * size[1])
    places = (_random(2, 16, 24, seed=1) * torch.tensor([15.0, 23.0]).view(2, 1, 1)).round().long()
    _close(*both(lambda: inpaint._copied(_random(3, *size, seed=2), hole, places)), 1e-5)


def test_a_person_is_painted_out_alike(both):
    image = (_smooth(150, 200, 30)[0] + 0.1 * _random(3, 150, 200, seed=4)) * 2 - 1
    hole = torch.zeros(1, 150, 200)
    hole[:, 40:, 70:130] = 1
    fast, slow = both(lambda: inpaint.paint_out(image.clamp(-1, 1), hole))
    assert float((fast - slow).abs().mean()) < 0.01  # equally good places may differ


def test_lent_values(both):
    distance, spread = _random(50, 30), 0.01 + 0.1 * _random(50, 1, seed=1)
    _close(*both(lambda: lent(distance, spread, _random(30, 3, seed=2))), 1e-5)
    assert lent(distance[:0], spread[:0], _random(30, 3)).shape == (0, 3)


def test_shares_of_near_colours(both):
    fast, slow = both(lambda: share_near(_random(200, 3), _random(100, 3, seed=1), 0.4))
    _close(fast, slow, 0.011)  # one colour of a hundred may lie on the limit
    assert 0.01 < float(fast.mean()) < 0.5
