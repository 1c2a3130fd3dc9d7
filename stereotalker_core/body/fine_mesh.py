"""The body's mesh with its long edges split, so that outlines of heads, shoulders and arms are curves, not polygons.

The fit works on 11,138 vertices that lie up to 4 cm apart on the cranium and 5 cm on the trunk: in a frame of 512 px
that is a corner every 20 to 50 px. When a frame is drawn, edges longer than a limit get a vertex in their middle, which
is moved outwards as on a curved point-normal triangle (Vlachos et al. 2001, Curved PN Triangles). All vertices of the
fit stay where they are, and a triangle is split wherever its neighbour is, so the surface has no cracks."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .model import HalfBody

# metres beyond which an edge is split; parts that are not named keep their triangles
_LONGEST = {"scalp": 0.012, "neck": 0.012, "face": 0.016}
_LONGEST |= dict.fromkeys(("torso", "hips", "arm.L", "arm.R"), 0.024)
_PASSES = 3  # halvings at most
# of a triangle whose edges 0 (between corners 0 and 1), 1 and 2 are split or not: the triangles that replace it, as
# corners 0..2 and middles 3..5 of these edges
_PIECES = {
    (False, False, False): ((0, 1, 2),),
    (True, False, False): ((0, 3, 2), (3, 1, 2)),
    (False, True, False): ((1, 4, 0), (4, 2, 0)),
    (False, False, True): ((2, 5, 1), (5, 0, 1)),
    (False, True, True): ((5, 4, 2), (0, 4, 5), (0, 1, 4)),
    (True, False, True): ((3, 5, 0), (1, 5, 3), (1, 2, 5)),
    (True, True, False): ((4, 3, 1), (2, 3, 4), (2, 0, 3)),
    (True, True, True): ((0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)),
}


@lru_cache(maxsize=2)
def usual_fine_mesh(body: HalfBody, device: str) -> "FineMesh":
    """Return the `FineMesh` of a body on a device, made once per process, usable in training and outside."""
    with torch.inference_mode(False), torch.no_grad():
        return FineMesh(body).to(device)


class FineMesh(nn.Module):
    """The finer triangles of a body: tables, made once, and the vertices that belong to them.

    F finer triangles, V vertices of the body and W with those in the middles of edges, R and S render vertices."""

    triangles: Tensor  # (F, 3) over W vertices
    uv_triangles: Tensor  # (F, 3) over S render vertices
    uv_corners: Tensor  # (F, 9) int32, the same three times over, for `rasterize_samples`
    triangle_part: Tensor  # (F,)
    render_vertex: Tensor  # (S,) -> vertex
    ends: Tensor  # (W - V, 2) vertices between which a new vertex lies, in the order in which they are made
    uv_ends: Tensor  # (S - R, 2) the same for render vertices

    def __init__(self, body: HalfBody):
        super().__init__()
        mesh = (body.triangles.cpu(), body.uv_triangles.cpu(), body.triangle_part.cpu())
        place, vertex = body.mean.cpu(), body.render_vertex.cpu()
        longest = torch.tensor([_LONGEST.get(name, float("inf")) for name in body.part_names])
        ends, uv_ends, self.made, self.uv_made = [], [], [], []  # `made`: new vertices of every pass
        for _ in range(_PASSES):
            middle, pairs = _long_edges(mesh, place, longest)
            if not len(pairs):
                break
            uv_middle, uv_pairs = _render_middles(mesh[1], middle, len(vertex))
            vertex = torch.cat([vertex, vertex.new_zeros(len(uv_pairs))])
            vertex[uv_middle[middle >= 0]] = middle[middle >= 0]
            place = torch.cat([place, place[pairs].mean(1)])
            mesh = _split(mesh, middle, uv_middle)
            for found, count, new in ((ends, self.made, pairs), (uv_ends, self.uv_made, uv_pairs)):
                found.append(new)
                count.append(len(new))
        names = ("triangles", "uv_triangles", "triangle_part", "render_vertex", "ends", "uv_ends")
        for name, value in zip(names, (*mesh, vertex, torch.cat(ends), torch.cat(uv_ends)), strict=True):
            self.register_buffer(name, value.contiguous(), persistent=False)
        self.register_buffer("uv_corners", self.uv_triangles.int().repeat(1, 3), persistent=False)

    def points(self, vertices: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
        """Add the vertices in the middles of edges -> vertices and unit normals (T, W, 3).

        vertices, normals: (T, V, 3) of the posed body, metres and unit vectors."""
        for pairs in self.ends.split(self.made):
            a, b, at_a, at_b = (x[:, pairs[:, i]] for x in (vertices, normals) for i in (0, 1))
            along = b - a  # how far the other end lies above the tangent plane is how far the curve bends inwards
            rise = (along * at_a).sum(-1, keepdim=True) * at_a - (along * at_b).sum(-1, keepdim=True) * at_b
            vertices = torch.cat([vertices, (a + b) / 2 - rise / 8], 1)
            normals = torch.cat([normals, F.normalize(at_a + at_b, dim=-1)], 1)
        return vertices, normals

    def means(self, values: Tensor) -> Tensor:
        """Add the means at the middles of edges to numbers of the vertices: (T, V) -> (T, W)."""
        for pairs in self.ends.split(self.made):
            values = torch.cat([values, values[:, pairs].mean(-1)], 1)
        return values

    def uv(self, uv: Tensor) -> Tensor:
        """Map the place of the body's render vertices in a texture (R, 2) -> the same of all S render vertices."""
        for pairs in self.uv_ends.split(self.uv_made):
            uv = torch.cat([uv, uv[pairs].mean(1)])
        return uv


