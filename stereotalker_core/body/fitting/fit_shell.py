"""The shell: offsets along the body's normals (hair, clothes) that extend the silhouette to the person's mask.

Every vertex on the silhouette measures the distance to the mask's edge along its normal; the offsets of all other
vertices follow from smoothness over the mesh and left-right symmetry. Skin prefers zero offset. Where a prior has
explained most of the outline already, only the remainder is solved for here."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...geometry.projection import project
from ...loops.available import array, loops_for
from ...shapes import size_of
from ..model import HalfBody, Posed
from ..rasterize import rasterize

REACH = 0.15  # m; a mask edge further out belongs to something else
LOWEST, HIGHEST = -0.012, 0.12  # m; the bare body may be a little too wide, hair may stand off
SLEEVE = 0.045  # m; a sleeve does not stand off as far as hair
_EXACT = 1e-3  # share of the residual that may be left over
_STEP = 0.5  # px of the search along the normal
_RIM = 2.5  # px inside the drawn silhouette up to which a vertex belongs to it
_SKIN = ("face", "lips", "mouth", "eyesocket", "hand.L", "hand.R", "eye.L", "eye.R", "tongue", "teeth.up", "teeth.low")
_HIDDEN = ("mouth", "eye.L", "eye.R", "tongue", "teeth.up", "teeth.low", "lashes")  # never part of a silhouette


class Contour(NamedTuple):
    """The M vertices of the body on its outer silhouette, and the mask's edge beside them.

    vertices: (M,) indices.
    pixel: (M, 2) their positions, px.
    normal: (M, 2) unit vectors outwards, in the picture.
    gap: (M,) px to the mask's edge, positive outwards.
    found: (M,) bool where an edge lies within reach.
    metre: (M,) metres per pixel.
    inset: (M,) px by which a vertex lies inside the drawn silhouette along its normal, at most 2.5."""

    vertices: Tensor
    pixel: Tensor
    normal: Tensor
    gap: Tensor
    found: Tensor
    metre: Tensor
    inset: Tensor


def outer_contour(
    body: HalfBody,
    posed: Posed,
    camera: Tensor,
    intrinsics: Tensor,
    mask: Tensor,
    drawn: Tensor | None = None,
) -> Contour:
    """Find the silhouette of a posed body, and how far the mask's edge lies from it.

    body: the half body.
    posed: the body in its pose, batch 1.
    camera: world to camera (4, 4).
    intrinsics: (3, 3) in the mask's pixels.
    mask: (1, H, W) in [0, 1].
    drawn: (F,) bool, the triangles whose silhouette is taken; None takes all."""
    size = size_of(mask)
    points = project(posed.vertices, camera[None], intrinsics)
    triangles = body.triangles if drawn is None else body.triangles[drawn]
    covered = (rasterize(points, triangles, size).depth > 0).float()
    pixel = points[0, :, :2]
    x, y = pixel[body.triangles].unbind(-1)
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (y[:, 1] - y[:, 0]) * (x[:, 2] - x[:, 0])
    front = torch.zeros(body.n_vertices, 2, device=mask.device)
    hidden = torch.tensor([body.part_index[n] for n in _HIDDEN], device=mask.device)
    sides = torch.stack([area < 0, area >= 0], 1).float() * ~torch.isin(body.triangle_part, hidden)[:, None]
    for corner in range(3):
        front.index_add_(0, body.triangles[:, corner], sides)
    normal = (body.normals(posed.vertices)[0] @ camera[:3, :3].T)[:, :2]
    length = normal.norm(dim=1)
    normal = normal / length.clamp_min(1e-6)[:, None]
    beyond = pixel + _RIM * normal
    outside = _sampled_at(covered, beyond) < 0.5
    border = ((pixel > 1) & (pixel < pixel.new_tensor([size[1] - 1, size[0] - 1]))).all(1)
    chosen = ((front > 0).all(1) & outside & border & (length > 0.5)).nonzero().squeeze(1)
    pixel, normal, depth = pixel[chosen], normal[chosen], points[0, chosen, 2]
    metre = depth / intrinsics[0, 0]
    gap, found = _gap(mask, covered, pixel, normal, REACH / metre)
    inset, _ = _gap(covered, covered, pixel, normal, torch.full_like(metre, _RIM + _STEP))
    return Contour(chosen, pixel, normal, gap, found, metre, inset)


def _gap(mask: Tensor, covered: Tensor, pixel: Tensor, normal: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Return the signed distance (M,) px from pixel (M, 2) along normal (M, 2) to the mask's edge, and (M,) bool
    whether there is an edge.

    mask: (1, H, W) of the person.
    covered: (H, W) silhouette of the body.
    reach: (M,) px, how far to look."""
    if not len(pixel):
        return pixel.new_zeros(0), torch.zeros(0, dtype=torch.bool, device=pixel.device)
    if (fast := loops_for(mask, covered, pixel)) is not None:
        gap, found = torch.empty(len(pixel)), torch.empty(len(pixel), dtype=torch.bool)
        seen = array(mask[0]), array(covered.view_as(mask[0])), array(pixel), array(normal), array(reach)
        fast.surfaces.edge_gaps(*seen, _STEP, gap.numpy(), found.numpy())
        return gap, found
    steps = int(reach.max() / _STEP) + 1
    t = torch.arange(steps, device=pixel.device) * _STEP
    size = pixel.new_tensor([mask.shape[-1], mask.shape[-2]])
    out = pixel[:, None] + t[:, None] * normal[:, None]  # (M, S, 2)
    person = _sampled_at(mask, out) > 0.5
    other = (_sampled_at(covered, out) > 0.5) & (t > 4)  # another limb: the space between belongs to both
    leaves = ((out < 1) | (out > size - 1)).any(-1)
    stop = ~person | other
    first = _first(stop)
    hit = stop.any(1) & ~leaves.gather(1, first[:, None])[:, 0]
    grown = t[first] * torch.where(other.gather(1, first[:, None])[:, 0], 0.5, 1.0)
    back = _sampled_at(mask, pixel[:, None] - t[:, None] * normal[:, None]) > 0.5
    shrunk = -t[_first(back)]
    inside = person[:, 0]
    gap = torch.where(inside, grown, shrunk)
    found = torch.where(inside, hit, back.any(1)) & (gap.abs() <= reach)
    return gap, found


