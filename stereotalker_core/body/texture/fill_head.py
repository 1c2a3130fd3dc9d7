"""The skin at the sides of the face and of the neck, which a photograph shows at a grazing angle or not at all.

Beside the face a pixel holds a little of the cheek and a little of what is behind it: hair, a collar, the room. Such
colours are recognised by the skin nearby that faces the camera and count less the more they differ from it. What is not
seen takes the colour of that skin, which meets the seen skin without a step; only hair at the temples is borrowed from
the other side. All this holds as far as what faces the camera nearby is skin: beards, long hair and collars stay."""

from typing import NamedTuple

import torch
from torch import Tensor

from ...pixels.materials import believed, skin_steps
from ...pixels.means import lent
from ..rasterize import at_points
from .texels import Lifter, vertex_sums

_GRAZING = (0.15, 0.40)  # cosines to the camera between which the colour of skin comes to be relied on
_TEMPLE = (0.05, 0.20)  # the same at the temples, for colours between skin and hair
_FRONT = (0.35, 0.50)  # between which it tells where skin is to be expected
_CHEEK = (0.35, 0.75)  # where it is lit as the side of the face is
_STRAIGHT = (0.45, 0.65)  # between which it is no longer compared with the skin nearby
_SURE, _SEEN = 0.5, 0.9  # visibility of texels that may speak for others, of hair that may
_FEW = 60  # texels that make a median
_LITTLE = 0.002  # weight of a colour that is nothing like the face's: heard where nobody else speaks
_SPEAKERS = 900  # vertices that lend their colour
_SPREAD, _WIDENING = 0.006, 0.15  # m within which skin is one colour, and how that grows with the distance
_SHAVED = 4.8  # steps from skin below which "hair" is a shaved head
_TOLD = 2.0  # steps from skin from which an ear is told from the hair behind it
# steps at which half of a colour is believed: of the skin nearby, of mixtures with hair, of any skin in any shade
_NORMAL, _BETWEEN, _SKIN = 1.5, 0.8, 5.0
_BARE = (0.35, 0.6)  # shares of skin among what faces the camera nearby between which skin comes to be expected
_MIXTURES = (0.0, 0.25, 0.5, 0.75, 1.0)  # shares of hair


class SideSkin(NamedTuple):
    """The skin that is expected at the S texels `Lifter.side_skin`.

    nearby: (S, 3) in [-1, 1], the colour of the skin nearby that faces the camera.
    own: (S,) in [0, 1], how far the photograph's own colour is skin rather than hair.
    bare: (S,) in [0, 1], how far what faces the camera nearby is skin, so that skin is to be expected."""

    nearby: Tensor
    own: Tensor
    bare: Tensor


def trusted_sides(
    lifter: Lifter,
    n_vertices: int,
    colour: Tensor,
    mirrored: Tensor,
    photo: Tensor,
    seen_there: Tensor,
    facing: Tensor,
    skin: Tensor,
) -> tuple[Tensor, Tensor, SideSkin | None]:
    """Lower the visibility of colours at the sides of face and neck that are not those of skin or hair.

    lifter: the table of the atlas's N texels, S of them at the sides (`side_skin`).
    n_vertices: number of the body's vertices.
    colour: (N, 3) in [-1, 1] of the photograph at the texels.
    mirrored: (N, 3) of the photograph at their mirrored points.
    photo: (N,) in [0, 1], how far the photograph really shows the texel.
    seen_there: (N,) in [0, 1], how far it shows the mirrored point.
    facing: (S,) cosine between the normal and the direction to the camera.
    skin: (3,) colour of the face.

    Returns new `photo` and `seen_there`, and what is expected there; None, with both unchanged, where too little skin
    faces the camera."""
    at, temples = lifter.side_skin, lifter.temples
    here = colour[at]
    seen_hair = colour[lifter.hair][photo[lifter.hair] > _SEEN]
    hair = seen_hair.median(0).values[None] if len(seen_hair) >= _FEW else None
    shaved = hair is not None and float(skin_steps(hair, skin[None])) < _SHAVED
    skins = _skins(lifter, here, (photo[at] > _SURE) & (facing > _CHEEK[0]) & (facing < _CHEEK[1]), skin)
    hairy = _rather_hair(here, skins, hair)
    straight = _ramp(facing, _GRAZING)
    weight = straight * (photo[at] > _SURE) * (1 - hairy) * believed(here, skins, _NORMAL).clamp_min(_LITTLE)
    if float(weight.sum()) < _FEW:
        return photo, seen_there, None
    nearby = _nearby(lifter, n_vertices, here, weight)
    bare = believed(here, skins, _SKIN) * (1 - hairy)
    surely = _ramp(facing, _FRONT) * (photo[at] > _SURE)
    bare = _ramp(_nearby(lifter, n_vertices, bare[:, None].expand(-1, 3), surely)[:, 0], _BARE)
    if hair is None or shaved:  # nothing there is told from anything else
        bare = bare * (1 - temples)
    own = straight * torch.lerp(believed(here, nearby, _NORMAL), torch.ones_like(hairy), _ramp(facing, _STRAIGHT))
    own = torch.maximum(own, hairy * torch.maximum(temples, straight))
    if hair is not None:
        mixed = torch.stack([believed(here, torch.lerp(nearby, hair, share), _BETWEEN) for share in _MIXTURES])
        own = torch.maximum(own, temples * mixed.amax(0) * _ramp(facing, _TEMPLE))
    other = _rather_hair(mirrored[at], skins, hair) * temples
    photo = photo.index_copy(0, at, photo[at] * (1 - bare * (1 - own)))
    seen_there = seen_there.index_copy(0, at, seen_there[at] * (1 - bare * (1 - other)))
    return photo, seen_there, SideSkin(nearby, 1 - hairy, bare)


