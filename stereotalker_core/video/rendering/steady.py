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

STILL, MOVES = 4 / 127.5, 8 / 127.5  # change between two frames, of a range of 2: four and eight grey levels
SHARE = 0.25  # of each neighbour: 1/4, 1/2, 1/4 removes what alternates from frame to frame
PASSES = 5  # so often: 1/1024, 10/1024, ... 252/1024 ... over eleven frames; also the frames of look-ahead


def steady(values: Tensor, lift: Tensor) -> Tensor:
    """Filter picture and alpha (T, 4, H, W) of consecutive frames over time, where lift and alpha hardly change.

    values: picture in [-1, 1] and alpha in [0, 1].
    lift: (T, 3, H, W) in [-1, 1], the portrait projected onto the body.

    The mean over time is unchanged, because neighbours exchange equal amounts. The ends of the clip have one neighbour.
    """
    change = (lift[1:] - lift[:-1]).abs_().amax(1, keepdim=True)
    change = torch.maximum(change, (values[1:, 3:] - values[:-1, 3:]).abs_().mul_(2))
    values = values.clone()
    for part, scale in ((values[:, :3], 1.0), (values[:, 3:], 0.5)):
        share = ((scale * MOVES - change) * (SHARE / (scale * (MOVES - STILL)))).clamp_(0, SHARE)
        for _ in range(PASSES):
            moved = (part[1:] - part[:-1]).mul_(share)
            part[:-1] += moved
            part[1:] -= moved
    return values


def steadied(parts: Iterable[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
    """Apply `steady` to a stream of consecutive (values, lift) -> the same frames, PASSES frames later.

    parts: chunks (t, 4, H, W) and (t, 3, H, W), as in `steady`.

    Keeps 2 * PASSES frames, whatever the stream's length, since a frame depends on at most PASSES on either side."""
    kept: tuple[Tensor, Tensor] | None = None
    done = 0  # frames of `kept` that have been given
    for part in parts:
        values, lift = part if kept is None else (torch.cat(pair) for pair in zip(kept, part, strict=True))
        ready = len(values) - PASSES
        if ready > done:
            yield steady(values, lift)[done:ready]
            done = ready
        cut = max(0, done - PASSES)
        kept, done = (values[cut:], lift[cut:]), done - cut
    if kept is not None:
        yield steady(*kept)[done:]
