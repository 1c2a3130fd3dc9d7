"""The model of a fit's points: its written-out derivatives against those of automatic differentiation."""

import pytest
import torch
from torch.func import jacfwd

from stereotalker_core.body.fitting.point_model import PointModel, left_jacobian
from stereotalker_core.body.fitting.pose_parameters import Parameters
from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.shell_prior import load_shell_prior
from stereotalker_core.geometry.rotations import axis_angle_to_matrix

NAMES = ("face.30", "mesh.159", "mesh.14", "iris.L", "body.left_elbow", "body.right_wrist", "hand.L.8", "hand.R.4")


@pytest.fixture(scope="module")
def body():
    return HalfBody()


@pytest.mark.parametrize("dressed", [False, True])
def test_jacobian_is_that_of_forward_differentiation(body, dressed):
    """Every group of parameters, far from the mean: joints turned by up to a radian, shape, expression, shell."""
    prior = load_shell_prior() if dressed else None
    parameters = Parameters(body, hands=True, n_shell=prior.basis.shape[1] if dressed else 0)
    random = torch.Generator().manual_seed(4)
    x = parameters.mean + parameters.sigma.clamp(max=1) * torch.randn(len(parameters.mean), generator=random)
    x[parameters.slices["expression"]] = x[parameters.slices["expression"]].abs().clamp(0, 1)
    model = PointModel(body, parameters, NAMES, torch.tensor([17, 4000, 9000]), prior)
    wanted, found = jacfwd(model)(x), model.jacobian(x)
    assert found.shape == (len(NAMES) + 3, 3, len(x))
    for name, part in parameters.slices.items():
        if part.stop > part.start:
            scale = wanted[..., part].abs().max()
            assert float((found - wanted)[..., part].abs().max()) < 1e-4 * max(1.0, float(scale)), name
    moved = [name for name, part in parameters.slices.items() if float(wanted[..., part].abs().sum()) > 0]
    assert {"translation", "root", "neck", "elbow.L", "wrist.R", "finger2-1.L", "shape", "expression"} <= set(moved)


def test_left_jacobian_is_the_derivative_of_a_rotation():
    """exp(v + d) = exp(J d) exp(v) for a small d; also where v is nearly zero."""
    random = torch.Generator().manual_seed(1)
    for size in (1e-5, 0.3, 2.0):
        v = size * torch.nn.functional.normalize(torch.randn(3, generator=random, dtype=torch.float64), dim=0)
        d = 1e-5 * torch.randn(3, generator=random, dtype=torch.float64)
        turned = axis_angle_to_matrix(v + d)
        wanted = axis_angle_to_matrix(left_jacobian(v) @ d) @ axis_angle_to_matrix(v)
        assert float((turned - wanted).abs().max()) < 1e-8


def test_face_mesh_lies_on_the_face(body):
    """Every point on skin, eye contours around their own eyeball, upper lip above lower lip, left beside right."""
    at = (body.mean[body.mesh_vertices] * body.mesh_weights[..., None]).sum(1)
    assert body.mesh_vertices.shape == (468, 3)
    assert torch.allclose(body.mesh_weights.sum(1), torch.ones(468), atol=2e-3) and float(body.mesh_weights.min()) >= 0
    part = body.vertex_part[body.mesh_vertices].flatten()
    hidden = [body.part_index[n] for n in ("eye.L", "eye.R", "teeth.up", "teeth.low", "tongue", "lashes", "mouth")]
    assert not bool(torch.isin(part, torch.tensor(hidden)).any())
    for side, middle in (("L", 386), ("R", 159)):
        eye = body.bone_mean[body.bone_index[f"eye.{side}"]]
        assert float((at[middle] - eye).norm()) < 0.02 and at[middle, 2] > eye[2]
    assert at[13, 2] > at[14, 2] - 1e-3 and at[10, 2] > at[152, 2] + 0.15
    mirrored = (at[33] * torch.tensor([-1.0, 1, 1]) - at[263]).norm()
    assert float(mirrored) < 0.002
