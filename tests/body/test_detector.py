import logging
import math

import pytest
import torch

from stereotalker_core.body.detector import (
    BODY_POINTS,
    FACE_MARGIN,
    FACE_POINTS,
    KeypointDetector,
    _pad_square,
    _two_heads,
    crop_square,
    face_box,
    face_frame,
    load_detector,
    soft_argmax,
)
from stereotalker_core.body.face_points import INNER, MEAN_INNER, mirror_order, mirrored, strangeness
from stereotalker_core.body.model import HalfBody
from stereotalker_core.image import load_portrait
from stereotalker_core.perception.keypoints import NAMES, load_keypoints

TINY = KeypointDetector.Config(widths=(8, 8, 16, 16, 16), face_widths=(8, 8, 16, 16), size=64, face_size=32)


@pytest.fixture
def detector():
    torch.manual_seed(0)
    return KeypointDetector(TINY).eval()


def test_points_have_names_of_the_body():
    assert set(BODY_POINTS) | set(FACE_POINTS) <= set(NAMES)


def test_default_size_is_small():
    assert sum(p.numel() for p in KeypointDetector().parameters()) < 1_000_000


def test_soft_argmax_finds_a_peak():
    logits = torch.full((1, 2, 16, 16), -30.0)
    logits[0, 0, 3, 12] = 30
    logits[0, 1, 8, 4] = logits[0, 1, 8, 5] = 30
    xy = soft_argmax(logits)
    assert torch.allclose(xy[0, 0], torch.tensor([12.5 / 16, 3.5 / 16]), atol=1e-4)
    assert torch.allclose(xy[0, 1], torch.tensor([5.0 / 16, 8.5 / 16]), atol=1e-4)


def test_padding_maps_pixels_back():
    image = torch.zeros(3, 120, 60)
    image[:, 30:34, 40:44] = 1
    square, scale, offset = _pad_square(image, 64)
    row, column = divmod(int(square[0].argmax()), 64)
    back = (torch.tensor([column + 0.5, row + 0.5]) - offset) / scale
    assert (back - torch.tensor([42.0, 32.0])).abs().max() < 2
    assert square.shape == (3, 64, 64)


def test_face_box_and_crop_are_scale_free():
    head = torch.tensor([[40.0, 50], [60, 50], [50, 50], [50, 62], [43, 72], [57, 72], [50, 85]])
    centre, side = face_box(head)
    assert 40 < float(side) / FACE_MARGIN < 60 and 45 < float(centre[1]) < 75
    doubled, double = face_box(2 * head)
    assert torch.allclose(doubled, 2 * centre) and float(double) == pytest.approx(2 * float(side))
    image = torch.zeros(3, 128, 128)
    image[:, 60:64, 50:54] = 1
    crop = crop_square(image, torch.tensor([52.0, 62.0]), torch.tensor(32.0), 32)
    assert float(crop[:, 15:17, 15:17].min()) > 0.9 and float(crop[:, :10].max()) < 0.1


def test_detect_returns_points_in_pixels(detector):
    with torch.no_grad():
        detector.body.numbers[-1].bias[-1] = 9.0  # a person, whatever is seen
        detector.body.numbers[-1].bias[len(BODY_POINTS) : -1] = 9.0
    image = torch.rand(3, 90, 70, generator=torch.Generator().manual_seed(0)) * 2 - 1
    points, mask, confidence = detector.detect(image)
    assert set(points.names) == set(BODY_POINTS) | set(FACE_POINTS)
    assert mask.shape == (1, 90, 70) and 0 <= float(mask.min()) <= float(mask.max()) <= 1
    assert 0 <= confidence < 0.1 and float(points.sigma.min()) > 0  # sure of a person, but there is no face
    assert float(points.xy.min()) > -90 and float(points.xy.max()) < 180


def test_nobody_is_an_error_that_helps(detector):
    with torch.no_grad():
        detector.body.numbers[-1].bias[-1] = -9.0
    with pytest.raises(ValueError, match="no person found.*POSE_KEYPOINT"):
        detector.detect(torch.zeros(3, 64, 64))


def heads(*places: tuple[float, float]) -> torch.Tensor:
    """Heatmaps (15, 48, 48) with a head at every (x, y)."""
    offsets = [(-3, -2), (3, -2), (0, -2), (0, 1), (-2, 4), (2, 4), (0, 7)]
    heat = torch.full((len(BODY_POINTS), 48, 48), -20.0)
    for k, (x, y) in enumerate(places):
        for i, (dx, dy) in enumerate(offsets):
            heat[i, int(y + dy), int(x + dx)] = 10 - 0.5 * k
    return heat


