"""The source positions from which unknown pixels of a picture are copied.

First large patches: one of a few shifts for every unknown pixel of a small picture, by belief propagation. Then, from
coarse to fine, nearest neighbours of every unknown patch among the known ones, and votes of all patches over a pixel
(Wexler et al. 2007), exactly on small levels and by PatchMatch (Barnes et al. 2009) on larger ones."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..loops.available import Loops, array, loops_for
from .dilation import largest_around

_PATCH = 5
_FEATURES = 20  # principal components of a patch
_EXACT = 2**25  # pairs of patches up to which all are compared
_ROUNDS = (1, 2, 1, 1)  # votes and searches at the levels from the coarsest on
_TOGETHER = 256  # patches compared at once: their distances stay in the processor's cache
_PASSES = 3  # of propagation and random search in each PatchMatch
_ROW, _COLUMN = 1.5, 0.2  # colour units (-1..1, a pixel's) that a whole picture's height, width of distance cost
_PIECES = 48  # px of the longer side of the level on which large pieces are laid
_LONG = (1.0, 0.1)  # cost of a shift by the whole height, width: rooms go on along their rows
_JOINT = 0.02  # cost of any seam
_LABELS = 64  # shifts that are tried
_SEAM, _NEVER = 1.0, 100.0  # cost of a seam, in squared colour; of a shift that finds nothing
_MESSAGES = 4  # rounds of belief propagation, each over the whole hole and back, along rows and columns
_FADE = 1.3  # of a patch's vote with every pixel from the known part: what is next to it is surest


def grown(area: Tensor, radius: int) -> Tensor:
    """Dilate (1, H, W) bool by a square of `radius` px."""
    return largest_around(area.to(torch.uint8), radius) > 0


def push_pull(values: Tensor, weight: Tensor) -> Tensor:
    """Fill values (1, C, H, W) where weight (1, 1, H, W) is low, with averages from coarser and coarser levels."""
    rows, columns = values.shape[-2:]
    if min(rows, columns) <= 2:
        mean = (values * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True).clamp_min(1e-6)
        return torch.lerp(mean.expand_as(values), values, weight)
    if (fast := loops_for(values, weight)) is not None:
        size = ((rows + 1) // 2, (columns + 1) // 2)
        half, half_weight = torch.empty(1, values.shape[1], *size), torch.empty(1, 1, *size)
        here, share = array(values[0]), array(weight[0, 0].to(values))
        fast.pictures.pushed(here, share, half[0].numpy(), half_weight[0, 0].numpy())
        out = torch.empty(values.shape)
        fast.pictures.pulled(array(push_pull(half, half_weight)[0]), here, share, out[0].numpy())
        return out
    both = F.avg_pool2d(F.pad(torch.cat([values * weight, weight], 1), (0, columns % 2, 0, rows % 2)), 2)
    coarse = push_pull(both[:, :-1] / both[:, -1:].clamp_min(1e-6), (4 * both[:, -1:]).clamp(max=1))
    low = F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)[..., :rows, :columns]
    return torch.lerp(low, values, weight)


def find_places(detail: Tensor, known: Tensor, order: float, random: torch.Generator) -> Tensor | None:
    """Return the source (2, h, w), row and column, of each unknown pixel.

    detail: (1, 3, h, w) of the picture, without its smooth base.
    known: (1, 1, h, w) bool, pixels to copy from.
    order: 1 for a room, where distant sources cost more, above all in height; 0 for grain, which may come from
    anywhere.
    random: generator for the search.

    None where there are no sources, or too few for whole patches."""
    levels = [(detail, known)]
    while max(levels[-1][0].shape[-2:]) > _PIECES and not any(side % 2 for side in levels[-1][0].shape[-2:]):
        colour, sure = levels[-1]
        weight = F.avg_pool2d(sure.to(colour), 2)
        levels.append((F.avg_pool2d(colour * sure, 2) / weight.clamp_min(1e-6), weight > 0.999))
    found: Tensor | None = None
    for depth, (colour, sure) in enumerate(reversed(levels)):
        level = _Level(colour, sure, order, random)
        if found is None and max(colour.shape[-2:]) > 2 * _PIECES:
            return None  # too little is known to lay pieces of it
        if found is None and bool(sure.any()):
            found = _moved_pieces(colour, sure, order)
        elif found is not None:
            found = level.search(found, _ROUNDS[min(depth, len(_ROUNDS) - 1)])
    return found


def _moved_pieces(colour: Tensor, known: Tensor, order: float) -> Tensor:
    """Return sources (2, h, w) that move the surroundings of the hole over it in a few large pieces.

    colour: (1, 3, h, w) of the picture; known: (1, 1, h, w) bool, pixels to copy from; order: see `find_places`. Every
    unknown pixel gets one of a few shifts from known ones, such that pieces meet where they are similar (shift maps,
    Pritch et al. 2009; few shifts, He and Sun 2012)."""
    inside, picture = known[0, 0], colour[0]
    rows, columns = inside.shape
    y, x = (~inside).nonzero().unbind(1)
    shift = _candidate_shifts(rows, columns).to(y.device)  # (K, 2)
    sy, sx = y[:, None] + shift[:, 0], x[:, None] + shift[:, 1]
    valid = (sy >= 0) & (sy < rows) & (sx >= 0) & (sx < columns)
    sy, sx = sy.clamp(0, rows - 1), sx.clamp(0, columns - 1)
    valid &= inside[sy, sx]
    far = shift.abs() / shift.new_tensor([rows, columns])
    unary = order * (far * far.new_tensor(_LONG)).sum(1) + torch.where(valid, 0.0, _NEVER)
    number = torch.full((rows, columns), -1, dtype=torch.long, device=y.device)
    number[y, x] = torch.arange(len(y), device=y.device)
    seams = torch.zeros_like(unary)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        ny, nx = (y + dy).clamp(0, rows - 1), (x + dx).clamp(0, columns - 1)
        py, px = (sy + dy).clamp(0, rows - 1), (sx + dx).clamp(0, columns - 1)
        off = (picture[:, py, px] - picture[:, ny, nx][..., None]).square().sum(0)
        seams = seams + inside[ny, nx][:, None] * _SEAM * off  # beside the known a piece looks as the picture does
    unary = unary + seams
    useful = (torch.exp(-unary) * torch.where(seams.amax(1) > 0, 1.0, 0.1)[:, None]).sum(0)
    best = useful.topk(min(_LABELS, len(useful))).indices.sort().values
    shift, unary = shift[best], unary[:, best]
    there = picture[:, sy[:, best], sx[:, best]].movedim(0, 2)  # (N, K, 3)
    apart = _SEAM * torch.cdist(there, there).square() + _JOINT / 2 * (1 - torch.eye(len(shift), device=y.device))
    label = _beliefs(unary, apart, number).argmin(1)
    at = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")).to(y.device)
    at[:, y, x] = torch.stack([y, x]) + shift[label].T
    return torch.minimum(at.clamp_min(0), at.new_tensor([rows - 1, columns - 1])[:, None, None])


def _candidate_shifts(rows: int, columns: int) -> Tensor:
    """Return candidate shifts (K, 2) down and right in px: long ones along the rows, some vertical, some diagonal.

    Diagonal ones, because what is behind the shoulders is visible only beside the head."""
    across = [round(columns * k / 16) for k in range(-12, 13) if k]
    down = [0, round(0.05 * rows), -round(0.05 * rows)]
    upright = [round(rows * k / 8) for k in range(-4, 5) if k]
    slant = {(dy, round(columns * k / 8)) for dy in upright for k in (-4, -3, -2, -1, 1, 2, 3, 4)}
    return torch.tensor(sorted({(dy, dx) for dx in across for dy in down} | {(dy, 0) for dy in upright} | slant))


def _beliefs(unary: Tensor, apart: Tensor, number: Tensor) -> Tensor:
    """Return the costs (N, K) of every pixel's labels by min-sum belief propagation on the grid.

    unary: (N, K) own costs.
    apart: (N, K, K), how different two labels look at a pixel, symmetric.
    number: (h, w) index of every unknown pixel, -1 for known ones.

    Messages sweep over the whole grid in each direction in turn (Tappen and Freeman 2003), so that two rounds carry
    them from one side of a hole to the other."""
    if (fast := loops_for(unary, apart)) is not None:
        heard = torch.zeros(4, *unary.shape)
        fast.places.pass_messages(array(unary), array(apart), array(number), _MESSAGES, heard.numpy())
        return unary + heard.sum(0)
    sweeps = [_sweep(number, axis, step) for axis, step in ((1, 1), (1, -1), (0, 1), (0, -1))]
    told = [torch.zeros_like(unary) for _ in sweeps]  # what each pixel hears from the one before it in a sweep
    for _ in range(_MESSAGES):
        for direction, sweep in enumerate(sweeps):
            heard, back = told[direction], told[direction ^ 1]
            others = unary + sum(told) - heard
            for here, there in sweep:
                belief = (others[here] + heard[here]) / 2 - back[here]
                seam = apart[here] + apart[there]
                message = (seam + belief[:, :, None]).amin(1)
                heard[there] = message - message.amin(1, keepdim=True)
    return unary + sum(told)


def _sweep(number: Tensor, axis: int, step: int) -> list[tuple[Tensor, Tensor]]:
    """Return the pairs of unknown neighbours on a grid, line by line along an axis.

    number: (h, w) index of every unknown pixel, -1 for known ones.
    axis: 0 goes from row to row, 1 from column to column.
    step: 1 forwards, -1 backwards.

    Returns [(here, there), ...] in the order of the sweep, one entry for two neighbouring lines: `here` (n,) holds
    indices of pixels in the first line, `there` (n,) those of their neighbours in the second. Pairs in which a pixel is
    known (-1) are left out, and so are lines without any pair."""
    lines = number.unbind(axis)
    lines = lines if step > 0 else lines[::-1]
    both = [(here >= 0) & (there >= 0) for here, there in zip(lines, lines[1:], strict=False)]
    pairs = zip(lines, lines[1:], both, strict=False)
    return [(here[k], there[k]) for here, there, k in pairs if bool(k.any())]


class _Level:
    """The state of one resolution level of the synthesis: the current picture, its known and its unknown patches."""

    def __init__(self, colour: Tensor, known: Tensor, order: float, random: torch.Generator):
        """Set up a resolution level; arguments as in `find_places`, colour (1, 3, h, w) being its `detail` at this
        size."""
        self.rows, self.columns, self.order = *known.shape[-2:], order
        self.colour, self.known, self.random = push_pull(colour, known.to(colour)), known, random
        reach = _PATCH // 2
        unknown = grown(F.pad(~known[0], (reach,) * 4, value=True), reach)
        self.sources = ~unknown[0, reach:-reach, reach:-reach].flatten()  # centres of patches that are wholly known
        self.source = self.sources.nonzero().squeeze(1)
        self.target = grown(~known[0], _PATCH // 2).flatten().nonzero().squeeze(1)
        self.sure = self._surety(known)
        y, x = torch.meshgrid(torch.arange(self.rows), torch.arange(self.columns), indexing="ij")
        self.y, self.x = y.flatten().to(colour.device), x.flatten().to(colour.device)

    def search(self, start: Tensor, rounds: int) -> Tensor:
        """Alternate voting and searching -> the sources (2, h, w) of all pixels.

        start: sources of this level or of the previous, coarser one; rounds: how many."""
        start = self._at_this_size(start)
        if not len(self.source):
            return start
        at = self._begin(start)
        for _ in range(rounds):
            self._vote(at)
            features = self._features()
            if len(self.target) * len(self.source) <= _EXACT:
                at = at.index_copy(0, self.target, self._nearest(features))
            else:
                at = self._patch_match(features, at)
        return torch.stack([self.y[at], self.x[at]]).view(2, self.rows, self.columns)

    @staticmethod
    def _surety(known: Tensor) -> Tensor:
        """Return the voting weight (h w,) of every patch; it decreases with the distance from the known part."""
        if (fast := loops_for(known)) is not None:
            away = torch.empty(known.shape[-2:])
            fast.pictures.chess_distance(array(known[0, 0]), away.numpy())
            return (_FADE**-away).flatten().clamp_min(1e-6)
        near, sure = known.float(), torch.ones_like(known, dtype=torch.float32)
        for _ in range(max(known.shape[-2:])):
            if bool(near.all()):
                break
            sure = sure * torch.where(near > 0, 1.0, 1 / _FADE)
            near = largest_around(near, 1)
        return sure.flatten().clamp_min(1e-6)

    def _at_this_size(self, start: Tensor) -> Tensor:
        """Return sources (2, h, w) for this level from those of this level or of the previous one (2, h / 2, w / 2)."""
        if tuple(start.shape[-2:]) == (self.rows, self.columns):
            return start
        start = start.repeat_interleave(2, 1).repeat_interleave(2, 2) * 2
        return start + torch.stack([self.y % 2, self.x % 2]).view_as(start)

    def _begin(self, start: Tensor) -> Tensor:
        """Return the flat index (h w,) of a source for every pixel: that of start (2, h, w), or the nearest valid one.
        """
        at = start[0].flatten() * self.columns + start[1].flatten()
        lost = (~self.sources & ~self.sources[at]).nonzero().squeeze(1)
        place = torch.stack([self.y, self.x], 1).float()
        for part in lost.split(1024):  # patches at the rim of what is known: the nearest that is whole
            at[part] = self.source[torch.cdist(place[at[part]], place[self.source]).argmin(1)]
        return torch.where(self.sources, torch.arange(len(at), device=at.device), at)

    def _patches(self) -> Tensor:
        """Return the current picture's patches (h w, 3 patch patch)."""
        reach = _PATCH // 2
        return F.unfold(F.pad(self.colour, (reach,) * 4, mode="replicate"), _PATCH)[0].T

    def _features(self) -> Tensor:
        """Return the search features (h w, features + 2): principal components of patches, and their weighted
        positions."""
        patches, size = self._patches(), self.order * _PATCH * 3**0.5
        sample = patches[self.source[:: max(1, len(self.source) // 4000)]]
        sample = sample - sample.mean(0)
        axes = torch.linalg.eigh(sample.T @ sample).eigenvectors[:, -_FEATURES:]
        place = [self.y[:, None] * (_ROW * size / self.rows), self.x[:, None] * (_COLUMN * size / self.columns)]
        return torch.cat([patches @ axes, *place], 1)

    def _nearest(self, features: Tensor) -> Tensor:
        there = features[self.source]
        norm = (there * there).sum(1) / 2
        if (fast := loops_for(features)) is not None:
            best = torch.empty(len(self.target), dtype=torch.long)
            for part, out in zip(features[self.target].split(_TOGETHER), best.split(_TOGETHER), strict=True):
                fast.places.least(array(torch.addmm(norm, part, there.T, alpha=-1)), out.numpy())
            return self.source[best]
        best = [torch.addmm(norm, part, there.T, alpha=-1).argmin(1) for part in features[self.target].split(2048)]
        return self.source[torch.cat(best)]

    def _patch_match(self, features: Tensor, at: Tensor) -> Tensor:
        target, mine = self.target, features[self.target]
        best = at[target]
        cost = (features[best] - mine).square().sum(1)
        ty, tx = self.y[target], self.x[target]
        if (fast := loops_for(features, at)) is not None:
            return self._patch_match_compiled(fast, features, at, best, cost)

        def offer(y: Tensor, x: Tensor) -> None:
            nonlocal best, cost
            inside = (y >= 0) & (y < self.rows) & (x >= 0) & (x < self.columns)
            index = torch.where(inside, y * self.columns + x, 0)
            try_these = (inside & self.sources[index] & (index != best)).nonzero().squeeze(1)
            index = index[try_these]
            new = (features[index] - mine[try_these]).square().sum(1)
            better = new < cost[try_these]
            best = best.index_copy(0, try_these[better], index[better])
            cost = cost.index_copy(0, try_these[better], new[better])

        for turn in range(_PASSES):
            step = (4, 2, 1)[turn % 3]
            for dy, dx in ((0, step), (0, -step), (step, 0), (-step, 0)):
                at = at.index_copy(0, target, best)
                near = (ty + dy).clamp(0, self.rows - 1) * self.columns + (tx + dx).clamp(0, self.columns - 1)
                there = at[near]
                offer(self.y[there] - (self.y[near] - ty), self.x[there] - (self.x[near] - tx))
            radius = max(self.rows, self.columns) / 4 / 2**turn
            while radius >= 1:
                chance = torch.rand(2, len(target), generator=self.random).to(mine) * 2 - 1
                offer(*(torch.stack([self.y[best], self.x[best]]) + (chance * radius).round().long()))
                radius /= 6
        return at.index_copy(0, target, best)

    def _patch_match_compiled(self, fast: Loops, features: Tensor, at: Tensor, best: Tensor, cost: Tensor) -> Tensor:
        """Do what `_patch_match` does in compiled loops; best, cost: (T,) the first place of every target patch."""
        place, found, price = array(at.clone()), array(best.clone()), array(cost.clone())
        target = array(self.target)
        known = (target, array(features), array(self.sources), self.rows, self.columns)
        for turn in range(_PASSES):
            step = (4, 2, 1)[turn % 3]
            for dy, dx in ((0, step), (0, -step), (step, 0), (-step, 0)):
                place[target] = found
                fast.places.propagate(*known, dy, dx, place, found, price)
            radius = max(self.rows, self.columns) / 4 / 2**turn
            while radius >= 1:
                chance = torch.rand(2, len(target), generator=self.random) * 2 - 1
                fast.places.try_near(*known, array((chance * radius).round().long()), found, price)
                radius /= 6
        place[target] = found
        return torch.from_numpy(place)

    def _vote(self, at: Tensor) -> None:
        """Set the unknown pixels to the mean vote of all patches that cover them."""
        unknown = (~self.known).flatten().nonzero().squeeze(1)
        uy, ux = self.y[unknown], self.x[unknown]
        picture = self.colour.flatten(2)[0].T.contiguous()
        if (fast := loops_for(picture, at)) is not None:
            votes = torch.empty(len(unknown), 3)
            known = (array(unknown), array(picture), array(at), array(self.sure))
            fast.places.vote(*known, self.rows, self.columns, _PATCH // 2, votes.numpy())
            picture = picture.index_copy(0, unknown, votes)
            self.colour = picture.T.reshape(1, 3, self.rows, self.columns)
            return
        total = picture.new_zeros(len(unknown), 3)
        count = picture.new_zeros(len(unknown), 1)
        reach = _PATCH // 2
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                y, x = uy + dy, ux + dx
                inside = ((y >= 0) & (y < self.rows) & (x >= 0) & (x < self.columns))[:, None]
                patch = torch.where(inside[:, 0], y * self.columns + x, unknown)
                there, inside = at[patch], inside * self.sure[patch][:, None]
                value = picture[((self.y[there] - dy) * self.columns + self.x[there] - dx).clamp(0, len(at) - 1)]
                total, count = total + value * inside, count + inside
        picture = picture.index_copy(0, unknown, total / count.clamp_min(1e-9))
        self.colour = picture.T.reshape(1, 3, self.rows, self.columns)
