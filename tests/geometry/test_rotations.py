import math

import pytest
import torch
from torch import Tensor

from stereotalker_core.geometry.rotations import (
    axis_angle_to_matrix,
    matrix_from_6d,
    matrix_to_6d,
    matrix_to_axis_angle,
)


def random_vectors(count: int, longest: float) -> Tensor:
    g = torch.Generator().manual_seed(0)
    axis = torch.nn.functional.normalize(torch.randn(count, 3, generator=g, dtype=torch.float64), dim=1)
    return axis * torch.rand(count, 1, generator=g, dtype=torch.float64) * longest


def test_axis_angle_equals_the_matrix_exponential():
    vectors = random_vectors(50, 2 * math.pi)
    skew = torch.zeros(50, 3, 3, dtype=torch.float64)
    for i, (x, y, z) in enumerate(vectors.tolist()):
        skew[i] = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    torch.testing.assert_close(axis_angle_to_matrix(vectors), torch.linalg.matrix_exp(skew), atol=1e-9, rtol=0)


def test_a_quarter_turn_about_z_takes_x_to_y():
    matrix = axis_angle_to_matrix(torch.tensor([0.0, 0.0, math.pi / 2]))
    torch.testing.assert_close(matrix @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("angle", [0.0, 1e-7, 1e-3, 1.0, 3.0, math.pi - 1e-3, math.pi - 1e-6])
def test_axis_angle_round_trip_from_no_turn_to_half_a_turn(angle: float):
    directions = random_vectors(40, 1.0)
    vectors = torch.nn.functional.normalize(directions, dim=1) * angle
    back = matrix_to_axis_angle(axis_angle_to_matrix(vectors))
    torch.testing.assert_close(back, vectors, atol=2e-6, rtol=0)


def test_half_a_turn_gives_one_of_its_two_vectors():
    matrix = torch.diag(torch.tensor([-1.0, -1.0, 1.0]))
    torch.testing.assert_close(matrix_to_axis_angle(matrix).abs(), torch.tensor([0, 0, math.pi]), atol=1e-5, rtol=0)


def test_the_gradient_is_right_at_zero():
    zero = torch.zeros(3, requires_grad=True)
    axis_angle_to_matrix(zero)[1, 0].backward()  # d sin(z) / dz = 1 at 0
    torch.testing.assert_close(zero.grad, torch.tensor([0.0, 0.0, 1.0]))


def test_six_numbers_round_trip_and_any_six_give_a_rotation():
    matrix = axis_angle_to_matrix(random_vectors(20, math.pi)).view(4, 5, 3, 3)
    assert matrix_to_6d(matrix).shape == (4, 5, 6)
    torch.testing.assert_close(matrix_from_6d(matrix_to_6d(matrix)), matrix)
    g = torch.Generator().manual_seed(1)
    found = matrix_from_6d(torch.randn(50, 6, generator=g, dtype=torch.float64))
    eye = torch.eye(3, dtype=torch.float64).expand(50, 3, 3)
    torch.testing.assert_close(found @ found.transpose(-1, -2), eye)
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(50, dtype=torch.float64))
