"""Filters over a stream of motion: the same frames however it is cut, and each does what it says."""

import pytest
import torch

from stereotalker_core.evaluation.motion.liveliness import JERK_DEGREES, jerk_frames, joint_acceleration
from stereotalker_core.geometry.skeleton import JOINT_INDEX
from stereotalker_core.motion.edit import concat
from stereotalker_core.motion.generation.streams import bounded, bounded_stream, resting_stream, stroke_stream
from stereotalker_core.records import Motion

ELBOW = JOINT_INDEX["lowerarm01.L"]


def gesturing(frames: int = 600, seed: int = 0) -> Motion:
    """Both elbows: slow drift, and a stroke of half a second every three seconds."""
    time = torch.arange(frames) / 25
    generator = torch.Generator().manual_seed(seed)
    rotations = torch.zeros(frames, 49, 3)
    for name in ("lowerarm01.L", "lowerarm01.R"):
        phase = float(torch.rand(1, generator=generator))
        stroke = torch.exp(-(((time + phase) % 3 - 1.5) ** 2) / 0.02)
        rotations[:, JOINT_INDEX[name], 0] = 0.8 * stroke + 0.3 * torch.sin(0.9 * time + phase)
    return Motion(rotations, torch.rand(frames, 52, generator=generator))


def pieces(motion: Motion, sizes: tuple[int, ...]) -> list[Motion]:
    parts, at = [], 0
    while at < len(motion):
        size = sizes[len(parts) % len(sizes)]
        parts.append(motion[at : at + size])
        at += size
    return parts


@pytest.mark.parametrize(
    "stream", [lambda c: bounded_stream(c, 2.0), lambda c: stroke_stream(c, 1.4), lambda c: resting_stream(c, 0.95)]
)
@pytest.mark.parametrize("sizes", [(80,), (1, 7, 150), (599, 1)])
def test_cuts_do_not_show(stream, sizes):
    motion = gesturing()
    whole = concat(list(stream([motion])))
    cut = concat(list(stream(pieces(motion, sizes))))
    assert len(whole) == len(cut) == len(motion)
    torch.testing.assert_close(cut.rotations, whole.rotations, atol=1e-5, rtol=0)
    assert torch.equal(cut.expression, motion.expression)


def test_a_jump_is_spread_without_delay_and_the_rest_is_left_alone():
    motion = gesturing()
    rotations = motion.rotations.clone()
    rotations[300:, ELBOW, 2] += 2.0  # 115 degrees between two frames
    assert jerk_frames(Motion(rotations, motion.expression)) > 0
    found = Motion(bounded(rotations), motion.expression)
    assert jerk_frames(found) == 0 and float(joint_acceleration(found).max()) < JERK_DEGREES
    assert torch.equal(found.rotations[:240], rotations[:240]) and torch.equal(found.rotations[360:], rotations[360:])
    half = found.rotations[:, ELBOW, 2] > 1.0
    assert abs(int(half.nonzero()[0]) - 300) <= 1
    assert torch.equal(bounded(motion.rotations), motion.rotations)


def test_hands_rest_between_strokes_and_strokes_stay():
    motion = gesturing()
    found = concat(list(resting_stream([motion], 0.95))).rotations[:, ELBOW, 0]
    still = found.diff().abs() < 1e-6
    assert 0.2 < float(still.float().mean()) < 0.8
    assert not (motion.rotations[:, ELBOW, 0].diff().abs() < 1e-6).float().mean() > 0.05
    peaks = motion.rotations[:, ELBOW, 0].topk(10).indices
    assert float((found[peaks] - motion.rotations[peaks, ELBOW, 0]).abs().max()) < 0.05
    assert float(found.diff().abs().max()) < 1.5 * float(motion.rotations[:, ELBOW, 0].diff().abs().max())


def test_strokes_grow_about_where_they_are_made():
    motion = gesturing()
    before = motion.rotations[:, ELBOW, 0]
    for size in (0.6, 1.5):
        after = concat(list(stroke_stream([motion], size))).rotations[:, ELBOW, 0]
        assert float(after.diff().std() / before.diff().std()) == pytest.approx(size, rel=0.1)
        assert abs(float(after.mean() - before.mean())) < 0.02
