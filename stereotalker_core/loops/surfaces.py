"""Compiled loops over triangles and points of a surface: z-buffer, normals, interpolation, sums, smoothing.

Arrays are contiguous, float32, int64 or bool; results are filled into the last arguments."""

import math

import numpy as np

from .decorator import compiled

_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)


@compiled
def rasterise(points, triangles, rows, columns, cull, tolerance, steps, found, weights, depth):
    """Find the visible triangle of every pixel, as `body.rasterize.rasterize` does.

    points: (V, 3) px and m; triangles: (F, 3); cull: leave out those that face away; tolerance: of barycentric weights
    at edges; steps: depth resolution. Fills found (H, W) int64, -1 for none, weights (H, W, 3) and depth (H, W)."""
    nearest = np.full((rows, columns), np.int64(1) << 62, np.int64)
    found[:] = -1
    edge = -np.float32(tolerance)
    for t in range(len(triangles)):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, x1, x2 = points[i, 0], points[j, 0], points[k, 0]
        y0, y1, y2 = points[i, 1], points[j, 1], points[k, 1]
        area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        if cull and area >= np.float32(-1e-9) or abs(area) <= np.float32(1e-9):
            continue
        if min(points[i, 2], points[j, 2], points[k, 2]) <= np.float32(1e-3):
            continue
        left = int(max(_ZERO, math.ceil(min(x0, x1, x2) - _HALF)))
        right = int(min(np.float32(columns - 1), math.floor(max(x0, x1, x2) - _HALF)))
        top = int(max(_ZERO, math.ceil(min(y0, y1, y2) - _HALF)))
        bottom = int(min(np.float32(rows - 1), math.floor(max(y0, y1, y2) - _HALF)))
        if right < left or bottom < top:
            continue
        x0, x1, x2 = x0 - np.float32(left), x1 - np.float32(left), x2 - np.float32(left)
        y0, y1, y2 = y0 - np.float32(top), y1 - np.float32(top), y2 - np.float32(top)
        part = _ONE / area
        a, b, c = (y1 - y2) * part, (x2 - x1) * part, (x1 * y2 - x2 * y1) * part
        d, e, f = (y2 - y0) * part, (x0 - x2) * part, (x2 * y0 - x0 * y2) * part
        q0, q1, q2 = _ONE / points[i, 2], _ONE / points[j, 2], _ONE / points[k, 2]
        for row in range(bottom - top + 1):
            y = np.float32(row) + _HALF
            first, second = b * y + c, e * y + f
            for column in range(right - left + 1):
                x = np.float32(column) + _HALF
                w0, w1 = a * x + first, d * x + second
                w2 = _ONE - w0 - w1
                if w0 >= edge and w1 >= edge and w2 >= edge:
                    p0, p1, p2 = w0 * q0, w1 * q1, w2 * q2
                    near = p0 + p1 + p2
                    key = np.int64(np.float32(steps) / max(near, np.float32(1e-6)))
                    if key < nearest[top + row, left + column]:
                        nearest[top + row, left + column], found[top + row, left + column] = key, t
                        away = _ONE / near
                        depth[top + row, left + column] = away
                        weights[top + row, left + column, 0] = p0 * away
                        weights[top + row, left + column, 1] = p1 * away
                        weights[top + row, left + column, 2] = p2 * away


@compiled
def normals(vertices, triangles, out):
    """Fill out (V, 3) with the area-weighted unit normals of vertices (V, 3)."""
    out[:] = _ZERO
    for t in range(len(triangles)):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = vertices[j, 0] - vertices[i, 0], vertices[j, 1] - vertices[i, 1], vertices[j, 2] - vertices[i, 2]
        bx, by, bz = vertices[k, 0] - vertices[i, 0], vertices[k, 1] - vertices[i, 1], vertices[k, 2] - vertices[i, 2]
        x, y, z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for corner in (i, j, k):
            out[corner, 0] += x
            out[corner, 1] += y
            out[corner, 2] += z
    for i in range(len(out)):
        x, y, z = out[i, 0], out[i, 1], out[i, 2]
        scale = _ONE / np.float32(math.sqrt(max(x * x + y * y + z * z, np.float32(1e-20))))
        out[i, 0], out[i, 1], out[i, 2] = x * scale, y * scale, z * scale


