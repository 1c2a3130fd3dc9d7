"""The sides and the back of the head: the visible hair is continued there with its texture.

Seen from the skull's centre, a row of the unrolled picture is one elevation. Behind the last angle at which a row was
seen, its texture continues mirrored, back and forth over the seen part, so that strands meet at the seam and keep their
fineness; at the back of the head the two sides are cross-faded. What lies at the edge of the seen part is seen at a
grazing angle and blurred, so strands that hang from the crown are drawn over it, as strong as those that were seen."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ...pixels.inpaint_places import push_pull
from ..model import HalfBody

_ROWS, _HALF = 160, 256  # cells from below to above, and from the front around one side to the back
_LOWEST = -1.0  # radians below the skull's middle at which the rows begin
_MIDDLE = (0.085, 0.03)  # m that the skull's middle lies behind and above the eyes
_GAP = 3  # cells that nobody saw and that still do not end what was seen
_LEAST, _NARROW, _WIDEST = 8, 24, 50  # cells of a row: too few, enough where others have no more, most that are used
_CALM = 6  # rows on either side over which the edge of what was seen is evened
_RIM = 4  # cells at the edge of what was seen, which bring the backdrop's tint
_BANDS = 24  # rows on either side over which the tones of rows are evened where they are copied
_FADE = 12  # cells beyond the middle of the back in which the sides fade into each other
_SURE = 0.5  # confidence of texels that may speak for others
_SIDE = 40  # cells from the front from which on hair is nearly everybody's
_FEW = 200  # texels that make a median
_THIN_STRANDS, _LOCKS, _WAVES = (16, 1024), (9, 200), (7, 28)  # how many from above to below, and around the head
_WAVE = 0.012  # of half the way around, by which strands bend
_STRONGEST, _WHORL = 0.16, 0.5  # log brightness at most; radians from the crown to where they are wholly there
_HUE, _LIT = 0.12, (0.12, 4.0)  # chromaticity and brightness within which hair is still the same hair
_OTHER = 0.1  # chromaticity or share of brightness from which hair is told from skin


def polar(body: HalfBody, points: Tensor) -> Tensor:
    """Map points (N, 3) of the mean body -> (N, 2): row 0.._ROWS by elevation, and column from the front, left
    positive."""
    eyes = (body.bone_mean[body.bone_index["eye.L"]] + body.bone_mean[body.bone_index["eye.R"]]) / 2
    x, y, z = (points - eyes - points.new_tensor([0.0, *_MIDDLE])).unbind(1)
    around = torch.atan2(x, -y) / math.pi * _HALF
    above = torch.atan2(z, (x * x + y * y).sqrt())
    return torch.stack([(above - _LOWEST) / (math.pi / 2 - _LOWEST) * _ROWS, around], 1)


def hair_colours(place: Tensor, colour: Tensor, confidence: Tensor, skin: Tensor) -> Tensor | None:
    """Return the colours (N, 3) for texels of the hairy scalp; None where too little hair was seen.

    place: (N, 2) of the texels, see `polar`.
    colour: (N, 3) known so far.
    confidence: (N,) in [0, 1], how far it is known.
    skin: (3,) of the face, which is visible beside an ear and is no hair."""
    confidence = confidence * _is_hair(place, colour, confidence, skin)
    picture, seen = _unrolled(place, colour, confidence)
    halves = [(picture[:, :, _HALF:], seen[:, _HALF:]), (picture[:, :, :_HALF].flip(2), seen[:, :_HALF].flip(1))]
    sides = [(half, run) for half, known in halves if (run := _strand_runs(known)) is not None]
    if not sides:
        return None
    grown = [_grown(*side) for side in (sides[0], sides[-1])]  # one side of a profile
    smooth = []
    share = 0.5 + 0.5 * torch.arange(_FADE, device=place.device) / _FADE  # from the middle of the back outwards
    for one, other in ((0, 1), (1, 0)):
        tail, beyond = grown[one][..., _HALF - _FADE : _HALF].flip(2), grown[other][..., _HALF:]
        smooth.append(torch.cat([grown[one][..., : _HALF - _FADE], torch.lerp(beyond, tail, share).flip(2)], 2))
    whole = torch.cat([smooth[1].flip(2), smooth[0]], 2)[None]
    size = place.new_tensor([2 * _HALF, _ROWS])
    at = ((place.flip(1) + place.new_tensor([_HALF, 0.0])) / size * 2 - 1)[None, None]
    found = F.grid_sample(whole, at, padding_mode="border", align_corners=False)[0, :, 0].T
    strands = F.grid_sample(_strands().to(place)[None, None], at, padding_mode="border", align_corners=False)[0, 0, 0]
    from_crown = (1 - place[:, 0] / _ROWS) * (math.pi / 2 - _LOWEST)  # radians; strands would be needles there
    strength = _fineness(picture, seen).clamp_max(_STRONGEST) * (from_crown / _WHORL).clamp(0, 1)
    return ((found / 2 + 0.5) * (strength * strands).exp()[:, None] * 2 - 1).clamp(-1, 1)


def _fineness(picture: Tensor, chosen: Tensor) -> Tensor:
    """Return how strongly neighbouring cells of a picture (3, _ROWS, 2 _HALF) differ in log brightness, where chosen
    (_ROWS, 2 _HALF)."""
    light = (picture.mean(0) / 2 + 0.5).clamp_min(0.03).log()[None, None]
    fine = (light - F.avg_pool2d(light, 5, 1, 2, count_include_pad=False)).square()
    inner = -F.max_pool2d(-chosen.to(picture)[None, None], 5, 1, 2)
    return ((fine * inner).sum() / inner.sum().clamp_min(1)).sqrt()


@lru_cache(maxsize=1)
def _strands() -> Tensor:
    """Draw strands that hang from the crown as log brightness (rows, columns) of mean 0 and deviation 1, always the
    same ones."""
    generator = torch.Generator().manual_seed(0)

    def noise(rows: int, columns: int) -> Tensor:
        drawn = torch.randn(1, 1, rows, columns, generator=generator)
        return F.interpolate(drawn, (2 * _ROWS, 4 * _HALF), mode="bicubic", align_corners=True)

    hanging = noise(*_THIN_STRANDS) + noise(*_LOCKS)
    row, column = torch.meshgrid(torch.linspace(-1, 1, 2 * _ROWS), torch.linspace(-1, 1, 4 * _HALF), indexing="ij")
    bent = column + _WAVE * noise(*_WAVES)[0, 0]
    hanging = F.grid_sample(
        hanging, torch.stack([bent, row], -1)[None], padding_mode="reflection", align_corners=True
    )[0, 0]
    return (hanging - hanging.mean()) / hanging.std()


def _is_hair(place: Tensor, colour: Tensor, confidence: Tensor, skin: Tensor) -> Tensor:
    """Return (N,) bool: texels with the colour of most of the hair, not of an ear, the background's rim or a bald
    patch.

    Arguments as in `hair_colours`."""
    linear, own = ((c / 2 + 0.5).clamp_min(0.02).square() for c in (colour, skin[None]))
    to_skin = _unlike(linear, own)
    seen = confidence > _SURE
    hairy = seen & (to_skin > 1)
    chosen = hairy if int(hairy.sum()) > _FEW else seen & (place[:, 1].abs() > _SIDE)
    if int(chosen.sum()) <= _FEW:
        return confidence >= 0
    hair = linear[chosen].median(0).values[None]
    hue = (linear / linear.sum(1, keepdim=True) - hair / hair.sum()).abs().sum(1)
    lit = linear.sum(1) / hair.sum()
    like = (hue < _HUE) & (lit > _LIT[0]) & (lit < _LIT[1])
    return like & ((_unlike(linear, hair) < to_skin) | (_unlike(hair, own) < 1))


def _unlike(linear: Tensor, other: Tensor) -> Tensor:
    """Return the difference (N,) of linear colours (N, 3) to one other (1, 3), in units of the least noticeable
    difference."""
    hue = (linear / linear.sum(1, keepdim=True) - other / other.sum()).abs().sum(1)
    return (hue.square() + (0.3 * (linear.sum(1) / other.sum()).log()).square()).sqrt() / _OTHER


def _unrolled(place: Tensor, colour: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Unroll the head: colours (3, _ROWS, 2 _HALF), filled smoothly, and where they were seen (_ROWS, 2 _HALF) bool.

    place, colour, confidence: as in `hair_colours`."""
    row = place[:, 0].long().clamp(0, _ROWS - 1)
    cell = (place[:, 1] + _HALF).floor().long().clamp(0, 2 * _HALF - 1)
    weight = confidence * (confidence > _SURE)
    values = torch.cat([colour * weight[:, None], weight[:, None]], 1)
    sums = values.new_zeros(_ROWS * 2 * _HALF, 4).index_add_(0, row * 2 * _HALF + cell, values)
    sums = sums.T.reshape(1, 4, _ROWS, 2 * _HALF)
    known = (sums[:, 3:] > 0).to(values)
    picture = push_pull(sums[:, :3] / sums[:, 3:].clamp_min(1e-6), known)
    near = F.max_pool2d(known, 2 * _GAP + 1, 1, _GAP)
    closed = -F.max_pool2d(-F.pad(near, (_GAP,) * 4, value=1.0), 2 * _GAP + 1, 1)
    return picture[0], closed[0, 0] > 0


