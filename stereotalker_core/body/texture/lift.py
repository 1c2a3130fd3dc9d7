"""Texture projection: the portrait's pixels copied to the body's texture atlas, with the visibility of every texel.

Unseen texels take the mirrored point's colour, then that of the most similar seen surface (near, same part, facing the
same way), so that sleeves end in the right place and hair stays hair. Visible parts of eyes and an open mouth are kept;
hidden ones come from the same eye's colours or from a template. Two kinds of texels are not trusted: lids, except for
the lashes, take the colour of the skin around them, and clothes near a hand take that of the mirrored place."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ...pixels.dilation import largest_around
from ...pixels.means import mean_around, mean_within
from ..model import HalfBody, Posed
from .clothes import cloth_of, drawn_clothes, strange_beside_arms
from .fill import LARGEST_SIDE, levelled, lid_colours, plain_priors, registered_priors, sharpened, skin_colour, to_atlas
from .fill_head import SideSkin, trusted_hair, trusted_sides
from .fill_limbs import (
    Arms,
    bare_arms_on_clothes,
    cloth_colour,
    clothes_on_bare_arms,
    outer_clothes,
    seen_arms,
    trusted_skin,
    trusted_sleeves,
)
from .hand_marks import marked
from .light import UNLIT, find_light, softened
from .portrait_view import PortraitView, Trust
from .texels import ATLAS, Lifter

_GUTTER = 2  # texels around an island that bilinear look-ups at its border see
_NEIGHBOUR = 0.05  # of the squares around a texel: less than one of nine is a rounding error
_RIM = 3  # texels by which the own view goes on beyond what it surely shows
_SURE = 0.9  # visibility from which an eye or a tooth counts as seen where the fit may be off by a pixel


class Lifted(NamedTuple):
    """The texture of a portrait.

    atlas: (3, A, A) in [-1, 1], filled everywhere.
    visibility: (1, A, A) in [0, 1] of texels really seen; symmetric and template colours count as unseen.
    light: (4,), see `light.shade`; None: the atlas is as photographed.
    own_view: (4, h, w), the upper left part of an atlas that holds trunk, arms and hands: the colours that the portrait
        shows, and how far it does, also where they are not the surface's (shadows, what lies beside an arm). They are
        right in the portrait's own pose and view alone. None for a fit that may be off by some pixels."""

    atlas: Tensor
    visibility: Tensor
    light: Tensor | None
    own_view: Tensor | None


def lift_portrait(
    body: HalfBody,
    image: Tensor,
    mask: Tensor,
    posed: Posed,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    size: int = ATLAS,
    lifter: Lifter | None = None,
    trust: Trust | None = None,
) -> tuple[Tensor, Tensor]:
    """Project a portrait onto the texture atlas of a posed body.

    body: the half body.
    image: the portrait (3, H, W) in [-1, 1].
    mask: (1, H, W) in [0, 1], 1 = person.
    posed: the portrait's pose with its shell, batch 1.
    world_to_camera: (4, 4), the portrait's camera.
    intrinsics: (3, 3) in pixels of the image.
    size: side A of the atlas in texels; ignored where `lifter` is given.
    lifter: the texel table, for callers that project many portraits.
    trust: which parts of the fit are reliable.

    Returns the atlas (3, A, A), filled everywhere, and visibility (1, A, A) in [0, 1] of texels really seen (symmetric
    and template colours count as unseen)."""
    lifter = lifter if lifter is not None else Lifter(body, size)
    view = PortraitView(body, image, mask, posed, world_to_camera, intrinsics, trust or Trust())
    return _lift(body, lifter, view)[:2]


def lift_unlit(
    body: HalfBody,
    image: Tensor,
    mask: Tensor,
    posed: Posed,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    size: int = ATLAS,
    lifter: Lifter | None = None,
    trust: Trust | None = None,
) -> Lifted:
    """Project a portrait onto an atlas and remove its shading; arguments as in `lift_portrait`.

    `light.relit(texel, light.shade(normal, light))` shades it for any pose. The shading is removed before holes are
    filled, so that an arm's unlit side does not spread its darkness. Where no light is found (None) the result is
    lift_portrait's."""
    lifter = lifter if lifter is not None else Lifter(body, size)
    view = PortraitView(body, image, mask, posed, world_to_camera, intrinsics, trust or Trust())
    vertex = torch.arange(body.n_vertices, device=image.device)[:, None].expand(-1, 3)
    colour, seen = view.sample(vertex, body.mean.new_tensor([1.0, 0.0, 0.0]).expand(len(vertex), 3))
    unlit = torch.zeros(len(body.part_names), dtype=torch.bool, device=image.device)
    unlit[[body.part_index[name] for name in UNLIT]] = True
    light = find_light(colour, seen, view.normal, body.mean, lifter.vertex_part, body.mirror, unlit)
    if light is not None and view.trust.registered:
        light = softened(light, view.normal[seen > _SURE])
    view.light = light
    atlas, visibility, own_view = _lift(body, lifter, view)
    return Lifted(atlas, visibility, light, own_view)


