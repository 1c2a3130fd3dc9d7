"""Z-buffer rasteriser in plain torch operations, the same on CPU and CUDA, deterministic, without anti-aliasing.

Triangles become runs of pixels, row by row; then a scatter-min of (depth << 23 | triangle) in int64, which is order
independent.
"""

import functools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..loops.available import Loops, array, loops_for

_TRIANGLE_BITS = 23
_TRIANGLE = (1 << _TRIANGLE_BITS) - 1  # mask of the triangle in a key
_DEPTH_STEPS = 2e6  # depth resolution: half a micrometre
_EMPTY = 1 << 62
_STEEP = 1e15  # inverse slope of a horizontal edge: finite, and every column is either before or behind it
_FAR = 1e30  # a bound that bounds nothing
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


class Sampled(NamedTuple):
    """The P pixels of which samples show a triangle, with S samples each, from left to right and from above.

    pixel: (P,) flat indices into an image (H, W), ascending.
    hit: (S, P) bool, whether the sample shows a triangle; where not, the rest is finite and means nothing.
    triangle: (S, P) int64.
    values: (C + 1, S, P) attributes over depth, and the inverse depth (1/m)."""

    pixel: Tensor
    hit: Tensor
    triangle: Tensor
    values: Tensor


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
    keys = _nearest_keys(drawn, len(points) * rows, columns)
    pixel = (keys < _EMPTY).nonzero().squeeze(1)
    found = keys.index_select(0, pixel) & _TRIANGLE  # of the drawn ones
    line = torch.div(pixel, columns, rounding_mode="floor")
    x = (pixel - line * columns - drawn.left.index_select(0, found)).to(points.dtype) + 0.5
    y = (line - drawn.line.index_select(0, found)).to(points.dtype) + 0.5
    a, b, c, d, e, f = (column.index_select(0, found) for column in drawn.edges)
    w0, w1 = a * x + b * y + c, d * x + e * y + f
    inverse = (column.index_select(0, found) for column in drawn.inverse)
    weight = torch.stack([w * q for w, q in zip((w0, w1, 1 - w0 - w1), inverse, strict=True)], 1)
    near = 1 / weight.sum(1)
    return Covered(pixel, drawn.triangle.index_select(0, found), weight * near[:, None], near)


def rasterize_samples(
    points: Tensor, triangles: Tensor, attributes: Tensor, corners: Tensor, size: tuple[int, int], samples: int
) -> Sampled:
    """Rasterise several samples a pixel, and interpolate attributes at them, both only where there is something.

    points: (V, 3) on the finer grid of all samples: pixel x, pixel y (down) and depth > 0 (m).
    triangles: (F, 3) over the points; those that face away are left out.
    attributes: (R, C), linear on the surface.
    corners: (F, 9) int32, three times which of the R rows are the corners of each triangle.
    size: (H, W) of the image.
    samples: per pixel and axis, 1 or 2.

    Attributes over depth are linear functions of x and y on a triangle: their coefficients are computed once a
    triangle, and a sample needs one weighted sum of three (`embedding_bag`)."""
    _check_count(points[None], triangles)
    rows, columns = samples * size[0], samples * size[1]
    drawn = _candidates(points[None], triangles, rows, columns, True)
    keys = _nearest_keys(drawn, rows, columns)
    grid = keys.view(size[0], samples, size[1], samples)
    cells = [(i, j) for i in range(samples) for j in range(samples)]
    nearest = functools.reduce(torch.minimum, [grid[:, i, :, j] for i, j in cells])
    pixel = (nearest < _EMPTY).flatten().nonzero().squeeze(1)
    line = torch.div(pixel, size[1], rounding_mode="floor")
    column, first = pixel - line * size[1], samples * (pixel + line * ((samples - 1) * size[1]))
    keys = torch.stack([keys.index_select(0, first + (i * columns + j)) for i, j in cells])
    hit = keys < _EMPTY
    found = keys.bitwise_and_(_TRIANGLE).flatten()  # of the drawn ones
    offset = points.new_ones(samples**2, len(pixel), 3)
    for axis, (start, box) in enumerate(((column, drawn.left), (line, drawn.line))):
        begin, start = (box.to(points.dtype) - 0.5).index_select(0, found).view(hit.shape), samples * start
        for k, cell in enumerate(cells):
            torch.sub((start + cell[1 - axis]).to(points.dtype), begin[k], out=offset[k, :, axis])
    bags = torch.arange(3 * len(drawn.left), dtype=torch.int32, device=found.device).view(-1, 3)
    table = _coefficients(drawn, attributes, corners)
    values = F.embedding_bag(bags.index_select(0, found), table, per_sample_weights=offset.view(-1, 3), mode="sum")
    triangle = drawn.triangle.index_select(0, found)
    planes = values.T.contiguous().view(values.shape[1], *hit.shape)
    return Sampled(pixel, hit, triangle.view(hit.shape), planes)


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
    """The N triangles that face the camera and touch the picture, each relative to its bounding box; int32 and float.

    triangle: index into the mesh.
    left: first column.
    line: first row, counted through all images of the batch.
    width, height: px of the box.
    edges: six (N,) columns a..f with w0 = a x + b y + c, w1 = d x + e y + f.
    inverse: three (N,) columns, 1 / depth at the corners."""

    triangle: Tensor
    left: Tensor
    line: Tensor
    width: Tensor
    height: Tensor
    edges: tuple[Tensor, ...]
    inverse: tuple[Tensor, ...]


