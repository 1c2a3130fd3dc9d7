"""Arms and hands where the portrait does not show them: as the rest of the same limb, all around.

A sleeve ends where it ends, on every side of the arm: what was seen of an arm is a profile along it, and unseen skin or
cloth takes the colour of its place on that profile. An unseen piece of a hand takes the colour of the hand's seen skin.
"""

import torch
from torch import Tensor

from .texels import Lifter

_STEP = 0.01  # m along the arm that share a colour
_BINS = 60
_FEW = 12  # texels that make a median
_ANOTHER = 0.35  # distance of colours in [-1, 1] from which two neighbours are sleeve and skin
_UPPER = 18  # bins of the upper arm, where a sleeve is if there is one
_NEARBY = 20  # bins in which an arm keeps its colour
_GLIMPSED = 0.03  # visibility of texels that tell sleeve from skin
_SURE = 0.5  # visibility of texels that may speak for others


def limb_colours(lifter: Lifter, colour: Tensor, photo: Tensor, skin: Tensor) -> tuple[Tensor, Tensor]:
    """Colours for the unseen texels of arms and hands.

    lifter: the texels (N,).
    colour: (N, 3) in [-1, 1] of the photograph.
    photo: (N,) in [0, 1], how far that colour is the texel's own.
    skin: (3,) of the face, for hands that were not seen.

    Returns colours (N, 3) and whether they hold (N,) bool; false where nothing of the limb was seen.
    """
    out, known = torch.zeros_like(colour), torch.zeros_like(lifter.hands)
    hands = {side: _median(colour, photo, lifter.hands & (lifter.left == side)) for side in (True, False)}
    bare = hands[True] if hands[True] is not None else hands[False]
    profiles = {side: _profile(lifter, colour, photo, side, skin if bare is None else bare) for side in (True, False)}
    for side in (True, False):
        hand = lifter.hands & (lifter.left == side)
        own = hands[side] if hands[side] is not None else hands[not side]
        out[hand] = skin if own is None else own
        known |= hand
        arm = lifter.limbs & ~lifter.hands & (lifter.left == side)
        (colours, seen), (other, seen_there) = profiles[side], profiles[not side]
        colours = torch.where(seen[:, None], colours, other)
        seen = seen | seen_there
        if bool(seen.any()):
            out[arm] = _bridged(colours, seen)[_bin(lifter.along[arm])]
            known |= arm
    return out, known


def _bin(along: Tensor) -> Tensor:
    return (along / _STEP).long().clamp(0, _BINS - 1)


def _median(colour: Tensor, photo: Tensor, where: Tensor) -> Tensor | None:
    seen = colour[where & (photo > _SURE)]
    return seen.median(0).values if len(seen) >= _FEW else None


def _profile(lifter: Lifter, colour: Tensor, photo: Tensor, left: bool, skin: Tensor) -> tuple[Tensor, Tensor]:
    """Colours (_BINS, 3) along one arm and where they are known (_BINS,).

    An arm is sleeve or skin: every place takes the colour of its own kind nearby, so that a few pixels of background
    or of a hand before the arm do not make rings.
    """
    colours, known = colour.new_zeros(_BINS, 3), torch.zeros(_BINS, dtype=torch.bool, device=colour.device)
    arm = (lifter.limbs & ~lifter.hands & (lifter.left == left) & (photo > _GLIMPSED)).nonzero().squeeze(1)
    if len(arm) < _FEW:
        return colours, known
    bins, seen = _bin(lifter.along[arm]), colour[arm]
    sleeve = seen[bins < _UPPER].median(0).values if int((bins < _UPPER).sum()) >= _FEW else seen.median(0).values
    bare = torch.zeros_like(bins, dtype=torch.bool)
    if float((sleeve - skin).norm()) > _ANOTHER:
        bare = (seen - skin).norm(dim=1) < (seen - sleeve).norm(dim=1)
    strange = torch.minimum((seen - skin).norm(dim=1), (seen - sleeve).norm(dim=1)) > _ANOTHER
    bins, seen, bare = bins[~strange], seen[~strange], bare[~strange]  # a background beside the arm, a shadow
    for k in bins.unique().tolist():
        here = bins == k
        if int(here.sum()) < _FEW:
            continue
        kind = bare == bool(bare[here].float().mean() > 0.5)
        colours[k], known[k] = seen[kind & ((bins - k).abs() <= _NEARBY)].median(0).values, True
    return colours, known


def _bridged(colours: Tensor, known: Tensor) -> Tensor:
    """Fill the gaps of a profile: evenly within one material, with a border in the middle between two."""
    places = known.nonzero().squeeze(1).tolist()
    out = colours.clone()
    out[: places[0]], out[places[-1] :] = colours[places[0]], colours[places[-1]]
    for first, last in zip(places, places[1:], strict=False):
        a, b = colours[first], colours[last]
        share = torch.linspace(0, 1, last - first + 1, device=a.device)[:, None]
        if float((a - b).norm()) > _ANOTHER:
            share = (share > 0.5).to(a)
        out[first : last + 1] = a * (1 - share) + b * share
    return out
