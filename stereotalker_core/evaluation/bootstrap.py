"""A number with its uncertainty: bootstrap over independent items (utterances, identities)."""

from collections.abc import Sequence

import numpy as np


def bootstrap(
    values: Sequence[float], weights: Sequence[float] | None = None, *, draws: int = 2000, seed: int = 0
) -> dict[str, float]:
    """Return the weighted mean of one value per item with its 95 % bootstrap interval: {"value", "low", "high"}.

    values: one per item.
    weights: of the items, such as counts inside an item; None for equal ones.
    draws: resamplings of the items, with replacement.
    seed: of the resampling.

    ValueError where the weights sum to zero."""
    x = np.asarray(values, dtype=np.float64)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    if len(x) != len(w) or not len(x) or not w.sum() > 0:
        raise ValueError(f"{len(x)} values with {len(w)} weights of sum {w.sum():g} have no mean; give items")
    x = np.where(w > 0, x, 0.0)  # an item without a count may hold NaN
    rows = np.random.default_rng(seed).integers(0, len(x), (draws, len(x)))
    total = w[rows].sum(1)
    means = (x * w)[rows].sum(1)[total > 0] / total[total > 0]
    low, high = np.quantile(means, (0.025, 0.975))
    return {"value": float((x * w).sum() / w.sum()), "low": float(low), "high": float(high)}
