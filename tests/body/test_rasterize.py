import pytest
import torch
from torch import Tensor

from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.rasterize import Fragments, interpolate, rasterize, rasterize_samples
from stereotalker_core.geometry.projection import intrinsics_for, look_at, project

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))


def screen_area(corners: Tensor) -> float:
    """Twice the signed area of three corners (3, 3) in pixels."""
    (xa, ya, _), (xb, yb, _), (xc, yc, _) = corners.tolist()
    return (xb - xa) * (yc - ya) - (yb - ya) * (xc - xa)


def brute_force(points: Tensor, triangles: Tensor, size: tuple[int, int], cull: bool) -> tuple[Fragments, Tensor]:
    """The plain twin, pixel by pixel: the ray through the pixel centre against every triangle, as a 3x3 system.

    A pixel (x, y) at depth z is the point (x z, y z, z) of a pinhole whose rays are (x, y, 1). Also returns which
    pixels are unambiguous: no edge within 1e-3 and no second triangle at the same depth.
    """
    rows, columns = size
    triangle = torch.full((len(points), rows, columns), -1)
    barycentric = torch.zeros(len(points), rows, columns, 3, dtype=torch.float64)
    depth = torch.zeros(len(points), rows, columns, dtype=torch.float64)
    clear = torch.ones(len(points), rows, columns, dtype=torch.bool)
    for b, image in enumerate(points.double()):
        space = torch.cat([image[:, :2] * image[:, 2:], image[:, 2:]], 1)
        front = [screen_area(image[corners]) < 0 for corners in triangles]
        kept = [i for i in range(len(triangles)) if front[i] or not cull]
        inverse = [torch.linalg.inv(space[triangles[i]].T).tolist() for i in kept]
        for y in range(rows):
            for x in range(columns):
                best = float("inf")
                for index, rows_of in zip(kept, inverse, strict=True):
                    weight = [a * (x + 0.5) + d * (y + 0.5) + c for a, d, c in rows_of]
                    at = 1 / sum(weight)
                    weight = [w * at for w in weight]
                    if at > 0 and abs(min(weight)) < 1e-3:
                        clear[b, y, x] = False
                    if at <= 0 or min(weight) < 0:
                        continue
                    if abs(at - best) < 1e-4:
                        clear[b, y, x] = False
                    if at < best:
                        best = at
                        triangle[b, y, x], depth[b, y, x] = index, at
                        barycentric[b, y, x] = torch.tensor(weight, dtype=torch.float64)
    return Fragments(triangle, barycentric, depth), clear


def random_triangles(batch: int, count: int, side: int) -> tuple[Tensor, Tensor]:
    """Triangles that overlap, cross each other and leave the picture: points (batch, 3 count, 3), (count, 3)."""
    g = torch.Generator().manual_seed(1)
    pixels = (torch.rand(batch, 3 * count, 2, generator=g) * 1.6 - 0.3) * side
    depth = 0.5 + 3 * torch.rand(batch, 3 * count, 1, generator=g)
    return torch.cat([pixels, depth], -1), torch.arange(3 * count).view(count, 3)


def sphere(segments: int = 24) -> tuple[Tensor, Tensor]:
    """A closed unit sphere, triangles counter-clockwise from outside."""
    rings = segments // 2
    theta = torch.linspace(0, torch.pi, rings + 1)[:, None]
    phi = torch.arange(segments)[None] * (2 * torch.pi / segments)
    grid = torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos() + 0 * phi], -1)
    index = torch.arange((rings + 1) * segments).view(rings + 1, segments)
    a, b = index[:-1], index[1:]
    c, d = b.roll(-1, 1), a.roll(-1, 1)
    return grid.flatten(0, 1), torch.cat([torch.stack([a, b, c], -1), torch.stack([a, c, d], -1)]).flatten(0, 1)


def seen(vertices: Tensor, side: int, height: float, target: tuple[float, float, float] = (0, 0, 0)) -> Tensor:
    """Vertices (V, 3) from a camera obliquely in front, as rasteriser points (1, V, 3)."""
    camera = look_at(torch.tensor(target), torch.tensor([25.0]), torch.tensor([10.0]), torch.tensor([4.0]))
    return project(vertices[None], camera, intrinsics_for(height, 4.0, (side, side)))


