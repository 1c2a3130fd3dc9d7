"""People found in pictures of synthetic persons, and nobody where nobody is."""

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.perception.people import find_person, load_perception, people
from stereotalker_core.synthetic.avatar import make_avatar
from stereotalker_core.synthetic.portrait import reference_portrait


@pytest.fixture(scope="module")
def networks():
    return load_perception()


@pytest.fixture(scope="module")
def portrait():
    body = HalfBody()
    return reference_portrait(body, make_avatar(body, 3), 3, 384)