def _lift(body: HalfBody, lifter: Lifter, view: PortraitView) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return atlas, visibility and own view (None for a fit that may be off by some pixels), as in `Lifted`."""
    trust = view.trust
    kinds = (lifter.limbs, lifter.hands, lifter.head)
    inner = torch.where(lifter.templated, lifter.part, -1)
    colour, seen = view.sample(lifter.corners, lifter.weight, *kinds, inner)
    if trust.registered:
        strange = strange_beside_arms(view, lifter)
        seen = seen * ~view.marked(strange, lifter.corners, lifter.weight, lifter.dressed)
        view.doubt(strange)
        # the head stays sharp: its texels are hardly larger than pixels, and means would take an eighth of its detail
        colour = view.means(colour, seen * ~lifter.head, lifter.corners, lifter.weight, lifter.across)
    shut = torch.where(lifter.left, *(torch.tensor(s, device=seen.device) for s in trust.shut))
    lids = (lifter.eyelids if trust.registered else lifter.unfolded.to(seen)) * ~shut
    photo = seen * _trusted_texels(lifter, seen, shut, trust) * (1 - lids)
    if not trust.hands:
        photo = photo * ~lifter.hands
    skin = skin_colour(body, lifter, colour, photo)
    there = body.mirror[lifter.corners]
    mirrored, seen_there = view.sample(there, lifter.weight, *kinds)
    if trust.registered:
        known = _believed(body, lifter, view, colour, photo, mirrored, seen_there, skin)
        photo, mirrored, seen_there, cloth, arms, sides = known
    other = seen_there * (1 - photo) * (trust.hands | ~lifter.hands) * (lids == 0) * ~lifter.templated
    confidence = photo + other
    filled = (colour * photo[:, None] + mirrored * other[:, None]) / confidence.clamp_min(1e-4)[:, None]
    if trust.registered:
        filled = torch.lerp(filled, lid_colours(lifter, colour, photo), lids[:, None])
        confidence = torch.where(lids > 0, torch.ones_like(confidence), confidence)
    if not trust.hands:
        bare = skin.expand(int(lifter.hands.sum()), 3)
        drawn = marked(bare, lifter.hand_tint[lifter.hands], lifter.palm[lifter.hands]) if trust.registered else bare
        filled[lifter.hands], confidence[lifter.hands] = drawn, 1.0
    given = (lifter, body.n_vertices, colour, photo, filled, confidence, skin)
    if not trust.registered:
        return *to_atlas(lifter, *plain_priors(*given), photo), None
    picture = cloth_of(view, lifter, cloth, skin, outer_clothes(lifter, colour, photo))
    draw = None if picture is None else partial(drawn_clothes, view, lifter, picture)
    filled, confidence = registered_priors(*given, draw, arms, sides)
    return _crisp(lifter, view, (filled, confidence, photo, colour))


def _crisp(
    lifter: Lifter, view: PortraitView, texels: tuple[Tensor, Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Lay texels into an atlas as crisp as the photograph -> atlas, visibility and own view, as in `Lifted`.

    view: the portrait.
    texels: filled colours (N, 3), how far they are known (N,), how far the portrait shows them (N,), and the colours
        (N, 3) that it shows."""
    filled, confidence, photo, colour = texels
    atlas, visibility = to_atlas(lifter, filled, confidence, photo)
    crisp = torch.zeros_like(visibility).flatten().index_copy(0, lifter.texel, lifter.dressed.to(visibility))
    crisp = torch.maximum(visibility, crisp.view_as(visibility))  # drawn clothes are looked up twice, too
    fineness = view.fineness * min(1.0, LARGEST_SIDE / max(view.rows, view.columns))
    shown = view.front(lifter.corners, lifter.weight)
    own, told = to_atlas(lifter, torch.lerp(filled, colour, shown[:, None]), confidence, shown)
    own, told = spread(own, told)
    own = torch.cat([sharpened(own, torch.maximum(crisp, told), fineness), told])
    return sharpened(atlas, crisp, fineness), visibility, _below_the_head(lifter, own)