def _first(flags: Tensor) -> Tensor:
    """Map (M, S) bool -> (M,) index of the first true value, 0 where there is none."""
    return flags.to(torch.uint8).argmax(1)


def _sampled_at(image: Tensor, pixel: Tensor) -> Tensor:
    """Sample image (1, H, W) bilinearly at pixel (..., 2) -> (...); zero outside the image."""
    size = pixel.new_tensor([image.shape[-1], image.shape[-2]])
    grid = (pixel / size * 2 - 1).reshape(1, 1, -1, 2)
    return F.grid_sample(image[None], grid, align_corners=False).view(pixel.shape[:-1])


class ShellSolver:
    """The solver that spreads a few known offsets smoothly and symmetrically over the mesh (sparse least squares).

    smoothness: weight of differences between neighbours.
    skin, small: how strongly an offset is drawn to zero, on skin and elsewhere."""

    def __init__(self, body: HalfBody, smoothness: float = 2.0, skin: float = 0.2, small: float = 5e-4):
        self.mirror = body.mirror
        edges = torch.cat([body.triangles[:, [0, 1]], body.triangles[:, [1, 2]], body.triangles[:, [2, 0]]])
        low, high = edges.sort(1).values.unbind(1)
        keys = torch.unique(low * body.n_vertices + high)  # of one number: much faster than of rows
        edges = torch.stack([torch.div(keys, body.n_vertices, rounding_mode="floor"), keys % body.n_vertices], 1)
        part, skin_part = body.vertex_part, body.vertices_in(*_SKIN)
        stiffness = torch.where(part[edges[:, 0]] == part[edges[:, 1]], 1.0, 0.1)  # hair and cuffs end abruptly
        self.edges, self.stiffness = edges, smoothness * stiffness
        self.rest = torch.where(skin_part, skin, small).to(body.mean.dtype)

    def solve(self, vertices: Tensor, offset: Tensor, weight: Tensor, start: Tensor, iterations: int = 150) -> Tensor:
        """Map known offsets (M,) m of vertices (M,) with weights (M,) -> offsets (V,) of all, by conjugate gradients.

        The solution is symmetric and not clamped; the iteration starts from `start` (V,) and takes at most `iterations`
        steps."""
        total = torch.zeros_like(start).index_add(0, vertices, weight)
        wanted = torch.zeros_like(start).index_add(0, vertices, weight * offset)
        total, wanted = total + 0.5 * total[self.mirror], wanted + 0.5 * wanted[self.mirror]
        a, b = self.edges.unbind(1)
        diagonal = (total + self.rest).index_add(0, a, self.stiffness).index_add(0, b, self.stiffness)

        fast = loops_for(start)
        ends = (array(a), array(b), array(self.stiffness), array(total + self.rest)) if fast is not None else ()

        def apply(s: Tensor) -> Tensor:
            if fast is not None:
                out = torch.empty(s.shape)
                fast.surfaces.smoothness(*ends, array(s), out.numpy())
                return out
            flow = self.stiffness * (s[a] - s[b])
            return ((total + self.rest) * s).index_add(0, a, flow).index_add(0, b, -flow)

        x = start
        r = wanted - apply(x)
        z = r / diagonal
        p, rz = z, (r * z).sum()
        enough = float(rz) * _EXACT**2
        for _ in range(iterations):
            if float(rz) <= enough:
                break
            ap = apply(p)
            alpha = rz / (p * ap).sum().clamp_min(1e-20)
            x, r = x + alpha * p, r - alpha * ap
            z = r / diagonal
            new = (r * z).sum()
            p, rz = z + new / rz.clamp_min(1e-20) * p, new
        return 0.5 * (x + x[self.mirror])