_Mesh = tuple[Tensor, Tensor, Tensor]  # (F, 3) over vertices, (F, 3) over render vertices, (F,) parts


def _long_edges(mesh: _Mesh, place: Tensor, longest: Tensor) -> tuple[Tensor, Tensor]:
    """Find the edges to split -> the new vertex on every edge of every triangle (F, 3), -1 for none; its ends (N, 2).

    place: (V, 3) m of the vertices so far; longest: (parts,) m. An edge between two parts keeps the smaller limit."""
    triangles, _, part = mesh
    sides = torch.stack([triangles, triangles.roll(-1, 1)], -1).sort(-1).values.flatten(0, 1)
    keys, edge = torch.unique(sides[:, 0] * len(place) + sides[:, 1], return_inverse=True)
    ends = torch.stack([torch.div(keys, len(place), rounding_mode="floor"), keys % len(place)], 1)
    limit = torch.full((len(keys),), float("inf"))
    limit.scatter_reduce_(0, edge, longest[part].repeat_interleave(3), "amin")
    long = (place[ends[:, 0]] - place[ends[:, 1]]).norm(dim=1) > limit
    new = torch.where(long, long.cumsum(0) - 1 + len(place), -1)
    return new[edge].view(-1, 3), ends[long]


def _render_middles(triangles: Tensor, middle: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the new render vertices on the edges of triangles (F, 3), -1 for none, and their ends (M, 2).

    triangles: (F, 3) over `count` render vertices; middle: (F, 3) the new vertex of each edge. An edge on a seam of the
    texture has two."""
    sides = torch.stack([triangles, triangles.roll(-1, 1)], -1).sort(-1).values[middle >= 0]
    keys, edge = torch.unique(sides[:, 0] * count + sides[:, 1], return_inverse=True)
    new = torch.full_like(middle, -1)
    new[middle >= 0] = edge + count
    return new, torch.stack([torch.div(keys, count, rounding_mode="floor"), keys % count], 1)


def _split(mesh: _Mesh, middle: Tensor, uv_middle: Tensor) -> _Mesh:
    """Replace every triangle by the pieces that its split edges make of it.

    middle, uv_middle: (F, 3) new vertices and render vertices on the edges, -1 for none."""
    corners, uv_corners = torch.cat([mesh[0], middle], 1), torch.cat([mesh[1], uv_middle], 1)
    found: list[_Mesh] = []
    for edges, pieces in _PIECES.items():
        these = ((middle >= 0) == torch.tensor(edges)).all(1)
        columns = torch.tensor(pieces).flatten()
        triangles, uv_triangles = (x[these][:, columns].view(-1, 3) for x in (corners, uv_corners))
        found.append((triangles, uv_triangles, mesh[2][these].repeat_interleave(len(pieces))))
    return torch.cat([m[0] for m in found]), torch.cat([m[1] for m in found]), torch.cat([m[2] for m in found])
