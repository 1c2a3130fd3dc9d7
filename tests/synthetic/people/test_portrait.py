"""Portraits, the identity of a perfect fit, and of an imperfect one."""

import pytest
import torch

from stereotalker_core.synthetic.people.portrait import perturbed_identity, reference_portrait, true_identity
from stereotalker_core.video.guides.maps import render_guides


@pytest.fixture(scope="module")
def portrait(half_body, avatar):
    return reference_portrait(half_body, avatar, 1, size=128)


@pytest.fixture(scope="module")
def identity(half_body, avatar, portrait, lifter):
    return true_identity(half_body, avatar, portrait, lifter)


def test_portrait_is_near_frontal_and_repeatable(half_body, avatar, portrait):
    again = reference_portrait(half_body, avatar, 1, size=128)
    assert torch.equal(portrait.image, again.image)
    assert abs(float(portrait.cameras.yaw[0])) <= 15
    assert 0.15 < portrait.mask.mean() < 0.7


def test_true_fit_gives_the_portrait_back(half_body, portrait, identity):
    guides = render_guides(half_body, identity, portrait.motion, portrait.cameras)
    seen = (guides.visibility[0] > 0.95) & (portrait.mask > 0.99)
    error = (guides.lift[0] - portrait.image).abs().mean(0, keepdim=True)[seen]
    assert seen.float().mean() > 0.1 and error.mean() < 0.06
    drawn = guides.part[0] > 0
    union = (drawn | (portrait.mask > 0.5)).sum()
    assert (drawn & (portrait.mask > 0.5)).sum() / union > 0.97


def test_background_is_painted_out(portrait, identity):
    outside = (portrait.mask == 0).expand_as(portrait.image)
    inside = (portrait.mask > 0.99).expand_as(portrait.image)
    assert (identity.background - portrait.image)[outside].abs().mean() < 0.05
    assert (identity.background - portrait.image)[inside].abs().mean() > 0.1


def test_perturbed_fit_is_wrong_by_millimetres(half_body, identity, template, lifter):
    wrong = perturbed_identity(half_body, identity, torch.Generator().manual_seed(3), template, lifter)
    again = perturbed_identity(half_body, identity, torch.Generator().manual_seed(3), template, lifter)
    assert torch.equal(wrong.atlas, again.atlas) and wrong.quality < 1
    true, other = (
        half_body.rest(i.shape[None], i.shell[None]).vertices - half_body.rest(i.shape[None]).bones[:, :1]
        for i in (identity, wrong)
    )
    error = (true - other).norm(dim=-1).mean()
    assert 0.001 < error < 0.03
    turned = torch.rad2deg((wrong.rotations - identity.rotations).norm(dim=-1))
    assert 0.1 < turned.max() < 20
    inner = template.vertex_is("eye.L", "eye.R", "teeth.up")
    assert torch.equal(wrong.shell[inner], identity.shell[inner])


def test_tiny_portraits_are_refused(half_body, avatar):
    with pytest.raises(ValueError, match="at least 32"):
        reference_portrait(half_body, avatar, 1, size=8)
