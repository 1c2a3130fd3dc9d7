"""The finer mesh that is drawn: it has no cracks, keeps the vertices of the fit, and its outlines are curves."""

import numpy as np
import pytest
import torch

from stereotalker_core.body.fine_mesh import FineMesh, usual_fine_mesh
from stereotalker_core.body.model import HalfBody

BODY = HalfBody()


@pytest.fixture(scope="module")
def mesh():
    return FineMesh(BODY)


def edges(triangles):
    """Return the directed edges (3 F, 2) of triangles (F, 3)."""
    return torch.stack([triangles, triangles.roll(-1, 1)], -1).flatten(0, 1)


def rims(triangles):
    """Return the directed edges without a partner in the opposite direction, as a set."""
    found = {tuple(e) for e in edges(triangles).tolist()}
    return {e for e in found if e[::-1] not in found}


def test_a_triangle_is_split_wherever_its_neighbour_is(mesh):
    whole = len(BODY.mean) + len(mesh.ends)
    assert mesh.triangles.unique().numel() == len(mesh.render_vertex.unique()) <= whole
    assert torch.equal(mesh.render_vertex[mesh.uv_triangles], mesh.triangles)
    between = {tuple(sorted(e)): len(BODY.mean) + i for i, e in enumerate(mesh.ends.tolist())}

    def halves(a, b):
        middle = between.get((min(a, b), max(a, b)))
        return [(a, b)] if middle is None else halves(a, middle) + halves(middle, b)

    assert {half for rim in rims(BODY.triangles) for half in halves(*rim)} == rims(mesh.triangles)


def test_long_edges_are_gone(mesh):
    points, _ = mesh.points(BODY.mean[None], BODY.normals(BODY.mean[None]))
    for part, longest in (("scalp", 0.014), ("torso", 0.027), ("arm.L", 0.027)):
        these, before = (x == BODY.part_index[part] for x in (mesh.triangle_part, BODY.triangle_part))
        ends, coarse = edges(mesh.triangles[these]), edges(BODY.triangles[before])
        assert float((points[0, ends[:, 0]] - points[0, ends[:, 1]]).norm(dim=1).max()) < longest
        assert float((BODY.mean[coarse[:, 0]] - BODY.mean[coarse[:, 1]]).norm(dim=1).max()) > longest
    hands = BODY.part_index["hand.L"]
    assert (mesh.triangle_part == hands).sum() < 1.1 * (BODY.triangle_part == hands).sum()


def test_vertices_of_the_fit_stay_and_triangles_keep_their_side(mesh):
    points, normals = mesh.points(BODY.mean[None], BODY.normals(BODY.mean[None]))
    assert torch.equal(points[0, : len(BODY.mean)], BODY.mean)
    assert float((normals.norm(dim=-1) - 1).abs().max()) < 1e-4
    off = (points[0, len(BODY.mean) :] - points[0, mesh.ends].mean(1)).norm(dim=1)
    assert 1e-4 < float(off.max()) < 0.006  # m


def test_middles_lie_nearer_to_a_sphere_than_chords(mesh):
    ball = torch.nn.functional.normalize(BODY.mean - BODY.mean.mean(0), dim=1)[None]
    points, normals = mesh.points(ball, ball)
    new = slice(len(BODY.mean), len(BODY.mean) + mesh.made[0])
    chord = 1 - ball[0, mesh.ends[: mesh.made[0]]].mean(1).norm(dim=1)
    assert float((points[0, new].norm(dim=1) - 1).abs().mean()) < 0.1 * float(chord.mean())
    torch.testing.assert_close(normals[0, new], torch.nn.functional.normalize(points[0, new], dim=1), atol=1e-4, rtol=0)


def test_a_plane_stays_a_plane_and_the_texture_follows(mesh):
    flat = BODY.mean * torch.tensor([1.0, 0.0, 1.0])
    points, _ = mesh.points(flat[None], torch.tensor([0.0, -1.0, 0.0]).expand(1, len(flat), 3))
    assert float(points[..., 1].abs().max()) == 0
    assert torch.equal(mesh.uv(BODY.atlas_uv)[: len(BODY.atlas_uv)], BODY.atlas_uv)
    corners = mesh.uv(BODY.atlas_uv)[mesh.uv_triangles]
    area = torch.linalg.det(torch.cat([corners, torch.ones_like(corners[..., :1])], -1)).abs().sum() / 2
    coarse = BODY.atlas_uv[BODY.uv_triangles]
    whole = torch.linalg.det(torch.cat([coarse, torch.ones_like(coarse[..., :1])], -1)).abs().sum() / 2
    torch.testing.assert_close(area, whole, rtol=1e-4, atol=0)


def test_the_compiled_loop_makes_the_same_vertices(mesh):
    pytest.importorskip("numba")
    from stereotalker_core.video.guides import compiled

    normals = BODY.normals(BODY.mean[None])
    points, facing = mesh.points(BODY.mean[None], normals)
    fast, turned = np.zeros((2, points.shape[1], 3), np.float32)
    fast[: len(BODY.mean)], turned[: len(BODY.mean)] = BODY.mean.numpy(), normals[0].numpy()
    compiled.edge_middles(fast, turned, mesh.ends.int().numpy())
    np.testing.assert_allclose(fast, points[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(turned, facing[0].numpy(), atol=1e-4)


def test_it_is_made_once_and_usable_in_training():
    with torch.inference_mode():
        first = usual_fine_mesh(BODY, "cpu")
    assert usual_fine_mesh(BODY, "cpu") is first
    assert not first.ends.is_inference()
