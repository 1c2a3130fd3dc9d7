"""Editing: identities, involutions, and the smoothing stream against the whole."""

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.motion import edit
from stereotalker_core.motion.arkit import BLINK, MOUTH
from stereotalker_core.records import Motion
from tests.motion.samples import make_motion


def close(a: Motion, b: Motion, atol: float = 1e-4) -> None:
    torch.testing.assert_close(a.rotations, b.rotations, atol=atol, rtol=0)
    torch.testing.assert_close(a.expression, b.expression, atol=atol, rtol=0)


def test_trim_and_concat_are_inverse():
    motion = make_motion(50)
    close(edit.concat([edit.trim(motion, 0, 0.8), edit.trim(motion, 0.8)]), motion, 0)
    with pytest.raises(ValueError, match="leaves nothing"):
        edit.trim(motion, 3.0)


def test_overlap_shortens_and_stays_between():
    a, b = make_motion(20, 1), make_motion(20, 2)
    joined = edit.concat([a, b], overlap=6)
    assert len(joined) == 34
    close(joined[:14], a[:14], 0)
    close(joined[20:], b[6:], 0)
    low, high = torch.minimum(a.expression[14:], b.expression[:6]), torch.maximum(a.expression[14:], b.expression[:6])
    middle = joined.expression[14:20]
    assert (middle >= low - 1e-6).all() and (middle <= high + 1e-6).all()


def test_blend_ends_are_the_motions():
    a, b = make_motion(10, 1), make_motion(10, 2)
    close(edit.blend(a, b, 0.0), a)
    close(edit.blend(a, b, 1.0), b)


def test_rotations_mix_along_the_shortest_arc():
    a, b = torch.tensor([[0.0, 0.0, 3.0]]), torch.tensor([[0.0, 0.0, -3.0]])
    middle = edit.mix_rotations(a, b, 0.5)
    assert abs(float(middle.norm()) - torch.pi) < 1e-3  # over pi, not back through zero


def test_mirror_is_an_involution_and_mirrors_the_body():
    motion = make_motion(3, scale=0.2)
    close(edit.mirror(edit.mirror(motion)), motion, 0)
    body = HalfBody()
    rest = body.rest(torch.zeros(1, body.n_shape))
    a = body.pose(rest, motion.rotations, motion.expression).vertices
    b = body.pose(rest, edit.mirror(motion).rotations, edit.mirror(motion).expression).vertices
    mirrored = a[:, body.mirror] * torch.tensor([-1.0, 1.0, 1.0])
    assert (b - mirrored).norm(dim=-1).quantile(0.95) < 0.01  # the mean body is not exactly symmetric


def test_retime_keeps_the_ends():
    motion = make_motion(41)
    fast = edit.retime(motion, 2.0)
    assert len(fast) == 20
    close(fast[:1], motion[:1])
    close(fast[-1:], motion[-1:])
    close(edit.resample(motion, 41), motion)
    assert edit.resample(motion, 82, fps=50).fps == 50 and len(edit.resample(motion[:1], 5)) == 5


def test_gain_one_is_bitwise_the_same_and_zero_is_still():
    motion = make_motion()
    close(edit.gain(motion), motion, 0)
    still = edit.gain(motion, spine=0, head=0, hands=0, face=0)
    assert still.rotations.diff(dim=0).abs().max() < 1e-6
    others = [i for i in range(52) if i not in BLINK]
    assert still.expression[:, others].abs().max() == 0
    assert torch.equal(still.expression[:, list(BLINK)], motion.expression[:, list(BLINK)])
    with pytest.raises(ValueError, match="head strength"):
        edit.gain(motion, head=-1)


def test_gain_touches_its_part_only():
    motion = make_motion()
    louder = edit.gain(motion, head=2)
    changed = (louder.rotations != motion.rotations).any(-1).any(0).nonzero().flatten().tolist()
    assert changed == list(edit.PARTS["head"])


def test_smoothing_spares_mouth_and_blinks():
    motion = make_motion(60)
    soft = edit.smooth(motion, 2.0)
    assert len(soft) == 60
    sharp = [*MOUTH, *BLINK]
    assert torch.equal(soft.expression[:, sharp], motion.expression[:, sharp])
    assert soft.rotations.diff(dim=0).abs().mean() < 0.3 * motion.rotations.diff(dim=0).abs().mean()
    close(edit.smooth(motion, 0), motion, 0)


@pytest.mark.parametrize("cuts", [[60], [1, 2, 3, 60], [25, 26, 60], [59, 60], [7, 14, 21, 28, 35, 42, 49, 60]])
def test_smoothing_a_stream_is_smoothing_the_whole(cuts):
    motion, start, chunks = make_motion(60), 0, []
    for stop in cuts:
        chunks.append(motion[start:stop])
        start = stop
    close(edit.concat(list(edit.smooth_stream(chunks, 2.0))), edit.smooth(motion, 2.0), 1e-6)


def test_mixed_rates_and_lengths_are_refused():
    a = make_motion(10)
    with pytest.raises(ValueError, match="fps"):
        edit.concat([a, Motion(a.rotations, a.expression, 30.0)])
    with pytest.raises(ValueError, match="blend"):
        edit.blend(a, make_motion(9))
    with pytest.raises(ValueError, match="overlap"):
        edit.concat([a, a], overlap=11)


@pytest.mark.parametrize("fps", [24, 30, 50, 60])
def test_another_frame_rate_shows_the_same_moments(fps):
    time = (torch.arange(100) + 0.5) / 25
    motion = Motion(torch.zeros(100, 49, 3), torch.sin(time)[:, None].abs().expand(-1, 52).clone())
    found = edit.at_rate(motion, fps, 4 * fps)
    moments = (torch.arange(4 * fps) + 0.5) / fps
    inside = (moments > 0.05) & (moments < 3)
    assert len(found) == 4 * fps and found.fps == fps
    torch.testing.assert_close(found.expression[inside, 0], torch.sin(moments)[inside], atol=1e-3, rtol=0)


@pytest.mark.parametrize("frames", [1, 3, 9, 40, 200])
def test_a_loop_ends_where_it_begins(frames):
    generator = torch.Generator().manual_seed(0)
    drift = torch.linspace(0, 1.2, frames)[:, None, None] * torch.rand(1, 49, 3, generator=generator)
    motion = Motion(drift, torch.rand(frames, 52, generator=generator))
    found = edit.looped(motion)
    assert len(found) == frames
    if frames >= 40:
        assert float((found.rotations[-1] - found.rotations[0]).abs().max()) < 0.02
        assert float((found.expression[-1] - found.expression[0]).abs().max()) < 0.2
        assert torch.equal(found.rotations[: frames // 2], motion.rotations[: frames // 2])
