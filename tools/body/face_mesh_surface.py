"""The places where points of the face mesh may lie on the mean body: nearest surface, upper or lower lip, eye rim."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from stereotalker_core.body.face_mesh import EYE_CONTOURS
from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.rasterize import rasterize

SKIN = ("face", "scalp", "lips", "neck")
LOWER_LIP = (  # from the outer edge inwards, between the corners of the mouth
    *(146, 91, 181, 84, 17, 314, 405, 321, 375, 77, 90, 180, 85, 16, 315, 404, 320, 307),
    *(96, 89, 179, 86, 15, 316, 403, 319, 325, 95, 88, 178, 87, 14, 317, 402, 318, 324),
)
UPPER_LIP = (
    *(185, 40, 39, 37, 0, 267, 269, 270, 409, 184, 74, 73, 72, 11, 302, 303, 304, 408),
    *(183, 42, 41, 38, 12, 268, 271, 272, 407, 191, 80, 81, 82, 13, 312, 311, 310, 415),
)
BELOW_THE_LIP = (18, 83, 182, 106, 313, 406, 335, 201, 421, 200, 194, 418, 199, 208, 428)
_JAW = 0.5  # share of the lips' largest movement by jawOpen from which a triangle goes with the lower lip
_HALF, _SIDE = 0.022, 900  # m around the eye's centre that are drawn, px
_RAYS, _STEP = 720, 0.5  # from the middle of the opening, and px along each
_CORNER = 6.0  # px up to which a vertex of the first triangle outside is a corner of the opening
_DEPTH = 0.5  # weight of a distance from front to back: photographs tell little of it
_BESIDE, _BEHIND = 0.0016, 0.0012  # m: a vertex so near to another and so far behind it lies inside of the lid


class Surface:
    """The surface of the mean body, on which the 468 points of the face mesh are placed."""

    def __init__(self, body: HalfBody):
        self.body = body
        corners = body.mean[body.triangles]
        normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        skin = torch.isin(body.triangle_part, torch.tensor([body.part_index[n] for n in SKIN]))
        self.skin = skin & (normal[:, 1] < 0)  # towards the front: no nostrils, nothing behind the ears
        self.rims = {side: visible_rim(body, side) for side in EYE_CONTOURS}
        moved = body.expression_deltas.view(len(body.expression_names), -1, 3)[body.expression_index["jawOpen"]]
        move = torch.zeros(body.n_vertices).index_copy(0, body.expression_vertices, moved.norm(dim=1))
        by_jaw = move[body.triangles].mean(1)
        self.lower = by_jaw > _JAW * by_jaw[body.triangle_part == body.part_index["lips"]].max()

    def place(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Map points (468, 3) m -> the nearest allowed places: vertices (468, 3) and barycentric weights (468, 3)."""
        rows, weights = nearest(self.body, points, self.skin)
        for ids, allowed in ((LOWER_LIP + BELOW_THE_LIP, self.skin & self.lower), (UPPER_LIP, self.skin & ~self.lower)):
            rows[list(ids)], weights[list(ids)] = nearest(self.body, points[list(ids)], allowed)
        for side, ids in EYE_CONTOURS.items():
            rows[list(ids)], weights[list(ids)] = self._on_rim(points[list(ids)], self.rims[side])
        return rows, weights

    def at(self, rows: Tensor, weights: Tensor) -> Tensor:
        """Map places, vertices (468, 3) and barycentric weights (468, 3), -> points (468, 3) m."""
        return (self.body.mean[rows] * weights[..., None]).sum(1)

    def _on_rim(self, points: Tensor, rim: Tensor) -> tuple[Tensor, Tensor]:
        """Return the places on a closed rim (R,) of vertices that lie nearest to points (N, 3), seen from the front.

        Returns vertices (N, 3) and barycentric weights (N, 3)."""
        a, b = self.body.mean[rim], self.body.mean[rim.roll(-1)]
        edge, away = (b - a)[None], points[:, None] - a
        along = ((away * edge).sum(2) / edge.square().sum(2).clamp_min(1e-14)).clamp(0, 1)  # (N, R)
        off = (away - along[..., None] * edge)[..., [0, 2]].norm(dim=2)
        best = off.argmin(1)
        share = along.gather(1, best[:, None])[:, 0]
        rows = torch.stack([rim[best], rim.roll(-1)[best], rim[best]], 1)
        return rows, torch.stack([1 - share, share, torch.zeros_like(share)], 1)


