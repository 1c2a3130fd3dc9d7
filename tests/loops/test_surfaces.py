"""Loops over triangles, vertices and the points of a fit against their twins in tensor operations."""

import pytest
import torch
from torch.func import jacfwd

from stereotalker_core.body.fitting.fit_shell import ShellSolver, outer_contour
from stereotalker_core.body.fitting.point_model import PointModel
from stereotalker_core.body.fitting.pose_parameters import Parameters
from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.rasterize import at_points, rasterize
from stereotalker_core.body.shell_prior import load_shell_prior
from stereotalker_core.geometry.projection import project
from stereotalker_core.loops import available
from stereotalker_core.pixels.materials import skin_steps

CAMERA = torch.tensor([[1.0, 0, 0, 0], [0, 0, -1, 0.35], [0, 1, 0, 1.2], [0, 0, 0, 1]])
INTRINSICS = torch.tensor([[200.0, 0, 96], [0, 200, 96], [0, 0, 1]])


@pytest.fixture(scope="module")
def body():
    return HalfBody()


def _random(*size, seed=0):
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


def _posed(body, count=1):
    turns = 0.3 * (_random(count, len(body.motion_bones), 3) - 0.5)
    return body.pose(body.rest(torch.zeros(1, body.n_shape)), turns)


@pytest.mark.parametrize("cull", [True, False])
def test_the_visible_triangles(body, both, cull):
    points = torch.cat([project(v[None], CAMERA[None], INTRINSICS) for v in _posed(body, 2).vertices])
    fast, slow = both(lambda: rasterize(points, body.triangles, (180, 192), cull))
    assert float((fast.triangle != slow.triangle).float().mean()) < 1e-3  # pixels on the edge between two
    same = fast.triangle == slow.triangle
    assert 0.1 < float((slow.triangle >= 0).float().mean()) < 0.9
    assert float((fast.depth - slow.depth)[same].abs().max()) < 1e-5
    assert float((fast.barycentric - slow.barycentric)[same].abs().max()) < 1e-3


def test_poses_and_normals(body, both):
    fast, slow = both(lambda: _posed(body, 3))
    for name in ("vertices", "bones", "rotations"):
        assert float((getattr(fast, name) - getattr(slow, name)).abs().max()) < 1e-5
    fast, slow = both(lambda: body.normals(_posed(body, 2).vertices))
    assert float((fast - slow).abs().max()) < 1e-3


def test_values_at_points(both):
    corners = torch.randint(0, 40, (500, 3), generator=torch.Generator().manual_seed(1))
    fast, slow = both(lambda: at_points(_random(40, 4), corners, _random(500, 3, seed=2)))
    assert float((fast - slow).abs().max()) < 1e-6


def test_smooth_shells(body, both):
    solver, known = ShellSolver(body), torch.arange(0, body.n_vertices, 37)
    wanted = 0.02 * _random(len(known))
    fast, slow = both(lambda: solver.solve(known, wanted, torch.full_like(wanted, 4.0), torch.zeros(body.n_vertices)))
    assert float((fast - slow).abs().max()) < 1e-4 and float(fast.max()) > 0.01


def test_gaps_to_the_masks_edge(body, both):
    mask = torch.zeros(1, 192, 192)
    mask[:, 30:, 50:140] = 1
    fast, slow = both(lambda: outer_contour(body, _posed(body), CAMERA, INTRINSICS, mask))
    assert len(fast.vertices) > 100 and torch.equal(fast.vertices, slow.vertices)
    assert float(((fast.gap - slow.gap).abs() > 1e-3).float().mean()) < 0.01
    assert float((fast.found != slow.found).float().mean()) < 0.01
    assert float(((fast.inset - slow.inset).abs() > 1e-3).float().mean()) < 0.01


@pytest.mark.parametrize("count", [1, 300])
def test_steps_between_colours(both, count):
    fast, slow = both(lambda: skin_steps(_random(300, 3) * 2 - 1, _random(count, 3, seed=1) * 2 - 1))
    assert float(((fast - slow).abs() / (1 + slow)).max()) < 1e-4


@pytest.mark.parametrize("dressed", [False, True])
def test_points_and_their_derivatives(body, both, dressed):
    prior = load_shell_prior() if dressed else None
    parameters = Parameters(body, True, prior.basis.shape[1] if dressed else 0)
    names = (*(f"mesh.{i}" for i in range(0, 468, 9)), "iris.L", "body.left_elbow", "hand.L.8", "body.left_hip")
    x = parameters.mean + parameters.sigma.clamp(max=1) * (_random(len(parameters.mean)) - 0.5)
    model = PointModel(body, parameters, names, torch.arange(0, body.n_vertices, 400), prior)
    assert model.tables is not None
    for function in (model, model.jacobian):
        fast, slow = both(lambda function=function: function(x))
        assert fast.shape == slow.shape
        assert float((fast - slow).abs().max()) < 1e-5 * max(1.0, float(slow.abs().max()))


def test_gradients_and_other_numbers_take_tensor_operations(body):
    pytest.importorskip("numba")
    values = _random(5, 2)
    assert available.loops_for(values, torch.arange(3)) is not None
    assert available.loops_for(values.double()) is None
    assert available.loops_for(values.clone().requires_grad_()) is None
    with torch.no_grad():
        assert available.loops_for(values.clone().requires_grad_()) is not None
    seen = []
    jacfwd(lambda x: seen.append(available.loops_for(x)) or x.square())(values)
    assert seen == [None]


def test_without_numba_there_are_no_loops(hide_numba):
    hide_numba()
    available._loops.cache_clear()
    try:
        assert available.loops_for(torch.zeros(2)) is None
    finally:
        available._loops.cache_clear()
