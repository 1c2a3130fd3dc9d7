"""Editing of motions: pure functions from `Motion` to `Motion`. Rotations are blended along the shortest arc."""

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from ..geometry.skeleton import ARM_JOINTS, HAND_JOINTS, HEAD_JOINTS, JOINT_INDEX, SPINE_JOINTS, mirrored_joints
from ..records import Motion
from .arkit import BLINK, MOUTH, mirrored_expressions
from .representation import gaussian

PARTS = {
    "spine": tuple(JOINT_INDEX[n] for n in SPINE_JOINTS),
    "head": tuple(JOINT_INDEX[n] for n in HEAD_JOINTS),
    "hands": tuple(JOINT_INDEX[n] for side in "LR" for n in ARM_JOINTS[side] + HAND_JOINTS[side]),
}


def trim(motion: Motion, start: float = 0.0, end: float | None = None) -> Motion:
    """Return the frames from `start` to `end` seconds. ValueError where nothing is left."""
    first = round(start * motion.fps)
    last = len(motion) if end is None else round(end * motion.fps)
    if not 0 <= first < min(last, len(motion)):
        raise ValueError(f"trim {start}..{end} s leaves nothing of {len(motion) / motion.fps:.2f} s")
    return motion[first:last]


def mix_rotations(a: Tensor, b: Tensor, weight: Tensor | float) -> Tensor:
    """Interpolate axis-angles (..., 3) from a (weight 0) to b (weight 1) along the shortest arc; weight: number or
    (..., 1)."""
    start = axis_angle_to_matrix(a)
    turn = matrix_to_axis_angle(start.transpose(-1, -2) @ axis_angle_to_matrix(b))
    return matrix_to_axis_angle(start @ axis_angle_to_matrix(turn * weight))


def blend(a: Motion, b: Motion, weight: float | Tensor = 0.5) -> Motion:
    """Blend two motions of equal length.

    weight: 0 gives a, 1 gives b; one number, or one per frame (T,)."""
    if len(a) != len(b) or a.fps != b.fps:
        raise ValueError(f"cannot blend {len(a)} frames at {a.fps} fps with {len(b)} at {b.fps}; trim or retime first")
    w = torch.as_tensor(weight, dtype=a.rotations.dtype, device=a.rotations.device).expand(len(a))
    rotations = mix_rotations(a.rotations, b.rotations, w[:, None, None])
    return Motion(rotations, torch.lerp(a.expression, b.expression, w[:, None]), a.fps)


def concat(motions: Sequence[Motion], overlap: int = 0) -> Motion:
    """Concatenate motions; the last `overlap` frames of each are cross-faded with the first of the next."""
    if not motions:
        raise ValueError("nothing to concatenate; give at least one motion")
    shortest = min(map(len, motions))
    if not 0 <= overlap <= shortest:
        raise ValueError(f"overlap must be 0..{shortest} (the shortest motion), got {overlap}")
    if len({m.fps for m in motions}) > 1:
        raise ValueError(f"motions have {sorted({m.fps for m in motions})} fps; retime them to one rate")
    joined = motions[0]
    for following in motions[1:]:
        pieces = [joined, following]
        if overlap:
            ramp = (torch.arange(overlap) + 1) / (overlap + 1)
            fade = blend(joined[len(joined) - overlap :], following[:overlap], ramp)
            pieces = [joined[: len(joined) - overlap], fade, following[overlap:]]
        joined = Motion(
            torch.cat([p.rotations for p in pieces]), torch.cat([p.expression for p in pieces]), joined.fps
        )
    return joined


def mirror(motion: Motion) -> Motion:
    """Swap the left and right side of a motion."""
    flip = motion.rotations.new_tensor([1.0, -1.0, -1.0])  # a rotation axis is a pseudovector
    return Motion(
        motion.rotations[:, mirrored_joints()] * flip, motion.expression[:, mirrored_expressions()], motion.fps
    )


def resample(motion: Motion, frames: int, fps: float | None = None) -> Motion:
    """Stretch or shorten a motion to exactly `frames` frames, the first and last kept; fps: frames per second of the
    result; None keeps them."""
    if frames < 1:
        raise ValueError(f"frames must be at least 1, got {frames}")
    position = torch.linspace(0, len(motion) - 1, frames, dtype=torch.float64) if frames > 1 else torch.zeros(1)
    return _sampled(motion, position, fps or motion.fps)


def retime(motion: Motion, speed: float) -> Motion:
    """Play a motion `speed` times as fast at the same frame rate."""
    if not 0.1 <= speed <= 10:
        raise ValueError(f"speed must be 0.1..10, got {speed}")
    return resample(motion, max(1, round(len(motion) / speed)))


def at_rate(motion: Motion, fps: float, frames: int) -> Motion:
    """Return the same performance at another frame rate; frame k shows the moment (k + 1/2) / fps.

    fps: frames per second of the result; frames: its length."""
    position = ((torch.arange(frames, dtype=torch.float64) + 0.5) * motion.fps / fps - 0.5).clamp(0, len(motion) - 1)
    return _sampled(motion, position, fps)


