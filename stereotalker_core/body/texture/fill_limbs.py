"""Arms and hands where the portrait does not show them: coloured as the visible part of the same limb.

A sleeve ends at the same place on every side of the arm: the visible part of an arm gives a profile of colour along it,
and unseen skin or cloth takes the colour at its place on that profile. Unseen parts of a hand take the colour of its
visible skin."""

from typing import NamedTuple

import torch
from torch import Tensor

from ...pixels.materials import belief, believed, same_hue, skin_like, unlike
from ...pixels.means import lent
from ..rasterize import at_points
from .texels import Lifter, vertex_sums

_STEP = 0.01  # m along the arm that share a colour
_BINS = 60
_FEW = 12  # texels that make a median
_APART = 7  # bins by which it may differ from that of both arms
_CLEAR = 60  # texels of skin and of sleeve from which an arm tells where its own sleeve ends
_ANOTHER, _EITHER = 1.2, 2.5  # steps from which sleeve and skin are two, up to which a colour is one of them
_SHADE = 0.85  # of the light of a face, of a hand: the least that the skin of hands, of arms gets
_STRIDE = 3  # texels skipped when differences are collected at the vertices
_REACH, _SPREAD = 0.03, 0.006  # m over which a difference to the seen surface fades, within which it is averaged
_SPEAKERS = 800  # seen vertices of the arms that lend their difference
_SURELY = 2  # bins beyond a sleeve's end from which the arm is bare
_UPPER = 18  # bins of the upper arm, where a sleeve is if there is one
_ELBOW = 32  # bins from the shoulder to a little below the elbow
_WRIST = (0.43, 0.53)  # m from the shoulder of the mean body in which a bare arm takes on the hand's tone
_NEARBY = 20  # bins in which an arm keeps its colour
_OUTER = 0.8  # share of the seen clothes that lie nearer to the middle than those a sleeve is like
_BARE_STEPS, _BARE_LIT = (2.2, 1.5), (0.6, 0.35)  # at which half of a hand's, an arm's colour is believed; their light
_SLEEVE_STEPS, _PLAIN = 1.7, 0.8  # the same of a sleeve; share of a plain one's colours that are nearer
_GLIMPSED = 0.03  # visibility of texels that tell sleeve from skin
_SURE = 0.5  # visibility of texels that may speak for others


class _Arm(NamedTuple):
    """The visible texels (n,) of one arm.

    bins: (n,) index of the place along the arm.
    colours: (n, 3) in [-1, 1].
    naked: (n,) bool, skin.
    sure: (n,) bool, surely on the arm.
    sleeve: (3,) colour of the sleeve."""

    bins: Tensor
    colours: Tensor
    naked: Tensor
    sure: Tensor
    sleeve: Tensor


class Arms(NamedTuple):
    """The visible parts of both arms, as dictionaries {True: of the left arm, False: of the right arm}.

    seen: the texels of an arm, None where too few are visible; bare: colour (3,) of its skin; end: index of the place
    along the arm where its sleeve ends."""

    seen: dict[bool, _Arm | None]
    bare: dict[bool, Tensor]
    end: dict[bool, int]

    def beyond(self, lifter: Lifter, bins: int = 0) -> Tensor:
        """Return (N,) bool: texels at least so many bins beyond the end of the sleeve on their side."""
        end = torch.where(lifter.left, self.end[True], self.end[False])
        return _arm_bin(lifter.along) > end + bins


def _first(*known: Tensor | None) -> Tensor:
    return next(x for x in known if x is not None)


def seen_arms(lifter: Lifter, colour: Tensor, photo: Tensor, skin: Tensor, trunk: Tensor | None = None) -> Arms:
    """Return the colours of sleeves and skin of both arms; arguments as in `limb_colours`.

    trunk: (N,) bool, texels that the picture shows beside the trunk; None: those that face the trunk in the A pose."""
    trunk = ~lifter.outer if trunk is None else trunk
    hands = {side: _median(colour, photo, lifter.hands & (lifter.left == side)) for side in (True, False)}
    bare = {side: _first(hands[side], hands[not side], skin) for side in (True, False)}
    seen = {side: _arm(lifter, colour, photo, side, bare[side], trunk) for side in (True, False)}
    return Arms(seen, bare, _sleeve_ends(seen, any(hand is not None for hand in hands.values())))


