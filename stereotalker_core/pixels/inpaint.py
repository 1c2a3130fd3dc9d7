"""The background behind a person and beyond the picture's edges, filled with the picture's own texture.

A backdrop is continued as a smooth base (a low-order polynomial, and its residual by push-pull) with its grain copied
onto it. A room is filled with patches of itself; where neighbouring patches show the same thing in different light, a
membrane evens out their tones (Perez et al. 2003). The source positions are found on a picture of at most 256 px
(inpaint_places.py), and pixels are then copied from the full one, so that nothing is blurred."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..loops.available import array, loops_for
from ..shapes import dims
from .dilation import largest_around
from .inpaint_places import find_places, grown, push_pull
from .means import mean_around

_WORKING = 256  # px of the longer side on which the places are sought
_CELL = 16  # the working size is a multiple, so that every level halves
_SOFT = 0.15  # coverage that counts as hole
_MARGIN = 80  # the hole is dilated by 1/80 of the longer side: hair, shadows, fringes
_RIDGE = (0.0, 1e-3, 2e-2)  # weight against the polynomial's terms by their degree
_PLAIN, _CLUTTERED = 0.02, 0.05  # root mean square detail (colours -1..1) of a backdrop; of a room, whose base is flat
_TONE = 0.15  # colour units (-1..1) up to which two pieces count as the same thing in another light
_MOST = 0.2  # that a tone may change
_PULL = 3e-4  # of a tone back to the piece's own: it fades over some sixty pixels
_SWEEPS = 24  # of the solver on each level
_GRAIN = 64  # a backdrop's base is blurred by 1/64 of the longer side
_ENOUGH = 0.2  # share of the mean coverage from which on a row or column counts as known to the polynomial
_EDGE_SIZE, _EDGE_REACH = 512, 12  # px of the longer side on which the hole's edge is made seamless; how far inwards
_SOFT_FOCUS = 0.12  # detail of a backdrop (colours -1..1) from which it is too sharp for that
_BEYOND = 0.1  # share of half the picture that the polynomial goes on outside the known part before it stays as it is


def paint_out(image: Tensor, hole: Tensor, seed: int = 0) -> Tensor:
    """Return the background (3, H, W) behind the person of a picture.

    image: (3, H, W) in [-1, 1], the picture.
    hole: (1, H, W) coverage in [0, 1] of what is removed; it is dilated slightly, and pixels outside it stay as they
        are.
    seed: determines the search for sources.

    Where the hole covers the whole picture, the result is its mean colour. ValueError for other shapes."""
    known = dims(image, "3 H W")
    dims(hole, "1 H W", **known)
    reach = max(2, round(max(image.shape[-2:]) / _MARGIN))
    return _completed(image, grown(hole.to(image) > _SOFT, reach), seed)


def extend(image: Tensor, margins: tuple[int, int, int, int], seed: int = 0) -> Tensor:
    """Continue a picture (3, H, W) in [-1, 1] beyond its edges -> (3, H', W').

    image: a background without a person, because whatever touches an edge is continued.
    margins: (left, top, right, bottom) px.
    seed: determines the search for sources.

    ValueError for another shape or negative margins."""
    dims(image, "3 H W")
    if len(margins) != 4 or min(margins) < 0:
        raise ValueError(f"margins must be four numbers of pixels >= 0 (left, top, right, bottom), got {margins}")
    left, top, right, bottom = margins
    frame = (left, right, top, bottom)
    hole = F.pad(torch.zeros_like(image[:1], dtype=torch.bool), frame, value=True)
    return _completed(F.pad(image, frame), hole, seed)


def complete(image: Tensor, hole: Tensor, seed: int = 0) -> Tensor:
    """Inpaint exactly the pixels of hole (1, H, W) bool in a picture (3, H, W) in [-1, 1] -> (3, H, W); seed: as in
    `extend`."""
    dims(hole, "1 H W", **dims(image, "3 H W"))
    return _completed(image, hole, seed)


def _completed(image: Tensor, hole: Tensor, seed: int) -> Tensor:
    """Inpaint the pixels of hole (1, H, W) bool in image (3, H, W) -> (3, H, W)."""
    if not bool(hole.any()):
        return image.clone()
    if bool(hole.all()):
        return image.mean((1, 2), keepdim=True).expand_as(image).clone()
    rows, columns = image.shape[-2:]
    factor = min(1.0, _WORKING / max(rows, columns))
    size = tuple(max(_CELL, round(side * factor / _CELL) * _CELL) for side in (rows, columns))
    known = (~hole).to(image)[None]
    share = F.interpolate(known, size, mode="area")
    small = F.interpolate(image[None] * known, size, mode="area") / share.clamp_min(1e-6)
    base, plain = _base(small, share)
    detail, sure = (small - base) * (share > 0.999), share > 0.999
    places = find_places(detail, sure, 1 - plain, torch.Generator().manual_seed(seed))
    if places is None:
        base = push_pull(small, share)
    tone = torch.zeros_like(base) if places is None or plain == 1 else (1 - plain) * _tone(detail, sure, places)
    enlarged = F.interpolate(torch.cat([base, tone]), (rows, columns), mode="bilinear", align_corners=False)
    fine, tone = enlarged
    filled = fine + tone + (0.0 if places is None else _copied(image - fine, hole, places))
    filled = torch.where(hole, filled, image)
    return torch.where(hole, _seamless(filled, hole).clamp(-1, 1), image)


def _seamless(filled: Tensor, hole: Tensor) -> Tensor:
    """Match the tones of the filled part of a picture to the known part near its edge -> the picture (3, H, W).

    filled: (3, H, W) the picture with its hole filled.
    hole: (1, H, W) bool, the filled part.

    Where the known part is out of focus, the filling takes its smooth continuation for a blur's width inside the hole,
    and keeps its own detail."""
    rows, columns = filled.shape[-2:]
    factor = min(1.0, _EDGE_SIZE / max(rows, columns))
    size = tuple(max(_CELL, round(side * factor)) for side in (rows, columns))
    share = F.interpolate((~hole).to(filled)[None], size, mode="area")
    small = F.interpolate(filled[None], size, mode="area")
    known = (share > 0.999).to(filled)
    smooth = _blurred(small, 2)
    beyond = _blurred(small * known, 2) / _blurred(known, 2).clamp_min(1e-6)  # as if the hole were not there
    rough = (small - beyond).square().mean(1, keepdim=True).sqrt()
    off = push_pull(torch.cat([small, rough], 1) * known, known)
    off, rough = off[:, :3], off[:, 3:]
    near, weight = known, torch.zeros_like(known)
    for step in range(_EDGE_REACH):
        across = largest_around(near, (0, 1))  # a square and a cross in turn make about a disc
        wider = largest_around(across if step % 2 else near, (1, 0))
        wider = wider if step % 2 else torch.maximum(wider, across)
        weight = weight + (wider - near) * (1 - step / _EDGE_REACH)
        near = wider
    change = (off - smooth) * weight * torch.exp(-(rough / _SOFT_FOCUS).square())
    return filled + F.interpolate(change, (rows, columns), mode="bilinear", align_corners=False)[0]


def _base(colour: Tensor, share: Tensor) -> tuple[Tensor, float]:
    """Return the smooth base (1, 3, h, w) of colour, continued into its unknown parts, and its plainness.

    colour: (1, 3, h, w) of the picture; share: (1, 1, h, w), how far each pixel is known. Plainness is 1 for a
    backdrop, whose base is all but the grain, and 0 for a room, whose base is a single colour."""
    sure = (share > 0.999).to(colour) if bool((share > 0.999).any()) else share
    mean = (colour * sure).sum((2, 3), keepdim=True) / sure.sum()
    trend = _trend(colour, sure)
    radius = max(1, max(colour.shape[-2:]) // _GRAIN)
    smooth = trend + _blurred(push_pull(colour - trend, sure), radius)
    rough = ((colour - smooth).square() * sure).sum() / sure.sum() / 3
    plain = ((_CLUTTERED - rough.sqrt()) / (_CLUTTERED - _PLAIN)).clamp(0, 1)
    return torch.lerp(mean, smooth, plain), float(plain)


def _blurred(values: Tensor, radius: int) -> Tensor:
    """Blur values (1, C, h, w) by three box filters, about a Gaussian."""
    for _ in range(3):
        values = mean_around(values, radius)
    return values


def _trend(colour: Tensor, weight: Tensor) -> Tensor:
    """Fit a quadratic polynomial to colour (1, 3, h, w) under weight (1, 1, h, w) -> its values (1, 3, h, w)."""
    rows, columns = colour.shape[-2:]
    at = []
    for axis, count in ((2, rows), (3, columns)):
        inside = (weight.mean((0, 1, 5 - axis)) > _ENOUGH * weight.mean()).nonzero().squeeze(1)
        place = torch.linspace(-1, 1, count, device=colour.device, dtype=torch.float64)
        at.append(place.clamp(float(place[inside[0]]) - _BEYOND, float(place[inside[-1]]) + _BEYOND))
    y, x = torch.meshgrid(*at, indexing="ij")
    terms = torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y], -1).flatten(0, 1)
    heavy = weight.flatten().double()
    heavy = heavy / heavy.sum()
    ridge = terms.new_tensor([_RIDGE[d] for d in (0, 1, 1, 2, 2, 2)]).diag()
    target = colour[0].flatten(1).T.double()
    left = (terms * heavy[:, None]).T @ terms + ridge
    solution = torch.linalg.solve(left, (terms * heavy[:, None]).T @ target)
    return (terms @ solution).T.reshape(1, 3, rows, columns).to(colour)


def _tone(detail: Tensor, known: Tensor, places: Tensor) -> Tensor:
    """Return the correction (1, 3, h, w) that makes the tones of copied patches meet where they nearly do.

    The membrane of seamless cloning (Perez et al. 2003): differences across a seam are spread through both patches;
    seams between different things are left.

    detail: (1, 3, h, w) without the smooth base; known: (1, 1, h, w) bool, pixels that are not filled; places: (2, h,
    w) row and column of each pixel's source."""
    rows, columns = places.shape[-2:]
    picture = detail[0]
    links: list[tuple[Tensor, Tensor]] = []
    for dy, dx in ((0, 1), (1, 0)):
        (sy, sx), (ty, tx) = places[:, : rows - dy, : columns - dx], places[:, dy:, dx:]
        here, there = picture[:, sy, sx], picture[:, ty, tx]
        ahead = picture[:, (sy + dy).clamp(max=rows - 1), (sx + dx).clamp(max=columns - 1)]  # our piece, gone on
        behind = picture[:, (ty - dy).clamp_min(0), (tx - dx).clamp_min(0)]  # the next piece, begun earlier
        one, two = known[0, :, : rows - dy, : columns - dx], known[0, :, dy:, dx:]
        jump = (ahead - there + here - behind) / 2
        jump = torch.where(one & ~two, here - behind, torch.where(two & ~one, ahead - there, jump)) * ~(one & two)
        like = torch.exp(-jump.square().sum(0, keepdim=True) / _TONE**2).clamp_min(1e-3)
        links.append((jump[None] * like, like[None]))
    right, below = links
    return _membrane((~known).to(detail), right, below, _PULL).clamp(-_MOST, _MOST)


