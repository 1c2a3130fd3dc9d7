"""The codec: exact inverse up to the finger basis, standardised output."""

import pytest
import torch

from stereotalker_core.geometry.rotations import axis_angle_to_matrix
from stereotalker_core.motion.representation import N_BODY_JOINTS, MotionCodec
from tests.motion.samples import make_motion


def test_round_trip_is_exact_with_a_full_basis():
    codec, motion = MotionCodec(MotionCodec.Config(fingers=90)), make_motion()
    codec.fit(motion.rotations, motion.expression)
    back = codec.decode_motion(codec.encode_motion(motion))
    torch.testing.assert_close(
        axis_angle_to_matrix(back.rotations), axis_angle_to_matrix(motion.rotations), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(back.expression, motion.expression, atol=1e-5, rtol=0)


def test_finger_basis_keeps_most_of_low_rank_fingers():
    motion = make_motion(200)
    g = torch.Generator().manual_seed(0)
    fingers = torch.randn(200, 3, generator=g) @ torch.randn(3, 90, generator=g) * 0.1
    motion.rotations[:, N_BODY_JOINTS:] = fingers.view(200, 30, 3)
    codec = MotionCodec(MotionCodec.Config(fingers=3)).fit(motion.rotations, motion.expression)
    back = codec.decode_motion(codec.encode_motion(motion))
    torch.testing.assert_close(
        back.rotations[:, N_BODY_JOINTS:], motion.rotations[:, N_BODY_JOINTS:], atol=1e-3, rtol=0
    )


def test_encoded_frames_are_standardised():
    motion = make_motion(500)
    codec = MotionCodec().fit(motion.rotations, motion.expression)
    x = codec.encode_motion(motion)
    assert x.mean(0).abs().max() < 1e-3
    torch.testing.assert_close(x.std(0), torch.ones(codec.width), atol=1e-2, rtol=0)


def test_rest_is_the_zero_of_a_fresh_codec():
    codec = MotionCodec()
    motion = codec.decode_motion(torch.zeros(4, codec.width))
    assert motion.rotations.abs().max() < 1e-6 and motion.expression.abs().max() == 0


def test_expression_is_the_unclamped_inverse():
    motion = make_motion()
    codec = MotionCodec().fit(motion.rotations, motion.expression)
    x = codec.encode_motion(motion)
    torch.testing.assert_close(codec.expression(x), motion.expression, atol=1e-5, rtol=0)
    assert codec.expression(x * 10).max() > 1
    assert codec.decode(x * 10)[1].max() <= 1


def test_mouth_channels_lie_in_the_expression():
    codec = MotionCodec()
    where = codec.slices()["expression"]
    assert len(codec.mouth_channels()) == 28 and all(where.start <= i < where.stop for i in codec.mouth_channels())


def test_one_frame_is_refused():
    motion = make_motion(1)
    with pytest.raises(ValueError, match="at least 2"):
        MotionCodec().fit(motion.rotations, motion.expression)
