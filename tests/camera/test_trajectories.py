import dataclasses
import math

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.camera.trajectories import (
    Framing,
    canonical_framing,
    fixed,
    framing_for,
    keyframes,
    monotone_cubic,
    orbit,
    stereo_pair,
)
from stereotalker_core.geometry.projection import intrinsics_for, look_at, project
from stereotalker_core.records import Identity

FRAMING = canonical_framing(0.61)


@pytest.fixture(scope="module")
def body() -> HalfBody:
    return HalfBody()


def identity_seen_by(body: HalfBody, framing: Framing, yaw: float = 0.0, size=(320, 240), shape=None) -> Identity:
    """A fitted person whose portrait was taken with `framing` (only the fields that framing_for reads matter)."""
    rows, columns = size
    target, distance = torch.tensor(framing.target), torch.tensor([framing.distance])
    camera = look_at(target, torch.tensor([yaw]), torch.zeros(1), distance)
    image, one = torch.zeros(3, rows, columns), torch.ones(1, rows, columns)
    return Identity(
        shape=torch.zeros(body.n_shape) if shape is None else shape,
        shell=torch.zeros(body.n_vertices),
        rotations=torch.zeros(49, 3),
        expression=torch.zeros(52),
        world_to_camera=camera[0],
        intrinsics=intrinsics_for(framing.height, framing.distance, size),
        portrait=image,
        mask=one,
        background=image,
        atlas=torch.zeros(3, 8, 8),
        visibility=torch.zeros(1, 8, 8),
    )


def edges(framing: Framing) -> tuple[float, float]:
    return framing.target[2] + framing.height / 2, framing.target[2] - framing.height / 2


def test_canonical_numbers():
    assert FRAMING.target == pytest.approx((0.0, -0.02, 0.40))
    assert (FRAMING.distance, FRAMING.height) == (2.4, 0.86)


def test_half_body_follows_the_identity(body):
    shape = torch.randn(body.n_shape, generator=torch.Generator().manual_seed(1))
    head = float(body.rest(shape[None]).bones[0, body.bone_index["head"], 2])
    identity = identity_seen_by(body, FRAMING, shape=shape)
    assert framing_for(body, identity, "half_body") == canonical_framing(head)
    assert head != pytest.approx(float(body.bone_mean[body.bone_index["head"], 2]), abs=1e-3)


@pytest.mark.parametrize("own", [Framing((0.04, -0.02, 0.5), 1.7, 0.7), Framing((-0.1, -0.02, 0.6), 1.2, 0.3)])
def test_auto_is_the_photographs_own_crop_whoever_stands_aside(body, own):
    identity = identity_seen_by(body, own)
    found = framing_for(body, identity)
    camera = fixed(found, 1, size=(320, 240))
    torch.testing.assert_close(camera.world_to_camera[0], identity.world_to_camera, atol=1e-5, rtol=0)
    torch.testing.assert_close(camera.intrinsics, identity.intrinsics, atol=1e-2, rtol=1e-4)
    axis = torch.tensor([[[0.0, -0.02, own.target[2]]]])
    turned = orbit(found, 3, -60.0, 60.0, size=(320, 240))
    place = project(axis, turned.world_to_camera, turned.intrinsics)  # the camera turns about the body
    torch.testing.assert_close(place, place[1:2].expand_as(place), atol=1e-2, rtol=0)


def test_auto_ends_at_the_hips_and_keeps_the_top(body):
    canonical = framing_for(body, identity_seen_by(body, FRAMING), "half_body")
    whole = Framing((0.0, -0.02, canonical.target[2] - 0.5), 3.0, 1.8)
    found = framing_for(body, identity_seen_by(body, whole))
    assert edges(found)[0] == pytest.approx(edges(whole)[0], abs=1e-4)
    assert edges(found)[1] == pytest.approx(edges(canonical)[1] - 0.06, abs=1e-4)