def spread(own: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
    """Let the surely told texels of the own view (3, A, A), told (1, A, A), go on for _RIM texels -> the same.

    At the edges of limbs, and of what lies before them, texels are half seen or not at all. A pose that differs by a
    degree shows them, as lines of another colour along the arms."""
    sure = (told > _SURE).to(own)
    colour, known = own, sure
    for _ in range(_RIM):
        colour = torch.where(known > 0, colour, mean_within(colour, known, 1))
        known = torch.maximum(known, (mean_around(known, 1) > _NEIGHBOUR).to(known))
    return torch.where(known > 0, colour, own), torch.maximum(told, known)


class _Believed(NamedTuple):
    """The part of a registered portrait that is believed, for N texels.

    photo: (N,) in [0, 1], how far the portrait shows the texel.
    mirrored: (N, 3) colours at the mirrored points, in this side's light.
    seen_there: (N,) in [0, 1], how far it shows those.
    cloth: (3,) usual colour of the clothes, None where they are not visible.
    arms: colours of sleeves and skin; sides: the skin expected at the sides of the head."""

    photo: Tensor
    mirrored: Tensor
    seen_there: Tensor
    cloth: Tensor | None
    arms: Arms
    sides: SideSkin | None


def _believed(
    body: HalfBody,
    lifter: Lifter,
    view: PortraitView,
    colour: Tensor,
    photo: Tensor,
    mirrored: Tensor,
    seen_there: Tensor,
    skin: Tensor,
) -> _Believed:
    """Give up texels that show another material than theirs: an arm on clothes, cloth between fingers, hair on skin.

    colour, photo: (N, 3) and (N,) of the portrait at the texels; mirrored, seen_there: at their mirrored points; skin:
        (3,) colour of the face."""
    there = body.mirror[lifter.corners]
    place = (lifter.weight, lifter.dressed, lifter.shoulders)
    beside, beside_there = (view.beside_arms(corners, *place) for corners in (lifter.corners, there))
    cloth = cloth_colour(lifter, colour, photo, beside)
    photo = photo * ~bare_arms_on_clothes(lifter, colour, cloth, skin, beside)
    seen_there = seen_there * ~bare_arms_on_clothes(lifter, mirrored, cloth, skin, beside_there)
    trunk, trunk_there = (view.beside_trunk(where, lifter.weight, lifter.limbs) for where in (lifter.corners, there))
    arms = seen_arms(lifter, colour, photo, skin, trunk)
    photo = trusted_skin(lifter, arms, colour, photo * ~clothes_on_bare_arms(lifter, arms, colour, trunk))
    photo = trusted_sleeves(lifter, arms, colour, photo)
    seen_there = trusted_sleeves(lifter, arms, mirrored, trusted_skin(lifter, arms, mirrored, seen_there))
    seen_there = seen_there * ~clothes_on_bare_arms(lifter, arms, mirrored, trunk_there)
    seen_there = seen_there * ~(lifter.dressed & view.outside(lifter.corners, lifter.weight))
    photo, seen_there = trusted_hair(lifter, colour, photo, skin), trusted_hair(lifter, mirrored, seen_there, skin)
    facing = view.place(lifter.corners[lifter.side_skin], lifter.weight[lifter.side_skin])[1]
    photo, seen_there, sides = trusted_sides(
        lifter, body.n_vertices, colour, mirrored, photo, seen_there, facing, skin
    )
    mirrored = levelled(lifter, colour, mirrored, photo * seen_there * ~lifter.templated)
    return _Believed(photo, mirrored, seen_there, cloth, arms, sides)


def _below_the_head(lifter: Lifter, atlas: Tensor) -> Tensor:
    """Return the upper left part of an atlas (4, A, A) that holds trunk, arms and hands, its last channel 0 elsewhere
    -> (4, h, w)."""
    size, below = lifter.size, lifter.dressed | lifter.limbs
    inside = torch.zeros(size * size, device=atlas.device).index_copy(0, lifter.texel, below.to(atlas))
    inside = largest_around(inside.view(1, size, size), _GUTTER)
    rows, columns = (int(inside[0].any(axis).nonzero().max()) + 1 for axis in (1, 0))
    return torch.cat([atlas[:3], atlas[3:] * inside])[:, :rows, :columns].contiguous()


def _trusted_texels(lifter: Lifter, seen: Tensor, shut: Tensor, trust: Trust) -> Tensor:
    """Return (N,) bool: texels whose photographed colour may be used.

    lifter: the table of the atlas's N texels.
    seen: (N,) visibility in the portrait.
    shut: (N,) bool, on a shut eye.
    trust: with a registered face the mouth and teeth of the photograph are used as well."""
    if trust.registered:
        return ~(lifter.eyes & shut) & (lifter.part != lifter.lashes)
    return ~lifter.templated | lifter.eyes & (seen > _SURE)
