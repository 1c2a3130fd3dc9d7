"""Fixtures of the motion tests."""

import pytest

from stereotalker_core.motion.generation.sampling import MotionModels
from tests.motion.samples import make_models


@pytest.fixture(scope="session")
def models() -> MotionModels:
    return make_models()