def test_a_narrow_canvas_keeps_the_person_and_a_wide_one_the_photographs_height(body):
    identity = identity_seen_by(body, Framing((0.0, -0.02, 0.5), 1.7, 0.6), size=(300, 600))
    mask = torch.zeros(1, 300, 600)
    mask[..., 400:500] = 1
    framing = framing_for(body, dataclasses.replace(identity, mask=mask))
    metre = float(identity.intrinsics[0, 0]) / 1.7  # px of the photograph
    for size in ((300, 120), (300, 80), (300, 900)):
        matrix = framing.intrinsics(size)
        scale = float(matrix[0, 0]) / 1.7 / metre
        left, right = ((x - 300) * scale + float(matrix[0, 2]) for x in (400, 500))
        assert left >= -0.5 and right <= size[1] + 0.5
        assert scale == pytest.approx(min(1.0, size[1] / 100), rel=1e-3)
    assert float(framing.intrinsics((300, 900))[0, 2]) == pytest.approx(450)  # the photograph in the middle
    assert float(framing.intrinsics((300, 590))[0, 2]) == pytest.approx(290)  # as far aside as it reaches


def test_portrait_framing_reproduces_the_portrait_camera(body):
    own = Framing((0.04, -0.02, 0.5), 1.7, 0.7)
    identity = identity_seen_by(body, own)
    found = framing_for(body, identity, "portrait")
    assert found.height == pytest.approx(0.7, rel=1e-4) and found.distance == pytest.approx(1.7, rel=1e-4)
    camera = fixed(found, 1, size=(320, 240))
    torch.testing.assert_close(camera.world_to_camera[0], identity.world_to_camera, atol=1e-5, rtol=0)
    torch.testing.assert_close(camera.intrinsics, identity.intrinsics, atol=1e-2, rtol=1e-4)


def test_bad_modes_and_cameras_are_refused(body):
    identity = identity_seen_by(body, FRAMING)
    with pytest.raises(ValueError, match="'full'"):
        framing_for(body, identity, "full")
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))  # half a turn about the camera's x axis
    away = dataclasses.replace(identity, world_to_camera=flip @ identity.world_to_camera)
    with pytest.raises(ValueError, match="looks away"):
        framing_for(body, away, "portrait")


def test_fixed_shows_the_target_in_the_middle_at_the_right_scale():
    camera = fixed(FRAMING, 3, yaw=40.0, pitch=10.0, size=(128, 192))
    assert len(camera) == 3 and camera.yaw.tolist() == [40.0] * 3 and camera.size == (128, 192)
    middle = project(torch.tensor([[FRAMING.target]]), camera.world_to_camera, camera.intrinsics)
    torch.testing.assert_close(middle, torch.tensor([96.0, 64.0, 2.4]).expand(3, 1, 3), atol=1e-3, rtol=0)
    x, y, z = FRAMING.target
    front = fixed(FRAMING, 1, size=(128, 192))
    edge = project(torch.tensor([[[x, y, z + FRAMING.height / 2]]]), front.world_to_camera, front.intrinsics)
    assert float(edge[0, 0, 1]) == pytest.approx(0.0, abs=1e-3)


def test_positive_yaw_moves_to_the_right_side_and_positive_pitch_up():
    def eye(camera):
        matrix = camera.world_to_camera[0]
        return -(matrix[:3, :3].T @ matrix[:3, 3])

    assert eye(fixed(FRAMING, 1, yaw=90.0))[0] < -2  # +x is the person's left
    assert eye(fixed(FRAMING, 1))[1] < -2  # the front is -y
    assert eye(fixed(FRAMING, 1, pitch=45.0))[2] > FRAMING.target[2] + 1


def test_orbit_ends_and_speed():
    steady = orbit(FRAMING, 41, -40.0, 40.0).yaw
    torch.testing.assert_close(steady, torch.linspace(-40, 40, 41))
    eased = orbit(FRAMING, 41, -40.0, 40.0, ease=True).yaw
    assert eased[0] == -40 and eased[-1] == pytest.approx(40, abs=1e-4)
    assert eased.diff()[0] < steady.diff()[0] / 5 and eased.diff().max() > steady.diff().max()
    assert orbit(FRAMING, 1, 20.0, 40.0).yaw.tolist() == [20.0]


