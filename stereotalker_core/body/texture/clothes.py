"""Clothes where the portrait does not show them: behind arms, below and beside its edges, on the sides and the back.

Behind arms and hands the visible cloth is inpainted from patches of itself (inpaint.py); below the picture's edge it is
continued as clothes_below.py describes. Sides and back keep their colours and get the weave."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...pixels.dilation import largest_around
from ...pixels.inpaint import complete
from ...pixels.materials import TOLD, skin_like, unlike
from ...pixels.means import mean_around, share_near
from .clothes_below import continued, evened
from .light import relit, shade
from .portrait_view import PortraitView
from .texels import Lifter

_LARGEST = 384  # px of the longer side of the picture of cloth that pieces are laid in
_ENOUGH, _FEW = 0.08, 400  # share of that picture, and pixels, that must be cloth
_COARSE = 128  # px of the longer side on which skin is followed from the face
_RIM, _SPECK = 1, 3  # px of that picture: of the rim of what is cloth, and half of what is too thin to be cloth
_WEAVE = 0.012  # m over which the weave is averaged away
_AXIS = 0.01  # m from the middle of the body that count as it
_LOUDEST = 0.20  # colour units (-1..1) of weave: what differs more is another thing, not its weave
_FACING = (0.05, 0.30)  # cosine to the camera between which a picture of the front serves
_BUMP = 4  # texels around one whose facing counts for it
_DRAWN = 0.95  # confidence of what is drawn so: the rest is a mean over what lies around, and blurs it
_SAMPLES = 64  # pixels of clothes that stand for their colours
_STRANGE = 2.5  # steps from all of them from which a colour is not theirs
_MOST_STRANGE = 0.25  # share of the clothes beside arms
_CLOTH_NEAR, _CLOTH_SHARE = 0.35, 0.1  # distance of colours of which share of the cloth a sleeve of it has


class Cloth(NamedTuple):
    """The picture of the clothes alone, with arms inpainted and the clothes continued downwards.

    picture: (3, h, w) in [-1, 1].
    weave: (3, h, w), its fine detail without its colour.
    origin: place of its upper left corner in the portrait, px.
    scale: its px per px of the portrait.
    seen: the row from which on the picture is continued instead of photographed."""

    picture: Tensor
    weave: Tensor
    origin: tuple[float, float]
    scale: float
    seen: int


def cloth_of(
    view: PortraitView, lifter: Lifter, cloth: Tensor | None, skin: Tensor, outer: Tensor | None = None
) -> Cloth | None:
    """Return the picture of the clothes in a portrait; None where too little of them is visible.

    view: the portrait, which tells colour and visibility of surface points.
    lifter: the table of the atlas's texels.
    cloth: (3,) usual colour of the clothes in the picture, None where they are not visible.
    skin: (3,) colour of the face.
    outer: (3,) colour of the outermost clothes, None where it is not known: a tan jacket is no skin."""
    if cloth is None:
        return None
    parts = torch.tensor(lifter.dressed_parts, device=skin.device)
    known = torch.isin(view.maps[3].long(), parts) & (view.maps[[1, 2, 4]] > 0.5).all(0)
    known &= ~_bare(view, lifter, _of_skin(view.image.flatten(1).T, cloth, skin, outer).view_as(known))
    rows, columns = known.any(1).nonzero().squeeze(1), known.any(0).nonzero().squeeze(1)
    if len(rows) < 8 or len(columns) < 8:
        return None
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    if y1 > 0.97 * view.rows:
        y1 = view.rows - 2  # the last rows of a picture are often no longer its own
    image, known = view.image[:, y0:y1, x0:x1], known[y0:y1, x0:x1].to(view.image)
    scale = min(1.0, _LARGEST / max(known.shape))
    size = tuple(max(8, round(side * scale)) for side in known.shape)
    share = F.interpolate(known[None, None], size, mode="area")
    small = F.interpolate((image * known)[None], size, mode="area") / share.clamp_min(1e-6)
    sure = _without_rim(share > 0.6)
    if int(sure.sum()) < _FEW or float(sure.float().mean()) < _ENOUGH:
        return None
    metre = scale * view.fineness  # px
    middle = (_middle(view, lifter, y1) - x0) * scale
    whole = evened(complete(small[0], ~sure[0]), sure[0, 0], metre)
    picture, plain = continued(whole, sure[0, 0], metre, middle)
    return Cloth(picture, _soft(plain, max(1, round(_WEAVE * metre))), (float(x0), float(y0)), scale, size[0])


def strange_beside_arms(view: PortraitView, lifter: Lifter) -> Tensor:
    """Return (H, W) bool: the portrait's pixels of the trunk beside arms that show no colour of the clothes.

    The drawn border between an arm and the trunk is off by a few pixels; beside it the trunk would take the arm's skin,
    its shadow or the room between both, and show shreds of them when the arm moves away.

    view: the portrait.
    lifter: the table of the atlas's texels."""
    part, trusted = view.maps[3].long(), view.maps[1] > 0.5
    trunk = torch.isin(part, part.new_tensor(lifter.dressed_parts))
    strange = torch.zeros_like(trunk)
    colours = view.image.flatten(1).T
    face = colours[(trusted & (part == lifter.face_part)).flatten()]
    told = colours[(trunk & trusted & (view.arms < 0.5)).flatten()]
    if min(len(told), len(face)) < _FEW:
        return strange
    told = told[~skin_like(told, told.median(0).values, face.median(0).values)]
    if not len(told):
        return strange
    at = (trunk & (view.touching > 0.5)).flatten().nonzero().squeeze(1)
    here = colours.index_select(0, at)
    kinds = told[:: max(1, len(told) // _SAMPLES)]
    found = torch.stack([unlike(here, kind) for kind in kinds]).amin(0) > _STRANGE
    if float(found.float().mean()) < _MOST_STRANGE:  # else a coat of which only the shirt in it lies off the arms
        strange.view(-1)[at] = found
    return largest_around(strange.to(torch.uint8)[None], 1)[0] > 0


def _middle(view: PortraitView, lifter: Lifter, row: int) -> float:
    """Return the column (px) at which the portrait shows the front centre line of the trunk, near a given row."""
    at = (lifter.dressed & (lifter.aside < _AXIS)).nonzero().squeeze(1)
    pixel, facing, _ = view.place(lifter.corners[at], lifter.weight[at])
    front = pixel[facing > 0]
    if not len(front):
        return view.columns / 2
    near = (front[:, 1] - row).abs().topk(min(50, len(front)), largest=False).indices
    return float(front[near, 0].median())


def _of_skin(colours: Tensor, cloth: Tensor, skin: Tensor, outer: Tensor | None) -> Tensor:
    """Return (n,) bool: whether colours (n, 3) are rather of skin than of the clothes or the outermost clothes, which
    may have nearly its colour.

    cloth, skin, outer: as in `cloth_of`."""
    found = skin_like(colours, cloth, skin)
    if outer is not None and float(unlike(outer[None], skin)) > TOLD:
        found = found & (unlike(colours, skin) < unlike(colours, outer))
    return found


def _bare(view: PortraitView, lifter: Lifter, skin: Tensor) -> Tensor:
    """Return (H, W) bool: the portrait's pixels of bare skin, those connected to the face or beside an arm.

    view: the portrait.
    lifter: the table of the atlas's texels.
    skin: (H, W) bool, pixels of the colour of skin, which may also belong to a tie or a coat."""
    factor = min(1.0, _COARSE / max(skin.shape))
    size = tuple(max(8, round(side * factor)) for side in skin.shape)
    face = (view.maps[3] == lifter.face_part) & (view.maps[1] > 0.5)
    like, found = (F.interpolate(m[None, None].float(), size, mode="area") for m in (skin, face))
    like, found = (like > 0.4).float(), (found > 0.5).float()
    for _ in range(_COARSE):
        wider = F.max_pool2d(found, 3, 1, 1) * torch.maximum(like, found)
        if torch.equal(wider, found):
            break
        found = wider
    reached = F.interpolate(F.max_pool2d(found, 3, 1, 1), skin.shape, mode="nearest")[0, 0] > 0.5
    return skin & (reached | (view.arms > 0.5))


def _without_rim(area: Tensor) -> Tensor:
    """Erode a mask (1, 1, h, w) by a rim of mixed pixels and remove small specks such as jewellery -> (1, 1, h, w)
    bool."""
    left = -F.max_pool2d(-F.pad(area.float(), (_RIM,) * 4, mode="replicate"), 2 * _RIM + 1, 1)
    core = -F.max_pool2d(-F.pad(left, (_SPECK,) * 4, mode="replicate"), 2 * _SPECK + 1, 1)
    return (F.max_pool2d(core, 2 * _SPECK + 1, 1, _SPECK) * left) > 0.5


def _soft(picture: Tensor, radius: int) -> Tensor:
    """Return the weave (3, h, w) of a picture: its difference to a local mean, faded out near strong edges."""
    weave = picture - mean_around(picture, radius)
    loud = largest_around(weave.abs().amax(0, keepdim=True), radius // 2)
    return weave * (2 - loud / _LOUDEST).clamp(0, 1)


def drawn_clothes(view: PortraitView, lifter: Lifter, cloth: Cloth, prior: Tensor) -> tuple[Tensor, Tensor]:
    """Return the colours for the unseen texels of clothes.

    view: the portrait, which tells colour and visibility of surface points.
    lifter: the table of the atlas's N texels.
    cloth: the picture of the clothes, from `cloth_of`.
    prior: (N, 3) colours of the texels so far.

    Returns colours (N, 3) and their confidence (N,), 0 off the clothes."""
    cloths = cloth.picture.flatten(1).T[:: max(1, cloth.picture[0].numel() // 500)]
    arms = (lifter.limbs & ~lifter.hands).nonzero().squeeze(1)
    sleeves = torch.zeros_like(lifter.hands)
    sleeves[arms] = share_near(prior[arms], cloths, _CLOTH_NEAR) > _CLOTH_SHARE
    at = (lifter.dressed | sleeves).nonzero().squeeze(1)
    pixel, facing, normal = view.place(lifter.corners[at], lifter.weight[at])
    x, y = ((pixel - pixel.new_tensor(cloth.origin)) * cloth.scale).unbind(1)
    height, width = cloth.picture.shape[-2:]
    last = (height - cloth.seen) // 4  # what goes on further repeats the last quarter of what goes on
    down = torch.where(y < height, _mirrored(y, height), height - _mirrored(y - height, max(1, last)))
    across = _mirrored(x, width)
    weave, colour = (_looked_up(values, across, down) for values in (cloth.weave, cloth.picture))
    if view.light is not None:
        colour = relit(colour, 1 / shade(normal, view.light))
    facing = _largest_cosines(facing, lifter, at)
    front = ((facing - _FACING[0]) / (_FACING[1] - _FACING[0])).clamp(0, 1) * lifter.dressed[at]
    out, confidence = torch.zeros_like(prior), torch.zeros_like(prior[:, 0])
    out[at] = torch.lerp(prior[at] + weave, colour, front[:, None]).clamp(-1, 1)
    confidence[at] = _DRAWN
    return out, confidence


def _largest_cosines(facing: Tensor, lifter: Lifter, at: Tensor) -> Tensor:
    """Return for each texel the largest cosine near it in the atlas (n,), because cloth does not follow every bump of
    the body.

    facing: (n,) cosines to the camera; lifter: the table of the atlas's texels; at: (n,) which texels these are."""
    size = lifter.size
    atlas = facing.new_full((size * size,), -1.0).index_copy(0, lifter.texel[at], facing).view(1, 1, size, size)
    return largest_around(atlas, _BUMP).flatten()[lifter.texel[at]]


def _mirrored(place: Tensor, size: int) -> Tensor:
    """Map coordinates on a line to 0..size by reflecting them at 0 and `size`, as often as needed."""
    return size - (place.remainder(2 * size) - size).abs()


def _looked_up(picture: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Sample a picture (3, h, w) bilinearly at pixels x (n,), y (n,) -> (n, 3), with its edges replicated."""
    size = x.new_tensor([picture.shape[-1], picture.shape[-2]])
    grid = torch.stack([x, y], 1) / size * 2 - 1
    return F.grid_sample(picture[None], grid[None, None], padding_mode="border", align_corners=False)[0, :, 0].T
