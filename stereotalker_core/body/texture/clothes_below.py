"""The continuation of a picture of clothes below its lower edge: the coat closes, the tie hangs down, cloth folds.

The outermost cloth, without collars, hair or jewellery, is synthesised from patches of itself: a pattern by quilting
(pixels/quilting.py), plain cloth by inpaint.py, with its weave (pixels/random_phase.py) and with the pleats and seams
that leave the picture (pixels/lines.py). Other cloth in the middle (a shirt and a tie in a jacket) is continued column
by column, while the two sides of the coat close over it along the directions of their edges; below the point where they
meet they overlap, with a button."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...pixels.dilation import largest_around
from ...pixels.inpaint import complete
from ...pixels.inpaint_places import push_pull
from ...pixels.lines import lines_below
from ...pixels.means import mean_around, mean_within, share_near
from ...pixels.quilting import quilt
from ...pixels.random_phase import noise_like, quiet_square
from ...shapes import size_of

DEPTH = 0.45  # m that the clothes go on
_EDGE = 0.010  # m at the edge whose mean is the colour of a column
_RUN = 0.03  # m above the edge in which the lines of an opening are followed
_STRIP = 0.015  # m above the edge that lend an opening's columns their pattern
_LOW = 0.06  # m above the edge in which the outer cloth is looked for
_SIDES = 0.25  # share of the width, on either side, that surely is the outer cloth
_OTHER = 0.22  # distance of colours (-1..1) from the outer cloth's from which it is another cloth
_SAMPLES, _COMMON = 300, 0.05  # pixels of the outer cloth that are compared, and the share that a colour of it is like
_PURE = 0.7  # share of the columns beside an opening that are of the outer cloth
_LEAST_OUTER = 0.08  # share of the picture that the outer cloth must have to be laid on alone
_NARROW, _WIDE = 0.045, 0.30  # m that an opening may be wide
_MEETS = (0.20, 0.30)  # m below the edge between which a coat closes
_WIDENS = 2.0  # per m, of a tie
_LAP = 0.0025  # m of the edge of cloth that lies over other cloth, and its shadow
_BUTTON = 0.0075  # m, its radius
_FOLDS = 0.19  # colour units, of the deepest folds of what hangs
_ROUND, _SETS_IN = 0.005, 0.05  # m over which a fold bends, and over which folds set in below the edge
_RUMPLED = 0.9  # share of the seen cloth's pixels, the calmest, that tell how rumpled it is: no collars, no seams
_BAND = 0.15  # m above the edge that tell it
_MEANS, _ONE_CLOTH = 0.03, 0.10  # m of a mean from which plain cloth differs by no more than so many colour units
_GRAIN = 0.006  # m over which the weave is averaged away
_TONE, _SHIFT = 0.15, 0.4  # colour units by which cloth below the edge may follow a column above it, and all of it
_PATTERN, _DENSE = 0.09, 0.4  # colour units of the detail of a patterned cloth, in all but this share of its places
_SPECK = 0.008  # m, half of the widest speck in a cloth
_PLACE = 0.02  # m of such a place: a placket or a pocket on plain cloth is no pattern
_SQUARES = (0.05, 0.035, 0.022)  # m of the squares in which it is laid, the first of which enough is seen
_QUIET = 0.25  # share of the squares of a plain cloth that are quieter than the one whose weave is taken
_FINE = 0.005  # m over which what an opening shows is averaged: a knot or a collar tip is no pattern
_OFF = 1.0  # of its width that the middle of an opening may lie from that of the body
_TIE = 0.05  # m of other columns in an opening that may have the outer cloth's colour: a tie
_BESIDE, _CUT = 0.006, 0.18  # m on either side of an opening's border, and the step of colour there: a shade has none
_STRIPE, _BROAD = 0.03, 0.012  # m above the edge from which lines go on, and m of the mean that is not line but shading
_GO_ON = 0.09  # m over which they fade
_LAPEL = 0.065  # m that a lapel is wide at the edge


class Opening(NamedTuple):
    """The gap between the two sides of a coat at the lower edge of the picture, in which other cloth (a shirt) is seen.

    left, right: its columns at the edge, px.
    inward: px by which both sides move towards each other per row downwards."""

    left: float
    right: float
    inward: float


def continued(picture: Tensor, sure: Tensor, metre: float, middle: float) -> tuple[Tensor, Tensor]:
    """Continue a picture of clothes below its lower edge by up to DEPTH metres.

    picture: (3, h, w), without holes.
    sure: (h, w) bool where it was photographed.
    metre: px per metre.
    middle: column of the body's centre line at the edge.

    Returns two pictures (3, h + below, w). The first, for the front of the trunk, also continues what is seen in the
    opening of a coat; the second, for arms and sides, is of the outer cloth alone."""
    height, width = picture.shape[-2:]
    below = max(8, round(DEPTH * metre))
    outer = _outer(picture, sure, metre)
    whole = sure if float((outer & sure).float().mean()) < _LEAST_OUTER else sure & outer
    canvas = torch.cat([picture, picture[:, -1:].expand(-1, below, -1)], 1)
    hole = torch.ones_like(canvas[:1], dtype=torch.bool)
    hole[0, :height] = ~_without_rim(whole)
    plain = evened(complete(canvas, hole), ~hole[0], metre)
    laid = _quilted(picture, ~hole[0, :height], sure, below, metre)
    opening = _opening(picture, outer if laid is None else _closed(outer, metre), metre, middle)
    cloth = laid
    if cloth is None:
        seen = ~hole[0, :height] & outer
        cloth = _meeting(plain[:, height:], picture, outer, metre) + _lines(picture, seen, below, metre)
        cloth = cloth + _weave(cloth, picture, seen, metre)
    cloth = cloth + _folds(cloth, picture, whole, metre)
    front = cloth if opening is None else _with_opening(cloth, picture, opening, metre)
    plain = torch.cat([plain[:, :height], cloth], 1)
    return torch.cat([picture, front], 1).clamp(-1, 1), plain.clamp(-1, 1)


def _quilted(picture: Tensor, known: Tensor, sure: Tensor, below: int, metre: float) -> Tensor | None:
    """Synthesise a patterned cloth (3, below, w) from square patches of its picture; None where it has no pattern.

    picture: (3, h, w); known: (h, w) bool, pixels of this cloth; sure: (h, w) bool, where it was photographed; below:
        rows to synthesise; metre: px per metre."""
    detail = (picture - mean_around(picture, max(1, round(0.008 * metre)))).square().sum(0, keepdim=True)
    dense = mean_within(detail, known[None].to(picture), max(1, round(_PLACE * metre)))[0]
    if not bool(known.any()) or float(dense[known].sort().values[int(_DENSE * int(known.sum()))]) < _PATTERN**2:
        return None
    # plain patches meet best and would take over
    whole = _closed(known, metre) & sure & (dense > (0.75 * _PATTERN) ** 2)
    for side in _SQUARES:
        laid = quilt(picture, whole, (below, picture.shape[-1]), max(6, round(side * metre)))
        if laid is not None:
            return laid
    return None


def _closed(cloth: Tensor, metre: float) -> Tensor:
    """Return (h, w) bool: a cloth with the sequins and dots of other colours in it; metre: px per metre."""
    radius = max(1, round(_SPECK * metre))
    return -largest_around(-largest_around(cloth.float(), radius), radius) > 0.5


def _outer(picture: Tensor, sure: Tensor, metre: float) -> Tensor:
    """Return (h, w) bool: pixels with the colours of the outermost cloth at the lower edge; sure (h, w): photographed;
    metre: px per metre."""
    height, width = sure.shape
    known = sure.clone()
    known[: max(0, height - max(8, round(_LOW * metre)))] = False
    columns = known.any(0).nonzero().squeeze(1)
    if len(columns):
        side = max(1, round(_SIDES * float(columns[-1] - columns[0] + 1)))
        known[:, int(columns[0]) + side : int(columns[-1]) + 1 - side] = False
    known = known if int(known.sum()) >= 30 else sure
    sides = picture[:, known].T
    sides = sides[:: max(1, len(sides) // _SAMPLES)]
    share = share_near(picture.flatten(1).T, sides, _OTHER)
    return (share > _COMMON).view_as(sure)


def _without_rim(area: Tensor) -> Tensor:
    """Erode (h, w) bool by one pixel, where two materials mix; unchanged where too little would be left."""
    left = -F.max_pool2d(-F.pad(area[None, None].float(), (1,) * 4, mode="replicate"), 3, 1)[0, 0] > 0.5
    return left if int(left.sum()) >= 200 else area


def _opening(picture: Tensor, outer: Tensor, metre: float, middle: float) -> Opening | None:
    """Return the opening in the middle of the lower edge, where a shirt or a tie is seen instead of the outermost
    cloth; else None.

    picture: (3, h, w) of the clothes.
    outer: (h, w) bool, the outermost cloth.
    metre: px per metre.
    middle: column of the centre line."""
    height, width = outer.shape
    rows = range(height - 1, max(-1, height - 1 - max(3, round(_RUN * metre))), -1)
    runs = [_run(outer[max(0, y - 2) : y + 1].float().mean(0) > 0.5, middle, _TIE * metre) for y in rows]
    lowest, runs = runs[0], [run for run in runs if run]
    if len(runs) < len(rows) / 2 or lowest is None:
        return None
    left, right = (float(v) for v in torch.tensor(runs[: max(3, len(runs) // 4)]).double().median(0).values)
    wide = (right - left) / metre
    beside = torch.ones(width, dtype=torch.bool, device=outer.device)
    beside[int(left) : int(right) + 1] = False
    pure = outer[-max(1, round(_EDGE * metre)) :, beside].float().mean() if bool(beside.any()) else 0.0
    central = abs((left + right) / 2 - middle) < _OFF * (right - left)
    if not _NARROW < wide < _WIDE or float(pure) < _PURE or not central:
        return None
    if _step(picture, int(left), int(right), metre) < _CUT:
        return None
    high, low = torch.tensor(runs[-1]).double(), torch.tensor(runs[0]).double()
    closing = float((high[1] - high[0]) - (low[1] - low[0])) / max(1, len(runs) - 1)  # px of width a px
    meets = (right - left) / max(closing, 1e-6)
    meets = min(max(meets, _MEETS[0] * metre), _MEETS[1] * metre)
    return Opening(left, right, (right - left) / 2 / meets)


def _step(picture: Tensor, left: int, right: int, metre: float) -> float:
    """Return the mean step of colour over the borders, columns left and right, of an opening in the lower edge of a
    picture (3, h, w)."""
    row, r = picture[:, -max(1, round(_EDGE * metre)) :].mean(1), max(1, round(_BESIDE * metre))
    pairs = ((row[:, left : left + r], row[:, max(0, left - 2 * r) : max(1, left - r)]),
             (row[:, max(0, right + 1 - r) : right + 1], row[:, right + r : right + 2 * r]))  # fmt: skip
    steps = [float((one.mean(1) - other.mean(1)).norm()) for one, other in pairs if one.numel() and other.numel()]
    return sum(steps) / max(1, len(steps))


def _run(outer: Tensor, middle: float, gap: float) -> tuple[int, int] | None:
    """Return the first and last column of the run around the middle in which outer (w,) bool is false.

    gap: px, shorter interruptions of the run are ignored. None where the cloth at the middle is the outer one."""
    other = (~outer).nonzero().squeeze(1)
    if not len(other):
        return None
    near = int((other - middle).abs().argmin())
    if abs(float(other[near]) - middle) > gap:
        return None
    first = last = near
    places = other.tolist()
    while first > 0 and places[first] - places[first - 1] <= gap:
        first -= 1
    while last < len(places) - 1 and places[last + 1] - places[last] <= gap:
        last += 1
    return places[first], places[last]


def evened(picture: Tensor, sure: Tensor, metre: float) -> Tensor:
    """Replace the tones of the inpainted part of plain cloth by a smooth surface through the seen part -> (3, h, w).

    Pieces copied from elsewhere bring the shading of their place with them: bands behind clasped hands.

    picture: (3, h, w), inpainted; sure: (h, w) bool where it was seen; metre: px per metre."""
    rough = (picture - mean_around(picture, max(1, round(_MEANS * metre))))[:, sure].square().mean().sqrt()
    if float(rough) > _ONE_CLOTH:
        return picture
    known = sure[None, None].to(picture)
    radius = max(1, round(_GRAIN * metre))
    soft = mean_within(picture[None], known, radius)
    base = push_pull(soft * known, known)[0]
    for _ in range(2):
        base = torch.where(sure, soft[0], mean_around(base, 2 * radius))
    weave = picture - mean_around(picture, radius)
    most = weave[:, sure].abs().median() * 2  # seams and plackets are louder than a weave
    return torch.where(sure, picture, base + weave.clamp(-most, most))


def _meeting(cloth: Tensor, picture: Tensor, outer: Tensor, metre: float) -> Tensor:
    """Shift the tone of the cloth (3, b, w) below the edge to that of the cloth above it, then of the columns above it;
    the latter shift fades over DEPTH / 4.

    picture: (3, h, w) above the edge; outer: (h, w) bool, its outermost cloth; metre: px per metre."""
    rows = max(2, round(_EDGE * metre))
    weight = outer[-rows:].to(picture).sum(0)
    above = (picture[:, -rows:] * outer[-rows:]).sum(1) / weight.clamp_min(1)
    difference = above - cloth[:, :rows].mean(1)
    if bool((weight > 0).any()):
        whole = difference[:, weight > 0].median(1, keepdim=True).values.clamp(-_SHIFT, _SHIFT)
        cloth, difference = cloth + whole[..., None], difference - whole
    difference = difference.clamp(-_TONE, _TONE) * (weight > 0)
    radius = max(1, round(0.02 * metre))
    both = F.pad(torch.cat([difference, (weight > 0).to(picture)[None]])[None], (radius, radius), mode="replicate")
    soft = F.avg_pool1d(both, 2 * radius + 1, 1)[0]
    smooth = soft[:3] / soft[3:].clamp_min(0.1)
    fade = torch.exp(-torch.arange(cloth.shape[1], device=cloth.device) / (0.25 * DEPTH * metre))
    return cloth + smooth[:, None] * fade[None, :, None]


def _lines(picture: Tensor, cloth: Tensor, rows: int, metre: float) -> Tensor:
    """Let pleats, seams, plackets and folds that leave the picture go on below its edge -> (3, rows, w), to be added.

    picture: (3, h, w) above the edge; cloth: (h, w) bool, the outermost cloth; metre: px per metre."""
    high = min(picture.shape[1], max(4, round(_STRIPE * metre)))
    line = lines_below(picture[:, -high:], cloth[-high:], rows, max(1, round(_BROAD * metre)))
    y = torch.arange(rows, device=picture.device) + 0.5
    return line * torch.exp(-y / (_GO_ON * metre))[:, None]


def _weave(cloth: Tensor, picture: Tensor, known: Tensor, metre: float) -> Tensor:
    """Return what the weave of cloth (3, b, w) below the edge lacks beside the seen one's -> (3, b, w), to be added.

    picture: (3, h, w) above the edge; known: (h, w) bool, pixels of this cloth; metre: px per metre."""
    radius = max(1, round(_GRAIN * metre))
    grain = picture - mean_around(picture, radius)
    for side in _SQUARES[1:]:
        square = quiet_square(grain, known, max(8, round(side * metre)), _QUIET)
        if square is not None:
            ours = (cloth - mean_around(cloth, radius)).square().mean()
            lacking = 1 - float(ours / square.square().mean().clamp_min(1e-9))
            return noise_like(square, size_of(cloth)) * max(0.0, lacking) ** 0.5
    return torch.zeros_like(cloth)


def _folds(cloth: Tensor, picture: Tensor, seen: Tensor, metre: float) -> Tensor:
    """Return the brightness (1, b, w) of soft, mostly vertical folds that make cloth (3, b, w) as rumpled as the seen
    one.

    picture: (3, h, w) above the edge; seen: (h, w) bool, the cloth to compare with; metre: px per metre."""
    rows, width = cloth.shape[1:]
    random = torch.Generator().manual_seed(0)
    coarse = (max(2, round(rows / (0.10 * metre))), max(3, round(width / (0.028 * metre))))
    noise = torch.randn(1, 1, *coarse, generator=random).to(cloth)
    noise = noise * noise.abs()  # few folds that are seen, not many alike
    folds = F.interpolate(noise, (rows, width), mode="bicubic", align_corners=False)[0]
    place = torch.arange(rows, device=cloth.device)[:, None] * 0.35 + torch.arange(width, device=cloth.device)
    lean = width - 1 - (place.remainder(2 * width - 1) - (width - 1)).abs()  # there and back, without a jump
    folds = (folds + folds.gather(2, lean.long().clamp(0, width - 1).expand_as(folds))) / 2
    slope = F.pad(folds[..., 1:] - folds[..., :-1], (0, 1))  # light from the side: the slope of a fold shades it
    soft = max(1, round(_ROUND * metre))
    slope = mean_around(mean_around(slope, soft), soft)  # cloth bends, it has no corners
    slope = 2 * (slope / slope.std().clamp_min(1e-6) / 2).tanh()
    band = slice(max(0, len(seen) - round(_BAND * metre)), None)
    told = _rumple(picture[:, band])[seen[band]]
    if not len(told):
        return torch.zeros_like(slope)
    calm = told.sort().values[: max(1, int(_RUMPLED * len(told)))].mean()
    lacking = (calm - _rumple(cloth).mean()).clamp_min(0) / _rumple(slope).mean().clamp_min(1e-9)
    fade = (torch.arange(rows, device=cloth.device) / (_SETS_IN * metre)).clamp(0, 1)[None, :, None]
    fade = fade * fade * (3 - 2 * fade)  # folds do not begin at the edge of a picture
    return slope * lacking.sqrt().clamp(max=_FOLDS / 2) * fade


def _rumple(picture: Tensor) -> Tensor:
    """Return the squared gradient (h, w) of the brightness of a picture (C, h, w), which is first blurred as by the
    atlas."""
    soft = mean_around(picture.mean(0, keepdim=True), 1)[0]
    across, down = (F.pad(soft.diff(dim=d), (0, 1, 0, 0) if d else (0, 0, 0, 1)) for d in (1, 0))
    return across.square() + down.square()


def _with_opening(cloth: Tensor, picture: Tensor, opening: Opening, metre: float) -> Tensor:
    """Let the outer cloth (3, b, w) close over the last rows of the picture, continued downwards -> (3, b, w).

    picture: (3, h, w) above the edge; opening: the gap that closes; metre: px per metre."""
    rows, width = cloth.shape[1:]
    y = torch.arange(rows, device=cloth.device)[:, None] + 0.5
    x = torch.arange(width, device=cloth.device)[None] + 0.5
    centre = (opening.left + opening.right + 1) / 2
    half = (opening.right - opening.left + 1) / 2
    inside = half - opening.inward * y - (x - centre).abs()  # px from the coat's edge, positive in the opening
    across = centre + (x - centre) / (1 + _WIDENS * y / metre)
    inner = _columns(picture, across, metre)
    lap = max(1.0, _LAP * metre)
    shadow = 1 - 0.45 * torch.exp(-(inside / (2.5 * lap)).clamp_min(0)) * (inside > 0)
    inner = (inner + 1) * shadow - 1
    share = ((inside + lap / 4) / (lap / 2)).clamp(0, 1)
    rim = torch.exp(-((inside + lap) / (0.6 * lap)).square())  # the turned edge of the coat catches light
    cloth = cloth + 0.10 * rim * ((1 - cloth.mean(0)) / 2 + 0.3)
    tip = half / opening.inward
    edge = opening.inward * (tip - y)
    lapel = (x - centre).abs() - edge - _LAPEL * metre * (1 - y / tip)
    on = ((tip - y) / (0.02 * metre)).clamp(0, 1)
    cloth = (cloth + 1) * (1 - 0.4 * on * torch.exp(-((lapel - lap) / lap).square())) - 1
    cloth = cloth + 0.06 * on * torch.exp(-((lapel + 0.6 * lap) / (0.7 * lap)).square())
    cloth = _buttoned(cloth, y - tip, x - centre, metre, lap)
    return torch.lerp(cloth, inner, share)


def _columns(picture: Tensor, across: Tensor, metre: float) -> Tensor:
    """Continue columns of a picture downwards -> (3, b, w), in their colour at the edge and with the pattern just above
    it.

    picture: (3, h, w) above the edge; across: (b, w) px, the column to continue at each pixel; metre: px per metre."""
    height, width = picture.shape[-2:]
    edge, strip = max(1, round(_EDGE * metre)), max(2, min(height, round(_STRIP * metre)))
    column = picture[:, -edge:].mean(1)
    above = picture[:, -strip:]
    pattern = above - mean_around(above, max(1, round(_FINE * metre)))
    loud = mean_around((above - column[:, None]).norm(dim=0, keepdim=True), max(1, edge // 2))
    pattern = pattern * (2 - loud / 0.15).clamp(0, 1)
    rows = across.shape[0]
    place = torch.arange(rows, device=picture.device) + 0.5
    turned = strip - ((place.remainder(2 * strip) - strip).abs() - strip).abs()
    grid = torch.stack([across / width * 2 - 1, (turned / strip * 2 - 1)[:, None].expand_as(across)], -1)
    both = [
        F.grid_sample(values[None], at[None], padding_mode="border", align_corners=False)[0]
        for values, at in ((column[:, None], grid * grid.new_tensor([1.0, 0.0])), (pattern, grid))
    ]
    return both[0] + both[1]


def _buttoned(cloth: Tensor, below: Tensor, aside: Tensor, metre: float, lap: float) -> Tensor:
    """Draw onto the cloth (3, b, w) the line where the sides of a coat overlap, and its buttons -> (3, b, w).

    below: (b, 1) px below the point where the sides meet.
    aside: (1, w) px from the centre line.
    metre: px per metre.
    lap: px by which the sides overlap."""
    line = aside + 0.12 * below.clamp_min(0).clamp(max=0.05 * metre)
    on = (below > -lap).to(cloth)
    dark = on * torch.exp(-(line / (0.7 * lap)).square())
    light = on * torch.exp(-((line - 1.6 * lap) / lap).square())
    cloth = (cloth + 1) * (1 - 0.5 * dark) - 1 + 0.05 * light
    radius = max(1.5, _BUTTON * metre)
    for down in (0.012, 0.115):
        dy, dx = below - down * metre, aside - 0.014 * metre
        away = (dx.square() + dy.square()).sqrt()
        face = (radius - away + 0.5).clamp(0, 1)
        ring = torch.exp(-((away - radius) / (0.25 * radius)).square())
        shine = ((dx + dy) / radius * -0.5).clamp(-1, 1) * face
        cloth = (cloth + 1) * (1 - 0.35 * face - 0.25 * ring) - 1 + 0.10 * shine
    return cloth
