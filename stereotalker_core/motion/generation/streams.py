"""Filters of the arms over a stream of consecutive chunks of motion, with bounded memory and a few frames' delay.

`bounded_stream` removes jumps, `stroke_stream` scales gestures, `resting_stream` lets hands rest."""

from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ...audio.activity import dilated
from ...geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from ...geometry.skeleton import ARM_JOINTS, HAND_JOINTS, JOINT_INDEX
from ...records import Motion
from ..edit import PARTS, mix_rotations
from ..representation import smooth_time

MOST_DEGREES = 11.0  # of acceleration of an arm joint, a frame squared: two thirds of what is seen as a jump
_SIGMAS = (1.0, 1.5, 2.2, 3.2, 4.5)  # frames; one after the other where the ones before did not suffice
_BOUND_REACH = 64
_MEAN_SIGMA = 14.0  # frames of the low-pass that a stroke is measured from
SIDES = tuple([JOINT_INDEX[name] for name in ARM_JOINTS[side] + HAND_JOINTS[side]] for side in "LR")
ARMS = tuple([JOINT_INDEX[name] for name in ARM_JOINTS[side]] for side in "LR")
_AROUND = 100  # frames on either side that tell how fast this speaker's hands usually are
_SLOW = (0.5, 1.9)  # radians per second of an arm's joints together: slower is rest for anyone, faster for nobody
_EASE = 8  # frames in which a hand comes to rest, and leaves it
_SHORTEST = 7  # frames that a hand is slow before it rests


def local_stream(chunks: Iterable[Motion], reach: int, change: Callable[[Tensor, int], Tensor]) -> Iterator[Motion]:
    """Apply a filter of the rotations to a stream of chunks.

    chunks: consecutive.
    reach: frames on either side that a result depends on; the first and the last frame are repeated at the ends.
    change: change((N, 49, 3), count) -> (N, 49, 3), of which the `count` frames from `reach` on are used."""
    before, waiting, fps = None, None, 25.0
    for chunk in chunks:
        fps = chunk.fps
        if before is None:
            before = chunk.rotations[:1].expand(reach, -1, -1)
        waiting = chunk if waiting is None else _joined(waiting, chunk)
        ready = len(waiting) - reach
        if ready > 0:
            whole = torch.cat([before, waiting.rotations])
            yield Motion(change(whole, ready)[reach : reach + ready], waiting.expression[:ready], fps)
            before, waiting = whole[ready : ready + reach], waiting[ready:]
    if before is not None and waiting is not None and len(waiting):
        tail = waiting.rotations[-1:].expand(reach, -1, -1)
        whole = torch.cat([before, waiting.rotations, tail])
        yield Motion(change(whole, len(waiting))[reach : reach + len(waiting)], waiting.expression, fps)


def _joined(a: Motion, b: Motion) -> Motion:
    return Motion(torch.cat([a.rotations, b.rotations]), torch.cat([a.expression, b.expression]), a.fps)


def bounded_stream(chunks: Iterable[Motion], most: float = MOST_DEGREES) -> Iterator[Motion]:
    """Yield the motion with no arm joint above `most` degrees per frame^2; frames far from a jump stay bitwise
    unchanged."""
    return local_stream(chunks, _BOUND_REACH, lambda rotations, _: bounded(rotations, most))


def bounded(rotations: Tensor, most: float = MOST_DEGREES) -> Tensor:
    """Smooth the arms of rotations (T, 49, 3) where they accelerate by more than `most` degrees per frame^2, as much as
    needed.

    The filter is symmetric and delays nothing: a stroke arrives when it did before."""
    ids = [i for side in ARMS for i in side]
    arms = rotations[:, ids]
    for sigma in _SIGMAS:
        excess = (acceleration(arms) > most).float()
        if len(arms) < 3 or not excess.any():
            break
        weight = _faded_around(excess, radius=round(3 * sigma), sigma=sigma)[:, None, None].clamp_max(1)
        arms = torch.where(weight > 0, torch.lerp(arms, smooth_time(arms, sigma), weight), arms)
    out = rotations.clone()
    out[:, ids] = arms
    return out


def acceleration(joints: Tensor) -> Tensor:
    """Map axis-angles (T, J, 3) -> (T,) the largest acceleration of any joint, degrees per frame^2; 0 at both ends."""
    if len(joints) < 3:
        return joints.new_zeros(len(joints))
    matrices = axis_angle_to_matrix(joints)
    turn = matrix_to_axis_angle(matrices[1:] @ matrices[:-1].transpose(-1, -2))
    return F.pad(torch.rad2deg(turn.diff(dim=0).norm(dim=-1).amax(1)), (1, 1))


