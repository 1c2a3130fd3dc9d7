"""Whether two colours may be one material in different light: cloth, skin, or one of the two.

Hue (the shares of red, green and blue) tells materials apart; brightness depends on light and tells less."""

import torch
from torch import Tensor

from ..loops.available import array, loops_for

# what counts as one step between colours: of hue (shares of red, green and blue), and of light (its logarithm)
_HUE, _LIT = 0.04, 1.0
# the same between skin and skin, whose light is told by its logarithm to the bright and to the dark
_SKIN_STEP, _SKIN_STEP_LIT = 0.022, (0.40, 0.60)
_BLACK = 0.004  # light that a dark colour counts as having besides: black has no hue
_SKIN_HUE, _SKIN_LIT = 0.14, (0.35, 3.0)  # chromaticity and brightness within which skin is still the same skin
_CONTRAST = 0.3  # distance of cloth and skin from which one is not taken for the other in any light
TOLD = 1.6  # steps between cloth and skin from which they can be told apart: rose cloth is skin in some light


def skin_like(colour: Tensor, cloth: Tensor, skin: Tensor) -> Tensor:
    """Return (N,) bool: whether colours (N, 3) are closer to a skin colour (3,), in some light, than to a cloth colour
    (3,)."""
    if float((cloth - skin).norm()) < _CONTRAST or float(unlike(cloth[None], skin)) < TOLD:
        return torch.zeros_like(colour[:, 0], dtype=torch.bool)
    nearer = (colour - skin).square().sum(1) < (colour - cloth).square().sum(1)
    at = nearer.nonzero().squeeze(1)  # few of a clothed trunk
    rather = unlike(colour.index_select(0, at), skin) < unlike(colour.index_select(0, at), cloth)
    linear, own = ((c / 2 + 0.5).clamp_min(0.01).square() for c in (colour.index_select(0, at), skin[None]))
    hue = hues_apart(linear, own)
    lit = linear.sum(1) / own.sum(1)  # an arm in other light than the face, not a dark suit
    return nearer.index_copy(0, at, rather & (hue < _SKIN_HUE) & (lit > _SKIN_LIT[0]) & (lit < _SKIN_LIT[1]))


def unlike(colours: Tensor, colour: Tensor) -> Tensor:
    """Return the distance (n,) of colours (n, 3) to a colour (3,) of any material; hue counts more than brightness,
    which depends on light."""
    return skin_steps(colours, colour[None], (_LIT, _LIT), _HUE)


def skin_steps(
    colour: Tensor, other: Tensor, lit: tuple[float, float] = _SKIN_STEP_LIT, hue: float = _SKIN_STEP
) -> Tensor:
    """Return the distance (S,) between colours (S, 3) and others (S or 1, 3) in [-1, 1].

    colour, other: the colours; lit: logarithms of light that count as one step, where `colour` is brighter and where it
    is darker; hue: difference of the shares of red, green and blue that does."""
    if (fast := loops_for(colour, other)) is not None:
        out = torch.empty(len(colour))
        fast.surfaces.skin_steps(array(colour), array(other), _BLACK, 1 / hue, 1 / lit[0], 1 / lit[1], out.numpy())
        return out
    here, there = ((c / 2 + 0.5).clamp_min(0).square() + _BLACK for c in (colour, other))
    shares = (here / here.sum(1, keepdim=True) - there / there.sum(1, keepdim=True)).norm(dim=1) / hue
    more = (here.sum(1) / there.sum(1)).log()
    return (shares.square() + torch.where(more > 0, more / lit[0], more / lit[1]).square()).sqrt()


def believed(
    colour: Tensor, expected: Tensor, limit: float | Tensor, lit: tuple[float, float] = _SKIN_STEP_LIT
) -> Tensor:
    """Return (S,) in [0, 1]: how far colours (S, 3) agree with expected ones (S or 1, 3).

    colour, expected: the colours; limit: () or (S,) steps at which it is a half; lit: as in `skin_steps`."""
    return belief(skin_steps(colour, expected, lit), limit)


def belief(steps: Tensor, limit: float | Tensor) -> Tensor:
    """Return in [0, 1] how far a colour is believed that is so many steps off; a half at `limit` steps."""
    return 1 / (1 + (steps / limit) ** 4)


def same_hue(one: Tensor, other: Tensor) -> bool:
    """Tell whether colours (3,) may be one skin in different light; a glove is not."""
    linear = ((c[None] / 2 + 0.5).clamp_min(0.01).square() for c in (one, other))
    return float(hues_apart(*linear)) < _SKIN_HUE


def hues_apart(one: Tensor, other: Tensor) -> Tensor:
    """Return by how much the shares of red, green and blue differ (n,) in linear colours (n or 1, 3)."""
    return (one / one.sum(1, keepdim=True) - other / other.sum(1, keepdim=True)).abs().sum(1)
