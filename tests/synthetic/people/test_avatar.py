"""Avatars: one seed one person, plausible shells, labels that follow the body."""

import numpy as np
import pytest
import torch

from stereotalker_core.synthetic.people.avatar import make_avatar
from stereotalker_core.synthetic.people.backgrounds import draw_background
from stereotalker_core.synthetic.people.clothes import COLLARS, below_collar
from stereotalker_core.synthetic.people.paint import BODY, FACE, HANDS
from stereotalker_core.synthetic.people.template import Template, piecewise


def test_a_seed_is_one_person(half_body, template, avatar):
    again, other = make_avatar(half_body, 3, template), make_avatar(half_body, 4, template)
    for name in ("shape", "shell", "albedo", "region"):
        assert torch.equal(getattr(avatar, name), getattr(again, name))
        assert not torch.equal(getattr(avatar, name), getattr(other, name))
    assert avatar.meta == again.meta


def test_values_are_in_range(avatar):
    assert avatar.albedo.min() >= 0 and avatar.albedo.max() <= 1
    assert avatar.shape.abs().max() <= 2
    assert avatar.shell.min() > -0.03 and avatar.shell.max() < 0.06
    assert set(avatar.region.unique().tolist()) <= {0, BODY, FACE, HANDS}


def test_labels_follow_the_parts(template, avatar):
    label = avatar.region.flatten()[template.texel]
    assert (label[template.is_part("hand.L", "hand.R")] == HANDS).all()
    assert (label[template.is_part("lips", "eye.L", "eye.R", "teeth.up")] == FACE).all()
    assert (label[template.is_part("torso", "arm.L", "hips")] == BODY).all()
    scalp = label[template.is_part("scalp")]  # forehead and ears are face, hair is body
    assert (scalp == FACE).any() and (scalp == BODY).any()


def test_inner_parts_carry_no_shell(half_body, template, avatar):
    inner = template.vertex_is("eye.L", "eye.R", "tongue", "teeth.up", "teeth.low", "lashes")
    assert (avatar.shell[inner] == 0).all()


def test_people_differ_in_style(half_body, template):
    metas = [make_avatar(half_body, seed, template).meta for seed in range(20, 32)]
    assert len({m["hair"] for m in metas}) >= 3 and len({m["pattern"] for m in metas}) >= 3


def test_collars_end_below_the_head(template):
    head = template.is_part("lips", "eyesocket", "eye.L", "eye.R")
    for collar in COLLARS:
        assert (below_collar(template.point[head], collar) < 0).all()


def test_piecewise_equals_numpy():
    x, knots, values = torch.linspace(-2, 4, 50), (-1.0, 0.5, 3.0), (2.0, -1.0, 0.25)
    np.testing.assert_allclose(piecewise(x, knots, values).numpy(), np.interp(x.numpy(), knots, values), atol=1e-6)


def test_smooth_equals_a_plain_loop(half_body, template, rng):
    values = torch.randn(half_body.n_vertices, 1, generator=rng)
    weight = (torch.rand(half_body.n_vertices, 1, generator=rng) > 0.7).float()
    fast = template.smooth(values, weight, 1, 0.5)
    for v in weight[:, 0].nonzero()[:20, 0].tolist():
        around = template.edges[template.edges[:, 0] == v, 1]
        torch.testing.assert_close(fast[v], values[v] + 0.5 * (values[around].mean(0) - values[v]))
    still = weight[:, 0] == 0
    assert torch.equal(fast[still], values[still])


def test_backgrounds_are_deterministic_and_varied():
    kinds = set()
    for seed in range(24):
        image, kind = draw_background(torch.Generator().manual_seed(seed), (24, 32))
        again, _ = draw_background(torch.Generator().manual_seed(seed), (24, 32))
        assert image.shape == (3, 24, 32) and torch.equal(image, again)
        assert image.min() >= -1 and image.max() <= 1
        kinds.add(kind)
    assert len(kinds) == 5


def test_bad_atlas_size_is_named(half_body):
    with pytest.raises(ValueError, match="atlas size"):
        Template(half_body, 8)