def _strand_runs(seen: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Find for every row of one side of the head which row to copy, and which of its cells.

    seen: (_ROWS, _HALF) bool, where hair was seen on this side.

    Returns three (_ROWS,): the row to copy, and the first and last cell of the run in which hair was seen there. A row
    of which too little was seen copies its mirror image at the nearest good row, which lies as far inside the good rows
    as the row lies outside. None where no row is good."""
    place = torch.arange(_HALF, device=seen.device)
    last = torch.where(seen, place, -1).amax(1)
    gap = torch.where(~seen & (place <= last[:, None]), place, -1).amax(1)
    first = torch.maximum(gap + 1, last - _WIDEST)
    wide = last - first
    if int(wide.max()) < _LEAST:
        return None
    good = (wide >= min(_NARROW, 0.6 * float(wide.max()))).nonzero().squeeze(1)  # a narrow run repeats as stripes
    rows = torch.arange(_ROWS, device=seen.device)
    which = (rows[:, None] - good).abs().argmin(1)
    nearest = good[which]
    last_good, turns = len(good) - 1, max(1, 2 * (len(good) - 1))
    there = (which + nearest - rows) % turns  # as far into the good rows as the row lies beside them, to and fro
    source = good[torch.minimum(there, turns - there).clamp(0, last_good)]
    even = F.avg_pool1d(
        F.pad(last[nearest].float()[None, None], (_CALM, _CALM), mode="replicate"), 2 * _CALM + 1, 1
    )  # where one row ends all its neighbours nearly do, or the seam would be a comb
    edge = torch.minimum(even[0, 0].round().long(), last[nearest]) - _RIM
    return source, torch.minimum(first[source], edge - 1), edge


def _grown(half: Tensor, runs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Continue one side's colours (3, _ROWS, _HALF) behind its seen part -> (3, _ROWS, _HALF + _FADE).

    half: the colours of this side.
    runs: which cells to copy, from `_strand_runs`.

    The tones of the rows are evened out; otherwise a row of a different tone would run around the head as a band."""
    source, first, edge = (v[:, None] for v in runs)
    place = torch.arange(_HALF + _FADE, device=half.device).expand(_ROWS, -1)
    width = torch.minimum(edge, edge[source.squeeze(1)]) - first
    width = width.clamp_min(1)
    along = (place - edge).clamp_min(0) % (2 * width)
    back = torch.where(along < width, along, 2 * width - along)
    there = torch.where(place > edge, first + width - back, place).clamp(0, _HALF - 1)
    row = torch.where(place > edge, source, torch.arange(_ROWS, device=half.device)[:, None])
    grown = half[:, row, there]
    behind = (place > edge).to(half)
    tone = (grown * behind).sum(2) / behind.sum(1)
    even = F.avg_pool1d(F.pad(tone[None], (_BANDS, _BANDS), mode="replicate"), 2 * _BANDS + 1, 1)[0]
    return grown + (even - tone)[..., None] * ((place - edge) / _FADE).clamp(0, 1)