def nearest(body: HalfBody, points: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the places on the allowed triangles (F,) bool that lie nearest to points (N, 3).

    Distances in depth count less, so that a point that moves across the picture is not pulled back along a slanted
    surface. Returns vertices (N, 3) and barycentric weights (N, 3)."""
    scale = points.new_tensor([1.0, _DEPTH, 1.0])
    triangles, points = body.triangles[allowed], points * scale
    corners = body.mean[triangles] * scale  # (F, 3, 3)
    rows, weights = [], []
    for point in points:
        weight = _closest(corners, point)
        off = ((weight[..., None] * corners).sum(1) - point).norm(dim=1)
        best = int(off.argmin())
        rows.append(triangles[best])
        weights.append(weight[best])
    return torch.stack(rows), torch.stack(weights)


def _closest(corners: Tensor, point: Tensor) -> Tensor:
    """Return the barycentric weights (F, 3) of the point of each triangle that lies nearest to `point` (3,).

    corners: (F, 3, 3)."""
    a, b, c = corners.unbind(1)
    ab, ac, ap = b - a, c - a, point - a
    d00, d01, d11 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    d20, d21 = (ap * ab).sum(1), (ap * ac).sum(1)
    area = (d00 * d11 - d01 * d01).clamp_min(1e-16)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    best = torch.stack([1 - v - w, v, w], 1)
    distance = torch.where((best >= 0).all(1), ((best[..., None] * corners).sum(1) - point).norm(dim=1), torch.inf)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        edge = corners[:, j] - corners[:, i]
        t = (((point - corners[:, i]) * edge).sum(1) / edge.square().sum(1).clamp_min(1e-16)).clamp(0, 1)
        weight = torch.zeros_like(best)
        weight[:, i], weight[:, j] = 1 - t, t
        off = ((weight[..., None] * corners).sum(1) - point).norm(dim=1)
        nearer = off < distance
        best, distance = torch.where(nearer[:, None], weight, best), torch.where(nearer, off, distance)
    return best


def visible_rim(body: HalfBody, side: str) -> Tensor:
    """Return the vertices (R,) around the opening of an eye, as seen from the front, in order: the front edges of both
    lids.

    The mean face is drawn without lashes. From the middle of the visible eyeball, every direction is searched for the
    first triangle outside it; that triangle's corner on the border is taken. Vertices behind it belong to the lid's
    inside."""
    away = body.mean - body.bone_mean[body.bone_index[f"eye.{side}"]]
    kept = (body.triangle_part != body.part_index["lashes"]).nonzero().squeeze(1)
    pixel = (away[:, [0, 2]] * away.new_tensor([1.0, -1.0]) / _HALF + 1) * (_SIDE / 2)
    points = torch.cat([pixel, away[:, 1:2] + 1], 1)
    triangle = rasterize(points[None], body.triangles[kept], (_SIDE, _SIDE)).triangle[0]
    shown = kept[triangle.clamp_min(0)]
    eye = (triangle >= 0) & (body.triangle_part[shown] == body.part_index[f"eye.{side}"])
    middle = eye.nonzero().float().mean(0).flip(0)
    angle = torch.arange(_RAYS) * (2 * math.pi / _RAYS)
    reach = torch.arange(_STEP, _SIDE / 2, _STEP)
    at = middle + reach[None, :, None] * torch.stack([angle.cos(), angle.sin()], 1)[:, None]
    at = at.long().clamp(0, _SIDE - 1)
    first = (~eye[at[..., 1], at[..., 0]]).to(torch.uint8).argmax(1)
    border = at[torch.arange(_RAYS), first]  # (rays, 2)
    corners = body.triangles[shown[border[:, 1], border[:, 0]]]
    off = (pixel[corners] - border[:, None]).norm(dim=2)
    near, corner = off.min(1)
    found = corners.gather(1, corner[:, None])[:, 0][near < _CORNER].unique()
    aside = torch.cdist(pixel[found], pixel[found]) < _BESIDE / _HALF * (_SIDE / 2)
    behind = away[found, 1][:, None] - away[found, 1] > _BEHIND  # +y is away from the front
    rim = found[~(aside & behind).any(1)]
    turn = torch.atan2(*(pixel[rim] - middle).flip(1).unbind(1))
    return rim[turn.argsort()]


def mirrored_points(meshes: Tensor) -> Tensor:
    """Return the index (N,) of the left-right counterpart of each point, from detected meshes (M, N, 2) px.

    The mean of the meshes, aligned by the eyes' outer corners, is taken as symmetric."""
    right, left = meshes[:, 33], meshes[:, 263]  # outer corners of the eyes
    axis = F.normalize(left - right, dim=1)
    frame = torch.stack([axis, torch.stack([-axis[:, 1], axis[:, 0]], 1)], 1)  # (M, 2, 2)
    level = (meshes - (right + left)[:, None] / 2) @ frame.transpose(1, 2) / (left - right).norm(dim=1)[:, None, None]
    mean = level.mean(0)
    return torch.cdist(mean * mean.new_tensor([-1.0, 1.0]), mean).argmin(1)


def symmetric(points: Tensor, mirror: Tensor) -> Tensor:
    """Return the points (N, 3) averaged with the mirror images (x negated) of their counterparts; mirror: (N,) indices.
    """
    return (points + points[mirror] * points.new_tensor([-1.0, 1.0, 1.0])) / 2
