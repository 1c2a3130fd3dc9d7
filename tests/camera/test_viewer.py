"""Cameras of ComfyUI's 3D viewer: which side they see, what a quaternion, a lens and a list of them mean."""

import math

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.camera import trajectories
from stereotalker_core.camera.viewer import PLACE, filmed, tilted, view_of, viewer_cameras
from stereotalker_core.geometry.projection import project

FRAMING = trajectories.canonical_framing(0.68)
SIZE = (128, 128)


def orbiting(yaw: float, pitch: float = 0.0, distance: float = 4.0, target=(0.0, 0.0, 0.0), **more) -> dict:
    """What "Create Camera Info" makes of its orbit mode, after its formulas: right-handed, y up."""
    y, p = math.radians(yaw), math.radians(pitch)
    offset = (distance * math.cos(p) * math.sin(y), distance * math.sin(p), distance * math.cos(p) * math.cos(y))
    position = dict(zip("xyz", (t + o for t, o in zip(target, offset, strict=True)), strict=True))
    return {"position": position, "target": dict(zip("xyz", target, strict=True)), "zoom": 1.0, "fov": 35.0} | more


def quaternion_product(a, b):
    """(x, y, z, w) of turning by b, then by a."""
    (ax, ay, az, aw), (bx, by, bz, bw) = a, b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def about(axis: int, degrees: float):
    half = math.radians(degrees) / 2
    return (*(math.sin(half) if i == axis else 0.0 for i in range(3)), math.cos(half))


def seen_by_viewer(camera: dict, point) -> tuple[float, float]:
    """Where a point of the viewer's world lies in its picture of 128 pixels, by quaternion algebra alone."""
    q = tuple(camera["quaternion"][k] for k in "xyzw")
    offset = (*(p - camera["position"][k] for p, k in zip(point, "xyz", strict=True)), 0.0)
    x, y, z, _ = quaternion_product(quaternion_product((-q[0], -q[1], -q[2], q[3]), offset), q)  # the camera's own axes
    focal = 64 / math.tan(math.radians(camera["fov"]) / 2) * camera["zoom"]
    return 64 + focal * x / -z, 64 - focal * y / -z


def seen_by_us(cameras, point) -> tuple[float, float]:
    x, y, z = point
    pixel = project(torch.tensor([[[x, -z, y]]]), cameras.world_to_camera[:1], cameras.intrinsics)[0, 0]
    return float(pixel[0]), float(pixel[1])


@pytest.mark.parametrize(
    ("position", "expected"),
    [((0, 0, 2), (0, 0)), ((2, 0, 0), (-90, 0)), ((-2, 0, 0), (90, 0)), ((0, 2, 2), (0, 45)), ((0, 0, -2), (180, 0))],
)
def test_a_camera_at_positive_x_is_at_negative_yaw(position, expected):
    target = {"x": 1.0, "y": 1.0, "z": 1.0}
    camera = {"position": {axis: p + 1.0 for axis, p in zip("xyz", position, strict=True)}, "target": target}
    found = view_of(camera)
    assert (abs(found.yaw) if expected[0] == 180 else found.yaw, found.pitch) == pytest.approx(expected, abs=1e-6)
    assert (found.roll, found.zoom) == pytest.approx((0, 1), abs=1e-6)


@pytest.mark.parametrize("use", ["direction", PLACE])
def test_create_camera_info_with_yaw_35_sees_the_left_side(use):
    """The person's left shoulder is nearer to that camera, whichever way it is used."""
    body = HalfBody()
    bones = body.rest(torch.zeros(1, body.n_shape)).bones[:1]
    shoulders = bones[:, [body.bone_index["upperarm01.L"], body.bone_index["upperarm01.R"]]]
    camera = filmed(orbiting(35.0, 10.0), FRAMING, 1, SIZE, use)
    left, right = project(shoulders, camera.world_to_camera, camera.intrinsics)[0, :, 2].tolist()
    assert left < right - 0.1 and float(camera.yaw[0]) == pytest.approx(-35, abs=1e-3)
    ours = trajectories.fixed(FRAMING, 1, -35.0, 10.0, SIZE)
    if use == "direction":
        torch.testing.assert_close(camera.world_to_camera, ours.world_to_camera, atol=1e-5, rtol=0)
    else:
        axes, expected = camera.world_to_camera[:, :3, :3], ours.world_to_camera[:, :3, :3]
        torch.testing.assert_close(axes, expected, atol=1e-5, rtol=0)


def test_every_point_lies_where_the_viewer_shows_it():
    turn = quaternion_product(about(1, 25.0), quaternion_product(about(0, -12.0), about(2, 17.0)))
    camera = {
        "position": {"x": 0.9, "y": 0.8, "z": 2.1}, "target": {"x": 0.0, "y": 0.4, "z": 0.0},
        "quaternion": dict(zip("xyzw", (3 * v for v in turn), strict=True)), "fov": 50.0, "zoom": 1.3,
    }  # fmt: skip
    ours = filmed(camera, FRAMING, 1, SIZE, PLACE)
    camera["quaternion"] = dict(zip("xyzw", turn, strict=True))
    for point in ((0.0, 0.4, 0.1), (0.3, 0.7, 0.0), (-0.2, 0.1, 0.3)):
        assert seen_by_us(ours, point) == pytest.approx(seen_by_viewer(camera, point), abs=1e-2)
    found = view_of(camera)
    assert (found.yaw, found.pitch, found.roll, found.zoom) == pytest.approx((-25, 12, 17, 1.3), abs=1e-4)
    assert view_of(orbiting(-20.0, 5.0, roll=17.0)) == pytest.approx((20, 5, 17, 1), abs=1e-4)


