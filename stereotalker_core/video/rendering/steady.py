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

STILL, MOVES = 5 / 127.5, 10 / 127.5  # change between two frames, of a range of 2: five and ten grey levels
SHARE = 0.25  # of each neighbour: 1/4, 1/2, 1/4 removes what alternates from frame to frame
PASSES = 5  # so often: 1/1024, 10/1024, ... 252/1024 ... over eleven frames; also the frames of look-ahead
_LIMITS = (MOVES, SHARE / (MOVES - STILL), 0.5 * MOVES, SHARE / (0.5 * (MOVES - STILL)), SHARE)
_PIECE = 8  # at most so many frames are taken from a stream at once
_CACHED = 2**20  # numbers: so much of a picture's rows at once stays in a processor's cache
_NUMBERS = 4 * (3 * PASSES + 1)  # that `_Band` keeps and makes for every pixel


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
    state: _Recent | _Passes | None = None
    for values, lift in parts:
        for start in range(0, len(values), _PIECE):
            few = values[start : start + _PIECE], lift[start : start + _PIECE]
            if state is None:
                compiled = values.dtype == torch.float32 and loops(values.device)
                state = _Recent(*few) if compiled else _Passes(values.shape, values.device.type)
            done = state.take(*few)
            if len(done):
                yield done
    if state is not None:
        yield state.rest()


class _Recent:
    """The latest frames of a stream, for the compiled loop, which filters every frame with all its neighbours at once.

    Frame n lies in slot n % slots, so that none is copied again when others come."""

    def __init__(self, values: Tensor, lift: Tensor):
        """Make room for frames like these, (t, 4, H, W) and (t, 3, H, W)."""
        self.slots = 2 * PASSES + len(values)
        self.values, self.lift = (x.new_empty(self.slots, *x.shape[1:]) for x in (values, lift))
        self.come = self.given = 0  # frames so far

    def take(self, values: Tensor, lift: Tensor) -> Tensor:
        """Take further frames -> those that are finished by now, (t, 4, H, W); perhaps none."""
        self._make_room(len(values))
        for one, other in zip(values, lift, strict=True):
            slot = self.come % self.slots
            self.values[slot], self.lift[slot] = one, other
            self.come += 1
        return self._finished(max(self.given, self.come - PASSES))

    def rest(self) -> Tensor:
        """Return the last frames (t, 4, H, W)."""
        return self._finished(self.come)

    def _make_room(self, count: int) -> None:
        """Make room for `count` more frames."""
        if self.slots >= 2 * PASSES + count:
            return
        slots, before = 2 * PASSES + count, (self.values, self.lift)
        self.values, self.lift = (x.new_empty(slots, *x.shape[1:]) for x in before)
        for n in range(max(0, self.come - 2 * PASSES), self.come):
            for old, new in zip(before, (self.values, self.lift), strict=True):
                new[n % slots] = old[n % self.slots]
        self.slots = slots

    def _finished(self, until: int) -> Tensor:
        """Return the filtered frames up to `until`, without those that were given before: (t, 4, H, W)."""
        first = max(0, self.given - PASSES)
        slots, begin = [n % self.slots for n in range(first, self.come)], self.given - first
        out = self.values.new_empty(until - self.given, *self.values.shape[1:])
        if len(out):
            steady_frames(self.values, self.lift, slots, (begin, PASSES), _LIMITS, out)
        self.given = until
        return out


class _Passes:
    """The filter of a stream by tensor operations.

    On a CPU a few rows of pixels take all passes before the next ones: passes over whole pictures wait for memory, not
    for arithmetic."""

    def __init__(self, shape: torch.Size, device: str):
        """Prepare for frames (t, 4, H, W) of this shape on a kind of device."""
        rows, columns = shape[-2:]
        few = rows if device != "cpu" else max(1, _CACHED // (_NUMBERS * columns))
        self.bands = [(slice(top, top + few), _Band()) for top in range(0, rows, few)]

    def take(self, values: Tensor, lift: Tensor) -> Tensor:
        """Take further frames -> those that are finished by now, (t, 4, H, W); perhaps none."""
        out, count = torch.empty_like(values), 0
        for rows, band in self.bands:
            count = 0
            for one, other in zip(values[:, :, rows], lift[:, :, rows], strict=True):
                if (done := band.take(one, other)) is not None:
                    out[count, :, rows] = done
                    count += 1
        return out[:count]

    def rest(self) -> Tensor:
        """Return the last frames (t, 4, H, W)."""
        found = [band.rest() for _, band in self.bands]
        return torch.stack([torch.cat(parts, 1) for parts in zip(*found, strict=True)])


class _Band:
    """The latest frames in some rows of pixels, each as far through the passes as its neighbours are known.

    A pass gives a frame as soon as the next one comes: it takes what moves from there and gives what moved to the frame
    before. So every frame takes every pass once, and what neighbours exchange is computed once."""

    def __init__(self) -> None:
        self.last: tuple[Tensor, Tensor] | None = None  # the latest alpha (1, h, W) and lift (3, h, W)
        self.shares: list[Tensor] = []  # (4, h, W) that neighbours exchange, between the latest two frames first
        self.held: list[Tensor | None] = [None] * PASSES  # the frame (4, h, W) that waits for the next in every pass
        self.moved: list[Tensor | None] = [None] * PASSES  # and what it gave to the one before

    def take(self, frame: Tensor, lift: Tensor) -> Tensor | None:
        """Take the next frame's values (4, h, W) and lift (3, h, W) -> the frame that is finished now, if any."""
        if self.last:
            self.shares = [_shares(frame[3] - self.last[0], lift - self.last[1]), *self.shares[: PASSES - 1]]
        self.last = frame[3], lift
        return self._through(frame, 0)

    def rest(self) -> list[Tensor]:
        """Return the last frames (4, h, W): one pass after the other, there is no next frame to wait for."""
        found = []
        for first in range(PASSES):
            self.shares.insert(0, torch.empty(0))  # in the place of the share of a next frame
            frame, moved = self.held[first], self.moved[first]
            if frame is None:  # none ever came
                break
            done = self._through(frame if moved is None else frame - moved, first + 1)
            if done is not None:
                found.append(done)
        return found

    def _through(self, frame: Tensor, first: int) -> Tensor | None:
        """Bring a frame (4, h, W) to a pass -> the frame that all passes have finished by that, if any."""
        for k in range(first, PASSES):
            held, before = self.held[k], self.moved[k]
            self.held[k] = frame
            if held is None:
                return None
            self.moved[k] = moved = (frame - held).mul_(self.shares[k])
            frame = held.add_(moved) if k else held + moved  # the first is the caller's
            if before is not None:
                frame -= before
        return frame


def _shares(alpha: Tensor, lift: Tensor) -> Tensor:
    """Map changes of alpha (h, W) and lift (3, h, W) -> (4, h, W) of their difference that two frames exchange."""
    red, green, blue = lift.abs_()
    change = torch.maximum(torch.maximum(red, green), torch.maximum(blue, alpha.abs_().mul_(2)))
    share = lift.new_empty(4, *alpha.shape)
    for part, scale in ((share[:3], 1.0), (share[3:], 0.5)):
        part.copy_(((scale * MOVES - change) * (SHARE / (scale * (MOVES - STILL)))).clamp_(0, SHARE))
    return share
