"""The linear maps between ARKit coefficients and FLAME's 53 numbers, the 403-vectors, and the merge into a motion."""

import pytest
import torch

from stereotalker_core.face.arkit_map import FaceMap, face_to_motion, fit_map, layout_map, motion_to_face
from stereotalker_core.face.layout import Face, from_403, to_403
from stereotalker_core.face.merge import merge_face
from stereotalker_core.motion.arkit import ARKIT_INDEX
from stereotalker_core.records import Motion


def random_motion(frames=9, seed=0):
    g = torch.Generator().manual_seed(seed)
    expression = torch.rand(frames, 52, generator=g)
    expression[:, ARKIT_INDEX["mouthClose"]] = expression[:, ARKIT_INDEX["jawOpen"]] * 0.5
    return Motion(0.1 * torch.randn(frames, 49, 3, generator=g), expression)


def test_layout_map_is_exactly_invertible_and_means_what_it_says():
    motion, mapping = random_motion(), layout_map()
    torch.testing.assert_close(face_to_motion(motion_to_face(motion)).expression, motion.expression, atol=1e-5, rtol=0)
    assert torch.linalg.matrix_rank(mapping.to_face) == 52
    only = torch.zeros(52)
    only[ARKIT_INDEX["jawOpen"]] = 1
    face = mapping.face(only)
    assert face[50] == pytest.approx(0.45) and face.count_nonzero() == 1
    only = torch.zeros(52)
    only[ARKIT_INDEX["browDownLeft"]] = 1
    assert mapping.face(only)[0] == 3 and mapping.face(only).count_nonzero() == 1


def test_arkit_side_stays_valid():
    out = layout_map().arkit(torch.randn(50, 53) * 3)
    assert out.min() >= 0 and out.max() <= 1
    assert (out[:, ARKIT_INDEX["mouthClose"]] <= out[:, ARKIT_INDEX["jawOpen"]]).all()


def test_a_fitted_map_recovers_the_true_one_and_round_trips_as_a_file(tmp_path):
    g = torch.Generator().manual_seed(3)
    true, arkit = torch.randn(53, 52, generator=g), torch.rand(800, 52, generator=g)
    fitted = fit_map(arkit, arkit @ true.T + 0.3, ridge=1e-6)
    torch.testing.assert_close(fitted.to_face, true, atol=1e-3, rtol=0)
    torch.testing.assert_close(fitted.offset, torch.full((53,), 0.3), atol=1e-2, rtol=0)
    assert (fitted.to_arkit @ (fitted.face(arkit) - fitted.offset).T - arkit.T).abs().max() < 1e-2
    fitted.save(tmp_path / "map.safetensors")
    assert torch.equal(FaceMap.load(tmp_path / "map.safetensors").to_face, fitted.to_face)
    with pytest.raises(ValueError, match="too few"):
        fit_map(arkit[:60], torch.zeros(60, 53))
    random_motion().save(tmp_path / "motion.safetensors")
    with pytest.raises(ValueError, match="FaceMap"):
        FaceMap.load(tmp_path / "motion.safetensors")


def test_flames_own_basis_needs_a_map():
    face = Face(torch.zeros(1, 4, 53), "flame")
    with pytest.raises(ValueError, match="map"):
        face_to_motion(face)
    assert len(face_to_motion(face, mapping=layout_map())) == 4
    with pytest.raises(ValueError, match="sample 2"):
        face.sample(2)
    with pytest.raises(ValueError, match="basis"):
        Face(torch.zeros(1, 4, 53), "other")


def test_vectors_of_403_numbers():
    parameters = torch.randn(2, 5, 53)
    long = to_403(parameters)
    assert long.shape == (2, 5, 403) and not long[..., :300].any() and not long[..., 350:400].any()
    assert torch.equal(from_403(long), parameters)
    with pytest.raises(ValueError, match="403"):
        from_403(torch.zeros(4, 56))


def test_merge_keeps_body_gaze_and_blinks_and_takes_the_lips_frame_by_frame():
    body, other = random_motion(seed=1), random_motion(seed=2)
    face = motion_to_face(other)
    merged = merge_face(body, face)
    lips, blink, gaze = (ARKIT_INDEX[n] for n in ("jawOpen", "eyeBlinkLeft", "eyeLookUpLeft"))
    assert torch.equal(merged.rotations, body.rotations)
    torch.testing.assert_close(merged.expression[:, lips], other.expression[:, lips], atol=1e-5, rtol=0)
    assert torch.equal(merged.expression[:, [blink, gaze]], body.expression[:, [blink, gaze]])
    blinking = merge_face(body, face, keep_blinks=False)
    torch.testing.assert_close(blinking.expression[:, blink], other.expression[:, blink], atol=1e-5, rtol=0)
    torch.testing.assert_close(merge_face(body, face, strength=0.0).expression, body.expression)
    shorter = merge_face(body, Face(face.parameters[:, :-1]))
    assert len(shorter) == len(body) and torch.equal(shorter.expression[-1, lips], merged.expression[-2, lips])


def test_merge_refuses_what_cannot_be_in_sync():
    body, face = random_motion(), motion_to_face(random_motion(20))
    with pytest.raises(ValueError, match="9 frames, the face 20"):
        merge_face(body, face)
    with pytest.raises(ValueError, match="strength"):
        merge_face(body, face, strength=1.5)
    with pytest.raises(ValueError, match="fps"):
        merge_face(body, Face(torch.zeros(1, 9, 53), fps=30.0))
