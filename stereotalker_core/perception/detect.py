"""The detection of faces, bodies and palms as boxes: MediaPipe's single-shot detectors and the crops they run on.

Bazarevsky et al., BlazeFace (arXiv 1907.05047); Bazarevsky et al., BlazePose (arXiv 2006.10204); Zhang et al.,
MediaPipe Hands (arXiv 2006.10214). The strides are those of the graphs in the mediapipe package."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .networks import Perception
from .squares import Pyramid, Square

STRIDES = {  # (stride, anchors of a cell)
    "face_detection_short_range": ((8, 2), (16, 6)),
    "face_detection_full_range_sparse": ((4, 1),),
    "pose_detection": ((8, 2), (16, 2), (32, 6)),
    "palm_detection_full": ((8, 2), (16, 6)),
}
_OVERLAP = 0.3  # of boxes that are taken for the same thing


@dataclass(frozen=True)
class Detection:
    """The detected box: score in 0..1; centre (2,) and side of the box, and points (K, 2), in px of the picture."""

    score: float
    centre: Tensor
    side: float
    points: Tensor


def detect(
    networks: Perception,
    name: str,
    picture: Pyramid,
    squares: Sequence[Square],
    threshold: float,
) -> list[list[Detection]]:
    """Run a detector on each square -> the detections in each, best first.

    networks: the perception.
    name: of the detector.
    picture: to search.
    squares: crops of it.
    threshold: least score."""
    if not squares:
        return []
    size = networks.size(name)
    raw, score = networks.run(name, picture.crops(squares, size, "zeros"))
    centres = anchors(size, STRIDES[name]).to(raw)
    raw, score = raw.cpu(), score[..., 0].clamp(-100, 100).sigmoid().cpu()
    return [decode(r / size, p, centres.cpu(), q, threshold) for r, p, q in zip(raw, score, squares, strict=True)]


@lru_cache(maxsize=8)
def anchors(size: int, strides: tuple[tuple[int, int], ...]) -> Tensor:
    """Return the anchor centres (N, 2) in 0..1 of a detector, row by row.

    size: px of its input; strides: (stride, anchors per cell) of each layer."""
    cells = []
    for stride, count in strides:
        side = size // stride
        unit = (torch.arange(side) + 0.5) / side
        y, x = torch.meshgrid(unit, unit, indexing="ij")
        cells.append(torch.stack([x, y], -1).reshape(-1, 1, 2).expand(-1, count, -1).reshape(-1, 2))
    return torch.cat(cells)


def decode(raw: Tensor, score: Tensor, centres: Tensor, square: Square, threshold: float) -> list[Detection]:
    """Decode outputs raw (N, 4 + 2 K) and scores (N,) -> detections; overlapping boxes are averaged, weighted by score.

    centres: (N, 2) of the anchors; square: the crop; threshold: least score."""
    rows = (score >= threshold).nonzero()[:, 0]
    values = raw[rows].view(len(rows), raw.shape[1] // 2, 2)
    offset = centres[rows, None]
    size = values[:, 1]
    places = torch.cat([values[:, :1] + offset, values[:, 2:] + offset], 1)  # box centre, then the points
    score = score[rows]
    found = []
    while len(score):
        best = int(score.argmax())
        low, high = places[:, 0] - size / 2, places[:, 0] + size / 2
        same = overlap(low, high, low[best], high[best]) > _OVERLAP
        same[best] = True
        weight = score[same] / score[same].sum()
        at = square.to_picture((places[same] * weight[:, None, None]).sum(0))
        side = float(((size[same] * weight[:, None]).sum(0)).max()) * square.side
        found.append(Detection(float(score[best]), at[0], side, at[1:]))
        places, size, score = places[~same], size[~same], score[~same]
    return found


def overlap(low: Tensor, high: Tensor, other_low: Tensor, other_high: Tensor) -> Tensor:
    """Return the intersection over union of boxes, each given by its low and high corner (..., 2)."""
    inner = (torch.minimum(high, other_high) - torch.maximum(low, other_low)).clamp_min(0).prod(-1)
    area, other = (high - low).clamp_min(0).prod(-1), (other_high - other_low).clamp_min(0).prod(-1)
    return inner / (area + other - inner).clamp_min(1e-9)


def distinct(found: list[Detection]) -> list[Detection]:
    """Drop repeated detections: those within 0.4 sides of a better one -> the others, best first."""
    kept: list[Detection] = []
    for one in sorted(found, key=lambda d: -d.score):
        if not any(float((one.centre - k.centre).norm()) < 0.4 * max(one.side, k.side) for k in kept):
            kept.append(one)
    return kept


def tiles(picture: Pyramid, share: float) -> list[Square]:
    """Return overlapping squares that cover the picture; their side is `share` of its longer side."""
    side = share * max(picture.height, picture.width)
    columns, rows = (_tile_centres(length, side) for length in (picture.width, picture.height))
    return [Square(x, y, side) for y in rows for x in columns]


def _tile_centres(length: float, side: float) -> list[float]:
    """Return tile centres along one axis: the ends are covered, neighbours overlap by at least half a side."""
    if length <= side:
        return [length / 2]
    count = math.ceil((length - side) / (0.5 * side)) + 1
    return [side / 2 + k * (length - side) / (count - 1) for k in range(count)]