@pytest.mark.parametrize("cull", [True, False])
def test_equals_a_ray_against_every_triangle(cull: bool):
    points, triangles = random_triangles(batch=2, count=7, side=14)
    found = rasterize(points, triangles, (14, 12), cull)
    expected, clear = brute_force(points, triangles, (14, 12), cull)
    assert clear.float().mean() > 0.9 and 0.3 < (expected.triangle >= 0).float().mean() < 1
    assert torch.equal(found.triangle[clear], expected.triangle[clear])
    torch.testing.assert_close(found.barycentric[clear].double(), expected.barycentric[clear], atol=2e-4, rtol=0)
    torch.testing.assert_close(found.depth[clear].double(), expected.depth[clear], atol=2e-4, rtol=0)


def test_front_faces_are_negative_in_pixels_and_the_back_is_culled():
    points = torch.tensor([[[2.0, 2.0, 1.0], [2.0, 12.0, 1.0], [12.0, 2.0, 1.0]]])
    front, back = torch.tensor([[0, 1, 2]]), torch.tensor([[0, 2, 1]])
    assert (rasterize(points, front, (16, 16)).triangle >= 0).sum() > 30
    assert (rasterize(points, back, (16, 16)).triangle >= 0).sum() == 0
    assert (rasterize(points, back, (16, 16), cull=False).triangle >= 0).sum() > 30


def test_a_culled_sphere_shows_its_near_half_and_an_inverted_one_its_far_half():
    vertices, triangles = sphere()
    points = seen(vertices, 64, 2.4)
    near, far = rasterize(points, triangles, (64, 64)), rasterize(points, triangles.flip(1), (64, 64))
    assert 3.0 <= near.depth[0, 32, 32] < 3.1 and 4.9 < far.depth[0, 32, 32] <= 5.0
    both = rasterize(points, triangles, (64, 64), cull=False)
    hit = near.triangle >= 0
    torch.testing.assert_close(both.depth[hit], near.depth[hit])


@pytest.mark.parametrize("side", [64, 257])
def test_a_closed_convex_mesh_has_no_pinhole(side: int):
    vertices, triangles = sphere(48)
    hit = (rasterize(seen(vertices, side, 2.4), triangles, (side, side)).triangle[0] >= 0).int()
    assert hit.sum() > 0.4 * side * side
    for lines in (hit, hit.T):  # a convex outline is entered at most once along every row and column
        assert (lines.diff(dim=1, prepend=torch.zeros_like(lines[:, :1])) == 1).sum(1).max() == 1


def test_the_body_has_no_pinhole_and_every_pixel_reprojects_onto_itself():
    body = HalfBody()
    vertices, side = body.mean, 256
    points = seen(vertices, side, 0.86, (0.0, -0.02, 0.4))
    fragments = rasterize(points, body.triangles, (side, side))
    hit = fragments.triangle[0] >= 0
    around = hit[:-2, 1:-1] & hit[2:, 1:-1] & hit[1:-1, :-2] & hit[1:-1, 2:]
    assert hit.float().mean() > 0.3 and not (around & ~hit[1:-1, 1:-1]).any()
    # interpolated points of the surface, projected again, fall on the pixel's centre: perspective correctness
    surface = interpolate(vertices, body.triangles, fragments)[0][hit]
    again = seen(surface, side, 0.86, (0.0, -0.02, 0.4))[0]
    y, x = hit.nonzero().unbind(1)
    assert (again[:, :2] - torch.stack([x, y], 1) - 0.5).abs().max() < 2e-2
    torch.testing.assert_close(again[:, 2], fragments.depth[0][hit], atol=1e-4, rtol=0)


