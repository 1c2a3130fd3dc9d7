"""Steadying: a filter over eleven frames that acts only where the picture hardly moves.

The edges of the guide maps fall on different pixel positions in every frame, and the networks' output flickers by
fractions of a grey level because of that, twice as much as the person's own slow motion changes the picture.

Two pictures tell where to filter: the lift (the portrait projected onto the body), which follows that motion exactly,
and the alpha, which also follows hair and clothes beyond the fitted body. Where both change by less than STILL between
two frames, neighbouring frames are averaged; where one of them changes by MOVES or more, they are not. The alpha's
changes count double, because its range is 1 and that of the lift is 2. For filtering the alpha itself both limits are
halved, so that a slowly moving edge is kept."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ..guides.loops import loops, steady_frames

STILL, MOVES = 4 / 127.5, 8 / 127.5  # change between two frames, of a range of 2: four and eight grey levels
SHARE = 0.25  # of each neighbour: 1/4, 1/2, 1/4 removes what alternates from frame to frame
PASSES = 5  # so often: 1/1024, 10/1024, ... 252/1024 ... over eleven frames; also the frames of look-ahead
_LIMITS = (MOVES, SHARE / (MOVES - STILL), 0.5 * MOVES, SHARE / (0.5 * (MOVES - STILL)), SHARE)
_PIECE = 8  # at most so many frames are taken from a stream at once
_CACHED = 2**18  # numbers: so much of a picture's rows at once stays in a processor's cache


def steady(values: Tensor, lift: Tensor, frames: tuple[int, int] | None = None) -> Tensor:
    """Filter picture and alpha (T, 4, H, W) of consecutive frames over time, where lift and alpha hardly change.

    values: picture in [-1, 1] and alpha in [0, 1].
    lift: (T, 3, H, W) in [-1, 1], the portrait projected onto the body.
    frames: (first, stop) of those to return; None returns all.

    The mean over time is unchanged, because neighbours exchange equal amounts. The ends of the clip have one neighbour.
    """
    first, stop = frames or (0, len(values))
    change = (lift[1:] - lift[:-1]).abs_().amax(1, keepdim=True)
    change = torch.maximum(change, (values[1:, 3:] - values[:-1, 3:]).abs_().mul_(2))
    values = values.clone()
    for part, scale in ((values[:, :3], 1.0), (values[:, 3:], 0.5)):
        share = ((scale * MOVES - change) * (SHARE / (scale * (MOVES - STILL)))).clamp_(0, SHARE)
        for left in range(PASSES, 0, -1):  # passes, each of which looks one frame further
            here = slice(max(0, first - left), stop + left)
            near = part[here]
            moved = (near[1:] - near[:-1]).mul_(share[here][: len(near) - 1])
            near[:-1] += moved
            near[1:] -= moved
    return values[first:stop]


def steadied(parts: Iterable[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
    """Apply `steady` to a stream of consecutive (values, lift) -> the same frames, PASSES frames later.

    parts: chunks (t, 4, H, W) and (t, 3, H, W), as in `steady`.

    Keeps 2 * PASSES frames, whatever the stream's length, since a frame depends on at most PASSES on either side."""
    recent = None
    for values, lift in parts:
        for start in range(0, len(values), _PIECE):
            few = values[start : start + _PIECE], lift[start : start + _PIECE]
            recent = (recent or _Recent(*few)).with_room(len(few[0]))
            recent.add(*few)
            if recent.come - PASSES > recent.given:
                yield recent.finished(recent.come - PASSES)
    if recent is not None:
        yield recent.finished(recent.come)


class _Recent:
    """The latest frames of a stream: frame n lies in slot n % slots, so that none is copied again when others come."""

    def __init__(self, values: Tensor, lift: Tensor, slots: int = 0):
        """Make room for frames like these, (t, 4, H, W) and (t, 3, H, W); slots: of an earlier room, if any."""
        self.slots = max(slots, 2 * PASSES + len(values))
        self.values, self.lift = (x.new_empty(self.slots, *x.shape[1:]) for x in (values, lift))
        self.come = self.given = 0  # frames so far

    def with_room(self, count: int) -> "_Recent":
        """Return these frames with room for `count` more."""
        if self.slots >= 2 * PASSES + count:
            return self
        wider = _Recent(self.values[:1].expand(count, -1, -1, -1), self.lift[:1].expand(count, -1, -1, -1))
        for n in range(max(0, self.come - 2 * PASSES), self.come):
            wider.values[n % wider.slots] = self.values[n % self.slots]
            wider.lift[n % wider.slots] = self.lift[n % self.slots]
        wider.come, wider.given = self.come, self.given
        return wider

    def add(self, values: Tensor, lift: Tensor) -> None:
        """Take further frames, as many as there is room for."""
        for one, other in zip(values, lift, strict=True):
            slot = self.come % self.slots
            self.values[slot], self.lift[slot] = one, other
            self.come += 1

    def finished(self, until: int) -> Tensor:
        """Return the filtered frames up to `until`, without those that were given before: (t, 4, H, W)."""
        first = max(0, self.given - PASSES)
        slots, begin = [n % self.slots for n in range(first, self.come)], self.given - first
        out = self.values.new_empty(until - self.given, *self.values.shape[1:])
        self.given = until
        if out.dtype == torch.float32 and loops(out.device):
            steady_frames(self.values, self.lift, slots, (begin, PASSES), _LIMITS, out)
        else:
            _by_tensors(self.values, self.lift, slots, begin, out)
        return out


def _by_tensors(values: Tensor, lift: Tensor, slots: list[int], begin: int, out: Tensor) -> None:
    """Fill out (t, 4, H, W) with the frames from `begin` on of the consecutive frames in these slots, by `steady`.

    On a CPU a few rows of pixels go through all passes before the next ones: passes over whole pictures wait for
    memory, not for arithmetic."""
    index = torch.tensor(slots, device=values.device)
    rows, columns = out.shape[-2:]
    few = rows if out.device.type != "cpu" else max(1, _CACHED // (len(slots) * 7 * columns))
    for top in range(0, rows, few):
        here = slice(top, top + few)
        part = values[:, :, here].index_select(0, index), lift[:, :, here].index_select(0, index)
        out[:, :, here] = steady(*part, (begin, begin + len(out)))
