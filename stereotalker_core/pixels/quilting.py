"""Image quilting (Efros and Freeman 2001): a patterned cloth synthesised from overlapping square patches of itself.

Every patch is chosen among several for its agreement with the patches already placed, and cut along the path of least
difference to them."""

import torch
import torch.nn.functional as F
from torch import Tensor

_TRIES = 160  # places of the source that are compared for a square
_GOOD = 1.15  # times the least error up to which a place may be taken, so that nothing repeats at once


def quilt(source: Tensor, known: Tensor, size: tuple[int, int], side: int, seed: int = 0) -> Tensor | None:
    """Synthesise a texture (3, *size) from the known (h, w) bool pixels of source (3, h, w); None without a whole
    patch.

    size: rows, columns.
    side: px of a patch; neighbours overlap by a third of it.
    seed: determines the choice among patches."""
    overlap = max(2, side // 3)
    # candidates: some of the squares that are known everywhere
    places = _patch_corners(known, side)
    if not len(places):
        return None
    random = torch.Generator().manual_seed(seed)
    chosen = places[torch.randperm(len(places), generator=random)[:_TRIES].to(places.device)]
    squares = torch.stack([source[:, y : y + side, x : x + side] for y, x in chosen.tolist()])
    step = side - overlap
    rows, columns = (-(-(length - overlap) // step) for length in size)
    canvas = source.new_zeros(3, rows * step + overlap, columns * step + overlap)
    for j in range(rows):
        for i in range(columns):
            at = canvas[:, j * step : j * step + side, i * step : i * step + side]
            # compare with what is laid already, above and to the left, and take any square that is nearly the best
            laid = torch.zeros(side, side, dtype=torch.bool, device=source.device)
            laid[:overlap] |= j > 0
            laid[:, :overlap] |= i > 0
            error = (squares - at).square().sum(1)[:, laid].sum(1) + 1e-6
            good = (error <= _GOOD * error.min()).nonzero().squeeze(1)
            square = squares[int(good[int(torch.randint(len(good), (1,), generator=random))])]
            # cut along the path on which both differ least, so that no seam shows
            difference = (square - at).square().sum(0)
            fresh = torch.ones(side, side, device=source.device)
            if i > 0:
                fresh[:, :overlap] *= _right_of_cut(difference[:, :overlap])
            if j > 0:
                fresh[:overlap] *= _right_of_cut(difference[:overlap].T).T
            at.copy_(torch.lerp(at, square, fresh))
    return canvas[:, : size[0], : size[1]]


def _patch_corners(known: Tensor, side: int) -> Tensor:
    """Return the upper left corners (n, 2) of all squares of `side` px that lie in the known (h, w) bool pixels."""
    if min(known.shape) < side:
        return known.new_zeros(0, 2, dtype=torch.long)
    return (F.avg_pool2d(known[None, None].float(), side, 1)[0, 0] > 0.999).nonzero()


def _right_of_cut(cost: Tensor) -> Tensor:
    """Map costs (n, m) -> (n, m) in {0, .5, 1}: 1 right of the path of least cost from the first row to the last, .5 on
    it."""
    total, steps = cost[0], []
    for row in cost[1:]:
        near = torch.stack([F.pad(total[:-1], (1, 0), value=1e9), total, F.pad(total[1:], (0, 1), value=1e9)])
        best = near.min(0)
        steps.append(best.indices - 1)
        total = row + best.values
    place = int(total.argmin())
    path = [place]
    for step in reversed(steps):
        place += int(step[place])
        path.append(place)
    cut = torch.tensor(path[::-1], device=cost.device)[:, None]
    column = torch.arange(cost.shape[1], device=cost.device)
    return ((column - cut).sign() + 1).to(cost) / 2
