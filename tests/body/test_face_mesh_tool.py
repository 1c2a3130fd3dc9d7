"""The tool that finds where the face mesh's points lie on the body: its geometry, on the mean body alone."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from stereotalker_core.body.face_mesh import EYE_CONTOURS, LIPS
from stereotalker_core.body.model import HalfBody

TOOLS = Path(__file__).parents[2] / "tools" / "body"


def load(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def geometry():
    return load("face_mesh_surface")


@pytest.fixture(scope="module")
def tool(geometry):
    return load("calibrate_face_mesh")


@pytest.fixture(scope="module")
def surface(geometry):
    return geometry.Surface(HalfBody())


def test_nearest_place_is_the_best_of_many_samples(geometry, surface):
    """Against every triangle sampled densely: inside, on edges, at corners."""
    body = surface.body
    random = torch.Generator().manual_seed(0)
    points = torch.tensor([0.0, -0.12, 0.6]) + 0.05 * torch.randn(12, 3, generator=random)
    rows, weights = geometry.nearest(body, points, surface.skin)
    assert float(weights.min()) >= 0 and torch.allclose(weights.sum(1), torch.ones(12), atol=1e-5)
    scale = torch.tensor([1.0, 0.5, 1.0])  # depth counts half
    found = ((surface.at(rows, weights) - points) * scale).norm(dim=1)
    step = torch.arange(0, 1.01, 0.1)
    u, v = (w.flatten() for w in torch.meshgrid(step, step, indexing="ij"))
    keep = u + v <= 1 + 1e-6
    samples = torch.stack([1 - u - v, u, v], 1)[keep]
    near = (body.mean[body.triangles[surface.skin]].mean(1)[None] - points[:, None]).norm(dim=2)
    for k, point in enumerate(points):
        best = body.triangles[surface.skin][near[k].topk(400, largest=False).indices]
        at = torch.einsum("sc,fcd->fsd", samples, body.mean[best])
        sampled = float(((at - point) * scale).norm(dim=2).min())
        assert found[k] <= sampled + 1e-6 and found[k] > sampled - 1e-3


def test_rims_go_around_the_eyes_in_front_of_the_eyeballs(surface):
    body = surface.body
    for side, rim in surface.rims.items():
        away = body.mean[rim] - body.bone_mean[body.bone_index[f"eye.{side}"]]
        flat = away[:, [0, 2]] - away[:, [0, 2]].mean(0)
        angle = torch.atan2(flat[:, 1], flat[:, 0])
        turns = torch.cat([angle, angle[:1]]).diff()
        turns = (turns + torch.pi) % (2 * torch.pi) - torch.pi
        assert len(rim) > 20 and float(turns.abs().max()) < 1.0
        assert abs(float(turns.sum())) == pytest.approx(2 * torch.pi, abs=1e-3)
        assert bool((turns * turns.sum().sign() > -0.1).all())
        eye = body.vertices_in(f"eye.{side}")
        assert not bool(eye[rim].any()) and float(away.norm(dim=1).max()) < 0.03
        assert float(away[:, 1].max()) < 0.0


def test_lips_part_and_eye_contours_stay_on_their_rims(surface, geometry):
    body = surface.body
    points = surface.at(body.mesh_vertices, body.mesh_weights)
    rows, weights = surface.place(points)
    assert float((surface.at(rows, weights) - points).norm(dim=1).max()) < 1e-3  # the shipped file lies there already
    move = body.express(body.mean[None], torch.eye(52)[body.expression_index["jawOpen"]][None])[0] - body.mean
    opened = (move[rows] * weights[..., None]).sum(1)[:, 2]
    inner = [i for i in LIPS if i in geometry.LOWER_LIP]
    upper = [i for i in LIPS if i in geometry.UPPER_LIP]
    assert float(opened[inner].max()) < float(opened[upper].min())
    for side, ids in EYE_CONTOURS.items():
        on = torch.isin(rows[list(ids)], surface.rims[side])
        assert bool(on.all())


def test_mirror_pairs_come_from_the_faces(geometry, surface):
    """Mean of faces that are each turned, shifted and scaled: outer eye corners, lips and brows find their partners."""
    points = surface.at(surface.body.mesh_vertices, surface.body.mesh_weights)
    flat = torch.stack([points[:, 0], -points[:, 2]], 1)
    meshes = []
    for k in range(5):
        angle = torch.tensor(0.2 * (k - 2))
        turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
        meshes.append(flat @ turn.T * (300 + 40 * k) + torch.tensor([100.0 * k, 50.0]))
    mirror = geometry.mirrored_points(torch.stack(meshes))
    for right, left in ((33, 263), (133, 362), (159, 386), (70, 300), (13, 13)):
        assert int(mirror[right]) == left and int(mirror[left]) == right
    assert float((mirror[mirror] == torch.arange(468)).float().mean()) > 0.9
    even = geometry.symmetric(points, mirror)
    assert float((even[33] - even[263] * torch.tensor([-1.0, 1, 1])).abs().max()) < 1e-6


def test_the_first_guess_lies_near_the_face(tool, surface):
    """A detected mesh in pixels, scaled, turned and with its own depth, comes back as the points it was made from."""
    body = surface.body
    points = surface.at(body.mesh_vertices, body.mesh_weights)
    deep = torch.stack([points[:, 0], -points[:, 2], points[:, 1]], 1) * 900 + torch.tensor([200.0, 700.0, 0.0])
    turned = deep.clone()
    c, s = torch.tensor(0.2).cos(), torch.tensor(0.2).sin()
    turned[:, 0], turned[:, 2] = c * deep[:, 0] + s * deep[:, 2], -s * deep[:, 0] + c * deep[:, 2]
    seen = [tool.Seen(None, d[:, :2], d, None, (1, 1)) for d in (deep, turned, deep * 0.5)]
    guess = tool.first_guess(body, seen)
    assert float((guess - points).norm(dim=1).median()) < 0.004


def test_residuals_are_those_of_the_points(tool):
    moves = torch.zeros(3, 468, 3)
    moves[:, :, 0] = torch.tensor([0.001, 0.002, 0.009])[:, None]
    found = tool.Residuals(moves, torch.full((3, 468), 0.02)).summary()
    assert found["bias"] == pytest.approx(0.002) and found["spread"] == pytest.approx(0.001)
    assert found["all"] == pytest.approx(0.02) and found["lips"] == pytest.approx(0.02)


def test_a_folder_without_faces_is_refused(tool, tmp_path):
    with pytest.raises(ValueError, match="0 usable faces"):
        tool.look(tmp_path, 1, 0)
