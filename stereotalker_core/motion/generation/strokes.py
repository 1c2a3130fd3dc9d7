"""Alignment of strokes with stressed syllables: the arms are shifted slightly in time to meet the speech's accents.

Speakers end a stroke on the stressed syllable (McNeill, Hand and Mind, 1992). The denoiser has learned that on average.
The remaining error of up to a quarter of a second is removed by a time warp of the arms alone.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...audio.phones import PHONE_INDEX, PHONES, VOWELS
from ...records import Motion
from ...shapes import FPS
from ..edit import mix_rotations
from ..representation import smooth_time
from .streams import ARMS, SIDES, local_stream

MOST = 7.0  # frames by which a stroke is moved at most
_SLOPE = 0.5  # largest change of the warp, frames per frame: nothing is played more than twice as fast
_REACH = 16  # frames from a stroke in which the warp returns to 0
_AROUND = 48  # frames on either side that decide how a frame is moved
_FAST, _STOPPED = 0.6, 0.3  # rad/s of a stroke at least, and the share of its peak below which it has arrived
_NEAR_ACCENT = 12  # frames of speech that a syllable is compared with
_CENTRE = 0.35  # of a vowel's duration: where its accent is
_VOWELS = [PHONE_INDEX[name] for name in sorted(VOWELS)]


def heard_accents(channels: Tensor) -> np.ndarray:
    """Return the frames (N,), ascending, of stressed syllables: vowels at least as loud and long as their neighbours.

    channels: (T, 40 + 5 ...) of `conditioning.speech_channels`: phone probabilities, then loudness in tens of dB.
    """
    vowel = channels[:, _VOWELS].sum(1).cpu() > 0.5
    energy = torch.where(vowel, 10 ** channels[:, len(PHONES)].double().cpu(), 0.0)
    edges = F.pad(vowel.int(), (1, 1)).diff()
    starts, stops = ((edges == sign).nonzero()[:, 0].numpy() for sign in (1, -1))
    total = F.pad(energy.cumsum(0), (1, 0)).numpy()
    size, place = total[stops] - total[starts], starts + _CENTRE * (stops - starts)
    first, last = (np.searchsorted(place, place + by) for by in (-_NEAR_ACCENT, _NEAR_ACCENT))
    usual = np.array([np.median(size[a:b]) for a, b in zip(first, last, strict=True)])
    return place[size >= usual] if len(place) else place


def aligned_stream(chunks: Iterable[Motion], accents: np.ndarray, most: float = MOST) -> Iterator[Motion]:
    """Yield the motion with each arm's strokes moved to the accents (N,) (frames, ascending) within `most` frames.

    Head, body and face keep their time. Without an accent nearby nothing changes.
    """
    warps = [_Warp(accents, most, arm) for arm in ARMS]

    def change(rotations: Tensor, count: int) -> Tensor:
        out = rotations.clone()
        for warp, ids in zip(warps, SIDES, strict=True):
            out[_AROUND : _AROUND + count, ids] = warp.warped(rotations, ids, count)
        return out

    return local_stream(chunks, _AROUND, change)


class _Warp:
    """The time warp of one arm: its strokes found so far, and the frame that each is moved to.

    accents: (N,) frames; most: frames that a stroke may be moved; arm: the joints' indices. The result does not depend
    on how the stream is split into chunks."""

    def __init__(self, accents: np.ndarray, most: float, arm: list[int]):
        self.accents, self.most, self.arm = accents, most, arm
        self.first = -_AROUND  # number of the first frame of the next call
        self.seen = -_AROUND + 4  # frames before this one were searched for strokes
        self.peak = 0.0  # rad/s since the last stroke
        self.knots: list[tuple[float, float]] = []  # (frame that a stroke is moved to, offset to its source frame)

    def warped(self, rotations: Tensor, joints: list[int], count: int) -> Tensor:
        """Return the warped rotations (count, J, 3) of `joints`.

        rotations: (N, 49, 3) of the next frames, with `_AROUND` frames before and after those that are returned."""
        self._search(rotations[:, self.arm])
        new = torch.arange(_AROUND, _AROUND + count)
        source = new + torch.from_numpy(self._offset(new.numpy() + self.first))
        source = source.clamp(0, len(rotations) - 1)
        self.first += count
        self.knots = [knot for knot in self.knots if knot[0] > self.first - 4 * _REACH]
        before = source.floor().long()
        share = (source - before).to(rotations.dtype)[:, None, None]
        arm = rotations[:, joints]
        moved = mix_rotations(arm[before], arm[(before + 1).clamp_max(len(arm) - 1)], share)
        return torch.where((source == new)[:, None, None], arm[new], moved)  # frames that stay keep their bits

    def _search(self, arm: Tensor) -> None:
        """Find the strokes of the arm (N, J, 3) that end in frames not searched by an earlier call."""
        speed = smooth_time((arm.diff(dim=0).flatten(1).norm(dim=1) * FPS)[:, None], 1.0)[:, 0].tolist()
        for i in range(self.seen - self.first, len(speed) - 4):  # the last ones change with what follows
            self.peak = max(self.peak, speed[i])
            if self.peak > _FAST and speed[i] < _STOPPED * self.peak:
                self._decide(self.first + i + 0.5)
                self.peak = 0.0
        self.seen = max(self.seen, self.first + len(speed) - 4)

    def _decide(self, stroke: float) -> None:
        """Move a stroke to the nearest accent, as far as the previous stroke allows; stroke: its frame number."""
        place = np.searchsorted(self.accents, stroke)
        near = self.accents[max(0, place - 1) : place + 1] - stroke
        move = float(near[np.abs(near).argmin()]) if len(near) else 0.0
        move = move if abs(move) <= self.most else 0.0
        if self.knots:
            before = -self.knots[-1][1]
            room = _SLOPE * (stroke - self.knots[-1][0] + before)
            move = float(np.clip(move, before - room, before + room))
        self.knots.append((stroke + move, -move))

    def _offset(self, frames: np.ndarray) -> np.ndarray:
        """Return the offset (N,), in frames, from each output frame in `frames` (N,) to its source frame."""
        places, moves = [-1e9], [0.0]
        for place, move in self.knots:
            if place - places[-1] > 2 * _REACH:  # between strokes that are far apart the time is as it was
                places += [places[-1] + _REACH, place - _REACH]
                moves += [0.0, 0.0]
            places.append(place)
            moves.append(move)
        places.append(places[-1] + _REACH)
        moves.append(0.0)
        near = frames[:, None] + np.arange(-3, 4)  # a Gaussian of one frame: no corner in the speed
        weight = np.exp(-0.5 * np.arange(-3, 4) ** 2.0)
        return np.interp(near, places, moves) @ (weight / weight.sum())