def _candidates(points: Tensor, triangles: Tensor, rows: int, columns: int, cull: bool) -> _Drawn:
    """Find the triangles to draw; corners are kept as three columns each, since rows of three are slow to work on."""
    first = torch.arange(len(points), device=points.device, dtype=triangles.dtype)[:, None] * points.shape[1]
    corners = [(triangles[:, i] + first).flatten() for i in range(3)]  # (B * F,) each
    planes = [v.flatten() for v in points.unbind(-1)]
    x, y = ([plane.index_select(0, corner) for corner in corners] for plane in planes[:2])
    area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])
    facing = area < -1e-9 if cull else area.abs() > 1e-9  # y points down: a front face has negative area
    kept = facing.nonzero().squeeze(1)
    x, y = ([v.index_select(0, kept) for v in axis] for axis in (x, y))
    z = [planes[2].index_select(0, corner.index_select(0, kept)) for corner in corners]
    left, top = (torch.ceil(_least(axis) - 0.5).clamp(min=0) for axis in (x, y))
    right, bottom = (
        torch.floor(torch.maximum(torch.maximum(axis[0], axis[1]), axis[2]) - 0.5).clamp(max=side - 1)
        for axis, side in ((x, columns), (y, rows))
    )
    touch = ((right >= left) & (bottom >= top) & (_least(z) > 1e-3)).nonzero().squeeze(1)
    kept, left, right, top, bottom = (v.index_select(0, touch) for v in (kept, left, right, top, bottom))
    # edge functions relative to the bounding box: in absolute pixels float32 cancellation leaves pinholes
    x, y = ([v.index_select(0, touch) - start for v in axis] for axis, start in ((x, left), (y, top)))
    edges = _edge_functions(x, y, area.index_select(0, kept))
    image = torch.div(kept, len(triangles), rounding_mode="floor")
    line = image.int() * rows + top.int()
    width, height = (right - left).int() + 1, (bottom - top).int() + 1
    inverse = tuple(1 / v.index_select(0, touch) for v in z)
    return _Drawn(kept - image * len(triangles), left.int(), line, width, height, edges, inverse)


def _least(three: list[Tensor]) -> Tensor:
    return torch.minimum(torch.minimum(three[0], three[1]), three[2])


def _nearest_keys(drawn: _Drawn, lines: int, columns: int) -> Tensor:
    """Return the packed key (depth, row of `drawn`) of the nearest triangle of every pixel (lines * columns,), _EMPTY
    where none.

    Each triangle is split into pixel rows, and each row into the run of pixels between the triangle's edges, so pixels
    outside a triangle are never tested. lines: rows of all images of the batch; columns: pixels in a row."""
    keys = torch.full((lines * columns,), _EMPTY, dtype=torch.int64, device=drawn.left.device)
    if not len(drawn.left):
        return keys
    item, row = _laid_end_to_end(drawn.height)
    y = row.to(drawn.edges[0].dtype) + 0.5
    low, high = _between_edges(drawn, item, y)
    slope, rise, start = (column.index_select(0, item) for column in _inverse_depth(drawn))
    first = torch.addcmul(torch.addcmul(start, rise, y), slope, low + 0.5)
    where = (drawn.line * columns + drawn.left).index_select(0, item) + row * columns + low.int()
    run, step = _laid_end_to_end((high - low + 1).clamp_(min=0).int())
    inverse = torch.addcmul(first.index_select(0, run), slope.index_select(0, run), step.to(slope.dtype))
    key = (_DEPTH_STEPS / inverse.clamp_min_(1e-6)).long().bitwise_left_shift_(_TRIANGLE_BITS)
    key |= item.index_select(0, run)
    return keys.scatter_reduce_(0, step.add_(where.index_select(0, run)).long(), key, "amin")


