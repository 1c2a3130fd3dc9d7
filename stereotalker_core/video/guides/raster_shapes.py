"""Integer drawing of ellipses, discs and thick lines that lights the same pixels as the usual computer-vision library.

Networks steered by pose drawings saw exactly these shapes: polygons of points rounded to pixels, with outlines by
Bresenham's algorithm, filled row by row, without anti-aliasing. `pixels` are (N, 2) columns x, y; each row is filled
between the outermost pixels of the outline, which suffices for convex shapes."""

from functools import cache

import numpy as np

Pixels = np.ndarray  # (N, 2) int64
_ONE = 1 << 16  # fixed point of thick lines


def ellipse(centre: tuple[int, int], half_length: int, half_width: int, degrees: int) -> Pixels:
    """Return the outline of an ellipse rotated by whole degrees: one rounded point per degree, joined by lines.

    centre: px; half_length, half_width: px."""
    sine, cosine = _sines(), _sines()[90:]
    turn = degrees % 360
    x, y = half_length * cosine[:361].astype(np.float64), half_width * sine[:361].astype(np.float64)
    across = np.rint(centre[0] + x * float(cosine[turn]) - y * float(sine[turn]))
    down = np.rint(centre[1] + x * float(sine[turn]) + y * float(cosine[turn]))
    points = np.stack([across, down], 1).astype(np.int64)
    return outline(points)


def outline(points: np.ndarray) -> Pixels:
    """Return the outline of the closed polygon with integer points (N, 2)."""
    following = np.roll(points, -1, 0)
    moved = (points != following).any(1)
    if not moved.any():
        return points[:1]
    a, b = points[moved], following[moved]
    return np.concatenate([lines(a, b), _rows(a * _ONE, b * _ONE)])


def lines(a: np.ndarray, b: np.ndarray) -> Pixels:
    """Return Bresenham's lines between points a (N, 2) and b (N, 2), from the left to the right end, both included."""
    a, b = _ordered(a, b, b[:, 0] < a[:, 0])
    d = b - a
    steep = np.abs(d[:, 1]) > np.abs(d[:, 0])
    a, d = np.where(steep[:, None], a[:, ::-1], a), np.where(steep[:, None], d[:, ::-1], d)  # longer axis first
    length, rise = np.abs(d).T[..., None]
    step = np.arange(int(length.max()) + 1)
    minor = -((length - 2 * rise * step) // np.maximum(2 * length, 1))
    out = a[:, None] + np.sign(d)[:, None] * np.stack([np.broadcast_to(step, minor.shape), minor], -1)
    out = np.where(steep[:, None, None], out[..., ::-1], out)
    return out[step <= length]


def _ordered(a: np.ndarray, b: np.ndarray, swap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.where(swap[:, None], b, a), np.where(swap[:, None], a, b)


def _rows(a: np.ndarray, b: np.ndarray) -> Pixels:
    """Return the pixels where row filling meets edges given in 1/65536 px, up to a pixel outside the drawn line."""
    a, b = _ordered(a, b, b[:, 1] < a[:, 1])
    top, bottom = (a[:, 1] + _ONE // 2) // _ONE, (b[:, 1] + _ONE // 2) // _ONE
    n = (bottom - top)[:, None]
    slope = _towards_zero(2 * (b - a)[:, :1] + n, np.maximum(2 * n, 1))
    step = np.arange(int(n.max()) + 1)
    x = (a[:, :1] + slope * step + _ONE // 2) // _ONE
    return np.stack([x, top[:, None] + step], -1)[(step <= n) & (n > 0)]


def _towards_zero(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a) // b * np.sign(a)


@cache
def disc(radius: int) -> Pixels:
    """Return the outline of a disc about the origin, by the midpoint algorithm; radius: px."""
    out, error, x, y, plus, minus = [], 0, radius, 0, 1, 2 * radius - 1
    while x >= y:
        out += [(sx * p, sy * q) for p, q in ((x, y), (y, x)) for sx in (-1, 1) for sy in (-1, 1)]
        y, error, plus = y + 1, error + plus, plus + 2
        if error > 0:
            error, x, minus = error - minus, x - 1, minus - 2
    return np.array(out)


def bar(a: np.ndarray, b: np.ndarray) -> list[Pixels]:
    """Return a line two pixels thick between integer points (2,): outlines of its rectangle and of its round ends."""
    ends = [disc(1) + a, disc(1) + b]
    d = (b - a).astype(np.float64)
    length = float(np.hypot(*d))
    if not length:
        return ends
    half = np.rint(np.array([d[1], -d[0]]) * (_ONE / length)).astype(np.int64)
    p, q = a * _ONE, b * _ONE
    corners = np.stack([p + half, p - half, q - half, q + half])
    before = np.roll(corners, 1, 0)
    return [np.concatenate([_fixed_lines(before, corners), _rows(before, corners)]), *ends]


def _fixed_lines(a: np.ndarray, b: np.ndarray) -> Pixels:
    """Return lines between points (N, 2) in 1/65536 px, stepped by whole pixels along their longer axis."""
    d = b - a
    steep = np.abs(d[:, 0]) <= np.abs(d[:, 1])
    a, b = np.where(steep[:, None], a[:, ::-1], a), np.where(steep[:, None], b[:, ::-1], b)
    a, b = _ordered(a, b, b[:, 0] < a[:, 0])
    d = b - a
    slope = _towards_zero(d[:, 1] * _ONE, d[:, 0] | 1)[:, None]
    count = (d[:, 0] // _ONE)[:, None]
    step = np.arange(int(count.max()) + 1)
    first = (a + _ONE // 2)[:, None]
    out = np.stack([first[..., 0] // _ONE + step, (first[..., 1] + slope * step) // _ONE], -1)
    keep = np.concatenate([step <= count, np.ones_like(count, bool)], 1)
    out = np.concatenate([out, ((b + _ONE // 2) // _ONE)[:, None]], 1)
    return np.where(steep[:, None, None], out[..., ::-1], out)[keep]


def fill(canvas: np.ndarray, pixels: Pixels, colour: tuple[int, int, int]) -> None:
    """Fill the shape with this outline on a canvas (H, W, 3), clipped at its edges."""
    height, width = canvas.shape[:2]
    top = int(pixels[:, 1].min())
    rows = int(pixels[:, 1].max()) - top + 1
    left, right = np.full(rows, np.iinfo(np.int64).max), np.full(rows, np.iinfo(np.int64).min)
    np.minimum.at(left, pixels[:, 1] - top, pixels[:, 0])
    np.maximum.at(right, pixels[:, 1] - top, pixels[:, 0])
    for row in range(max(0, -top), min(rows, height - top)):
        first, last = max(0, int(left[row])), min(width, int(right[row]) + 1)
        if first < last:
            canvas[top + row, first:last] = colour


@cache
def _sines() -> np.ndarray:
    """Return the sines of 0..450 degrees rounded to seven decimals, as in the library's table."""
    return np.round(np.sin(np.deg2rad(np.arange(451))), 7).astype(np.float32)
