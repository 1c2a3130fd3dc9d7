import logging

import pytest
import torch

from stereotalker_core.body.detector import (
    BODY_POINTS,
    FACE_MARGIN,
    FACE_POINTS,
    KeypointDetector,
    _pad_square,
    _second_peak,
    crop_square,
    face_box,
    soft_argmax,
)
from stereotalker_core.body.keypoints import NAMES
from stereotalker_core.body.matting import guided_filter, matte

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
    assert confidence > 0.9 and float(points.sigma.min()) > 0
    assert float(points.xy.min()) > -90 and float(points.xy.max()) < 180


def test_nobody_is_an_error_that_helps(detector):
    with torch.no_grad():
        detector.body.numbers[-1].bias[-1] = -9.0
    with pytest.raises(ValueError, match="no person found.*POSE_KEYPOINT"):
        detector.detect(torch.zeros(3, 64, 64))


def test_two_people_are_noticed(detector, monkeypatch, caplog):
    heat = torch.full((48, 48), -20.0)
    heat[10, 10] = 10
    assert not _second_peak(heat)
    heat[12, 40] = 9.5
    assert _second_peak(heat)
    with torch.no_grad():
        detector.body.numbers[-1].bias[-1] = 9.0
    monkeypatch.setattr("stereotalker_core.body.detector._second_peak", lambda heat: True)
    with caplog.at_level(logging.WARNING):
        detector.detect(torch.zeros(3, 64, 64))
    assert "several people" in caplog.text


def test_guided_filter_equals_its_definition():
    rng = torch.Generator().manual_seed(0)
    guide, values = torch.rand(1, 3, 12, 10, generator=rng), torch.rand(1, 1, 12, 10, generator=rng)
    radius, epsilon = 2, 1e-2
    grey = guide.mean(1)[0]

    def window(x: torch.Tensor, row: int, column: int) -> torch.Tensor:
        rows = torch.arange(row - radius, row + radius + 1).clamp(0, 11)
        columns = torch.arange(column - radius, column + radius + 1).clamp(0, 9)
        return x[rows][:, columns]

    slope, level = torch.zeros(12, 10), torch.zeros(12, 10)
    for i in range(12):
        for j in range(10):
            g, v = window(grey, i, j), window(values[0, 0], i, j)
            slope[i, j] = ((g * v).mean() - g.mean() * v.mean()) / (g.var(unbiased=False) + epsilon)
            level[i, j] = v.mean() - slope[i, j] * g.mean()
    wanted = torch.stack(
        [
            torch.stack([window(slope, i, j).mean() * grey[i, j] + window(level, i, j).mean() for j in range(10)])
            for i in range(12)
        ]
    )
    assert torch.allclose(guided_filter(guide, values, radius, epsilon)[0, 0], wanted, atol=1e-4)


def test_guided_filter_follows_the_picture():
    guide = torch.zeros(1, 3, 32, 32)
    guide[..., 16:] = 1
    rough = torch.zeros(1, 1, 32, 32)
    rough[..., 13:] = 1  # three pixels off the edge
    fine = guided_filter(guide, rough, 8, 1e-4)
    assert float(fine[..., 20].mean()) > 0.9
    assert float(fine[..., 14].mean()) < float(rough[..., 14].mean()) - 0.4


def test_matte_adds_hair_and_clothes_by_colour():
    """A grey person with brown hair before a blue wall; the body's silhouette knows neither hair nor clothes."""
    image = torch.tensor([-0.6, -0.4, 0.8])[:, None, None].repeat(1, 96, 96)
    truth = torch.zeros(1, 96, 96)
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    hair = ((x - 48) / 17) ** 2 + ((y - 26) / 17) ** 2 < 1
    face = ((x - 48) / 11) ** 2 + ((y - 31) / 13) ** 2 < 1
    trunk = (y > 45) & ((x - 48).abs() < 26)
    for area, colour in ((hair, (0.1, -0.3, -0.6)), (face, (0.6, 0.3, 0.1)), (trunk, (0.2, 0.2, 0.1))):
        image[:, area] = torch.tensor(colour)[:, None]
        truth[0, area] = 1
    image += 0.05 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    scalp = ((x - 48) / 13) ** 2 + ((y - 26) / 14) ** 2 < 1
    silhouette = (face | scalp | ((y > 47) & ((x - 48).abs() < 23)))[None].float()
    mask = matte(image, silhouette, (scalp & ~face)[None].float(), 26.0)

    def iou(m):
        a, b = m > 0.5, truth > 0.5
        return float((a & b).sum() / (a | b).sum())

    assert iou(mask) > 0.96 > iou(silhouette) + 0.04
