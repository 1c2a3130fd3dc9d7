"""Strokes are moved to the accents that are heard, the same for any split, and nothing else moves."""

import numpy as np
import torch

from stereotalker_core.audio.phones import PHONE_INDEX, PHONES
from stereotalker_core.geometry.skeleton import ARM_JOINTS, JOINT_INDEX
from stereotalker_core.motion.edit import concat
from stereotalker_core.motion.generation.strokes import MOST, aligned_stream, heard_accents
from stereotalker_core.records import Motion

N_JOINTS = 49
ELBOW = JOINT_INDEX[ARM_JOINTS["L"][-1]]


def strokes(stops: list[int], frames: int = 240, size: float = 0.9, length: int = 8) -> Motion:
    """The motion of one elbow that turns by `size` radians, there and back in turn, and arrives at each of `stops`."""
    angle, level = torch.zeros(frames), 0.0
    for stop in stops:
        u = ((torch.arange(frames) - (stop - length)) / length).clamp(0, 1)
        new = size - level
        angle, level = angle + (new - level) * u * u * (3 - 2 * u), new
    rotations = torch.zeros(frames, N_JOINTS, 3)
    rotations[:, ELBOW, 0] = angle
    return Motion(rotations, torch.zeros(frames, 52))


def arrivals(motion: Motion) -> list[float]:
    """The frames at which the elbow, having moved, stands again."""
    moving = (motion.rotations[:, ELBOW, 0].diff().abs() > 2e-3).int()
    return (moving.diff() == -1).nonzero()[:, 0].add(1).tolist()


def test_strokes_arrive_with_the_accents():
    stops = [40, 80, 120, 165, 200]
    motion = strokes(stops)
    accents = np.array([44.0, 76.0, 125.0, 163.0, 200.0])
    before, found = arrivals(motion), arrivals(concat(list(aligned_stream([motion], accents))))
    shift = np.array(found) - np.array(before)
    # a stroke counts as arrived when it is slow, a frame or so before it stands
    assert np.abs(shift - (accents - np.array(stops))).max() <= 2.0
    assert shift[0] > 2 and shift[1] < -2


def test_without_an_accent_nearby_every_bit_stays():
    motion = strokes([40, 80, 120])
    far = np.array([40 + 3 * MOST, 100.0])
    for accents in (np.zeros(0), far):
        out = concat(list(aligned_stream([motion], accents)))
        assert torch.equal(out.rotations, motion.rotations)


def test_any_split_gives_the_same():
    motion, accents = strokes([30, 66, 90, 131, 170, 210]), np.array([34.0, 60.0, 95.0, 128.0, 177.0, 205.0])
    whole = concat(list(aligned_stream([motion], accents)))
    assert not torch.equal(whole.rotations, motion.rotations)
    for size in (5, 40, 100):
        parts = [motion[i : i + size] for i in range(0, len(motion), size)]
        again = concat(list(aligned_stream(parts, accents)))
        assert len(again) == len(motion)
        torch.testing.assert_close(again.rotations, whole.rotations, atol=1e-5, rtol=0)


def test_only_the_arm_that_strokes_is_moved():
    motion = strokes([40, 80, 120])
    torch.manual_seed(0)
    other = 0.01 * torch.randn(len(motion), N_JOINTS, 3).cumsum(0)
    other[:, [JOINT_INDEX[name] for name in ARM_JOINTS["L"]]] = 0
    other[:, [JOINT_INDEX[name] for name in ARM_JOINTS["R"]]] = 0.3
    mixed = Motion(motion.rotations + other, torch.rand(len(motion), 52))
    out = concat(list(aligned_stream([mixed], np.array([44.0, 84.0, 124.0]))))
    right = [JOINT_INDEX[name] for name in ARM_JOINTS["R"]] + [JOINT_INDEX["head"]]
    assert torch.equal(out.rotations[:, right], mixed.rotations[:, right])
    assert torch.equal(out.expression, mixed.expression)
    assert not torch.equal(out.rotations[:, ELBOW], mixed.rotations[:, ELBOW])


def test_accents_are_the_loud_and_long_vowels():
    channels = torch.zeros(120, len(PHONES) + 5)
    channels[:, PHONE_INDEX["sil"]] = 1.0
    spans = {10: (4, 0.8), 18: (2, 0.2), 26: (4, 0.9), 34: (2, 0.1), 42: (5, 0.9), 51: (2, 0.2)}
    for start, (length, loudness) in spans.items():
        span = slice(start, start + length)
        channels[span, PHONE_INDEX["sil"]], channels[span, PHONE_INDEX["aa"]] = 0.0, 1.0
        channels[span, len(PHONES)] = loudness
    found = heard_accents(channels)
    wanted = [start + 0.35 * spans[start][0] for start in (10, 26, 42)]
    assert [any(abs(f - w) < 0.6 for f in found) for w in wanted] == [True] * 3
    assert not any(start <= f <= start + 2 for f in found for start in (18, 34))


def test_silence_has_no_accents():
    channels = torch.zeros(50, len(PHONES) + 5)
    assert len(heard_accents(channels)) == 0
    assert len(heard_accents(channels[:0])) == 0