def clothes_on_bare_arms(lifter: Lifter, arms: Arms, colour: Tensor, trunk: Tensor) -> Tensor:
    """Find the texels of bare forearms that wrongly show the trunk behind them -> (N,) bool.

    lifter: the table of the atlas's N texels.
    arms: the visible parts, from `seen_arms`; sleeves are taken to have the trunk's colour.
    colour: (N, 3) that the photograph shows.
    trunk: (N,) bool, texels that it shows beside the trunk."""
    found = torch.zeros_like(lifter.hands)
    for side, arm in arms.seen.items():
        if arm is None or not bool(arm.naked.any()):
            continue
        where = lifter.limbs & ~lifter.hands & (lifter.left == side) & arms.beyond(lifter, _SURELY)
        at = (where & trunk).nonzero().squeeze(1)
        here = colour.index_select(0, at)
        found[at] = unlike(here, arm.sleeve) < unlike(here, arms.bare[side])
    return found


def trusted_skin(lifter: Lifter, arms: Arms, colour: Tensor, seen: Tensor) -> Tensor:
    """Lower the visibility of colours on hands and bare forearms that are not their skin.

    Such are cloth behind a finger and the dark between two fingers, which would be a stain once the hand opens.

    lifter: the table of the atlas's N texels.
    arms: the visible parts, from `seen_arms`.
    colour: (N, 3) that the photograph shows.
    seen: (N,) in [0, 1], how far it shows them.

    Returns new visibilities (N,)."""
    bare = lifter.hands | lifter.limbs & arms.beyond(lifter, _SURELY)
    at = bare.nonzero().squeeze(1)
    skin = torch.where(lifter.left[at][:, None], arms.bare[True], arms.bare[False])
    limit = torch.where(lifter.hands[at], *_BARE_STEPS)
    return seen.index_copy(0, at, seen[at] * believed(colour.index_select(0, at), skin, limit, _BARE_LIT))


def trusted_sleeves(lifter: Lifter, arms: Arms, colour: Tensor, seen: Tensor) -> Tensor:
    """Lower the visibility of colours on plain sleeves that are not theirs: a plant or a table beside an elbow.

    Arguments and result as in `trusted_skin`. Sleeves with a pattern are believed."""
    for side, arm in arms.seen.items():
        if arm is None:
            continue
        sleeve = lifter.limbs & ~lifter.hands & (lifter.left == side) & ~arms.beyond(lifter, -_SURELY)
        at = (sleeve & (seen > 0)).nonzero().squeeze(1)
        steps = unlike(colour.index_select(0, at), arm.sleeve)
        if len(at) and float((steps < _SLEEVE_STEPS).float().mean()) > _PLAIN:
            seen = seen.index_copy(0, at, seen[at] * belief(steps, _SLEEVE_STEPS))
    return seen


