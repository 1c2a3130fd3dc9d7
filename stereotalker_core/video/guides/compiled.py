"""The guides of a frame in one compiled loop: project, z-buffer, texture, light, mean of the samples, guide tensor.

The same arithmetic as `maps` and `body.rasterize` in float32, sample by sample instead of operation by operation. Numba
compiles it at the first call and caches the machine code beside this file, or in the user's cache where the package is
not writable. Only `loops` imports this module, and only if numba is installed. Nothing here holds the interpreter's
lock, so that frames are drawn in several threads."""

import math

import numba
import numpy as np

from ...body.rasterize import EDGE_TOLERANCE
from ...loops.decorator import machine_code

_EDGE = np.float32(-EDGE_TOLERANCE)
_ONE, _HALF, _ZERO = np.float32(1), np.float32(0.5), np.float32(0)
_QUARTER = np.float32(0.25)  # a sample's share of its pixel
_BLOCK_SHARE = np.float32(1 / 16)  # a pixel's share of its block of the guide tensor


def inlined(function):
    """Compile a function to be inlined into its callers, which saves a third of the time per sample."""
    return numba.njit(inline="always", error_model="numpy")(function)


@machine_code
def project(vertices, matrix, focal_x, focal_y, centre_x, centre_y, points):
    """Project vertices (V, 3) m into points (V, 3), filled in: sample x, y and depth in m.

    matrix: (4, 4) world to camera; focal_*, centre_*: in samples."""
    for i in range(len(vertices)):
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        depth = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3]
        near = max(depth, np.float32(1e-6))
        points[i, 0] = (matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3]) / near * focal_x
        points[i, 1] = (matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3]) / near * focal_y
        points[i, 0] += centre_x
        points[i, 1] += centre_y
        points[i, 2] = depth


@machine_code
def rasterise(points, triangles, rows, columns, inverse, found, weights):
    """Find for every sample the nearest triangle that faces the camera, as `body.rasterize` does.

    points: (V, 3) x, y, depth.
    triangles: (F, 3) vertex indices.
    rows, columns: size of the picture, in samples.
    inverse: (N,) filled with 1 / depth.
    found: (N,) filled with the triangle, -1 for none.
    weights: (N, 2) filled with perspective-correct barycentric weights."""
    inverse[:], found[:] = _ZERO, -1
    for t in range(len(triangles)):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, x1, x2 = points[i, 0], points[j, 0], points[k, 0]
        y0, y1, y2 = points[i, 1], points[j, 1], points[k, 1]
        area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        if area >= np.float32(-1e-9) or min(points[i, 2], points[j, 2], points[k, 2]) <= np.float32(1e-3):
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
            line = (top + row) * columns + left
            for column in range(right - left + 1):
                x = np.float32(column) + _HALF
                w0, w1 = a * x + first, d * x + second
                w2 = _ONE - w0 - w1
                if w0 >= _EDGE and w1 >= _EDGE and w2 >= _EDGE:
                    near, sample = w0 * q0 + w1 * q1 + w2 * q2, line + column
                    if near > inverse[sample]:
                        inverse[sample], found[sample] = near, t
                        weights[sample, 0], weights[sample, 1] = w0 * q0 / near, w1 * q1 / near


@inlined
def texel(texture, u, v):
    """Sample a texture (h, w, 4) bilinearly at u, v in 0..1, edges repeated -> four numbers."""
    height, width = texture.shape[0], texture.shape[1]
    x = min(max(u * np.float32(width) - _HALF, _ZERO), np.float32(width - 1))
    y = min(max(v * np.float32(height) - _HALF, _ZERO), np.float32(height - 1))
    x0, y0 = int(x), int(y)
    x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
    right, lower = x - np.float32(x0), y - np.float32(y0)
    a, b = (_ONE - right) * (_ONE - lower), right * (_ONE - lower)
    c, d = (_ONE - right) * lower, right * lower
    return (
        texture[y0, x0, 0] * a + texture[y0, x1, 0] * b + texture[y1, x0, 0] * c + texture[y1, x1, 0] * d,
        texture[y0, x0, 1] * a + texture[y0, x1, 1] * b + texture[y1, x0, 1] * c + texture[y1, x1, 1] * d,
        texture[y0, x0, 2] * a + texture[y0, x1, 2] * b + texture[y1, x0, 2] * c + texture[y1, x1, 2] * d,
        texture[y0, x0, 3] * a + texture[y0, x1, 3] * b + texture[y1, x0, 3] * c + texture[y1, x1, 3] * d,
    )