@compiled
def at_points(values, corners, weight, out):
    """Fill out (N, C) with vertex values (V, C) interpolated at corners (N, 3) by weight (N, 3)."""
    for n in range(len(corners)):
        i, j, k = corners[n, 0], corners[n, 1], corners[n, 2]
        a, b, c = weight[n, 0], weight[n, 1], weight[n, 2]
        for channel in range(values.shape[1]):
            out[n, channel] = values[i, channel] * a + values[j, channel] * b + values[k, channel] * c


@compiled
def vertex_sums(corners, share, values, weight, out):
    """Add values (n, 3) times weight (n,), and the weights, to the vertices out (V, 4) of their triangles.

    corners: (n, 3) vertices; share: (n, 3) barycentric."""
    for n in range(len(corners)):
        if weight[n] == _ZERO:
            continue
        for i in range(3):
            part, vertex = weight[n] * share[n, i], corners[n, i]
            out[vertex, 0] += values[n, 0] * part
            out[vertex, 1] += values[n, 1] * part
            out[vertex, 2] += values[n, 2] * part
            out[vertex, 3] += part


@compiled
def smoothness(one, other, stiffness, diagonal, values, out):
    """Fill out (V,) with diagonal (V,) times values (V,), plus stiffness (E,) times their differences along edges.

    one, other: (E,) ends of the edges."""
    for i in range(len(values)):
        out[i] = diagonal[i] * values[i]
    for e in range(len(one)):
        flow = stiffness[e] * (values[one[e]] - values[other[e]])
        out[one[e]] += flow
        out[other[e]] -= flow


@compiled
def lent(distance, spread, reach, values, out):
    """Fill out (U, C) with the means of values (A, C) by weights exp(-distance / spread).

    distance: (U, A); spread: (U,) length over which a weight falls to 1 / e; reach: spreads beyond the nearest from
    which on nothing is heard."""
    count, channels = values.shape
    total = np.empty(channels, np.float32)
    for u in range(len(distance)):
        line = distance[u]
        least = line[0]
        for a in range(1, count):
            least = line[a] if line[a] < least else least
        limit, rate = least + np.float32(reach) * spread[u], _ONE / spread[u]
        sums = _ZERO
        total[:] = _ZERO
        for a in range(count):
            if line[a] <= limit:
                weight = np.float32(math.exp((least - line[a]) * rate))
                sums += weight
                for c in range(channels):
                    total[c] += weight * values[a, c]
        for c in range(channels):
            out[u, c] = total[c] / sums


@compiled
def share_near(colours, others, limit, out):
    """Fill out (N,) with the share of others (M, 3) that lie nearer than a limit to each of colours (N, 3)."""
    most = np.float32(limit * limit)
    part = _ONE / np.float32(len(others))
    r, g, b = others[:, 0].copy(), others[:, 1].copy(), others[:, 2].copy()
    for n in range(len(colours)):
        red, green, blue = colours[n, 0], colours[n, 1], colours[n, 2]
        count = np.int32(0)
        for m in range(len(r)):
            x, y, z = r[m] - red, g[m] - green, b[m] - blue
            count += np.int32(1) if x * x + y * y + z * z < most else np.int32(0)
        out[n] = np.float32(count) * part


@compiled
def linear(value):
    """Return the light of a colour value in [-1, 1]: its square in [0, 1]."""
    unit = max(value * _HALF + _HALF, _ZERO)
    return unit * unit


