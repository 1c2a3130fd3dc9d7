"""Small shared fixtures: one body, a coarse template and one avatar."""

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.texture.texels import Lifter
from stereotalker_core.synthetic.movement.poses import joint_heads
from stereotalker_core.synthetic.people.avatar import make_avatar
from stereotalker_core.synthetic.people.template import Template


@pytest.fixture(scope="session")
def half_body():
    return HalfBody()


@pytest.fixture(scope="session")
def template(half_body):
    return Template(half_body, 256)


@pytest.fixture(scope="session")
def lifter(half_body):
    return Lifter(half_body, 256)


@pytest.fixture(scope="session")
def avatar(half_body, template):
    return make_avatar(half_body, 3, template)


@pytest.fixture(scope="session")
def heads(half_body, avatar):
    return joint_heads(half_body, half_body.rest(avatar.shape[None]))


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(11)