def _membrane(
    free: Tensor,
    right: tuple[Tensor, Tensor],
    below: tuple[Tensor, Tensor],
    pull: float,
) -> Tensor:
    """Solve for values (1, 3, h, w), 0 where not free, whose differences come closest to the wanted ones.

    free: (1, 1, h, w), 1 where the value may differ from 0.
    right, below: (wanted difference times weight, weight) to the right and lower neighbour.
    pull: weight towards 0 at every pixel, against drift where there is no known pixel.

    Solved from coarse to fine by Jacobi steps."""
    rows, columns = free.shape[-2:]
    if min(rows, columns) >= 16 and not (rows % 2 or columns % 2):
        known = (F.avg_pool2d(free, 2) > 0.5).to(free)
        start = _membrane(known, _halved(right, 3), _halved(below, 2), 4 * pull)
        value = F.interpolate(start, (rows, columns), mode="bilinear", align_corners=False) * free
    else:
        value = torch.zeros_like(right[0][..., :1]).expand(1, 3, rows, columns) * free
    ask, weight = torch.zeros_like(value), torch.full_like(free, pull)
    for (asked, w), pad in ((right, (0, 1, 0, 0)), (below, (0, 0, 0, 1))):
        back = (pad[1], 0, pad[3], 0)
        ask, weight = ask + F.pad(asked, back) - F.pad(asked, pad), weight + F.pad(w, back) + F.pad(w, pad)
    if (fast := loops_for(value, ask)) is not None:
        value = value.clone(memory_format=torch.contiguous_format)
        links = array(right[1][0, 0]), array(below[1][0, 0]), array((free / weight.clamp_min(1e-6))[0, 0])
        fast.pictures.relax(value[0].numpy(), array(ask[0]), *links, _SWEEPS)
        return value
    for _ in range(_SWEEPS):
        near = ask + F.pad(value[..., 1:] * right[1], (0, 1)) + F.pad(value[..., :-1] * right[1], (1, 0))
        near = near + F.pad(value[..., 1:, :] * below[1], (0, 0, 0, 1))
        near = near + F.pad(value[..., :-1, :] * below[1], (0, 0, 1, 0))
        value = near / weight.clamp_min(1e-6) * free
    return value