def test_a_second_head_needs_most_of_its_points():
    assert _two_heads(heads((12, 14))) is None
    first, second = _two_heads(heads((12, 14), (36, 18)))
    assert torch.allclose(first[3] * 48, torch.tensor([12.5, 15.5]), atol=0.6)
    assert torch.allclose(second[3] * 48, torch.tensor([36.5, 19.5]), atol=0.6)
    one_point = heads((12, 14))
    one_point[3, 20, 40] = 9.9  # a pattern like a nose
    assert _two_heads(one_point) is None
    upside_down = heads((12, 14))
    upside_down[:7] = torch.maximum(upside_down[:7], heads((36, 18))[:7].flip(1).roll(-10, 1))
    assert _two_heads(upside_down) is None


def test_two_people_are_noticed_and_one_is_not(inputs, caplog):
    image, trained = load_portrait(inputs.portrait).image, load_detector()
    with caplog.at_level(logging.WARNING):
        trained.detect(image)
        assert "several people" not in caplog.text
        trained.detect(torch.cat([image, image], 2))
    assert "several people" in caplog.text


def test_a_picture_and_its_mirror_image_give_mirrored_points(inputs):
    image, trained = load_portrait(inputs.portrait).image, load_detector()
    here, mask, confidence = trained.detect(image)
    there, other_mask, other_confidence = trained.detect(image.flip(-1))
    swap = mirror_order(FACE_POINTS)
    xy, other = (torch.stack([k.point(n) for n in FACE_POINTS]) / 256 for k in (here, there))
    assert torch.allclose(xy, mirrored(other, swap), atol=2e-3)
    assert torch.allclose(mask, other_mask.flip(-1), atol=1e-3)
    assert confidence == pytest.approx(other_confidence, abs=0.02)


@pytest.mark.parametrize("degrees", [0, 30])
def test_faces_are_found_on_an_upright_and_on_a_tilted_picture(inputs, degrees):
    image, truth = load_portrait(inputs.portrait).image, load_keypoints(inputs.keypoints)
    turn = math.radians(degrees)
    picture = crop_square(image, torch.tensor([128.0, 128.0]), torch.tensor(256.0), 256, turn)
    found, _, confidence = load_detector().detect(picture)
    names = [n for n in truth.names if n in FACE_POINTS and n not in [f"face.{i}" for i in range(17)]]
    assert len(names) > 20
    here, there = (torch.stack([k.point(n) for n in names]) - 128 for k in (found, truth))
    back = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    error = (here @ back.T - there).norm(dim=1).mean() / truth.face_height()
    assert float(error) < 0.08 and confidence > 0.3


def test_a_turned_crop_is_a_turned_picture():
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1))
    middle, side = torch.tensor([32.0, 32.0]), torch.tensor(64.0)
    assert torch.allclose(crop_square(image, middle, side, 64), image, atol=1e-5)
    quarter = crop_square(image, middle, side, 64, math.pi / 2)
    assert torch.allclose(quarter, torch.rot90(image, 1, (1, 2)), atol=1e-4)


def test_the_frame_of_a_face_follows_its_tilt():
    head = torch.tensor([[40.0, 50], [60, 50], [50, 50], [50, 62], [43, 72], [57, 72], [50, 85]])
    turn = 0.5
    rotation = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    assert face_frame(head)[2] == pytest.approx(0, abs=1e-6)
    assert face_frame(head @ rotation.T)[2] == pytest.approx(turn, abs=1e-5)
    assert face_frame(head @ rotation.T)[1] == pytest.approx(float(face_frame(head)[1]), rel=1e-5)


def test_the_mean_face_is_the_body_s():
    body = HalfBody()
    posed = body.pose(body.rest(torch.zeros(1, body.n_shape)), torch.zeros(1, 49, 3))
    points = body.keypoints(posed.vertices, posed.bones)[0]
    face = torch.stack([points[body.keypoint_index[f"face.{i}"]] for i in range(68)])[:, [0, 2]]
    face = face * torch.tensor([1.0, -1.0])
    inner = face[INNER] - face[INNER].mean(0)
    assert torch.allclose(inner / inner.norm(dim=1).mean(), torch.tensor(MEAN_INNER), atol=6e-3)
    swap = mirror_order(FACE_POINTS)
    assert [swap[i] for i in swap] == list(range(len(swap)))
    other = mirrored(face + 0.5, swap[:68]) - 0.5
    assert float((other - face).norm(dim=1).max()) < 0.004  # metres
    turned = face @ torch.tensor([[0.6, -0.8], [0.8, 0.6]]) * 37 + 5
    assert float(strangeness(turned[None])) < 0.01
    assert float(strangeness(torch.rand(1, 68, 2, generator=torch.Generator().manual_seed(0)))) > 0.5