def trusted_hair(lifter: Lifter, colour: Tensor, seen: Tensor, skin: Tensor) -> Tensor:
    """Lower the visibility of colours on the hair beside an ear that are the ear's.

    An ear stands off a little more or less than the drawn one, and would leave a rim of itself on the hair behind it.

    lifter: the table of the atlas's N texels.
    colour: (N, 3) in [-1, 1] of the photograph at the texels.
    seen: (N,) in [0, 1], how far the photograph shows them.
    skin: (3,) colour of the face.

    Returns new visibilities (N,)."""
    at = lifter.hair
    told = colour[at][(seen[at] > _SEEN) & (lifter.beside_ears == 0)]
    if len(told) < _FEW:
        return seen
    hair = told.median(0).values[None]
    if float(skin_steps(hair, skin[None])) < _TOLD:
        return seen
    other = 1 - _rather_hair(colour[at], skin[None], hair)
    return seen.index_copy(0, at, seen[at] * (1 - lifter.beside_ears * other))


def _skins(lifter: Lifter, colour: Tensor, told: Tensor, skin: Tensor) -> Tensor:
    """Return (S, 3): for every texel of the sides the colour of the cheek on its side of the face, which is lit as it.

    lifter: as in `trusted_sides`; colour: (S, 3) of the photograph; told: (S,) bool, colours that tell it; skin: (3,)
    of the face, where they are too few."""
    left = lifter.left[lifter.side_skin][:, None]
    cheeks = (colour[told & lifter.cheeks & (left[:, 0] == side)] for side in (True, False))
    one, other = (cheek.median(0).values if len(cheek) >= _FEW else skin for cheek in cheeks)
    return torch.where(left, one, other)


def _nearby(lifter: Lifter, n_vertices: int, values: Tensor, weight: Tensor) -> Tensor:
    """Return (S, 3): the mean value near every texel of the sides.

    lifter, n_vertices: as in `trusted_sides`; values: (S, 3) of the texels; weight: (S,) in the mean."""
    at, place = lifter.side_skin, lifter.likeness_cut
    sums = vertex_sums(lifter, n_vertices, at, values, weight)
    seen = (sums[:, 3] > _SURE).nonzero().squeeze(1)
    speakers = seen[:: -(-len(seen) // _SPEAKERS)]
    vertex = sums[:, :3] / sums[:, 3:].clamp_min(1e-6)
    asked = lifter.corners[at].unique()
    asked = asked[sums[asked, 3] <= _SURE]
    distance = torch.cdist(place[asked], place[speakers])
    spread = _SPREAD + _WIDENING * distance.amin(1, keepdim=True)
    vertex[asked] = lent(distance, spread, vertex[speakers])
    return at_points(vertex, lifter.corners[at], lifter.weight[at])


def _rather_hair(colour: Tensor, skin: Tensor, hair: Tensor | None) -> Tensor:
    """Return (S,) in [0, 1]: how far colours (S, 3) are rather a hair's (1, 3) than a skin's (1, 3); 0 without hair."""
    if hair is None:
        return torch.zeros_like(colour[:, 0])
    return torch.sigmoid(3 * (skin_steps(colour, skin) - skin_steps(colour, hair)))


def _ramp(values: Tensor, ends: tuple[float, float]) -> Tensor:
    return ((values - ends[0]) / (ends[1] - ends[0])).clamp(0, 1)
