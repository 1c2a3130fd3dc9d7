"""Z-buffer rasteriser in plain torch operations, the same on CPU and CUDA, deterministic, without anti-aliasing.

Triangles become runs of pixels, row by row; then a scatter-min of (depth << 23 | triangle) in int64, which is order
independent.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..loops.available import Loops, array, loops_for

_TRIANGLE_BITS = 23
_DEPTH_STEPS = 2e6  # depth resolution: half a micrometre
_EMPTY = 1 << 62
EDGE_TOLERANCE = 1e-5  # barycentric; closes pinholes between neighbours


class Fragments(NamedTuple):
    """The visible triangle of every pixel.

    triangle: (B, H, W) int64, -1 outside; barycentric: (B, H, W, 3), perspective-correct; depth: (B, H, W) m."""

    triangle: Tensor
    barycentric: Tensor
    depth: Tensor


class Covered(NamedTuple):
    """The N pixels that show a triangle.

    pixel: (N,) flat indices into images (B, H, W), ascending; triangle: (N,) int64.
    barycentric: (N, 3), perspective-correct; depth: (N,) m."""

    pixel: Tensor
    triangle: Tensor
    barycentric: Tensor
    depth: Tensor


def rasterize(points: Tensor, triangles: Tensor, size: tuple[int, int], cull: bool = True) -> Fragments:
    """Rasterise triangles (F, 3) of points (B, V, 3) onto images of size (H, W).

    points: pixel x, pixel y (down) and depth > 0 (m); pixel centres are at +0.5.
    cull: leaves out triangles that face away."""
    _check_count(points, triangles)
    if (fast := loops_for(points)) is not None:
        return _in_loops(fast, points, triangles, size, cull)
    found = rasterize_covered(points, triangles, size, cull)
    shape, pixel = (len(points), *size), found.pixel
    triangle = pixel.new_full((math.prod(shape),), -1).index_copy_(0, pixel, found.triangle)
    barycentric = points.new_zeros(len(triangle), 3).index_copy_(0, pixel, found.barycentric)
    depth = points.new_zeros(len(triangle)).index_copy_(0, pixel, found.depth)
    return Fragments(triangle.view(shape), barycentric.view(*shape, 3), depth.view(shape))


def rasterize_covered(points: Tensor, triangles: Tensor, size: tuple[int, int], cull: bool = True) -> Covered:
    """Rasterise as `rasterize` does, and return the covered pixels alone."""
    rows, columns = size
    _check_count(points, triangles)
    drawn = _candidates(points, triangles, rows, columns, cull)
    keys = _nearest_keys(drawn, len(points) * rows * columns, columns)
    pixel = (keys < _EMPTY).nonzero().squeeze(1)
    found = keys.index_select(0, pixel) & ((1 << _TRIANGLE_BITS) - 1)  # of the drawn ones
    line = torch.div(pixel, columns, rounding_mode="floor")
    x = (pixel - line * columns - drawn.left.index_select(0, found)).to(points.dtype) + 0.5
    y = (line - drawn.line.index_select(0, found)).to(points.dtype) + 0.5
    a, b, c, d, e, f = (column.index_select(0, found) for column in drawn.edges)
    w0, w1 = a * x + b * y + c, d * x + e * y + f
    weight = torch.stack([w0, w1, 1 - w0 - w1], 1) * drawn.inverse.index_select(0, found)
    near = 1 / weight.sum(1)
    return Covered(pixel, drawn.triangle.index_select(0, found), weight * near[:, None], near)


def _check_count(points: Tensor, triangles: Tensor) -> None:
    if (total := len(points) * len(triangles)) >= 1 << _TRIANGLE_BITS:
        raise ValueError(f"at most {(1 << _TRIANGLE_BITS) - 1} triangles in a batch, got {total}; draw fewer at once")


def _in_loops(fast: Loops, points: Tensor, triangles: Tensor, size: tuple[int, int], cull: bool) -> Fragments:
    """Rasterise as `rasterize` does, in compiled loops."""
    triangle = torch.empty(len(points), *size, dtype=torch.int64)
    barycentric, depth = torch.zeros(*triangle.shape, 3), torch.zeros(triangle.shape)
    corners, steps = array(triangles), (EDGE_TOLERANCE, _DEPTH_STEPS)
    for own, *out in zip(points, triangle, barycentric, depth, strict=True):
        fast.surfaces.rasterise(array(own), corners, *size, cull, *steps, *(x.numpy() for x in out))
    return Fragments(triangle, barycentric, depth)


class _Drawn(NamedTuple):
    """The N triangles that face the camera and touch the picture, each relative to its bounding box.

    triangle: index into the mesh.
    left: first column.
    line: first row, counted through all images of the batch.
    width, height: px of the box.
    edges: six (N,) columns a..f with w0 = a x + b y + c, w1 = d x + e y + f.
    inverse: (N, 3) 1 / depth at the corners."""

    triangle: Tensor
    left: Tensor
    line: Tensor
    width: Tensor
    height: Tensor
    edges: tuple[Tensor, ...]
    inverse: Tensor


def _candidates(points: Tensor, triangles: Tensor, rows: int, columns: int, cull: bool) -> _Drawn:
    x, y, z = (v[:, triangles].flatten(0, 1) for v in points.unbind(-1))  # (B * F, 3) each
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (y[:, 1] - y[:, 0]) * (x[:, 2] - x[:, 0])
    facing = area < -1e-9 if cull else area.abs() > 1e-9  # y points down: a front face has negative area
    kept = (facing & (z.amin(1) > 1e-3)).nonzero().squeeze(1)
    x, y = x.index_select(0, kept), y.index_select(0, kept)
    left = torch.ceil(x.amin(1) - 0.5).clamp(min=0)
    right = torch.floor(x.amax(1) - 0.5).clamp(max=columns - 1)
    top = torch.ceil(y.amin(1) - 0.5).clamp(min=0)
    bottom = torch.floor(y.amax(1) - 0.5).clamp(max=rows - 1)
    touch = ((right >= left) & (bottom >= top)).nonzero().squeeze(1)
    kept, x, y, left, right, top, bottom = (v.index_select(0, touch) for v in (kept, x, y, left, right, top, bottom))
    # edge functions relative to the bounding box: in absolute pixels float32 cancellation leaves pinholes
    edges = _edge_functions(x - left[:, None], y - top[:, None], area.index_select(0, kept))
    image = torch.div(kept, len(triangles), rounding_mode="floor")
    line = image * rows + top.long()
    width, height = (right - left).long() + 1, (bottom - top).long() + 1
    inverse = 1 / z.index_select(0, kept)
    return _Drawn(kept - image * len(triangles), left.long(), line, width, height, edges, inverse)


def _nearest_keys(drawn: _Drawn, pixels: int, columns: int) -> Tensor:
    """Return the packed key (depth, row of `drawn`) of the nearest triangle of every pixel (B*H*W,), _EMPTY where none.

    Each triangle is split into pixel rows, and each row into the run of pixels between the triangle's edges, so pixels
    outside a triangle are never tested."""
    keys = torch.full((pixels,), _EMPTY, dtype=torch.int64, device=drawn.left.device)
    if not len(drawn.left):
        return keys
    item, row = _laid_end_to_end(drawn.height)
    a, b, c, d, e, f = (column.index_select(0, item) for column in drawn.edges)
    y = row.to(a.dtype) + 0.5
    k0, k1 = b * y + c, e * y + f
    low, high = torch.zeros_like(y), drawn.width.index_select(0, item).to(y.dtype) - 1
    for slope, start in ((a, k0), (d, k1), (-a - d, 1 - k0 - k1)):  # slope * x + start >= -tolerance
        limit = (-EDGE_TOLERANCE - start) / slope - 0.5
        low = torch.where(slope > 0, torch.maximum(low, torch.ceil(limit)), low)
        high = torch.where(slope < 0, torch.minimum(high, torch.floor(limit)), high)
        high = torch.where((slope == 0) & (start < -EDGE_TOLERANCE), -1.0, high)
    used = (high >= low).nonzero().squeeze(1)
    item, row, low, high, a, d, k0, k1 = (v.index_select(0, used) for v in (item, row, low, high, a, d, k0, k1))
    z0, z1, z2 = drawn.inverse.unbind(1)
    z0, z1, z2 = (v.index_select(0, item) for v in (z0, z1, z2))
    slope = a * (z0 - z2) + d * (z1 - z2)  # of the inverse depth along the row
    first = k0 * (z0 - z2) + k1 * (z1 - z2) + z2 + slope * (low + 0.5)
    where = (drawn.line.index_select(0, item) + row) * columns + drawn.left.index_select(0, item) + low.long()
    run, step = _laid_end_to_end((high - low).long() + 1)
    inverse = torch.addcmul(first.index_select(0, run), slope.index_select(0, run), step.to(slope.dtype))
    depth = (_DEPTH_STEPS / inverse.clamp_min(1e-6)).long()
    return keys.scatter_reduce_(
        0, where.index_select(0, run) + step, (depth << _TRIANGLE_BITS) | item.index_select(0, run), "amin"
    )


def _laid_end_to_end(length: Tensor) -> tuple[Tensor, Tensor]:
    """Enumerate all elements of consecutive runs of lengths (N,) -> the run of each element, and its position in the
    run."""
    ends = length.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    run = torch.repeat_interleave(torch.arange(len(length), device=length.device), length, output_size=total)
    return run, torch.arange(total, device=length.device) - (ends - length).index_select(0, run)


def _edge_functions(x: Tensor, y: Tensor, area: Tensor) -> tuple[Tensor, ...]:
    """Map corner coordinates x, y (N, 3) and areas (N,) -> six (N,) coefficients: w0 and w1 as a*px + b*py + c."""
    (x0, x1, x2), (y0, y1, y2), inverse = x.unbind(-1), y.unbind(-1), 1 / area
    return (
        (y1 - y2) * inverse,
        (x2 - x1) * inverse,
        (x1 * y2 - x2 * y1) * inverse,
        (y2 - y0) * inverse,
        (x0 - x2) * inverse,
        (x2 * y0 - x0 * y2) * inverse,
    )


def at_points(values: Tensor, corners: Tensor, weight: Tensor) -> Tensor:
    """Interpolate vertex values (V, C) at surface points -> (N, C).

    corners: (N, 3) vertices of their triangles; weight: (N, 3) barycentric."""
    if (fast := loops_for(values, weight)) is not None:
        out = torch.empty(len(corners), values.shape[1])
        fast.surfaces.at_points(array(values), array(corners), array(weight), out.numpy())
        return out
    one, two, three = (values.index_select(0, corners[:, i]) * weight[:, i : i + 1] for i in range(3))
    return one + two + three


def interpolate(attribute: Tensor, triangles: Tensor, fragments: Fragments) -> Tensor:
    """Interpolate a vertex attribute (V, C) or (B, V, C) -> (B, H, W, C), zero outside; triangles index the attribute.
    """
    triangle = fragments.triangle
    pixel = (triangle >= 0).flatten().nonzero().squeeze(1)
    corner = triangles[triangle.flatten()[pixel]]
    if attribute.ndim == 2:
        values = attribute[corner]
    else:
        image = torch.div(pixel, triangle.shape[1] * triangle.shape[2], rounding_mode="floor")
        values = attribute[image[:, None], corner]
    values = (values * fragments.barycentric.flatten(0, 2)[pixel][..., None]).sum(1)
    out = values.new_zeros(triangle.numel(), attribute.shape[-1]).index_copy(0, pixel, values)
    return out.view(*triangle.shape, -1)


def interpolate_covered(attributes: Tensor, triangles: Tensor, fragments: Fragments, pixel: Tensor) -> Tensor:
    """Interpolate vertex attributes (T, R, C) at the covered samples alone -> (N, C): the hot loop of every renderer.

    triangles: (F, 3), which of the R rows are the corners of each triangle.
    fragments: the samples (T, H, W).
    pixel: (N,) flat indices of the samples that hold a triangle."""
    triangle = fragments.triangle.flatten().index_select(0, pixel)
    weight = fragments.barycentric.flatten(0, 2).index_select(0, pixel)
    return interpolate_samples(attributes, triangles, Covered(pixel, triangle, weight, weight), fragments.triangle[0])


def interpolate_samples(attributes: Tensor, triangles: Tensor, covered: Covered, like: Tensor) -> Tensor:
    """Interpolate vertex attributes (T, R, C) at the covered pixels of T images -> (N, C).

    triangles: (F, 3), which of the R rows are the corners of each triangle; like: one image (H, W), for its size.

    The three corners' weighted sum is what `embedding_bag` computes, in one pass and five times as fast as three."""
    image = torch.div(covered.pixel, like.numel(), rounding_mode="floor")
    corner = triangles.index_select(0, covered.triangle) + (image * attributes.shape[1])[:, None]
    return F.embedding_bag(corner, attributes.flatten(0, 1), per_sample_weights=covered.barycentric, mode="sum")