def stroke_stream(chunks: Iterable[Motion], size: float) -> Iterator[Motion]:
    """Yield the motion with gestures `size` times as large about their local mean; 1 changes nothing."""
    if size == 1:
        return iter(chunks)
    ids = list(PARTS["hands"])

    def change(rotations: Tensor, _: int) -> Tensor:
        arms, out = rotations[:, ids], rotations.clone()
        middle = smooth_time(arms, _MEAN_SIGMA)
        out[:, ids] = middle + size * (arms - middle)
        return out

    return local_stream(chunks, round(3 * _MEAN_SIGMA), change)


def resting_stream(chunks: Iterable[Motion], share: float) -> Iterator[Motion]:
    """Let each hand rest where it is slower than `share` times its median speed around that moment; 0 = never.

    The pose at the start of a rest is held, and left in time for the next stroke."""
    if share == 0:
        return iter(chunks)
    state = [_Rest(), _Rest()]
    reach = _AROUND + 2 * _EASE + _SHORTEST + 24

    def change(rotations: Tensor, count: int) -> Tensor:
        out = rotations.clone()
        for ids, arm, rest in zip(SIDES, ARMS, state, strict=True):
            out[:, ids] = rest.held(rotations[:, ids], resting(rotations[:, arm], share), reach, count)
        return out

    return local_stream(chunks, reach, change)


def resting(arm: Tensor, share: float) -> Tensor:
    """Map rotations (T, J, 3) of an arm -> (T,) bool: where it rests; short rests and short gaps are removed.

    share: of the arm's median speed, below which it rests."""
    velocity = F.pad(arm.diff(dim=0).flatten(1).norm(dim=1) * 25, (1, 0))
    velocity = smooth_time(velocity[:, None], 3.0)[:, 0]
    around = F.pad(velocity[None, None], (_AROUND, _AROUND), "replicate")[0, 0].unfold(0, 2 * _AROUND + 1, 5)
    usual = F.interpolate(around.median(1).values[None, None], len(velocity), mode="nearest")[0, 0]
    slow = velocity < (share * usual).clamp(*_SLOW)
    slow = _eroded(dilated(slow, _EASE + 1), _EASE + 1)  # gaps in which no hand could leave and come back are closed
    slow = dilated(_eroded(slow, _SHORTEST // 2), _SHORTEST // 2)
    return slow


class _Rest:
    """The state of one resting hand across the chunks of a stream: the pose in which it is held."""

    def __init__(self) -> None:
        self.pose: Tensor | None = None

    def held(self, joints: Tensor, slow: Tensor, first: int, count: int) -> Tensor:
        """Hold the joints (T, J, 3) still in slow frames (T,) bool -> (T, J, 3), of which `count` frames from `first`
        on are final.

        The frames around them are context. A rest that goes on beyond them is continued by the next call."""
        out = joints.clone()
        ramp = torch.arange(1, _EASE + 1, dtype=joints.dtype) / (_EASE + 1)
        ramp = ramp * ramp * (3 - 2 * ramp)
        edges = F.pad(slow.int(), (1, 1)).diff()
        starts, stops = (edges == 1).nonzero()[:, 0].tolist(), (edges == -1).nonzero()[:, 0].tolist()
        carried = self.pose
        self.pose = None
        for start, stop in zip(starts, stops, strict=True):
            known = start < first <= stop  # its first frames are already out
            pose = carried if known and carried is not None else joints[min(start + _EASE // 2, stop - 1)]
            weight = joints.new_zeros(len(joints))
            weight[start:stop] = 1
            size = min(_EASE, (stop - start) // 2)
            weight[start : start + size] = ramp[:size] if start > 0 else 1
            weight[stop - size : stop] = ramp[:size].flip(0)
            moved = weight > 0
            out[moved] = mix_rotations(out[moved], pose.expand(int(moved.sum()), -1, -1), weight[moved, None, None])
            if start < first + count <= stop:  # goes on in the next call
                self.pose = pose
        return out


def _eroded(flags: Tensor, radius: int) -> Tensor:
    return ~dilated(~flags, radius)


def _faded_around(flags: Tensor, radius: int, sigma: float) -> Tensor:
    """Return (T,), 1 within `radius` frames of a flag, fading to 0 beyond over `sigma` frames."""
    wide = F.max_pool1d(flags[None], 2 * radius + 1, 1, radius)[0]
    return torch.maximum(flags, smooth_time(wide[:, None], sigma)[:, 0])