def test_keyframes_pass_through_without_overshoot():
    keys = [(5, -30.0, 0.0, 1.0), (10, 60.0, 10.0, 0.5), (20, 60.0, 10.0, 0.5), (40, 0.0, -5.0, 1.5)]
    camera = keyframes(FRAMING, 50, keys)
    yaw = camera.yaw
    for frame, value, _, factor in keys:
        assert float(yaw[frame]) == pytest.approx(value, abs=1e-4)
        matrix = camera.world_to_camera[frame]
        distance = project(torch.tensor([[FRAMING.target]]), matrix[None], camera.intrinsics)[0, 0, 2]
        assert float(distance) == pytest.approx(2.4 * factor, rel=1e-4)
    assert (yaw[:6] == -30).all() and (yaw[40:] == 0).all()
    assert (yaw[5:11].diff() > 0).all() and (yaw[10:21] == 60).all() and (yaw[20:41].diff() < 0).all()


def test_monotone_cubic_is_smooth_at_the_knots():
    x = torch.tensor([0.0, 1.0, 3.0, 4.0], dtype=torch.float64)
    y = torch.tensor([[0.0], [1.0], [2.0], [5.0]], dtype=torch.float64)
    eps = 1e-6
    for knot in (1.0, 3.0):
        at = torch.tensor([knot - eps, knot, knot + eps], dtype=torch.float64)
        left, right = (monotone_cubic(x, y, at).diff(dim=0) / eps).flatten().tolist()
        assert left == pytest.approx(right, rel=1e-3) and left > 0
    line = monotone_cubic(x, 2 * x[:, None], torch.tensor([1.5, 2.0, 2.5], dtype=torch.float64))
    torch.testing.assert_close(line[:, 0], torch.tensor([3.0, 4.0, 5.0], dtype=torch.float64), atol=0.2, rtol=0)


def test_stereo_pair_is_parallel_and_a_baseline_apart():
    cameras = orbit(FRAMING, 7, -60.0, 60.0, pitch=15.0)
    left, right = stereo_pair(cameras, 0.08)
    torch.testing.assert_close(left.world_to_camera[:, :3, :3], right.world_to_camera[:, :3, :3])
    eyes = [-(c.world_to_camera[:, :3, :3].mT @ c.world_to_camera[:, :3, 3:])[..., 0] for c in (left, right)]
    torch.testing.assert_close((eyes[1] - eyes[0]), 0.08 * cameras.world_to_camera[:, 0, :3], atol=1e-6, rtol=0)
    point = torch.tensor([[FRAMING.target]])
    a, b = (project(point, c.world_to_camera, c.intrinsics) for c in (left, right))
    focal = float(cameras.intrinsics[0, 0])
    torch.testing.assert_close(a[..., 0] - b[..., 0], torch.full((7, 1), focal * 0.08 / 2.4), atol=1e-2, rtol=0)
    torch.testing.assert_close(a[..., 1:], b[..., 1:])


@pytest.mark.parametrize("yaw", [181.0, -180.5, math.nan, math.inf])
def test_yaw_out_of_range_is_refused(yaw):
    for path in (
        lambda: fixed(FRAMING, 2, yaw=yaw),
        lambda: orbit(FRAMING, 2, 0.0, yaw),
        lambda: keyframes(FRAMING, 2, [(0, yaw, 0.0, 1.0)]),
    ):
        with pytest.raises(ValueError, match="yaw"):
            path()


@pytest.mark.parametrize("size", [(56, 256), (256, 260), (0, 64)])
def test_bad_sizes_are_refused(size):
    with pytest.raises(ValueError, match=f"{size[0]}x{size[1]}"):
        fixed(FRAMING, 2, size=size)


def test_other_bad_input_is_refused():
    with pytest.raises(ValueError, match="pitch"):
        fixed(FRAMING, 2, pitch=90.0)
    with pytest.raises(ValueError, match="at least one frame"):
        fixed(FRAMING, 0)
    with pytest.raises(ValueError, match="at least one"):
        keyframes(FRAMING, 2, [])
    with pytest.raises(ValueError, match="increasing"):
        keyframes(FRAMING, 2, [(3, 0.0, 0.0, 1.0), (3, 1.0, 0.0, 1.0)])
    with pytest.raises(ValueError, match="factor"):
        keyframes(FRAMING, 2, [(0, 0.0, 0.0, 0.0)])
    with pytest.raises(ValueError, match="baseline"):
        stereo_pair(fixed(FRAMING, 1), -0.1)
    with pytest.raises(ValueError, match="framing"):
        Framing((0.0, 0.0, math.nan), 1.0, 1.0)