def _sampled(motion: Motion, position: Tensor, fps: float) -> Motion:
    """Sample the motion at fractional frame positions (T,) in 0..len - 1 -> a motion of T frames.

    fps: frames per second that the result is said to have."""
    low = position.floor().long().clamp_max(max(len(motion) - 2, 0))
    high = (low + 1).clamp_max(len(motion) - 1)
    mixed = blend(motion[low], motion[high], (position - low).float())
    return Motion(mixed.rotations, mixed.expression, fps)


def looped(motion: Motion, seconds: float = 1.2) -> Motion:
    """Return the motion with its end blended into its beginning, so that it can be played in a loop.

    The body returns within the last `seconds` (at most a third of the motion), the face within a fifth of that, so that
    lips follow the speech for as long as possible."""
    if len(motion) < 4:
        return motion
    rotations, expression = motion.rotations.clone(), motion.expression.clone()
    body, face = (max(1, min(round(s * motion.fps), len(motion) // 3)) for s in (seconds, seconds / 5))
    begin = rotations[:1].expand(body, -1, -1)
    rotations[-body:] = mix_rotations(rotations[-body:], begin, _eased(body)[:, None, None])
    expression[-face:] = torch.lerp(expression[-face:], expression[:1].expand(face, -1), _eased(face)[:, None])
    return Motion(rotations, expression, motion.fps)


def _eased(count: int) -> Tensor:
    """Return weights (count,) that rise from nearly 0 to nearly 1 as a minimum-jerk curve."""
    u = torch.arange(1, count + 1, dtype=torch.float32) / (count + 1)
    return u * u * u * (10 - 15 * u + 6 * u * u)


def gain(
    motion: Motion, spine: float = 1.0, head: float = 1.0, hands: float = 1.0, face: float = 1.0,
    centre: Motion | None = None,
) -> Motion:
    """Scale how far each part moves away from `centre`; blinks stay as they are.

    motion: T frames.
    spine, head, hands, face: factors 0..3; 1 leaves a part bitwise unchanged, 0 holds it still.
    centre: one frame; None takes the motion's mean pose."""
    for name, value in (("spine", spine), ("head", head), ("hands", hands), ("face", face)):
        if not 0 <= value <= 3:
            raise ValueError(f"{name} strength must be 0..3, got {value}")
    rest = motion.rotations.mean(0) if centre is None else centre.rotations[0]
    rotations, expression = motion.rotations.clone(), motion.expression.clone()
    for part, value in (("spine", spine), ("head", head), ("hands", hands)):
        if value != 1:
            ids = list(PARTS[part])
            rotations[:, ids] = rest[ids] + value * (rotations[:, ids] - rest[ids])
    if face != 1:
        moved = [i for i in range(expression.shape[1]) if i not in BLINK]
        expression[:, moved] = (expression[:, moved] * face).clamp(0, 1)
    return Motion(rotations, expression, motion.fps)


def smooth(motion: Motion, sigma: float) -> Motion:
    """Smooth a motion by a Gaussian of `sigma` frames, except for mouth and blinks; 0 changes nothing."""
    return concat(list(smooth_stream([motion], sigma)))


def smooth_stream(chunks: Iterable[Motion], sigma: float) -> Iterator[Motion]:
    """Yield consecutive chunks smoothed as by `smooth`: the same frames, with a short delay and bounded memory."""
    if not 0 <= sigma <= 50:
        raise ValueError(f"smoothing must be 0..50 frames, got {sigma}")
    if sigma == 0:
        yield from chunks
        return
    kernel = gaussian(sigma)
    radius = len(kernel) // 2
    held, fps = None, 25.0
    for chunk in chunks:
        fps = chunk.fps
        flat = torch.cat([chunk.rotations.flatten(1), chunk.expression], 1)
        held = torch.cat([flat[:1].expand(radius, -1) if held is None else held, flat])
        if len(held) > 2 * radius:
            yield _filtered(held, kernel, fps)
            held = held[len(held) - 2 * radius :]
    if held is not None:
        yield _filtered(torch.cat([held, held[-1:].expand(radius, -1)]), kernel, fps)


def _filtered(flat: Tensor, kernel: Tensor, fps: float) -> Motion:
    """Filter rotations and expression (T + 2 radius, 147 + 52) over time -> Motion of the T middle frames; kernel: (2
    radius + 1,) weights."""
    radius = len(kernel) // 2
    low = F.conv1d(flat.T[:, None], kernel.to(flat)[None, None])[:, 0].T
    n = 147
    expression, sharp = low[:, n:].clone(), flat[radius : len(flat) - radius, n:]
    keep = [*MOUTH, *BLINK]
    expression[:, keep] = sharp[:, keep]
    return Motion(low[:, :n].unflatten(1, (-1, 3)), expression, fps)