def _halved(link: tuple[Tensor, Tensor], axis: int) -> tuple[Tensor, Tensor]:
    """Return the links of the picture at half its size, along an axis, from those between pixels.

    link: (wanted difference times weight, weight), each (1, 3 or 1, h, w). The path between the centres of two cells of
    2 x 2 pixels is half a link, a whole one and half a link; its weight is the least of the three."""
    asked, weight = link
    wide = torch.cat([asked / weight.clamp_min(1e-6), weight], 1)
    count = wide.shape[axis]
    first, middle, last = (
        wide.index_select(axis, torch.arange(k, count - 2 + k, 2, device=wide.device)) for k in range(3)
    )
    way = first[:, :3] / 2 + middle[:, :3] + last[:, :3] / 2
    worst = torch.minimum(torch.minimum(first[:, 3:], middle[:, 3:]), last[:, 3:])
    both = torch.cat([way * worst, worst], 1)
    both = F.avg_pool2d(both, (1, 2) if axis == 2 else (2, 1))
    return both[:, :3], both[:, 3:]


def _copied(detail: Tensor, hole: Tensor, places: Tensor) -> Tensor:
    """Return the detail (3, H, W) of the full picture in the hole (1, H, W), copied from places (2, h, w); 0 elsewhere.

    The four nearest places are blended bilinearly: one pixel where they agree, a soft seam elsewhere."""
    if (fast := loops_for(detail)) is not None:
        out = torch.zeros(detail.shape)
        fast.places.copy_detail(array(detail), array(hole[0]), array(places), out.numpy())
        return out
    size = torch.tensor(detail.shape[-2:], device=detail.device)
    small = torch.tensor(places.shape[-2:], device=detail.device)
    at = hole[0].nonzero()
    # each pixel of the hole lies between four places of the coarse map
    scale = size / small
    here = (at + 0.5) / scale - 0.5
    low = here.floor()
    known = (~hole).to(detail).flatten()
    picture = detail.flatten(1).T.contiguous()
    total, weight = picture.new_zeros(len(at), 3), picture.new_zeros(len(at), 1)
    for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
        corner = torch.tensor(corner, device=detail.device)
        cell = torch.minimum((low + corner).long().clamp_min(0), small - 1)
        share = (1 - (here - low - corner).abs()).prod(1, keepdim=True)
        # a place says how far away the pixel is copied from; what lands in the hole itself counts nothing
        jump = ((places[:, cell[:, 0], cell[:, 1]].T - cell) * scale).round().long()
        there = torch.minimum((at + jump).clamp_min(0), size - 1)
        index = there[:, 0] * detail.shape[-1] + there[:, 1]
        share = share * known[index][:, None]
        total, weight = total + share * picture[index], weight + share
    out = picture.new_zeros(picture.shape)
    out[at[:, 0] * detail.shape[-1] + at[:, 1]] = total / weight.clamp_min(1e-6)
    return out.T.reshape(detail.shape)
