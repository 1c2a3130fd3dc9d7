"""The common template of all avatars: the position of every texel on the mean body, and the mesh's neighbours.

Painting is done in this template space (metres, A pose of the mean body), so one description fits every identity."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody
from ...body.rasterize import rasterize
from ...pixels.inpaint_places import push_pull

ATLAS = 1024
_EAR_UV = ((0.8467, 0.3760), (0.8467, 0.6572))  # centres of the ears in the atlas
_EAR_RADIUS = 0.0322
_DRAPE = 8e-4  # m2 of each smoothing step: details below about 3 cm vanish
_HEAD_PARTS = ("face", "scalp", "lips", "mouth", "eyesocket")


class Template:
    """The N texels of the mean body's atlas and its V vertices, with coordinates that say where on a person they lie.

    texel: (N,) flat atlas index; point: (N, 3) m; part: (N,) index; head: (N,) bool, on the head.
    arm: (N,) 0 shoulder, 1 elbow, 2 wrist, -1 elsewhere; ear: (N,) distance from the ear's centre, 1 at its rim. The
    same coordinates with prefix vertex_ are (V,)."""

    def __init__(self, body: HalfBody, size: int = ATLAS):
        if not 64 <= size <= 4096:
            raise ValueError(f"atlas size must be 64..4096, got {size}")
        self.size, self.body = size, body
        pixels = torch.cat([body.uv * size, torch.ones_like(body.uv[:, :1])], 1)[None]
        fragments = rasterize(pixels, body.uv_triangles, (size, size), cull=False)
        self.texel = (fragments.triangle[0] >= 0).flatten().nonzero().squeeze(1)
        triangle = fragments.triangle.flatten()[self.texel]
        weight = fragments.barycentric.reshape(-1, 3)[self.texel]
        self.point = (body.mean[body.triangles[triangle]] * weight[..., None]).sum(1)
        self.part = body.triangle_part[triangle]
        self.arm = self._arm_coordinate(self.point)
        self.head = self.is_part(*_HEAD_PARTS)
        row = torch.div(self.texel, size, rounding_mode="floor")
        uv = torch.stack([self.texel - row * size, row], 1).to(body.uv.dtype) / size
        self.ear = self._ear_distance(uv)
        self._bake_lips(body)
        self._bake_vertices(body)

    def _bake_lips(self, body: HalfBody) -> None:
        mask = getattr(body, "lips_mask", None)
        if mask is None:
            soft = self.blur(self.is_part("lips").float(), self.size // 256)
            self.lips = soft
            return
        image = F.interpolate(mask.float()[None, None], (self.size, self.size), mode="bilinear", align_corners=False)
        self.lips = image.flatten()[self.texel] * self.head

    def _bake_vertices(self, body: HalfBody) -> None:
        self.vertex_arm = self._arm_coordinate(body.mean)
        ear = torch.full((body.n_vertices,), 1e3)
        self.vertex_ear = ear.scatter_reduce(0, body.render_vertex, self._ear_distance(body.uv), "amin")
        corner_part = body.triangle_part[:, None].expand(-1, 3).flatten()
        self.vertex_parts = torch.zeros(body.n_vertices, len(body.part_names), dtype=torch.bool)
        self.vertex_parts[body.triangles.flatten(), corner_part] = True
        sides = torch.cat([body.triangles[:, [0, 1]], body.triangles[:, [1, 2]], body.triangles[:, [2, 0]]])
        sides = torch.unique(sides.sort(1).values, dim=0)
        self.edges = torch.cat([sides, sides.flip(1)])
        self.degree = torch.bincount(self.edges[:, 0], minlength=body.n_vertices).clamp_min(1).float()
        self._bake_drape(body)

    def _bake_drape(self, body: HalfBody) -> None:
        """Compute the matrix with which `drape` smooths the trunk: implicit mean-curvature flow (Desbrun et al. 1999),
        its border fixed.

        Area weights make it independent of the mesh's density, which plain averaging of neighbours is not."""
        z = body.mean[:, 2]
        inside = self.vertex_is("torso", "hips", "neck") & (self.vertex_arm < 0.10) & (z < 0.53) & (z > -0.12)
        triangles = body.triangles[inside[body.triangles].any(1)]
        around, local = torch.unique(triangles, return_inverse=True)  # the trunk and the ring of its border
        stiffness, area = _cotangent_laplacian(body.mean[around], local)
        own = inside[around]
        self.draped, self.drape_border = around[own], around[~own]
        system = _DRAPE * stiffness[own][:, own] + torch.diag(area[own])
        sources = torch.cat([torch.diag(area[own]), -_DRAPE * stiffness[own][:, ~own]], 1)
        self.drape_matrix = torch.linalg.solve(system, sources).float()

    def drape(self, vertices: Tensor) -> Tensor:
        """Smooth the trunk of vertices (V, 3) twice over a few centimetres, as cloth would."""
        out = vertices.clone()
        for _ in range(2):
            out[self.draped] = self.drape_matrix @ torch.cat([out[self.draped], out[self.drape_border]])
        return out

    # ---------------------------------------------------------------- semantic coordinates
    def is_part(self, *names: str) -> Tensor:
        """Return (N,) bool, true for texels of the named parts."""
        return torch.isin(self.part, torch.tensor([self.body.part_index[n] for n in names]))

    def vertex_is(self, *names: str) -> Tensor:
        """Return (V,) bool, true for vertices of a triangle of the named parts."""
        return self.vertex_parts[:, [self.body.part_index[n] for n in names]].any(1)

    def bone(self, name: str) -> Tensor:
        return self.body.bone_mean[self.body.bone_index[name]]

    @staticmethod
    def _ear_distance(uv: Tensor) -> Tensor:
        return torch.cdist(uv, uv.new_tensor(_EAR_UV)).amin(1) / _EAR_RADIUS

    def _arm_coordinate(self, points: Tensor) -> Tensor:
        out = torch.full((len(points),), -1.0)
        for side, sign in (("L", 1.0), ("R", -1.0)):
            shoulder, elbow, wrist = (self.bone(f"{n}.{side}") for n in ("upperarm01", "lowerarm01", "wrist"))
            upper, upper_distance = _along_segment(points, shoulder, elbow)
            fore, fore_distance = _along_segment(points, elbow, wrist)
            outside = points[:, 0] * sign > shoulder[0] * sign - 0.02
            near = (torch.minimum(upper_distance, fore_distance) < 0.12) & outside & (upper > -0.3)
            value = torch.where(upper_distance < fore_distance, upper.clamp(0, 1), 1 + fore.clamp(0, 1.3))
            out = torch.where(near & (points[:, 2] > -0.05), value, out)
        return out

    # ---------------------------------------------------------------- fields
    def image(self, values: Tensor) -> Tensor:
        """Map texels (N, C) -> atlas (C, A, A) with the gaps between its islands filled, so that filtering sees no
        black."""
        size = self.size
        flat = values.new_zeros(size * size, values.shape[1] + 1)
        flat[self.texel] = torch.cat([values, torch.ones_like(values[:, :1])], 1)
        both = flat.T.reshape(1, -1, size, size)
        return push_pull(both[:, :-1], both[:, -1:])[0]

    def blur(self, values: Tensor, radius: int) -> Tensor:
        """Blur texel values (N,) by a box of 2 radius + 1 in the atlas, twice, normalised within islands."""
        flat = values.new_zeros(self.size * self.size, 2)
        flat[self.texel] = torch.stack([values, torch.ones_like(values)], 1)
        both = flat.T.reshape(1, 2, self.size, self.size)
        for _ in range(2):
            both = F.avg_pool2d(both, 2 * radius + 1, 1, radius)
        value, weight = both[0].flatten(1)[:, self.texel]
        return value / weight.clamp_min(1e-6)

    def smooth(self, values: Tensor, weight: Tensor, steps: int, rate: float = 0.7) -> Tensor:
        """Smooth a vertex field (V, C) by Laplacian steps towards the mean of neighbours, scaled by weight (V, 1).

        steps: how many; rate: how far each goes, 0..1."""
        start, end = self.edges[(weight[:, 0] > 0)[self.edges[:, 0]]].unbind(1)
        share = weight * rate
        for _ in range(steps):
            mean = torch.zeros_like(values).index_add_(0, start, values[end]) / self.degree[:, None]
            values = values + share * (mean - values)
        return values


