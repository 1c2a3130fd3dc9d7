"""Steady where nothing moves: a filter over eleven frames that acts only where the guides stand still.

The denoiser and the decoder read maps whose edges lie differently in the pixels of every frame; what they make of them
flickers by fractions of a grey level, twice as much as the person's own slow motion changes the picture. The lift,
which follows that motion exactly, and the alpha, which also follows hair and clothes beyond the fitted body, tell where
to filter: where both change by less than STILL from frame to frame, neighbours are mixed in; where one of them changes
by MOVES or more, nothing. For the alpha itself half as much change already counts: an edge that creeps is kept.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

STILL, MOVES = 4 / 127.5, 8 / 127.5  # change between two frames, of a range of 2: four and eight grey levels
SHARE = 0.25  # of each neighbour: 1/4, 1/2, 1/4 removes what alternates from frame to frame
PASSES = 5  # so often: 1/1024, 10/1024, ... 252/1024 ... over eleven frames; also the frames of look-ahead


def steady(values: Tensor, lift: Tensor) -> Tensor:
    """Map picture and alpha (T, 4, H, W) of consecutive frames and their lift (T, 3, H, W) -> the filtered values.

    The picture and the lift are in [-1, 1], the alpha in [0, 1]. What one frame gains its
    neighbour loses: the mean over time stays. The ends of the clip have one neighbour.
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
    """Apply `steady` to a stream: consecutive (values, lift) of a few frames each -> the same frames, PASSES frames
    later.

    Keeps 2 * PASSES frames, however long the stream is: a frame depends on no more than PASSES on either side.
    """
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
