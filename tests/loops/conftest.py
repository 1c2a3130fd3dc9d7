"""Every compiled loop has a twin in tensor operations: `both` runs a function with the loops and without them."""

import pytest

from stereotalker_core.loops import available


@pytest.fixture
def both(monkeypatch):
    pytest.importorskip("numba")
    assert available._loops() is not None

    def run(function):
        fast = function()
        with monkeypatch.context() as without:
            without.setattr(available, "_loops", lambda: None)
            return fast, function()

    return run
