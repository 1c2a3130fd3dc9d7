"""The bootstrap interval: right width, weights, refusals."""

import numpy as np
import pytest

from stereotalker_core.evaluation.bootstrap import bootstrap


def test_interval_has_the_width_of_theory():
    values = np.random.default_rng(0).normal(3, 2, 400)
    row = bootstrap(values)
    assert row["value"] == pytest.approx(values.mean())
    assert (row["high"] - row["low"]) == pytest.approx(2 * 1.96 * 2 / 20, rel=0.1)


def test_weights_are_counts():
    assert bootstrap([1.0, 0.0], [3, 1])["value"] == 0.75
    assert bootstrap([1.0, float("nan")], [2, 0])["value"] == 1.0


def test_the_same_seed_gives_the_same_interval():
    assert bootstrap([1, 2, 4]) == bootstrap([1, 2, 4])


@pytest.mark.parametrize("values,weights", [([], None), ([1.0], [0.0]), ([1.0], [1.0, 2.0])])
def test_nothing_to_average_is_refused(values, weights):
    with pytest.raises(ValueError, match="no mean"):
        bootstrap(values, weights)
