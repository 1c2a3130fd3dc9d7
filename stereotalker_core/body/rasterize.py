"""Z-buffer rasteriser in plain torch operations, the same on CPU and CUDA, deterministic, without anti-aliasing.

A flat list of (triangle, pixel) candidates from the bounding boxes, edge tests, then a scatter-min of
(depth << 23 | triangle) in int64, which is order independent.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_TRIANGLE_BITS = 23
_DEPTH_STEPS = 2e6  # depth resolution: half a micrometre
_EMPTY = 1 << 62
_EDGE_TOLERANCE = 1e-5  # barycentric; closes pinholes between neighbours


class Fragments(NamedTuple):
    """triangle (B, H, W) int64 with -1 outside, barycentric (B, H, W, 3) perspective correct, depth (B, H, W) m."""

    triangle: Tensor
    barycentric: Tensor
    depth: Tensor


def rasterize(points: Tensor, triangles: Tensor, size: tuple[int, int], cull: bool = True) -> Fragments:
    """points (B, V, 3): pixel x, pixel y (down), depth > 0; triangles (F, 3); size (H, W). Pixel centres at +.5."""
    rows, columns = size
    if triangles.shape[0] >= 1 << _TRIANGLE_BITS:
        raise ValueError(f"at most {(1 << _TRIANGLE_BITS) - 1} triangles, got {triangles.shape[0]}")
    corners = points[:, triangles]  # (B, F, 3, 3)
    keys = _nearest(corners, rows, columns, cull)
    hit = keys < _EMPTY
    triangle = torch.where(hit, keys & ((1 << _TRIANGLE_BITS) - 1), -1)
    pixel = hit.nonzero().squeeze(1)
    image = torch.div(pixel, rows * columns, rounding_mode="floor")
    inside = pixel - image * rows * columns
    x = (inside % columns).to(points.dtype) + 0.5
    y = torch.div(inside, columns, rounding_mode="floor").to(points.dtype) + 0.5
    weight = _screen_barycentric(corners[image, triangle[pixel]], x, y)
    total = weight.sum(-1, keepdim=True)
    shape = (len(points), rows, columns)
    barycentric = points.new_zeros(len(keys), 3).index_copy(0, pixel, weight / total)
    depth = points.new_zeros(len(keys)).index_copy(0, pixel, 1 / total[:, 0])
    return Fragments(triangle.view(shape), barycentric.view(*shape, 3), depth.view(shape))


def _nearest(corners: Tensor, rows: int, columns: int, cull: bool) -> Tensor:
    """(B, F, 3, 3) -> packed key of the nearest triangle for every pixel (B*H*W,)."""
    batch, n_triangles = corners.shape[:2]
    x, y, z = corners.unbind(-1)
    area = (x[..., 1] - x[..., 0]) * (y[..., 2] - y[..., 0]) - (y[..., 1] - y[..., 0]) * (x[..., 2] - x[..., 0])
    left = torch.ceil(x.amin(-1) - 0.5).clamp(min=0)
    right = torch.floor(x.amax(-1) - 0.5).clamp(max=columns - 1)
    top = torch.ceil(y.amin(-1) - 0.5).clamp(min=0)
    bottom = torch.floor(y.amax(-1) - 0.5).clamp(max=rows - 1)
    facing = area < -1e-9 if cull else area.abs() > 1e-9  # y points down: a front face has negative area
    drawn = ((right >= left) & (bottom >= top) & (z.amin(-1) > 1e-3) & facing).flatten().nonzero().squeeze(1)
    keys = torch.full((batch * rows * columns,), _EMPTY, dtype=torch.int64, device=corners.device)
    if not len(drawn):
        return keys
    flat = corners.flatten(0, 1).index_select(0, drawn)
    left, right, top, bottom = (t.flatten()[drawn] for t in (left, right, top, bottom))
    # edge functions relative to the bounding box: in absolute pixels float32 cancellation leaves pinholes
    edges = _edge_functions(flat[..., 0] - left[:, None], flat[..., 1] - top[:, None], area.flatten()[drawn])
    width = (right - left).long() + 1
    count = width * ((bottom - top).long() + 1)
    ends = count.cumsum(0)
    total = int(ends[-1])
    item = torch.repeat_interleave(torch.arange(len(drawn), device=keys.device), count, output_size=total)
    local = torch.arange(total, device=keys.device) - (ends - count).index_select(0, item)
    stride = width.index_select(0, item)
    row = torch.div(local, stride, rounding_mode="floor")
    column = local - row * stride
    e = edges.index_select(0, item)
    px, py = column.to(flat.dtype) + 0.5, row.to(flat.dtype) + 0.5
    w0 = e[:, 0] * px + e[:, 1] * py + e[:, 2]
    w1 = e[:, 3] * px + e[:, 4] * py + e[:, 5]
    w2 = 1 - w0 - w1
    kept = (torch.minimum(torch.minimum(w0, w1), w2) >= -_EDGE_TOLERANCE).nonzero().squeeze(1)
    item = item.index_select(0, kept)
    inverse = (1 / flat[..., 2]).index_select(0, item)
    depth = 1 / (inverse * torch.stack([w0, w1, w2], 1).index_select(0, kept)).sum(1).clamp_min(1e-6)
    source = drawn.index_select(0, item)
    image = torch.div(source, n_triangles, rounding_mode="floor")
    where = (image * rows + top.long().index_select(0, item) + row.index_select(0, kept)) * columns
    where = where + left.long().index_select(0, item) + column.index_select(0, kept)
    key = ((depth * _DEPTH_STEPS).long() << _TRIANGLE_BITS) | (source % n_triangles)
    return keys.scatter_reduce_(0, where, key, "amin")


def _edge_functions(x: Tensor, y: Tensor, area: Tensor) -> Tensor:
    """(N, 3), (N, 3), (N,) -> (N, 6): w0 and w1 as a*px + b*py + c."""
    (x0, x1, x2), (y0, y1, y2), inverse = x.unbind(-1), y.unbind(-1), 1 / area
    return torch.stack(
        [
            (y1 - y2) * inverse,
            (x2 - x1) * inverse,
            (x1 * y2 - x2 * y1) * inverse,
            (y2 - y0) * inverse,
            (x0 - x2) * inverse,
            (x2 * y0 - x0 * y2) * inverse,
        ],
        -1,
    )


def _screen_barycentric(corners: Tensor, px: Tensor, py: Tensor) -> Tensor:
    """(N, 3, 3) corners at pixels (N,) -> (N, 3) screen-space weights divided by depth; their sum is 1 / depth."""
    x, y, z = corners.unbind(-1)
    (x0, x1, x2), (y0, y1, y2) = x.unbind(-1), y.unbind(-1)
    area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
    w0 = ((x1 - px) * (y2 - py) - (y1 - py) * (x2 - px)) / area
    w1 = ((x2 - px) * (y0 - py) - (y2 - py) * (x0 - px)) / area
    return torch.stack([w0, w1, 1 - w0 - w1], -1) / z


def interpolate(attribute: Tensor, triangles: Tensor, fragments: Fragments) -> Tensor:
    """Vertex attribute (V, C) or (B, V, C) -> (B, H, W, C); zero outside. triangles index the attribute's vertices."""
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