@inlined
def lit(colour, factor):
    """Return a colour value in [-1, 1] with its shading multiplied by a factor, as in `light.relit`, clamped."""
    return min(max((colour * _HALF + _HALF) * factor * np.float32(2) - _ONE, -_ONE), _ONE)


@machine_code
def named(part, triangle):
    """Return the label of a sample: part[triangle] (1 + index of a part of the body), 0 where there is no triangle."""
    return part[triangle] if triangle >= 0 else _ZERO


@machine_code
def most(part, found, samples):
    """Return which of a pixel's four samples (0..3) represents it: one whose label two samples share, else the first
    (`maps._most`)."""
    a, b = named(part, found[samples[0]]), named(part, found[samples[1]])
    c, d = named(part, found[samples[2]]), named(part, found[samples[3]])
    if a in (b, c, d):
        return samples[0]
    if b in (c, d):
        return samples[1]
    return samples[2] if c == d else samples[0]


@inlined
def sample_surface(mesh, uv, normals, shadow, w0, w1, triangle, texture, light):
    """Return unit normal (3), colour (3) and visibility of one sample.

    mesh: (triangles, texture triangles), (F, 3) each.
    uv: (R, 2) place of each render vertex in the texture, 0..1.
    normals: (V, 3) unit vectors.
    shadow: (V,) factor on the linear brightness.
    w0, w1: barycentric weights of the sample in its triangle.
    triangle: index of that triangle.
    texture: (h, w, 4) colour and visibility.
    light: (6,), see `draw_frame`."""
    w2 = _ONE - w0 - w1
    i, j, k = mesh[0][triangle, 0], mesh[0][triangle, 1], mesh[0][triangle, 2]
    x = normals[i, 0] * w0 + normals[j, 0] * w1 + normals[k, 0] * w2
    y = normals[i, 1] * w0 + normals[j, 1] * w1 + normals[k, 1] * w2
    z = normals[i, 2] * w0 + normals[j, 2] * w1 + normals[k, 2] * w2
    unit = _ONE / max(np.float32(math.sqrt(x * x + y * y + z * z)), np.float32(1e-12))
    x, y, z = x * unit, y * unit, z * unit
    factor = shadow[i] * w0 + shadow[j] * w1 + shadow[k] * w2
    i, j, k = mesh[1][triangle, 0], mesh[1][triangle, 1], mesh[1][triangle, 2]
    u = uv[i, 0] * w0 + uv[j, 0] * w1 + uv[k, 0] * w2
    v = uv[i, 1] * w0 + uv[j, 1] * w1 + uv[k, 1] * w2
    r, g, b, seen = texel(texture, u, v)
    if light[3] >= _ZERO:
        sky = light[4] + (_ONE - light[4]) * (_HALF + _HALF * z)
        direct = max(x * light[0] + y * light[1] + z * light[2], _ZERO)
        factor *= max(direct + sky * light[3], light[5])
    if factor != _ONE:
        factor = np.float32(math.sqrt(factor))
        r, g, b = lit(r, factor), lit(g, factor), lit(b, factor)
    return x, y, z, r, g, b, seen


@machine_code
def face_camera(x, y, z, matrix, normal, row, column):
    """Write the mean normal (x, y, z) of a pixel as a unit vector in camera axes (right, up, back).

    matrix: (4, 4) world to camera; normal: (3, H, W) to fill at row, column."""
    right = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z
    up = -(matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z)
    back = -(matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z)
    scale = _ONE / np.float32(math.sqrt(max(right * right + up * up + back * back, np.float32(1e-24))))
    normal[0, row, column], normal[1, row, column], normal[2, row, column] = right * scale, up * scale, back * scale


@machine_code
def edge_middles(points, normals, ends):
    """Fill the last rows of points and normals (W, 3) with those in the middles of edges, as `FineMesh.points` does.

    ends: (N, 2) vertices between which each of the last N lies."""
    for i in range(len(ends)):
        a, b, to = ends[i, 0], ends[i, 1], len(points) - len(ends) + i
        at_a = at_b = _ZERO
        for c in range(3):
            along = points[b, c] - points[a, c]
            at_a, at_b = at_a + along * normals[a, c], at_b + along * normals[b, c]
        length = _ZERO
        for c in range(3):
            rise = (at_a * normals[a, c] - at_b * normals[b, c]) * np.float32(0.125)
            points[to, c] = (points[a, c] + points[b, c]) * _HALF - rise
            normals[to, c] = normals[a, c] + normals[b, c]
            length += normals[to, c] * normals[to, c]
        scale = _ONE / np.float32(math.sqrt(max(length, np.float32(1e-20))))
        for c in range(3):
            normals[to, c] *= scale


