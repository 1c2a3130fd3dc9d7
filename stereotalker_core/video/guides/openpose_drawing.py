"""The common OpenPose / DWPose drawing of a body, two hands and a face, pixel by pixel.

Pose-steered networks (AnimateAnyone, ControlNet) were trained on it: limbs as ellipses with a half width of 4 px at 60
% brightness, joints as discs in full colour on top, then fingers, finger joints and face points, in this order, and of
the same size in pictures of all sizes. Coordinates are px; NaN marks a missing point."""

import colorsys
import math

import numpy as np

from .raster_shapes import bar, disc, ellipse, fill

# OpenPose's 18 points; the colour of point and limb i is the i-th
COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255),
    (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
FINGERS = tuple((0 if k == 0 else 4 * f + k, 4 * f + k + 1) for f in range(5) for k in range(4))
POINTS = 18 + 2 * 21 + 68  # body, left hand, right hand, face
_HALF_WIDTH, _JOINT, _FACE = 4, 4, 3


def draw_openpose(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Draw the points (128, 2) of one person on black -> (H, W, 3) uint8."""
    if points.shape != (POINTS, 2):
        raise ValueError(f"expected points of shape ({POINTS}, 2), got {points.shape}")
    canvas = np.zeros((*size, 3), np.uint8)
    reach = 4 * max(size)  # what lies so far outside that no line of it could be seen is not there
    points = np.where((np.abs(points) < reach).all(1, keepdims=True), points.astype(np.float64), np.nan)
    body, hands, face = points[:18], points[18:60].reshape(2, 21, 2), points[60:]
    _draw_limbs(canvas, body)
    canvas = (canvas * 0.6).astype(np.uint8)
    for point, colour in zip(body, COLOURS, strict=True):
        if not np.isnan(point).any():
            fill(canvas, disc(_JOINT) + point.astype(np.int64), colour)
    for hand in hands:
        _hand(canvas, hand)
    for point in _present(face):
        fill(canvas, disc(_FACE) + point, (255, 255, 255))
    return canvas


def _draw_limbs(canvas: np.ndarray, body: np.ndarray) -> None:
    for (a, b), colour in zip(LIMBS, COLOURS, strict=False):
        if np.isnan(body[[a, b]]).any():
            continue
        middle, d = (body[a] + body[b]) / 2, body[a] - body[b]
        angle = math.degrees(math.atan2(d[1], d[0]))
        centre = int(middle[0]), int(middle[1])
        fill(canvas, ellipse(centre, int(math.hypot(*d) / 2), _HALF_WIDTH, int(angle)), colour)


def _hand(canvas: np.ndarray, hand: np.ndarray) -> None:
    whole = np.nan_to_num(hand).astype(np.int64)  # a coordinate of 0 is how the common drawing marks an absent point
    for i, (a, b) in enumerate(FINGERS):
        if (whole[[a, b]] > 0).all():
            red, green, blue = (round(255 * c) for c in colorsys.hsv_to_rgb(i / len(FINGERS), 1.0, 1.0))
            for part in bar(whole[a], whole[b]):
                fill(canvas, part, (red, green, blue))
    for point in _present(hand):
        fill(canvas, disc(_JOINT) + point, (0, 0, 255))


def _present(points: np.ndarray) -> np.ndarray:
    whole = np.nan_to_num(points).astype(np.int64)
    return whole[(whole > 0).all(1)]