def test_interpolation_equals_a_loop_over_pixels():
    points, triangles = random_triangles(batch=2, count=6, side=10)
    fragments = rasterize(points, triangles, (10, 10))
    g = torch.Generator().manual_seed(2)
    attribute = torch.randn(2, points.shape[1], 4, generator=g)
    expected = torch.zeros(2, 10, 10, 4)
    for b, y, x in (fragments.triangle >= 0).nonzero().tolist():
        corners = attribute[b, triangles[fragments.triangle[b, y, x]]]
        expected[b, y, x] = fragments.barycentric[b, y, x] @ corners
    torch.testing.assert_close(interpolate(attribute, triangles, fragments), expected)
    shared = interpolate(attribute[0], triangles, fragments)
    torch.testing.assert_close(shared[0], expected[0])
    torch.testing.assert_close(shared, interpolate(attribute[:1].expand(2, -1, -1), triangles, fragments))


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_samples_equal_the_finer_picture(samples: int, device: str):
    points, triangles = random_triangles(batch=1, count=9, side=20)
    attribute = torch.randn(points.shape[1], 4, generator=torch.Generator().manual_seed(3))
    fragments = rasterize(points, triangles, (20, 20))
    expected = interpolate(attribute, triangles, fragments)[0]
    size = (20 // samples, 20 // samples)
    corners = triangles.int().repeat(1, 3)
    found = rasterize_samples(*(x.to(device) for x in (points[0], triangles, attribute, corners)), size, samples)
    pixel, hit, triangle, values = (x.cpu() for x in found)
    finer = (fragments.triangle[0] >= 0).view(size[0], samples, size[1], samples).any(3).any(1)
    assert torch.equal(pixel, finer.flatten().nonzero().squeeze(1))
    for k in range(samples**2):
        row = samples * torch.div(pixel, size[1], rounding_mode="floor") + k // samples
        column = samples * (pixel % size[1]) + k % samples
        there = fragments.triangle[0, row, column]
        assert torch.equal(hit[k], there >= 0)
        assert torch.equal(triangle[k][hit[k]], there[hit[k]])
        depth = 1 / values[-1, k]
        torch.testing.assert_close(depth[hit[k]], fragments.depth[0, row, column][hit[k]], atol=1e-4, rtol=0)
        seen = (values[:-1, k] * depth)[:, hit[k]].T
        torch.testing.assert_close(seen, expected[row, column][hit[k]], atol=1e-3, rtol=0)
    assert float(hit.float().mean()) > 0.3 and values.isfinite().all()


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_reruns_are_bitwise_equal_and_the_order_of_triangles_does_not_matter(device: str):
    points, triangles = (t.to(device) for t in random_triangles(batch=2, count=200, side=48))
    first = rasterize(points, triangles, (48, 48))
    again = rasterize(points, triangles, (48, 48))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    order = torch.randperm(200, generator=torch.Generator().manual_seed(3)).to(device)
    shuffled = rasterize(points, triangles[order], (48, 48))
    assert ((shuffled.triangle < 0) == (first.triangle < 0)).float().mean() > 0.999
    same = torch.where(shuffled.triangle >= 0, order[shuffled.triangle.clamp_min(0)], -1) == first.triangle
    assert same.float().mean() > 0.999  # two surfaces within half a micrometre may swap
    torch.testing.assert_close(shuffled.depth[same], first.depth[same], atol=1e-5, rtol=0)


@pytest.mark.parametrize("device", [CUDA])
def test_cuda_equals_cpu(device: str):
    vertices, triangles = sphere()
    points = seen(vertices, 96, 2.4)
    here, there = rasterize(points, triangles, (96, 96)), rasterize(points.to(device), triangles.to(device), (96, 96))
    same = here.triangle == there.triangle.cpu()
    assert same.float().mean() > 0.999
    torch.testing.assert_close(here.depth[same], there.depth.cpu()[same], atol=1e-4, rtol=0)


def test_nothing_in_view_and_points_behind_the_camera_give_an_empty_picture():
    points = torch.tensor([[[2.0, 2.0, 1.0], [2.0, 12.0, 1.0], [12.0, 2.0, 1.0]]])
    triangles = torch.tensor([[0, 1, 2]])
    for moved in (points + 100, points * torch.tensor([1, 1, -1.0])):
        found = rasterize(moved, triangles, (16, 16), cull=False)
        assert (found.triangle == -1).all() and not found.depth.any() and not found.barycentric.any()


def test_too_many_triangles_for_the_key_are_refused():
    with pytest.raises(ValueError, match="at most"):
        rasterize(torch.zeros(1, 3, 3), torch.zeros(1, 3, dtype=torch.long).expand(1 << 23, 3), (8, 8))
