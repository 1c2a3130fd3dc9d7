"""The common pose drawing: against a picture made with the original library, and against a slow twin from its rules."""

import colorsys
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stereotalker_core.body.model import HalfBody
from stereotalker_core.camera.trajectories import canonical_framing, fixed
from stereotalker_core.video.guides.openpose_drawing import COLOURS, POINTS, draw_openpose
from stereotalker_core.video.guides.raster_shapes import disc, ellipse, fill, lines
from stereotalker_core.video.guides.skeleton_drawing import draw_skeleton, skeleton_points

DATA = Path(__file__).resolve().parents[2] / "data"


def stored_points():
    values = json.loads((DATA / "openpose_points.json").read_text())
    return np.array([[math.nan if x is None else x for x in point] for point in values])


def test_equals_the_picture_of_the_original_library():
    """tests/data/openpose_drawing.png: OpenCV 5.0's ellipse2Poly, fillConvexPoly, circle and line at these points."""
    expected = np.array(Image.open(DATA / "openpose_drawing.png").convert("RGB"))
    ours = draw_openpose(stored_points(), (256, 256))
    assert (expected.any(-1)).sum() > 5000
    assert np.array_equal(ours, expected)


def plain_limb(a, b, size):
    """Pixels of one limb by its rules: a polygon of rounded points, drawn edge by edge, rows filled exactly."""
    middle, angle = (a + b) / 2, int(math.degrees(math.atan2(a[1] - b[1], a[0] - b[0])))
    half, c, s = int(math.dist(a, b) / 2), math.cos(math.radians(angle)), math.sin(math.radians(angle))
    corners = []
    for degree in range(361):
        x, y = half * math.cos(math.radians(degree)), 4 * math.sin(math.radians(degree))
        corners.append((round(int(middle[0]) + x * c - y * s), round(int(middle[1]) + x * s + y * c)))
    lit = np.zeros((size, size), bool)
    spans = {}
    for (x0, y0), (x1, y1) in zip(corners, corners[1:], strict=False):
        n = max(abs(x1 - x0), abs(y1 - y0))
        for i in range(n + 1):
            x, y = (Fraction(p) + Fraction(q - p, max(n, 1)) * i for p, q in ((x0, x1), (y0, y1)))
            spans.setdefault(math.floor(y + Fraction(1, 2)), []).append(math.floor(x + Fraction(1, 2)))
    for y, xs in spans.items():
        lit[y, min(xs) : max(xs) + 1] = True
    return lit


def test_limbs_equal_the_plain_rules():
    rng = np.random.default_rng(3)
    for _ in range(6):
        points = np.full((POINTS, 2), np.nan)
        points[2:4] = rng.uniform(20, 108, (2, 2))  # shoulder and elbow: the third limb
        ours = draw_openpose(points, (128, 128))
        expected = np.zeros((128, 128, 3), np.uint8)
        expected[plain_limb(points[2], points[3], 128)] = [int(0.6 * c) for c in COLOURS[2]]
        for i in (2, 3):
            y, x = np.mgrid[:128, :128] - points[i][::-1].astype(int)[:, None, None]
            expected[x * x + y * y <= 16] = COLOURS[i]
        wrong = (ours != expected).any(-1).sum()
        assert wrong <= 0.005 * expected.any(-1).sum()  # ties of rounding


def test_order_colours_and_what_is_left_out():
    points = np.full((POINTS, 2), np.nan)
    points[1:3] = (20, 60), (100, 60)
    picture = draw_openpose(points, (120, 120))
    assert picture[60, 60].tolist() == [153, 0, 0]  # a limb has 60 % of its colour
    assert picture[60, 100].tolist() == [255, 170, 0] and picture[60, 20].tolist() == [255, 85, 0]
    assert picture[64, 60].any() and not picture[65, 60].any()  # 4 pixels half width at every size
    points[60] = 100, 60
    assert draw_openpose(points, (120, 120))[60, 100].tolist() == [255, 255, 255]  # the face is drawn last
    points[18:39, 0], points[18:39, 1] = 50 + 30 * (np.arange(21) % 2), 20 + 3 * np.arange(21)
    hand = draw_openpose(points, (120, 120))
    assert hand[20, 50].tolist() == [0, 0, 255]
    assert {tuple(round(255 * c) for c in colorsys.hsv_to_rgb(i / 20, 1, 1)) for i in range(20)} & {
        tuple(c) for c in hand.reshape(-1, 3).tolist()
    }
    assert not draw_openpose(np.full((POINTS, 2), np.nan), (64, 64)).any()
    far = np.full((POINTS, 2), 1e9)
    assert not draw_openpose(far, (64, 64)).any()
    with pytest.raises(ValueError, match="128, 2"):
        draw_openpose(points[:18], (64, 64))


def test_discs_lines_and_rows():
    canvas = np.zeros((9, 9, 3), np.uint8)
    fill(canvas, disc(4) + 4, (1, 1, 1))
    assert canvas[..., 0].sum(1).tolist() == [1, 5, 7, 7, 9, 7, 7, 5, 1]
    drawn = lines(np.array([[0, 0]]), np.array([[4, 2]]))
    assert drawn.tolist() == [[0, 0], [1, 0], [2, 1], [3, 1], [4, 2]]
    outside = np.zeros((4, 4, 3), np.uint8)
    fill(outside, ellipse((2, 2), 20, 4, 30), (9, 9, 9))
    assert (outside == 9).all()


def test_the_body_is_drawn_at_its_joints():
    body = HalfBody()
    view = fixed(canonical_framing(0.5), 2, yaw=20.0, size=(256, 256))
    posed = body.pose(body.rest(torch.zeros(1, body.n_shape)), torch.zeros(2, 49, 3))
    points, picture = skeleton_points(body, posed, view), draw_skeleton(body, posed, view)
    assert picture.shape == (2, 3, 256, 256) and picture.min() == -1 and picture.max() == 1
    assert points[:, [9, 10, 12, 13]].isnan().all() and not points[:, [0, 1, 2, 5]].isnan().any()
    x, y = points[0, 2].long().tolist()
    assert ((picture[0, :, y, x] + 1) * 127.5).round().tolist() == [255, 170, 0]
    with pytest.raises(ValueError, match="agree"):
        draw_skeleton(body, posed, view[:1])