def limb_colours(
    lifter: Lifter,
    colour: Tensor,
    photo: Tensor,
    skin: Tensor,
    arms: Arms | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the colours for the unseen texels of arms and hands.

    lifter: the table of the atlas's N texels.
    colour: (N, 3) in [-1, 1] of the photograph.
    photo: (N,) in [0, 1], how far the photograph really shows the texel.
    skin: (3,) of the face, for hands that were not seen.
    arms: the visible parts, from `seen_arms`; None calls it.

    Returns colours (N, 3) and whether they are valid (N,) bool; false where nothing of the limb was seen."""
    out, known = torch.zeros_like(colour), torch.zeros_like(lifter.hands)
    seen, bare, end = arms or seen_arms(lifter, colour, photo, skin)
    bare = {side: _in_light_of(own, skin) if same_hue(own, skin) else own for side, own in bare.items()}
    profiles = {
        side: None if arm is None else _colours_along_arm(arm, bare[side], end[side]) for side, arm in seen.items()
    }
    sleeve = outer_clothes(lifter, colour, photo)
    for side in (True, False):
        hand = lifter.hands & (lifter.left == side)
        out[hand] = bare[side]
        known |= hand
        profile = profiles[side] if profiles[side] is not None else profiles[not side]
        arm = lifter.limbs & ~lifter.hands & (lifter.left == side)
        if profile is not None:
            wrist = ((lifter.along[arm] - _WRIST[0]) / (_WRIST[1] - _WRIST[0])).clamp(0, 1) * float(end[side] < _ELBOW)
            out[arm] = torch.lerp(profile[_arm_bin(lifter.along[arm])], bare[side], wrist[:, None])
            known |= arm
        elif sleeve is not None:
            out[arm] = sleeve
            known |= arm
    return out, known


def outer_clothes(lifter: Lifter, colour: Tensor, photo: Tensor) -> Tensor | None:
    """Return the colour (3,) of the outermost visible clothes (a jacket, not the shirt in it); None where too few are
    seen.

    colour, photo: as in `limb_colours`."""
    seen = (lifter.dressed & (photo > _SURE)).nonzero().squeeze(1)
    if len(seen) < _FEW:
        return None
    return outermost(colour[seen], lifter.aside[seen])


def outermost(colours: Tensor, aside: Tensor) -> Tensor:
    """Return the median colour (3,) of what lies farthest from the middle; colours: (n, 3); aside: (n,) m."""
    return colours[aside >= aside.quantile(_OUTER)].median(0).values


def cloth_colour(lifter: Lifter, colour: Tensor, photo: Tensor, beside: Tensor) -> Tensor | None:
    """Return the median colour (3,) of the trunk's visible clothes away from the arms; None where too few are visible.

    lifter: the table of the atlas's N texels.
    colour, photo: as in `limb_colours`.
    beside: (N,) bool, texels that the picture shows beside an arm, which are left out."""
    return _median(colour, photo, lifter.dressed & ~beside)


def bare_arms_on_clothes(lifter: Lifter, colour: Tensor, cloth: Tensor | None, skin: Tensor, beside: Tensor) -> Tensor:
    """Return (N,) bool: texels of the clothed trunk that wrongly show an arm: they lie beside one and have the colour
    of skin.

    lifter: the table of the atlas's N texels.
    colour: (N, 3) that the photograph shows.
    cloth: (3,) of the trunk, None where it is not known.
    skin: (3,) of the face.
    beside: (N,) bool, clothes within a hand's breadth of an arm in the picture."""
    if cloth is None:
        return torch.zeros_like(beside)
    where = (lifter.dressed & beside).nonzero().squeeze(1)
    found = skin_like(colour.index_select(0, where), cloth, skin)
    return torch.zeros_like(beside).index_copy(0, where, found)


def _arm_bin(along: Tensor) -> Tensor:
    return (along / _STEP).long().clamp(0, _BINS - 1)


def _median(colour: Tensor, photo: Tensor, where: Tensor) -> Tensor | None:
    seen = colour[where & (photo > _SURE)]
    return seen.median(0).values if len(seen) >= _FEW else None


def _arm(
    lifter: Lifter,
    colour: Tensor,
    photo: Tensor,
    left: bool,
    skin: Tensor,
    trunk: Tensor,
) -> _Arm | None:
    """Return the visible texels of one arm, without background or shadow; None where they are too few.

    left: the side; skin: (3,) of its hand; the others as in `seen_arms`."""
    arm = (lifter.limbs & ~lifter.hands & (lifter.left == left) & (photo > _GLIMPSED)).nonzero().squeeze(1)
    if len(arm) < _FEW:
        return None
    bins, seen = _arm_bin(lifter.along[arm]), colour[arm]
    upper = bins < _UPPER
    sleeve = seen[upper if int(upper.sum()) >= _FEW else slice(None)].median(0).values
    to_skin, to_sleeve = unlike(seen, skin), unlike(seen, sleeve)
    likely = torch.minimum(to_skin, to_sleeve) < _EITHER
    naked = (to_skin < to_sleeve) & bool(unlike(sleeve[None], skin) > _ANOTHER)
    sure = naked | ~trunk[arm]  # what has the sleeve's colour beside the trunk may be the trunk
    if int((sure & ~naked & likely).sum()) < _FEW:
        sure = sure | upper
    return _Arm(bins[likely], seen[likely], naked[likely], sure[likely], sleeve)


def _colours_along_arm(arm: _Arm, skin: Tensor, end: int) -> Tensor:
    """Return the colours (_BINS, 3) along an arm whose sleeve ends at bin `end`; skin (3,) beyond it.

    Each bin takes the nearby colours of its own kind (cloth or skin), so that a hand in front of the arm makes no
    rings."""
    place = torch.arange(_BINS, device=skin.device)
    out = torch.where((place < end)[:, None], arm.sleeve, skin)
    for k in range(_BINS):
        kind = arm.colours[((arm.bins - k).abs() <= _NEARBY) & (arm.naked == (k >= end))]
        if len(kind) >= _FEW:
            out[k] = _in_light_of(_bright_half(kind), skin) if k >= end else kind.median(0).values
    return out


def _bright_half(colours: Tensor) -> Tensor:
    """Return the colour (3,) of skin (n, 3) without its shadows: the median of the brighter half."""
    bright = colours.mean(1)
    return colours[bright >= bright.median()].median(0).values


def _in_light_of(colour: Tensor, skin: Tensor) -> Tensor:
    """Brighten a colour (3,) of skin that lay in shadow to at least _SHADE of the light of other skin (3,), and half of
    the way to its hue."""
    here, there = ((c / 2 + 0.5).clamp_min(0.01).square() for c in (colour, skin))
    lit, wanted = float(here.sum()), _SHADE * float(there.sum())
    if lit >= wanted:
        return colour
    return (torch.lerp(here / lit, there / there.sum(), 0.5) * wanted).sqrt() * 2 - 1


def joined(lifter: Lifter, n_vertices: int, prior: Tensor, colour: Tensor, photo: Tensor, where: Tensor) -> Tensor:
    """Return the prior colours (N, 3), adjusted at some texels so that they meet the visible ones without a step.

    lifter: the table of the atlas's N texels.
    n_vertices: number of the body's vertices.
    prior: (N, 3) colours to adjust.
    colour: (N, 3) of the photograph.
    photo: (N,) in [0, 1], how far the photograph really shows the texel.
    where: indices of the texels to adjust.

    The difference between photograph and prior is spread over the surface and fades within a few centimetres."""
    some = where[::_STRIDE]
    sums = vertex_sums(lifter, n_vertices, some, colour[some] - prior[some], photo[some])
    own = torch.zeros_like(sums[:, 0]).index_fill(0, lifter.corners[where].flatten(), 1) > 0
    seen = (own & (sums[:, 3] > 0.5)).nonzero().squeeze(1)
    if not len(seen):
        return prior
    unseen = (own & (sums[:, 3] <= 0.5)).nonzero().squeeze(1)
    change = sums[:, :3] / sums[:, 3:].clamp_min(1e-6)
    speakers = seen[:: -(-len(seen) // _SPEAKERS)]
    distance = torch.cdist(lifter.likeness[unseen], lifter.likeness[speakers])
    near = torch.exp(-(distance.amin(1, keepdim=True) / _REACH).square())
    change[unseen] = near * lent(distance, torch.full_like(near, _SPREAD), change[speakers])
    there = at_points(change, lifter.corners[where], lifter.weight[where])
    return prior.index_copy(0, where, (prior[where] + there).clamp(-1, 1))


def _sleeve_ends(seen: dict[bool, _Arm | None], hand_seen: bool) -> dict[bool, int]:
    """Return for each arm the index of the place from which on it is bare.

    seen: the visible texels of each arm, None where they are too few.
    hand_seen: whether the portrait shows a hand.

    An arm that shows both sleeve and skin has its own end, because a foreshortened arm is fitted longer or shorter than
    the other, but not far from that of both together, which the others have."""
    both = _sleeve_end([arm for arm in seen.values() if arm is not None], hand_seen)
    found = dict.fromkeys(seen, both)
    for side, arm in seen.items():
        if arm is not None and _shows_end(arm):
            own = _sleeve_end([arm], hand_seen)
            found[side] = own if abs(own - both) <= _APART else both
    return found


def _shows_end(arm: _Arm) -> bool:
    """Tell whether skin is visible of an arm, and enough cloth that is surely its sleeve."""
    return min(int(arm.naked.sum()), int((arm.sure & ~arm.naked).sum())) >= _CLEAR


def _sleeve_end(arms: list[_Arm], hand_seen: bool) -> int:
    """Return the index of the place along the arms from which on both are bare: the split with fewest misplaced texels.

    arms: the visible texels of each arm.
    hand_seen: whether the portrait shows a hand.

    Where unseen places lie between the last cloth and the first skin, the middle of these is returned. Arms without any
    visible skin have long sleeves, unless a hand is seen and the sleeve was last seen above the elbow."""
    if not arms:
        return _BINS
    bins, naked, sure = (torch.cat([arm[k] for arm in arms]) for k in (0, 2, 3))
    bare, sleeve = (torch.bincount(bins[kind], minlength=_BINS).float() for kind in (naked, ~naked))
    if float(bare.sum()) < _FEW:
        last = int((sleeve >= _FEW).nonzero().max()) if bool((sleeve >= _FEW).any()) else 0
        return last + 1 if hand_seen and last < _ELBOW else _BINS
    sleeve, none = torch.bincount(bins[sure & ~naked], minlength=_BINS).float(), bare.new_zeros(1)
    wrong = torch.cat([none, bare.cumsum(0)]) + torch.cat([sleeve.flip(0).cumsum(0).flip(0), none])
    best = (wrong <= wrong.min() + 1).nonzero().squeeze(1)
    return int(best[len(best) // 2])
