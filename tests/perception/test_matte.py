"""Mattes: soft alpha recovered from a coarse mask, plain backdrops left out, the person's own colours."""

import math

import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.perception.matte import foreground_colours, refine_matte

SIZE = 384


def _field(seed, cells, size=SIZE):
    """Smooth random colours (3, H, W) in about [-1, 1]."""
    random = torch.Generator().manual_seed(seed)
    return F.interpolate(torch.randn(1, 3, cells, cells, generator=random), (size, size), mode="bicubic")[0]


def _person(size=SIZE):
    """Alpha (1, H, W) of a head with a soft, wavy outline of hair over shoulders."""
    y, x = torch.meshgrid(torch.arange(size) / size, torch.arange(size) / size, indexing="ij")
    angle = torch.atan2(y - 0.38, x - 0.5)
    radius = 0.2 + 0.008 * torch.sin(23 * angle) + 0.004 * torch.sin(61 * angle)
    soft = torch.where(y < 0.4, 0.012, 0.003)
    head = ((radius - torch.hypot(x - 0.5, (y - 0.38) / 1.2)) / soft + 0.5).clamp(0, 1)
    shoulders = ((0.34 - (x - 0.5).abs()) / 0.003).clamp(0, 1) * ((y - 0.66 - 0.4 * (x - 0.5) ** 2) / 0.003).clamp(0, 1)
    neck = ((0.1 - (x - 0.5).abs()) / 0.003).clamp(0, 1) * (y > 0.5)
    return torch.maximum(torch.maximum(head, shoulders), neck)[None]


def _coarse(alpha, shift=2):
    """What a network of 256 px makes of it: hard, blurred and off by `shift` of its pixels."""
    small = (F.interpolate(alpha[None], (256, 256), mode="area") > 0.5).float()
    small = F.avg_pool2d(F.pad(small, (2, 2, 2, 2), mode="replicate"), 5, 1).roll((shift, shift), (2, 3))
    small[..., :shift, :], small[..., :shift] = 0, 0
    return F.interpolate(small, alpha.shape[-2:], mode="bilinear", align_corners=False)[0]


def _scene(backdrop, noise=0.01):
    random = torch.Generator().manual_seed(9)
    alpha = _person()
    front = (torch.tensor([0.2, -0.3, -0.6])[:, None, None] + 0.15 * _field(1, 24)).clamp(-1, 1)
    image = alpha * front + (1 - alpha) * backdrop + noise * torch.randn(3, SIZE, SIZE, generator=random)
    return image.clamp(-1, 1), alpha, front


def _gradient(size=SIZE):
    y = torch.linspace(0, 1, size)[:, None].expand(size, size)
    return torch.stack([0.1 + 0.5 * y, 0.2 + 0.5 * y, 0.5 + 0.3 * y])


BACKDROPS = {"gradient": _gradient(), "mottled": (torch.tensor([0.0, 0.3, 0.6])[:, None, None] + 0.15 * _field(4, 12))}


@pytest.mark.parametrize("name", BACKDROPS)
@pytest.mark.parametrize("face", [None, 0.4 * SIZE])
def test_soft_alpha_is_recovered(name, face):
    image, alpha, _ = _scene(BACKDROPS[name].clamp(-1, 1))
    coarse = _coarse(alpha)
    fine = refine_matte(image, coarse, face)
    error, before = (float((x - alpha).abs().mean()) for x in (fine, coarse))
    assert error < 0.25 * before
    soft = (alpha > 0.05) & (alpha < 0.95)
    assert float((fine - alpha)[soft].abs().mean()) < 0.5 * float((coarse - alpha)[soft].abs().mean())
    union = ((fine > 0.5) | (alpha > 0.5)).sum()
    assert float(((fine > 0.5) & (alpha > 0.5)).sum() / union) > 0.985


def test_a_plain_backdrop_is_never_the_person():
    image, alpha, _ = _scene(_gradient())
    coarse = F.max_pool2d(_coarse(alpha, 0)[None], 9, 1, 4)[0]  # too wide by four pixels all around: lobes, a halo
    fine = refine_matte(image, coarse, 0.4 * SIZE)
    outside = F.max_pool2d(alpha[None], 5, 1, 2)[0] == 0
    assert float(coarse[outside].mean()) > 0.01
    assert float(fine[outside].mean()) < 0.1 * float(coarse[outside].mean())
    assert float((fine[outside] > 0.2).float().mean()) < 0.001


def test_only_the_band_changes():
    image, alpha, _ = _scene(_gradient())
    coarse = _coarse(alpha)
    fine = refine_matte(image, coarse)
    reach = math.ceil(5.5 * SIZE / 256)
    edge = F.max_pool2d(((coarse > 0.05) & (coarse < 0.95)).float()[None], 2 * reach + 1, 1, reach)[0] > 0
    assert torch.equal(fine[~edge], (coarse[~edge] > 0.5).float())
    assert float((fine - coarse).abs()[edge].max()) > 0.5
    assert float(fine.min()) >= 0 and float(fine.max()) <= 1


def test_a_thing_like_neither_side_belongs_where_the_network_says():
    image, alpha, _ = _scene(_gradient())
    ring = slice(140, 150), slice(248, 258)  # an ear-ring beside the head, in colours of its own
    image[:, ring[0], ring[1]] = torch.tensor([0.9, 0.8, -0.9])[:, None, None]
    alpha[:, ring[0], ring[1]] = 1
    fine = refine_matte(image, _coarse(alpha, 0), 0.4 * SIZE)
    assert float(fine[:, ring[0], ring[1]].mean()) > 0.9


def test_nobody_and_everybody_stay():
    image = _gradient()
    for value in (0.0, 1.0):
        mask = torch.full((1, SIZE, SIZE), value)
        assert torch.equal(refine_matte(image, mask), mask)


def test_greys_and_small_pictures_give_numbers():
    random = torch.Generator().manual_seed(2)
    grey = torch.rand(1, 61, 47, generator=random).expand(3, 61, 47)
    mask = torch.zeros(1, 61, 47)
    mask[:, 20:, 12:36] = 1
    for image in (grey, torch.zeros(3, 61, 47)):
        fine = refine_matte(image, mask, 20.0)
        assert fine.shape == mask.shape and torch.isfinite(fine).all()


def test_colours_are_free_of_the_backdrop():
    backdrop = torch.tensor([-0.8, 0.9, -0.8])[:, None, None].expand(3, SIZE, SIZE)  # a green screen
    image, alpha, front = _scene(backdrop, noise=0.0)
    own = foreground_colours(image, alpha)
    soft = ((alpha > 0.1) & (alpha < 0.9))[0]
    error, before = (float((x - front)[:, soft].abs().mean()) for x in (own, image))
    assert error < 0.25 * before
    assert torch.equal(own[:, alpha[0] == 1], image[:, alpha[0] == 1])
    beside = (F.max_pool2d(alpha[None], 3, 1, 1)[0] > 0)[0] & (alpha[0] == 0)
    assert float((own[1] - own[0])[beside].max()) < 0.5  # the green goes on nowhere beside the edge


def test_bad_shapes_are_named():
    image = torch.zeros(3, 32, 32)
    for call in (refine_matte, foreground_colours):
        with pytest.raises(ValueError, match="expected"):
            call(image, torch.zeros(1, 32, 31))
        with pytest.raises(ValueError, match="expected"):
            call(image[:2], torch.zeros(1, 32, 32))