@compiled
def skin_steps(colours, others, black, hue, brighter, darker, out):
    """Fill out (N,) with the distances of colours (N, 3) to others (N or 1, 3), as `materials.skin_steps` does.

    black: light added to each colour; hue, brighter, darker: steps per unit of hue and of the logarithm of light."""
    low, hue = np.float32(black), np.float32(hue)
    brighter, darker = np.float32(brighter), np.float32(darker)
    for n in range(len(colours)):
        m = n if len(others) > 1 else 0
        r, g, b = linear(colours[n, 0]) + low, linear(colours[n, 1]) + low, linear(colours[n, 2]) + low
        u, v, w = linear(others[m, 0]) + low, linear(others[m, 1]) + low, linear(others[m, 2]) + low
        one, two = r + g + b, u + v + w
        here, there = _ONE / one, _ONE / two
        r, g, b = r * here - u * there, g * here - v * there, b * here - w * there
        more = np.float32(math.log(one * there))
        lit = more * brighter if more > _ZERO else more * darker
        out[n] = np.float32(math.sqrt((r * r + g * g + b * b) * hue * hue + lit * lit))


@compiled
def skinned(vertices, bone, share, turned, shift, out):
    """Fill out (V, 3) with the vertices (V, 3) moved by their bones (V, W), each by its share (V, W).

    turned: (B, 3, 3) rotations and shift: (B, 3) translations of the bones."""
    for v in range(len(vertices)):
        x, y, z = vertices[v, 0], vertices[v, 1], vertices[v, 2]
        a, b, c = _ZERO, _ZERO, _ZERO
        for w in range(bone.shape[1]):
            part, k = share[v, w], bone[v, w]
            if part != _ZERO:
                a += part * (turned[k, 0, 0] * x + turned[k, 0, 1] * y + turned[k, 0, 2] * z + shift[k, 0])
                b += part * (turned[k, 1, 0] * x + turned[k, 1, 1] * y + turned[k, 1, 2] * z + shift[k, 1])
                c += part * (turned[k, 2, 0] * x + turned[k, 2, 1] * y + turned[k, 2, 2] * z + shift[k, 2])
        out[v, 0], out[v, 1], out[v, 2] = a, b, c


@compiled
def bilinear(picture, x, y):
    """Return picture (h, w) at pixel x, y (pixel centres at .5); zero outside."""
    rows, columns = picture.shape
    x, y = x - _HALF, y - _HALF
    left, top = int(math.floor(x)), int(math.floor(y))
    total = _ZERO
    for j in range(2):
        for i in range(2):
            if 0 <= top + j < rows and 0 <= left + i < columns:
                share = (_ONE - abs(x - np.float32(left + i))) * (_ONE - abs(y - np.float32(top + j)))
                total += share * picture[top + j, left + i]
    return total


@compiled
def edge_gaps(mask, covered, pixel, normal, reach, step, gap, found):
    """Walk from pixels (M, 2) along normals (M, 2) to the mask's edge, as `fit_shell._gap` does.

    mask, covered: (h, w); reach: (M,) px; step: px of a stride. Fills gap (M,) px and found (M,) bool."""
    rows, columns = mask.shape
    steps, four = int(reach.max() / step) + 1, np.float32(4)
    wide, high = np.float32(columns - 1), np.float32(rows - 1)
    for m in range(len(pixel)):
        x, y, u, v = pixel[m, 0], pixel[m, 1], normal[m, 0], normal[m, 1]
        gap[m], found[m] = _ZERO, False
        inside = bilinear(mask, x, y) > _HALF
        for k in range(steps):
            t = np.float32(k * step)
            if inside:
                to_x, to_y = x + t * u, y + t * v
                other = t > four and bilinear(covered, to_x, to_y) > _HALF
                if other or not bilinear(mask, to_x, to_y) > _HALF:
                    leaves = to_x < _ONE or to_y < _ONE or to_x > wide or to_y > high
                    gap[m], found[m] = t * (_HALF if other else _ONE), not leaves
                    break
            elif bilinear(mask, x - t * u, y - t * v) > _HALF:
                gap[m], found[m] = -t, True
                break
        found[m] = found[m] and abs(gap[m]) <= reach[m]
