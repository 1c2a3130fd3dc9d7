"""The distance between colours of skin, in steps at which skin begins to look like something else."""

import torch
from torch import Tensor

# one step: of hue (shares of red, green, blue), of light (its logarithm) to the bright and to the dark
_HUE, _LIT = 0.022, (0.40, 0.60)
_BLACK = 0.004  # light that a dark colour counts as having besides: black has no hue


def skin_steps(colour: Tensor, other: Tensor, lit: tuple[float, float] = _LIT) -> Tensor:
    """Return the distance (S,) between colours (S, 3) and others (S or 1, 3) in [-1, 1].

    colour, other: the colours; lit: logarithms of light that count as one step, where `colour` is brighter and where it
    is darker."""
    here, there = ((c / 2 + 0.5).clamp_min(0).square() + _BLACK for c in (colour, other))
    hue = (here / here.sum(1, keepdim=True) - there / there.sum(1, keepdim=True)).norm(dim=1) / _HUE
    more = (here.sum(1) / there.sum(1)).log()
    return (hue.square() + torch.where(more > 0, more / lit[0], more / lit[1]).square()).sqrt()


def believed(colour: Tensor, expected: Tensor, limit: float | Tensor, lit: tuple[float, float] = _LIT) -> Tensor:
    """Return (S,) in [0, 1]: how far colours (S, 3) agree with expected ones (S or 1, 3).

    colour, expected: the colours; limit: () or (S,) steps at which it is a half; lit: as in `skin_steps`."""
    return 1 / (1 + (skin_steps(colour, expected, lit) / limit) ** 4)