def _between_edges(drawn: _Drawn, item: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and the last column (L,) of rows of triangles, from the left of their boxes, as floats.

    item: (L,) rows of `drawn`; y: (L,) centres of the rows, from the top of the box. The last is before the first
    where no pixel lies inside."""
    a, b, c, d, e, f = drawn.edges
    low, high = torch.zeros_like(y), (drawn.width - 1).to(y.dtype).index_select(0, item)
    for slope, rise, start in ((a, b, c), (d, e, f), (-a - d, -b - e, 1 - c - f)):
        # slope * x + rise * y + start >= -tolerance: from the left where the slope is positive, else from the right
        inverse = (1 / slope).clamp_(-_STEEP, _STEEP)
        at, by = (-EDGE_TOLERANCE - start) * inverse - 0.5, -rise * inverse
        falls = (inverse < 0).to(y.dtype)
        by = by.index_select(0, item)
        for bound, side in ((low, at - _FAR * falls), (high, at + _FAR * (1 - falls))):
            limit = torch.addcmul(side.index_select(0, item), by, y)
            if bound is low:
                torch.maximum(low, limit.ceil_(), out=low)
            else:
                torch.minimum(high, limit.floor_(), out=high)
    return low, high


def _inverse_depth(drawn: _Drawn) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the inverse depth of the drawn triangles grows by along x and along y, and what it is at the corner
    of their boxes: (N,) each."""
    a, b, c, d, e, f = drawn.edges
    q0, q1, q2 = drawn.inverse
    one, two = q0 - q2, q1 - q2
    return a * one + d * two, b * one + e * two, c * one + f * two + q2


def _coefficients(drawn: _Drawn, attributes: Tensor, corners: Tensor) -> Tensor:
    """Return coefficients (3 N, C + 1) of attributes over depth, and of the inverse depth, on the N drawn triangles.

    Rows 3 i, 3 i + 1 and 3 i + 2 are what a pixel along x, one along y and the corner of the box contribute.
    attributes, corners: as in `rasterize_samples`."""
    a, b, c, d, e, f = drawn.edges
    q0, q1, q2 = drawn.inverse
    weight = torch.stack(
        [a * q0, d * q1, -(a + d) * q2, b * q0, e * q1, -(b + e) * q2, c * q0, f * q1, (1 - c - f) * q2], 1
    )
    row = corners.index_select(0, drawn.triangle)
    table = F.pad(attributes, (0, 1), value=1.0)
    return F.embedding_bag(row.view(-1, 3), table, per_sample_weights=weight.view(-1, 3), mode="sum")


def _laid_end_to_end(length: Tensor) -> tuple[Tensor, Tensor]:
    """Enumerate all elements of consecutive runs of lengths (N,), some of them 0 -> the run of each element, and its
    position in the run; int32.

    Counts the runs that begin at each element and adds the counts up, which is faster than `repeat_interleave`."""
    ends = length.cumsum(0, dtype=torch.int32)
    begins, total = ends - length, int(ends[-1]) if len(ends) else 0
    count = torch.zeros(total + 1, dtype=torch.int32, device=length.device)  # runs of length 0 may begin at the end
    count.index_add_(0, begins, torch.ones_like(begins))
    run = count[:total].cumsum(0, dtype=torch.int32).sub_(1)
    return run, torch.arange(total, dtype=torch.int32, device=length.device).sub_(begins.index_select(0, run))


def _edge_functions(x: list[Tensor], y: list[Tensor], area: Tensor) -> tuple[Tensor, ...]:
    """Map x and y of three corners, (N,) each, and areas (N,) -> six (N,) coefficients: w0 and w1 as a*px + b*py + c.
    """
    (x0, x1, x2), (y0, y1, y2), inverse = x, y, 1 / area
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
