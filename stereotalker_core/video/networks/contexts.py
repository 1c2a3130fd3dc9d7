"""Context windows: clips longer than the motion modules can take, denoised in overlapping windows at every step.

AnimateAnyone's recipe: uniform windows of 24 frames with 4 in common, closed into a loop, predictions averaged with
equal weight. In contrast to cross-fading clips, every frame depends on its neighbours at every noise level."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ContextWindows:
    """The division of a clip into windows of `length` frames, of which `overlap` are shared with the next; closed: the
    last window continues at the start."""

    length: int = 24
    overlap: int = 4
    closed: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.length:
            raise ValueError(f"overlap must be from 0 to length - 1 = {self.length - 1}, got {self.overlap}")

    def plan(self, frames: int) -> list[list[int]]:
        """Return the frame indices of each window; a single window where all frames fit. Every frame is in at least
        one."""
        if frames < 1:
            raise ValueError(f"a clip has at least one frame, got {frames}")
        if frames <= self.length:
            return [list(range(frames))]
        step = self.length - self.overlap
        if self.closed:
            return [[(start + i) % frames for i in range(self.length)] for start in range(0, frames, step)]
        starts = list(range(0, frames - self.length, step)) + [frames - self.length]  # the last one ends at the end
        return [list(range(start, start + self.length)) for start in starts]


def averaged_over_windows(
    predict: Callable[[Tensor], Tensor], frames: int, windows: ContextWindows, device: str = "cpu"
) -> Tensor:
    """Run predict(indices (n,)) -> (n, ...) on every window -> (frames, ...), each frame averaged over its windows."""
    total = count = torch.zeros(frames, device=device)
    for number, window in enumerate(windows.plan(frames)):
        index = torch.tensor(window, device=device)
        part = predict(index)
        if number == 0:
            total = part.new_zeros(frames, *part.shape[1:])
        total.index_add_(0, index, part)
        count.index_add_(0, index, torch.ones(len(window), device=device))
    return total / count.view(-1, *[1] * (total.ndim - 1))