@machine_code
def draw_frame(
    mesh, uv, part, texture, light, plate, vertices, normals, shadow, matrix, intrinsics,
    normal, label, depth, lift, visibility,
):  # fmt: skip
    """Draw the maps of one frame in a compiled loop, as `maps._render` does with tensors.

    mesh: (triangles, texture triangles), (F, 3) int32 each; uv: (R, 2) in [0, 1]; part: (F,) 1 + the part's index.
    texture: (h, w, 4) colour and visibility; light: (6,) direct, ambient (< 0: unlit), sky below, darkest.
    plate: (3, H, W) background; vertices, normals: (V, 3), posed; shadow: (V,) factor on the linear brightness.
    matrix: (4, 4) world to camera; intrinsics: (3, 3) px.

    Fills normal (3, H, W), label (1, H, W), depth, lift (3, H, W) and visibility."""
    rows, columns, two = label.shape[1], label.shape[2], np.float32(2)
    points, count, wide = np.empty_like(vertices), 4 * rows * columns, 2 * columns
    inverse, found = np.empty(count, np.float32), np.empty(count, np.int32)
    weights = np.empty((count, 2), np.float32)
    focal_x, focal_y = intrinsics[0, 0] * two, intrinsics[1, 1] * two
    project(vertices, matrix, focal_x, focal_y, intrinsics[0, 2] * two, intrinsics[1, 2] * two, points)
    rasterise(points, mesh[0], 2 * rows, wide, inverse, found, weights)
    for y in range(rows):
        for x in range(columns):
            top, bottom = 4 * y * columns + 2 * x, 4 * y * columns + 2 * x + wide
            samples = (top, top + 1, bottom, bottom + 1)
            nx = ny = nz = r = g = b = seen = covered = _ZERO
            for which in range(4):  # a loop over `samples` would be written out, with all that is inlined, four times
                at = (top if which < 2 else bottom) + which % 2
                if found[at] >= 0:
                    w0, w1 = weights[at, 0], weights[at, 1]
                    more = sample_surface(mesh, uv, normals, shadow, w0, w1, found[at], texture, light)
                    nx, ny, nz, seen = nx + more[0], ny + more[1], nz + more[2], seen + more[6]
                    r, g, b, covered = r + more[3], g + more[4], b + more[5], covered + _ONE
            missing = _ONE - covered * _QUARTER
            lift[0, y, x] = r * _QUARTER + missing * plate[0, y, x]
            lift[1, y, x] = g * _QUARTER + missing * plate[1, y, x]
            lift[2, y, x] = b * _QUARTER + missing * plate[2, y, x]
            label[0, y, x] = depth[0, y, x] = visibility[0, y, x] = _ZERO
            normal[0, y, x] = normal[1, y, x] = normal[2, y, x] = _ZERO
            if covered > _ZERO:
                chosen = most(part, found, samples)
                if found[chosen] >= 0:
                    label[0, y, x], depth[0, y, x] = part[found[chosen]], _ONE / inverse[chosen]
                    visibility[0, y, x] = seen * _QUARTER
                    face_camera(nx * _QUARTER, ny * _QUARTER, nz * _QUARTER, matrix, normal, y, x)


@machine_code
def pack_frame(normal, label, lift, visibility, out):
    """Pack the maps of one frame into its guide tensor, as `maps.guide_tensor` does.

    normal, label, lift, visibility: the maps, as filled by `draw_frame`.
    out: (H/4, W/4, channels), filled in."""
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x, 112:] = _ZERO
            for i in range(4):
                for j in range(4):
                    row, column, place = 4 * y + i, 4 * x + j, 4 * i + j
                    for c in range(3):
                        out[y, x, 16 * c + place] = lift[c, row, column]
                        out[y, x, 48 + 16 * c + place] = normal[c, row, column]
                    out[y, x, 96 + place] = visibility[0, row, column] * np.float32(2) - _ONE
                    out[y, x, 112 + int(label[0, row, column])] += _BLOCK_SHARE