def test_our_cameras_survive_the_way_there_and_back():
    keys = [(0, -70.0, 4.0, 1.0), (9, 170.0, -6.0, 1.4)]
    ours = tilted(trajectories.keyframes(FRAMING, 10, keys, SIZE), 12.0, 1.5)
    theirs = viewer_cameras(ours, FRAMING.target)
    assert len(theirs) == 10 and theirs[0]["cameraType"] == "perspective" and theirs[0]["aspect"] == 1
    again = filmed(theirs, FRAMING, 10, SIZE, PLACE)
    torch.testing.assert_close(again.world_to_camera, ours.world_to_camera, atol=1e-4, rtol=0)
    torch.testing.assert_close(again.intrinsics, ours.intrinsics, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(again.yaw, ours.yaw, atol=1e-2, rtol=0)
    for point in ((0.0, 0.4, 0.0), (0.2, 0.6, 0.1)):
        assert seen_by_us(ours, point) == pytest.approx(seen_by_viewer(theirs[0], point), abs=1e-2)
    plain = [{k: v for k, v in camera.items() if k != "quaternion"} for camera in viewer_cameras(
        trajectories.keyframes(FRAMING, 10, keys, SIZE), FRAMING.target)]  # fmt: skip
    bare = filmed(plain, FRAMING, 10, SIZE, PLACE)  # position and target alone say the same where nothing rolls
    torch.testing.assert_close(bare.world_to_camera, trajectories.keyframes(FRAMING, 10, keys, SIZE).world_to_camera,
                               atol=1e-4, rtol=0)  # fmt: skip


@pytest.mark.parametrize("use", ["direction", PLACE])
@pytest.mark.parametrize("frames", [33, 9, 5, 1])
def test_a_list_is_a_path_resampled_without_cutting_corners(frames, use):
    path = [orbiting(y, 10.0, 3.0, (0.0, 0.4, 0.0)) for y in torch.linspace(60, -60, 9).tolist()]
    cameras = filmed(path, FRAMING, frames, SIZE, use)
    assert len(cameras) == frames
    expected = torch.linspace(-60, 60, frames) if frames > 1 else torch.tensor([-60.0])
    torch.testing.assert_close(cameras.yaw, expected, atol=1e-2, rtol=0)
    middle = torch.tensor(FRAMING.target if use != PLACE else (0.0, 0.0, 0.4))
    seen = project(middle[None, None].expand(frames, 1, 3), cameras.world_to_camera, cameras.intrinsics)[:, 0]
    assert (seen[:, :2] - 64).abs().max() < 1e-2
    torch.testing.assert_close(seen[:, 2], torch.full((frames,), FRAMING.distance if use != PLACE else 3.0))


def test_a_changing_lens_keeps_the_size_of_the_target():
    kinds = ((35.0, 1.0), (50.0, 1.0), (35.0, 2.0))
    lenses = [orbiting(0.0, 0.0, 3.0, (0.0, 0.4, 0.0), fov=f, zoom=z) for f, z in kinds]
    cameras = filmed(lenses, FRAMING, 3, SIZE, PLACE)
    for frame, camera in enumerate(lenses):
        alone = filmed(camera, FRAMING, 1, SIZE, PLACE)
        sizes = []
        for eye in (alone, cameras[frame : frame + 1]):
            ends = project(torch.tensor([[[0.0, 0.0, 0.3], [0.0, 0.0, 0.5]]]), eye.world_to_camera, eye.intrinsics)
            sizes.append(float((ends[0, 0] - ends[0, 1])[1]))
        assert sizes[0] == pytest.approx(sizes[1], rel=1e-4)


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        ({}, "camera_info"), ({"position": {"x": 1}}, "camera_info"), ({"position": 3}, "camera_info"),
        ([], "camera_info"), ("front", "camera_info"), ({"position": {"x": 0, "y": 0, "z": 0}}, "in its target"),
        ({"position": {"x": math.nan, "y": 0, "z": 1}}, "camera_info"), (orbiting(0.0, 90.0), "straight up or down"),
        (orbiting(0.0, fov=175.0), "fov"), (orbiting(0.0, zoom=1e4), "zoom"),
        (orbiting(0.0, quaternion=dict.fromkeys("xyzw", 0.0)), "quaternion of zeros"),
        ([orbiting(0.0), {"position": 3}], "camera 2 of 2"), (orbiting(0.0, cameraType="orthographic"), "orthographic"),
        (orbiting(0.0, 0.0, 4.0, (0.0, 0.0, -40.0)), "looks away|stands inside"),
    ],
)  # fmt: skip
def test_what_cannot_film_is_refused_by_name(camera, words):
    with pytest.raises(ValueError, match=words):
        filmed(camera, FRAMING, 4, SIZE, PLACE)


def test_unknown_uses_and_sizes_are_refused():
    with pytest.raises(ValueError, match="place in metres"):
        filmed(orbiting(0.0), FRAMING, 4, SIZE, "exactly")
    with pytest.raises(ValueError, match="multiples of 8"):
        filmed(orbiting(0.0), FRAMING, 4, (100, 30))
