"""What the portrait does not show: holes of the atlas filled from the other side, from similar surface, or a template.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ...pixels.inpaint_places import push_pull
from ...pixels.materials import skin_like
from ...pixels.means import lent
from ..model import HalfBody
from ..rasterize import at_points
from .fill_back import back_colours
from .fill_hair import hair_colours
from .fill_head import SideSkin
from .fill_limbs import Arms, cloth_colour, joined, limb_colours
from .hand_marks import marked
from .texels import Lifter, vertex_sums

_WEAK = 0.1  # confidence of what like surface tells
_BRIGHTER = 0.6  # colour units (-1..1) that the two sides of a person may differ by
_BRIGHTEST = 0.95  # share of the seen colours of arms, of clothes, that are darker than any that is borrowed
_LEVEL = 8  # texels a side that share one difference of light
_ANCHORS = 1500  # seen vertices that are compared
_STRIDE = 3  # texels skipped when colours are collected at the vertices
_ANGLE_STEP = 0.03  # radians of the rings in which an eye's colours are collected
_RINGS = 40
_WHITE_FROM = 0.52  # radians from the axis from which everybody's eye is white
_FEW = 30  # texels that make a median
_TOOTH = 0.5  # visibility of teeth that tell the colour of the others
_SKIN_CHROMA = 0.25  # of usual skin: a picture with less is paler or grey, and so is what is invented in it
_NEARLY_GREY = 3.0  # times the saturation of a portrait below which a template loses its own
_PUPIL = 0.05
_CRISP = 0.4  # of what a binomial blur takes away: about what two bilinear look-ups do
_FINE = (500.0, 1300.0)  # px a metre from which on, and from which wholly
LARGEST_SIDE = 512
_CLOTH = (0.23, 0.24, 0.26)  # of a person of whom only the head is seen
_NOT_ITS_OWN = 2.0  # m of likeness between skin and what everybody's clothes cover


def registered_priors(
    lifter: Lifter,
    n_vertices: int,
    colour: Tensor,
    photo: Tensor,
    filled: Tensor,
    confidence: Tensor,
    skin: Tensor,
    draw: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None,
    arms: Arms | None = None,
    sides: SideSkin | None = None,
) -> tuple[Tensor, Tensor]:
    """Fill holes with the colours of similar places at low confidence, and unseen eyes and mouths with a template.

    lifter: the table of the atlas's N texels.
    n_vertices: number of the body's vertices.
    colour: (N, 3) of the photograph at the texels.
    photo: (N,) in [0, 1], how far the photograph really shows the texel.
    filled: (N, 3) colours, holes already filled from the other side of the body where that was seen.
    confidence: (N,) in [0, 1], how far `filled` is known.
    skin: (3,) colour of the face.
    draw: (N, 3) colours of the holes -> better ones (N, 3) and their confidence (N,), 0 where there are none; None: no
        better ones.
    arms: colours of sleeves and skin, from `seen_arms`; None where not known.
    sides: the skin expected at the sides of the head, from `trusted_sides`; None where not known.

    Returns new `filled` and `confidence`. It needs a fit that agrees with the photograph to a pixel; for others see
    `plain_priors`."""
    known = (lifter, n_vertices, filled, confidence, _cloth_and_skin(lifter, colour, photo, skin))
    prior = _alike(*known, lifter.likeness_cut, lifter.ears)  # ears are redder than skin
    limbs, known = limb_colours(lifter, colour, photo, skin, arms)
    prior = torch.where(known[:, None], limbs, prior)
    hands = lifter.hands.nonzero().squeeze(1)
    prior = prior.index_copy(0, hands, marked(prior[hands], lifter.hand_tint[hands], lifter.palm[hands]))
    prior = joined(lifter, n_vertices, prior, colour, photo, lifter.limbs.nonzero().squeeze(1))
    if sides is not None:
        at = lifter.side_skin
        told = photo.index_copy(0, at, photo[at] * sides.own * sides.bare)
        expected = torch.lerp(prior[at], sides.nearby, sides.bare[:, None])
        prior = joined(lifter, n_vertices, prior.index_copy(0, at, expected), colour, told, at)
    back, behind = back_colours(lifter, colour, photo, skin)
    prior = torch.lerp(prior, back, behind[:, None])
    hair = hair_colours(lifter.hair_place, filled[lifter.hair], confidence[lifter.hair], skin)
    if hair is not None:
        prior = prior.index_copy(0, lifter.hair, hair)
    if int((photo[lifter.dressed] > 0.5).sum()) < _FEW:  # a face alone: somebody in plain clothes, not naked
        plain = colour.new_tensor(_CLOTH) * 2 - 1
        prior = torch.where((lifter.dressed | lifter.limbs & ~lifter.hands)[:, None], plain, prior)
    weak = torch.where(lifter.limbs, 1.0, torch.full_like(confidence, _WEAK))
    if sides is not None:  # known well enough to stand beside what was seen at a grazing angle
        weak[lifter.side_skin] += (1 - _WEAK) * sides.bare
    if draw is not None:
        drawn, sure = draw(prior)
        prior, weak = torch.where((sure > 0)[:, None], drawn, prior), torch.maximum(weak, sure)
    return _blended(lifter, colour, photo, filled, confidence, prior, _templates(lifter, colour, photo), weak)


def plain_priors(
    lifter: Lifter,
    n_vertices: int,
    colour: Tensor,
    photo: Tensor,
    filled: Tensor,
    confidence: Tensor,
    skin: Tensor,
) -> tuple[Tensor, Tensor]:
    """Fill holes as `registered_priors` does, for a fit that may be off by some pixels.

    Arguments and results are those of `registered_priors`. With such a fit, texels of eyes and arms may show what lies
    beside them in the photograph."""
    known = (lifter, n_vertices, filled, confidence, _cloth_and_skin(lifter, colour, photo, skin))
    prior = _alike(*known, lifter.likeness, torch.zeros_like(lifter.ears))
    back, behind = back_colours(lifter, colour, photo, skin, coat=False)
    prior = torch.lerp(prior, back, behind[:, None])
    template = lifter.template * _exposure(torch.cat([colour * photo[:, None], photo[:, None]], 1))
    saturation = min(1.0, _NEARLY_GREY * _saturation(lifter, colour, photo))
    template = torch.lerp(template.mean(1, keepdim=True).expand_as(template), template, saturation)
    template = torch.where(lifter.iris[:, None], _iris(lifter, colour, photo, saturation) / 2 + 0.5, template)
    template = torch.where(lifter.pupil[:, None], template.new_full((), _PUPIL), template) * 2 - 1
    weak = torch.full_like(confidence, _WEAK / 2)
    return _blended(lifter, colour, photo, filled, confidence, prior, template, weak)


def _blended(
    lifter: Lifter,
    colour: Tensor,
    photo: Tensor,
    filled: Tensor,
    confidence: Tensor,
    prior: Tensor,
    template: Tensor,
    weak: Tensor,
) -> tuple[Tensor, Tensor]:
    """Blend a prior into texels that are not fully known, and put a template into unseen eyes and mouths.

    lifter: the table of the atlas's N texels.
    colour: (N, 3) of the photograph.
    photo: (N,) in [0, 1], how far the photograph really shows the texel.
    filled: (N, 3) colours so far.
    confidence: (N,) in [0, 1], how far they are known.
    prior: (N, 3) colours to blend in.
    template: (N, 3) colours of eyes and mouth.
    weak: (N,) weight of the prior.

    Returns new `filled` and `confidence`."""
    share = weak * (1 - confidence)
    filled = (filled * confidence[:, None] + prior * share[:, None]) / (confidence + share).clamp_min(1e-6)[:, None]
    confidence = confidence + share
    layered = torch.lerp(template, colour, photo[:, None])
    filled = torch.where(lifter.templated[:, None], layered, filled)
    return filled, torch.where(lifter.templated, torch.ones_like(confidence), confidence)


def levelled(lifter: Lifter, colour: Tensor, mirrored: Tensor, both: Tensor) -> Tensor:
    """Adjust the brightness of colours borrowed from the other side of the body to this side.

    lifter: the table of the atlas's N texels.
    colour: (N, 3) of the photograph at the texels.
    mirrored: (N, 3) of the photograph at their mirrored points.
    both: (N,) in [0, 1], how far both were seen.

    Returns mirrored colours (N, 3) plus the smoothed difference between the sides, so that a hole has no seam."""
    size = lifter.size
    brighter = (colour - mirrored).mean(1, keepdim=True)  # light, not hue: a cheek's rouge is no lamp
    values = torch.cat([brighter * both[:, None], both[:, None]], 1)
    atlas = values.new_zeros(size * size, 2).index_copy(0, lifter.texel, values).T.reshape(1, 2, size, size)
    small = F.avg_pool2d(atlas, _LEVEL)  # the difference of light has no detail
    weight = small[:, 1:]
    smooth = push_pull(small[:, :1] / weight.clamp_min(1e-4), weight.clamp(0, 1))
    smooth = F.interpolate(smooth, scale_factor=_LEVEL, mode="bilinear", align_corners=False)
    level = (mirrored + smooth.flatten(2)[0].T[lifter.texel].clamp(-_BRIGHTER, _BRIGHTER)).clamp(-1, 1)
    for where in (lifter.limbs & ~lifter.hands, lifter.dressed):  # a difference from far away must not bleach cloth
        seen = colour[where & (both > 0.5)].mean(1)
        if len(seen) >= _FEW:
            over = (level.mean(1) - seen.quantile(_BRIGHTEST)).clamp_min(0) * where
            level = level - over[:, None]
    return level


def _templates(lifter: Lifter, colour: Tensor, photo: Tensor) -> Tensor:
    """Return (N, 3) colours of eyes, teeth, tongue and mouth in the exposure and saturation of the portrait; the deeper
    in the mouth, the darker.

    colour, photo: as in `registered_priors`."""
    sums = torch.cat([colour * photo[:, None], photo[:, None]], 1)
    template = lifter.template * lifter.mouth_light[:, None] * _exposure(sums)
    grey = template.mean(1, keepdim=True)
    saturation = _saturation(lifter, colour, photo)
    template = torch.lerp(grey.expand_as(template), template, saturation)
    template = _with_own_teeth(lifter, template, colour, photo)
    iris = _iris(lifter, colour, photo, saturation) / 2 + 0.5
    template = torch.where(lifter.iris[:, None], iris, template)
    template = torch.where(lifter.pupil[:, None], template.new_full((), _PUPIL), template) * 2 - 1
    for side in (True, False):
        eye = lifter.eyes & (lifter.left == side)
        rings = _rings(lifter, colour, photo, eye)
        if rings is None:
            rings = _rings(lifter, colour, photo, lifter.eyes & (lifter.left != side))
        if rings is not None:
            template[eye] = rings[_ring(lifter.eye_angle[eye])]
    return template


def _with_own_teeth(lifter: Lifter, template: Tensor, colour: Tensor, photo: Tensor) -> Tensor:
    """Give the teeth of a template (N, 3) in [0, 1] the colour of those that a smile shows, darker where they lie
    deeper.

    colour, photo: as in `registered_priors`."""
    seen = lifter.teeth & (photo > _TOOTH)
    if int(seen.sum()) < _FEW:
        return template
    luma = colour[seen].mean(1)
    bright = luma >= luma.median()  # not the gaps between them, nor the lip's shadow
    tooth = colour[seen][bright].mean(0) / 2 + 0.5
    light = lifter.mouth_light / lifter.mouth_light[seen][bright].mean()
    return torch.where(lifter.teeth[:, None], tooth * light[:, None].clamp(max=1.0), template)


def _ring(angle: Tensor) -> Tensor:
    return (angle / _ANGLE_STEP).long().clamp(0, _RINGS - 1)


def _rings(lifter: Lifter, colour: Tensor, photo: Tensor, eye: Tensor) -> Tensor | None:
    """Return the colours (_RINGS, 3) of an eye as rings around its optical axis, from pupil to white; None where too
    little of the eye was seen.

    eye: (N,) bool, its texels; colour, photo: as in `registered_priors`."""
    seen = eye & (photo > 0.5)
    if int(seen.sum()) < _FEW:
        return None
    ring = _ring(lifter.eye_angle[seen])
    sums = colour.new_zeros(_RINGS, 4).index_add_(
        0, ring, torch.cat([colour[seen], torch.ones_like(photo[seen])[:, None]], 1)
    )
    rings, last = sums[:, :3] / sums[:, 3:].clamp_min(1), None
    known = (sums[:, 3] >= 3).tolist()
    if not any(known[:4]):  # the axis itself was not seen: a turned eye tells nothing of its middle
        return None
    for k in range(_RINGS):
        if known[k]:
            last = rings[k]
        elif last is not None:
            rings[k] = last
    first = known.index(True)
    rings[:first] = rings[first]
    white = seen & (lifter.eye_angle > _WHITE_FROM)
    if int(white.sum()) >= _FEW:  # beside the iris, not in the corners or under the lashes
        luma = colour[white].mean(1)
        rings[int(_WHITE_FROM / _ANGLE_STEP) + 2 :] = colour[white][luma >= luma.quantile(0.6)].mean(0)
    return rings


def _saturation(lifter: Lifter, colour: Tensor, photo: Tensor) -> float:
    """Return in 0..1 the chroma of the visible skin relative to usual skin, to keep invented parts grey in a grey
    picture.

    colour, photo: as in `registered_priors`."""
    seen = lifter.around_eyes & (photo > 0.9)
    skin = colour[seen if int(seen.sum()) > _FEW else photo > 0.9]
    if not len(skin):
        return 1.0
    unit = skin / 2 + 0.5
    chroma = (unit.amax(1) - unit.amin(1)).median() / unit.amax(1).median().clamp_min(0.05)
    return float((chroma / _SKIN_CHROMA).clamp(0, 1))


def lid_colours(lifter: Lifter, colour: Tensor, photo: Tensor) -> Tensor:
    """Return (N, 3): the colour of bare skin near the eye on the same side of the face; zero off the lids.

    colour, photo: as in `registered_priors`."""
    out = torch.zeros_like(colour)
    for side in (True, False):
        lids = (lifter.eyelids > 0) & (lifter.left == side)
        near = lifter.around_eyes & (lifter.left == side) & (photo > 0.5)
        if int(near.sum()) < _FEW:
            near = lifter.around_eyes & (photo > 0.5)
        if int(near.sum()) < _FEW:
            continue
        below = colour[near].median(0).values
        above = lifter.above_eyes & (lifter.left == side) & (photo > 0.5)
        over = colour[above].median(0).values if int(above.sum()) >= _FEW else below
        out[lids] = (below + over) / 2
    return out


def skin_colour(body: HalfBody, lifter: Lifter, colour: Tensor, photo: Tensor) -> Tensor:
    """Return the median colour (3,) of visible skin: of the beardless skin below the eyes, else of the visible face.

    colour, photo: as in `registered_priors`."""
    seen = photo > 0.9
    bare, face = seen & lifter.around_eyes, seen & (lifter.part == body.part_index["face"])
    chosen = colour[bare if int(bare.sum()) > _FEW else face if bool(face.any()) else seen]
    return chosen.median(0).values if len(chosen) else colour.new_zeros(3)


def _cloth_and_skin(lifter: Lifter, colour: Tensor, photo: Tensor, skin: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the colours (3,) of cloth and of skin; None where no clothes were seen; arguments as in
    `registered_priors`."""
    cloth = cloth_colour(lifter, colour, photo, ~lifter.covered)
    return None if cloth is None else (cloth, skin)