def _cotangent_laplacian(points: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor]:
    """Return the stiffness matrix (V, V) and vertex areas (V,), float64, of a triangle mesh."""
    n = len(points)
    x = points.double()
    stiffness, area = torch.zeros(n * n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    for k in range(3):
        i, j, apex = (triangles[:, (k + s) % 3] for s in range(3))
        u, v = x[i] - x[apex], x[j] - x[apex]
        double_area = torch.linalg.cross(u, v).norm(dim=1).clamp_min(1e-12)
        half_cotangent = (0.5 * (u * v).sum(1) / double_area).clamp(0.0, 5.0)
        for a, b, sign in ((i, j, -1), (j, i, -1), (i, i, 1), (j, j, 1)):
            stiffness.index_add_(0, a * n + b, sign * half_cotangent)
        area.index_add_(0, i, double_area / 6)
    return stiffness.view(n, n), area.clamp_min(1e-10)


def _along_segment(points: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the position along segment a..b (0..1, not clamped) and the distance from it, of points (N, 3)."""
    t = (points - a) @ (b - a) / ((b - a) @ (b - a))
    return t, (points - (a + t.clamp(0, 1)[:, None] * (b - a))).norm(dim=1)


def piecewise(x: Tensor, knots: tuple[float, ...], values: tuple[float, ...]) -> Tensor:
    """Interpolate linearly through (knots, values) at x, constant outside."""
    k, v = x.new_tensor(knots), x.new_tensor(values)
    i = torch.bucketize(x.contiguous(), k).clamp(1, len(k) - 1)
    t = ((x - k[i - 1]) / (k[i] - k[i - 1])).clamp(0, 1)
    return torch.lerp(v[i - 1], v[i], t)


def waves(points: Tensor, frequency: float, rng: torch.Generator, n: int = 5) -> Tensor:
    """Return smooth seamless noise (N,) at points (N, 3), of about unit variance: `n` plane waves of about `frequency`
    rad/m."""
    direction = F.normalize(torch.randn(3, n, generator=rng), dim=0)
    scale = frequency * (0.6 + 0.8 * torch.rand(n, generator=rng))
    phase = 6.2832 * torch.rand(n, generator=rng)
    return torch.sin(points @ (direction * scale) + phase).sum(1) * (2 / n) ** 0.5


def grain(template: Template, cells: int, rng: torch.Generator) -> Tensor:
    """Return fine noise (N,) in the atlas plane, of about unit variance; cells: number of noise cells along a side of
    the atlas."""
    coarse = torch.randn(1, 1, cells, cells, generator=rng)
    image = F.interpolate(coarse, (template.size, template.size), mode="bilinear", align_corners=False)
    return image.flatten()[template.texel]


def uniform(rng: torch.Generator, low: float, high: float) -> float:
    """Draw a number uniformly between low and high."""
    return low + (high - low) * float(torch.rand((), generator=rng))


def pick(rng: torch.Generator, options: tuple, weights: tuple[float, ...]):
    """Draw one option with the given (unnormalised) weights."""
    return options[int(torch.multinomial(torch.tensor(weights, dtype=torch.float32), 1, generator=rng))]
