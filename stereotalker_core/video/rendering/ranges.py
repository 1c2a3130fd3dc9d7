"""Frame ranges: a part of a clip, rendered alone, equals the same frames of the whole run.

In mode "play" frames depend on each other only through the filter over time, which reaches REACH frames to either side.
In mode "diffusion" the windows of the renderer lie on a fixed grid. A part renders the windows of that grid that its
frames depend on: latents are cross-faded over `overlap` frames, so a part starts up to one window early and drops
frames that the previous window would have changed."""

import re
from collections.abc import Iterable, Iterator

from torch import Tensor

from .steady import PASSES

REACH = PASSES  # frames to either side that a finished frame depends on


def parse_frames(text: str, count: int | None = None) -> tuple[int, int]:
    """Parse "A:B" -> (A, B): frames A to B - 1; either may be omitted, and a negative one counts from the end.

    count: frames of the clip; None only checks the form, and leaves a missing B and negative numbers unresolved.

    ValueError for another form, and for a range without any frame of the clip."""
    found = re.fullmatch(r"(-?\d+)?:(-?\d+)?", text.strip())
    if not found:
        raise ValueError(f"--frames takes first:last+1 like 0:250 or 250:, got {text!r}")
    first, stop = (None if word is None else int(word) for word in found.groups())
    if count is None:
        if first is not None and stop is not None and 0 <= stop <= first and first >= 0:
            raise ValueError(f"--frames {text} holds no frame: the second number is the first frame left out")
        return first or 0, -1 if stop is None else stop
    start, end, _ = slice(first, stop).indices(count)
    if start >= end or (first is not None and first >= count):
        raise ValueError(f"--frames {text} holds none of the clip's {count} frames")
    return start, end


def shares(count: int, parts: int, grid: int = 1) -> list[tuple[int, int]]:
    """Split 0..count into at most `parts` frame ranges, as equal as multiples of `grid` frames allow; none is empty."""
    if parts < 1 or grid < 1:
        raise ValueError(f"parts and grid must be at least 1, got {parts} and {grid}")
    steps = -(-count // grid)
    parts = min(parts, steps)
    edges = [min(count, grid * (steps * i // parts)) for i in range(parts + 1)]
    return list(zip(edges, edges[1:], strict=False))


def needed(plan: list[tuple[int, int]], overlap: int, frames: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the windows of `plan` that frames = (first, stop) depend on.

    plan: (first, stop) of all windows; overlap: frames that neighbours share."""
    first, stop = frames
    last_frame = plan[-1][1] - 1
    begin = max((i for i, (start, _) in enumerate(plan) if i == 0 or start + overlap + REACH <= first), default=0)
    reach = min(stop - 1 + REACH, last_frame)
    starts = [start for start, _ in plan]
    end = max(i for i, start in enumerate(starts) if start <= reach)
    return plan[begin : end + 1]


def within(count: int, frames: tuple[int, int]) -> tuple[int, int]:
    """Return the range of a clip of `count` frames that frames = (first, stop) depend on through the filter over time.
    """
    return max(frames[0] - REACH, 0), min(frames[1] + REACH, count)


def only(chunks: Iterable[tuple[Tensor, ...]], begin: int, frames: tuple[int, int]) -> Iterator[tuple[Tensor, ...]]:
    """Yield the part of streamed tensors that belongs to frames = (first, stop); stop reading after the last of them.

    begin: frame number at which the stream starts."""
    first, stop = frames
    done = begin
    for values in chunks:
        count = len(values[0])
        low, high = max(first - done, 0), min(stop - done, count)
        if low < high:
            yield tuple(value[low:high] for value in values)
        done += count
        if done >= stop:
            return