def fit_shell(
    body: HalfBody,
    fit,
    mask: Tensor,
    intrinsics: Tensor,
    iterations: int = 5,
    solver: ShellSolver | None = None,
    sleeve: float = HIGHEST,
) -> Tensor:
    """Return the offsets (V,) in metres that extend the silhouette of a `PoseFit` to the mask (1, H, W).

    body: the half body.
    fit: shape, pose and camera (`PoseFit`).
    mask: the person's.
    intrinsics: (3, 3) in the mask's pixels.
    iterations: rounds of drawing and solving.
    solver: reused between calls; None makes one.
    sleeve: m; an edge further from an arm than this belongs to something else.

    The shell that the fit brings (`fit.shell`) is kept, and only what it leaves is solved for."""
    solver = solver or ShellSolver(body)
    known = torch.zeros(body.n_vertices, device=mask.device) if fit.shell is None else fit.shell
    hand = body.vertices_in("hand.L", "hand.R")  # fingers that nobody located: a shell would only deform them
    arms = body.vertices_in("arm.L", "arm.R")
    limit = torch.where(arms, sleeve, HIGHEST)
    lowest, highest, rest = known.clamp(max=LOWEST), torch.maximum(known, limit), torch.zeros_like(known)
    for _ in range(iterations):
        shell = (known + rest).clamp(lowest, highest)
        contour = outer_contour(body, fit.posed(body, shell), fit.world_to_camera, intrinsics, mask)
        far = arms[contour.vertices] & (contour.gap * contour.metre > sleeve)  # the edge of something else
        found = contour.found & ~hand[contour.vertices] & ~far
        vertices = contour.vertices[found]
        if not len(vertices):
            break
        target = (shell[vertices] + (contour.gap * contour.metre)[found]).clamp(lowest[vertices], highest[vertices])
        rest = solver.solve(vertices, target - known[vertices], torch.full_like(target, 4.0), rest)
    return (known + rest).clamp(lowest, highest)


def silhouette_iou(body: HalfBody, posed: Posed, camera: Tensor, intrinsics: Tensor, mask: Tensor) -> float:
    """Return the intersection over union of the rendered silhouette and mask (1, H, W).

    posed: batch 1; camera: (4, 4) world to camera; intrinsics: (3, 3) px."""
    points = project(posed.vertices, camera[None], intrinsics)
    covered = rasterize(points, body.triangles, size_of(mask)).depth > 0
    person = mask > 0.5
    return float((covered & person).sum() / (covered | person).sum().clamp_min(1))
