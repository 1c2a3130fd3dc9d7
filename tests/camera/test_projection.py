import math

import pytest
import torch

from stereotalker_core.geometry.projection import intrinsics_for, look_at, project, vertical_fov


def camera(yaw: float = 0.0, pitch: float = 0.0, distance: float = 2.0, target=(0.0, 0.0, 0.0)):
    return look_at(torch.tensor(target), torch.tensor([yaw]), torch.tensor([pitch]), torch.tensor([distance]))


def eye(matrix: torch.Tensor) -> torch.Tensor:
    return -(matrix[0, :3, :3].T @ matrix[0, :3, 3])


def test_projection_equals_a_loop_over_points():
    g = torch.Generator().manual_seed(0)
    points = torch.randn(2, 6, 3, generator=g) * 0.3
    yaw, pitch, distance = torch.tensor([[20.0, -70.0], [5.0, -15.0], [2.0, 3.0]])
    matrices = look_at(torch.zeros(3), yaw, pitch, distance)
    intrinsics = torch.tensor([[300.0, 0, 120], [0, 310, 90], [0, 0, 1]])
    found = project(points, matrices, intrinsics)
    for b in range(2):
        for n in range(6):
            x, y, z, _ = (matrices[b] @ torch.cat([points[b, n], torch.ones(1)])).tolist()
            expected = torch.tensor([300 * x / z + 120, 310 * y / z + 90, z])
            torch.testing.assert_close(found[b, n], expected, atol=1e-3, rtol=0)


def test_one_camera_serves_a_batch_and_a_batch_of_cameras_one_body():
    points = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(0)) * 0.2
    intrinsics = intrinsics_for(0.86, 2.0, (64, 64))
    together = project(points, camera(30.0), intrinsics)
    for b in range(3):
        torch.testing.assert_close(together[b], project(points[b : b + 1], camera(30.0), intrinsics)[0])
    views = torch.cat([camera(0.0), camera(40.0)])
    torch.testing.assert_close(project(points[:1], views, intrinsics)[1], project(points[:1], views[1:], intrinsics)[0])


@pytest.mark.parametrize("yaw, position", [(0, (0, -2, 0)), (90, (-2, 0, 0)), (-90, (2, 0, 0)), (180, (0, 2, 0))])
def test_positive_yaw_stands_on_the_subjects_right_side(yaw: float, position: tuple[float, ...]):
    torch.testing.assert_close(eye(camera(yaw)), torch.tensor([float(p) for p in position]), atol=1e-5, rtol=0)


def test_positive_pitch_stands_above_and_the_target_stays_in_the_middle():
    matrix = camera(35.0, 20.0, 2.5, (0.1, -0.2, 0.4))
    assert eye(matrix)[2] > 0.4
    pixel = project(torch.tensor([[[0.1, -0.2, 0.4]]]), matrix, intrinsics_for(0.86, 2.5, (256, 192)))[0, 0]
    torch.testing.assert_close(pixel, torch.tensor([96.0, 128.0, 2.5]), atol=1e-3, rtol=0)


def test_cameras_are_rigid_and_upright():
    matrix = camera(50.0, -30.0)[0, :3, :3]
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3), atol=1e-6, rtol=0)
    assert torch.linalg.det(matrix) == pytest.approx(1, abs=1e-5)
    assert abs(float(matrix[0, 2])) < 1e-6  # the picture's x axis is level
    assert float(matrix[1, 2]) < 0  # and its y axis points down


def test_the_persons_left_is_on_the_right_of_a_frontal_picture():
    points = torch.tensor([[[0.2, 0, 0], [0, 0, 0.2]]])
    left, above = project(points, camera(), intrinsics_for(0.86, 2.0, (64, 64)))[0]
    assert left[0] > 32 and above[1] < 32


@pytest.mark.parametrize("size", [(256, 256), (512, 384)])
def test_intrinsics_show_the_height_asked_for(size: tuple[int, int]):
    intrinsics = intrinsics_for(0.86, 2.4, size)
    ends = project(torch.tensor([[[0, 0, 0.43], [0, 0, -0.43]]]), camera(distance=2.4), intrinsics)[0]
    torch.testing.assert_close(ends[:, 1], torch.tensor([0.0, float(size[0])]), atol=1e-3, rtol=0)
    assert vertical_fov(intrinsics, size[0]) == pytest.approx(math.degrees(2 * math.atan(0.43 / 2.4)), abs=1e-4)