def _alike(
    lifter: Lifter,
    n_vertices: int,
    colour: Tensor,
    confidence: Tensor,
    materials: tuple[Tensor, Tensor] | None,
    likeness: Tensor,
    mute: Tensor,
) -> Tensor:
    """Return the colour (N, 3) of every texel, borrowed from the most similar vertices that were seen.

    lifter: the table of the atlas's N texels.
    n_vertices: V, of the body.
    colour: (N, 3) known so far.
    confidence: (N,) in [0, 1], how far it is known.
    materials: colours (3,) of cloth and of skin, so that clothed places do not borrow from skin at a neckline; None
        where no clothes were seen.
    likeness: (V, features) whose distance in metres says how different two vertices are.
    mute: (V,) bool, vertices whose colour is not borrowed."""
    some = slice(None, None, _STRIDE)
    weight = confidence[some] * ~lifter.templated[some]
    sums = vertex_sums(lifter, n_vertices, some, colour[some], weight)
    seen = (sums[:, 3] > 0.5).nonzero().squeeze(1)
    told = seen[~mute[seen]]
    seen = told if len(told) else seen
    if not len(seen):
        return torch.zeros_like(colour)
    anchors = seen[:: -(-len(seen) // _ANCHORS)]
    vertex = sums[:, :3] / sums[:, 3:].clamp_min(1e-6)
    unseen = (sums[:, 3] <= 0.5).nonzero().squeeze(1)
    distance = torch.cdist(likeness[unseen], likeness[anchors])
    if materials is not None:
        bare = skin_like(vertex[anchors], *materials) & ~lifter.covered_vertices[anchors]
        distance.addr_(lifter.covered_vertices[unseen].to(distance), bare.to(distance), alpha=_NOT_ITS_OWN)
    spread = 0.008 + 0.2 * distance.amin(1, keepdim=True)  # the further away, the more of them have a say
    vertex[unseen] = lent(distance, spread, vertex[anchors])
    return at_points(vertex, lifter.corners, lifter.weight)


def _exposure(values: Tensor) -> Tensor:
    """Return the exposure of the portrait, its mean brightness as a factor in 0.35..1.

    values: (N, 4) colours multiplied by their weight, and the weight."""
    sums = values.sum(0)
    mean = sums[:3] / sums[3].clamp_min(1e-6)
    return ((mean.mean() / 2 + 0.5) * 1.7).clamp(0.35, 1.0)


def _iris(lifter: Lifter, colour: Tensor, photo: Tensor, saturation: float) -> Tensor:
    """Return the mean colour (3,) in [-1, 1] of the visible iris texels, mixed with a dark brown if few are visible.

    saturation: of that brown, 0..1, see `_saturation`.
    lifter, colour, photo: as in `registered_priors`."""
    weight = photo * (lifter.iris & ~lifter.pupil)
    brown = colour.new_tensor([-0.55, -0.68, -0.75])
    brown = torch.lerp(brown.mean().expand(3), brown, saturation)
    return ((colour * weight[:, None]).sum(0) + brown * 8) / (weight.sum() + 8)


def to_atlas(lifter: Lifter, filled: Tensor, confidence: Tensor, photo: Tensor) -> tuple[Tensor, Tensor]:
    """Put texels into an atlas (3, A, A) in [-1, 1] without holes, and its visibility (1, A, A).

    lifter: the table of the N texels; filled: (N, 3) colours; confidence: (N,) in [0, 1], how far they are known;
    photo: (N,) in [0, 1], the visibility."""
    size = lifter.size
    values = torch.cat([filled, confidence[:, None], photo[:, None], torch.ones_like(photo[:, None])], 1)
    atlas = values.new_zeros(size * size, 6).index_copy(0, lifter.texel, values).T.reshape(1, 6, size, size)
    colour = push_pull(atlas[:, :3], atlas[:, 3:4].clamp(0, 1))
    island = atlas[:, 5:]
    gutter = F.avg_pool2d(atlas[:, 4:], 5, 1, 2)  # bilinear look-ups at island borders must not see zeros
    visibility = torch.where(island > 0, atlas[:, 4:5], gutter[:, :1] / gutter[:, 1:].clamp_min(1e-6))
    return colour[0].clamp(-1, 1), visibility[0].clamp(0, 1)


def sharpened(atlas: Tensor, visibility: Tensor, fineness: float) -> Tensor:
    """Sharpen the texels that were seen until they are as crisp as the photograph.

    atlas: (3, A, A) in [-1, 1].
    visibility: (1, A, A) in [0, 1] of its texels.
    fineness: px per metre of the person in a picture of at most LARGEST_SIDE px.

    Every pixel is interpolated twice before it is drawn, in the photograph and in the atlas, and both blur the finest
    detail. A person who is small in the picture is drawn with more than one texel per pixel and loses less."""
    crisp = _CRISP * min(1.0, max(0.0, (fineness - _FINE[0]) / (_FINE[1] - _FINE[0])))
    soft = F.pad(atlas[None], (1, 1, 1, 1), mode="replicate")[0]
    for axis in (-1, -2):  # shifted sums: many times as fast as a convolution of one channel
        length = soft.shape[axis] - 2
        first, middle, last = (soft.narrow(axis, k, length) for k in range(3))
        soft = (first + last).mul_(0.25).add_(middle, alpha=0.5)
    return (atlas + crisp * visibility * (atlas - soft)).clamp(-1, 1)
