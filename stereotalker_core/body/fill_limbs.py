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
_ELBOW = 32  # bins from the shoulder to a little below the elbow
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
    own = {side: hands[side] if hands[side] is not None else hands[not side] for side in (True, False)}
    bare = {side: skin if own[side] is None else own[side] for side in (True, False)}
    profiles = {
        side: _profile(lifter, colour, photo, side, bare[side], hands[side] is not None) for side in (True, False)
    }
    for side in (True, False):
        hand = lifter.hands & (lifter.left == side)
        out[hand] = bare[side]
        known |= hand
        profile = profiles[side] if profiles[side] is not None else profiles[not side]
        if profile is not None:
            arm = lifter.limbs & ~lifter.hands & (lifter.left == side)
            out[arm] = profile[_bin(lifter.along[arm])]
            known |= arm
    return out, known


def _bin(along: Tensor) -> Tensor:
    return (along / _STEP).long().clamp(0, _BINS - 1)


def _median(colour: Tensor, photo: Tensor, where: Tensor) -> Tensor | None:
    seen = colour[where & (photo > _SURE)]
    return seen.median(0).values if len(seen) >= _FEW else None


def _profile(lifter: Lifter, colour: Tensor, photo: Tensor, left: bool, skin: Tensor, hand_seen: bool) -> Tensor | None:
    """Colours (_BINS, 3) along one arm; None where too little of it was seen.

    An arm is sleeve as far as the sleeve goes and skin from there on. Every place takes the colour of its own kind
    nearby, so that a few pixels of background, or of a hand before the arm, do not make rings.
    """
    arm = (lifter.limbs & ~lifter.hands & (lifter.left == left) & (photo > _GLIMPSED)).nonzero().squeeze(1)
    if len(arm) < _FEW:
        return None
    bins, seen = _bin(lifter.along[arm]), colour[arm]
    upper = bins < _UPPER
    sleeve = seen[upper if int(upper.sum()) >= _FEW else slice(None)].median(0).values
    to_skin, to_sleeve = (seen - skin).norm(dim=1), (seen - sleeve).norm(dim=1)
    likely = torch.minimum(to_skin, to_sleeve) < _ANOTHER  # the rest is background beside the arm, or shadow
    bins, seen, naked = bins[likely], seen[likely], (to_skin < to_sleeve)[likely]
    end = _BINS
    if float((sleeve - skin).norm()) > _ANOTHER:
        end = _sleeve_end(bins, naked, hand_seen)
    place = torch.arange(_BINS, device=colour.device)
    out = torch.where((place < end)[:, None], sleeve, skin)
    for k in range(_BINS):
        near = (bins - k).abs() <= _NEARBY
        kind = seen[near if end == _BINS else near & (naked == (k >= end))]
        if len(kind) >= _FEW:
            out[k] = kind.median(0).values
    return out


def _sleeve_end(bins: Tensor, naked: Tensor, hand_seen: bool) -> int:
    """The bin from which an arm is bare: as few texels as possible (N,) on the wrong side of it.

    Nothing tells between the last of the sleeve and the first of the skin: the middle. An arm without any skin has a
    long sleeve, unless its hand is seen and the sleeve was last seen above the elbow.
    """
    bare, sleeve = (torch.bincount(bins[kind], minlength=_BINS).float() for kind in (naked, ~naked))
    if float(bare.sum()) < _FEW:
        last = int(sleeve.nonzero().max()) if bool((sleeve > 0).any()) else 0
        return last + 1 if hand_seen and last < _ELBOW else _BINS
    wrong = torch.cat([bare.new_zeros(1), bare.cumsum(0)]) + torch.cat(
        [sleeve.flip(0).cumsum(0).flip(0), bare.new_zeros(1)]
    )
    best = (wrong <= wrong.min() + 1).nonzero().squeeze(1)
    return int(best[len(best) // 2])
