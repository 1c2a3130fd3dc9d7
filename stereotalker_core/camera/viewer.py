"""Cameras of ComfyUI's 3D viewer (`camera_info`, LOAD3D_CAMERA) <-> ours.

A `camera_info` is a dictionary: position and target {x, y, z}, and, where given, quaternion {x, y, z, w}, fov
(vertical, degrees), zoom (a factor on the focal length) and cameraType. Several of them in a list are a path.

Which side is which
    The viewer's world is that of three.js: right-handed, y up, and a model faces +z, as in glTF. Ours is right-handed,
    z up, and the person faces -y. A rotation of the viewer's world by 90 degrees about x maps one to the other:

        ours = (x, -z, y)        of the viewer's (x, y, z)

    In a picture of a person who faces you, camera at +z, x runs to the right of the picture, where the person's left
    hand is. So +x is the person's left side in both worlds, and a camera at x > 0, z > 0 sees the left side. Our yaw is
    positive when the camera moves towards the person's right side:

        yaw = atan2(-x, z)       of position minus target

    "Create Camera Info" with yaw 35 stands at x = distance sin 35 and is therefore our yaw -35.

What a rotation is
    The quaternion rotates the camera's own axes (x right, y up, z backwards) into the viewer's world; as a matrix Q its
    columns are the camera's right, up and backwards. Ours follows OpenCV, with rows right, down and forward: W =
    diag(1, -1, -1) Q^T A^T, where A is the rotation by 90 degrees above."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..geometry.projection import camera_matrix, intrinsics_for, vertical_fov
from ..geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from ..records import Cameras
from .trajectories import Framing, checked_size

DIRECTION, PLACE = "direction", "place in metres"
USES = (DIRECTION, PLACE)
FOV = 35.0  # degrees, where a camera does not say: what Create Camera Info starts with
_OURS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)  # A of the docstring
_OPENCV = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
_STEEPEST = 89.0  # degrees of pitch: above, a yaw means nothing
_NEAREST = 0.1  # m from the middle of the person to a camera that may still film it
_LIMITS = {"fov": (1.0, 170.0), "zoom": (0.01, 100.0)}


class ViewDirection(NamedTuple):
    """The direction of one camera: yaw, pitch and roll in degrees, and a factor on the focal length."""

    yaw: float
    pitch: float
    roll: float
    zoom: float


@dataclass(frozen=True)
class _Path:
    """The N cameras of a path, in our world and float64.

    rotation: (N, 3, 3), rows right, down, forward.
    position, target: (N, 3) m.
    fov: (N,) degrees, vertical.
    zoom: (N,) factor on the focal length."""

    rotation: Tensor
    position: Tensor  # (N, 3)
    target: Tensor  # (N, 3)
    fov: Tensor  # (N,) degrees
    zoom: Tensor  # (N,)


def view_of(camera: dict) -> ViewDirection:
    """Return the direction of a camera dictionary. ValueError for an invalid one, or a view straight up or down."""
    path = _path([camera])
    right, _, forward = path.rotation[0]
    yaw, pitch = (float(x[0]) for x in _angles(path.rotation))
    a = math.radians(yaw)
    level = torch.tensor([math.cos(a), -math.sin(a), 0.0], dtype=torch.float64)  # the right of a camera without roll
    below = torch.linalg.cross(forward, level)
    roll = math.degrees(math.atan2(-float(right @ below), float(right @ level)))
    return ViewDirection(yaw, pitch, roll, float(path.zoom[0]))


def tilted(cameras: Cameras, roll: float, zoom: float) -> Cameras:
    """Return the cameras rolled by `roll` degrees about their optical axis, their focal length multiplied by `zoom`."""
    turn = torch.eye(4, dtype=cameras.world_to_camera.dtype, device=cameras.world_to_camera.device)
    a = math.radians(roll)
    turn[:2, :2] = torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    return Cameras(turn @ cameras.world_to_camera, _zoomed(cameras.intrinsics, zoom), cameras.yaw, cameras.size)


def filmed(
    info: dict | Sequence[dict],
    framing: Framing,
    frames: int,
    size: tuple[int, int],
    use: str = DIRECTION,
) -> Cameras:
    """Map one or several viewer cameras -> one of ours per frame; several are resampled to `frames`, evenly in time.

    info: a camera dictionary, or a list of them.
    framing: the person's framing, from `framing_for`.
    frames: T, the length of the clip.
    size: (H, W) px.
    use: "direction" takes yaw, pitch, roll and zoom, while distance, target and lens are the framing's, so that a scene
        of any scale works. "place in metres" takes position, target, quaternion, fov and zoom, in the metres of an
        exported body. A clip has one lens, that of its first camera; where fov or zoom change along the list, the
        camera moves along its optical axis instead, so that the target keeps the requested size.

    ValueError for a dictionary that is no camera, and a camera straight above or below or not looking at the person."""
    if use not in USES:
        raise ValueError(f"camera_info can be used as {' or '.join(USES)}, got {use!r}")
    if frames < 1:
        raise ValueError(f"a camera path needs at least one frame, got {frames}")
    size = checked_size(size)
    path = _path_resampled(_path(info, lens=use == PLACE), frames)
    rotation, forward = path.rotation, path.rotation[:, 2]
    if use == DIRECTION:
        distance = framing.distance * path.zoom[:1] / path.zoom
        eye = torch.tensor(framing.target, dtype=torch.float64) - forward * distance[:, None]
        eye = eye + rotation[:, 0] * framing.aside
        intrinsics = _zoomed(framing.intrinsics(size), float(path.zoom[0]))
    else:
        lens = path.zoom / torch.tan(torch.deg2rad(path.fov) / 2)
        depth = ((path.target - path.position) * forward).sum(-1)
        eye = path.position + forward * (depth * (1 - lens[0] / lens))[:, None]
        intrinsics = intrinsics_for(2.0, float(lens[0]), size)  # 2 m fill the picture at lens[0] metres
        away = ((torch.tensor(framing.target, dtype=torch.float64) - eye) * forward).sum(-1)
        if float(away.min()) < _NEAREST:
            raise ValueError(
                f"camera_info: in frame {int(away.argmin())} the camera stands inside the person or looks away from "
                "it; its place is read in metres, the hips at 0, y up. Use it as direction if it is of another scale"
            )
    matrix = camera_matrix(rotation, eye)
    return Cameras(matrix.float(), intrinsics, _angles(rotation)[0].float(), size)


def viewer_cameras(cameras: Cameras, centre: Sequence[float]) -> list[dict]:
    """Return our cameras as `camera_info` dictionaries (see the top of this file), one per frame, in the metres of an
    exported body (hips at 0, y up).

    centre: the world point (x, y, z) m that the path goes around; each target lies on the optical axis, at its depth.
    `filmed` with use "place in metres" is the inverse."""
    matrix = cameras.world_to_camera.double().cpu()
    rotation, forward = matrix[:, :3, :3], matrix[:, 2, :3]
    eye = -(rotation.transpose(1, 2) @ matrix[:, :3, 3:])[..., 0]
    depth = ((torch.tensor(centre, dtype=torch.float64) - eye) * forward).sum(-1).clamp_min(_NEAREST)
    target = eye + forward * depth[:, None]
    vector = matrix_to_axis_angle(_OURS.T @ rotation.transpose(1, 2) @ _OPENCV)
    angle = vector.norm(dim=-1, keepdim=True)
    quaternion = torch.cat([vector / angle.clamp_min(1e-12) * (angle / 2).sin(), (angle / 2).cos()], -1)
    rows, columns = cameras.size
    fov = vertical_fov(cameras.intrinsics, rows)
    return [
        {
            "position": dict(zip("xyz", p, strict=True)),
            "target": dict(zip("xyz", t, strict=True)),
            "quaternion": dict(zip("xyzw", q, strict=True)),
            "fov": fov,
            "zoom": 1.0,
            "aspect": columns / rows,
            "cameraType": "perspective",
        }
        for p, t, q in zip((eye @ _OURS).tolist(), (target @ _OURS).tolist(), quaternion.tolist(), strict=True)
    ]


def _path(info: dict | Sequence[dict], lens: bool = False) -> _Path:
    """Read one or several camera dictionaries -> their path; with `lens`, ValueError for an orthographic one."""
    cameras = [info] if isinstance(info, dict) else info
    if isinstance(cameras, str) or not isinstance(cameras, Sequence) or not cameras:
        raise ValueError(f"camera_info must be a camera with position and target, or a list of them; got {info!r}")
    rows = []
    for number, camera in enumerate(cameras, 1):
        name = "camera_info" if len(cameras) == 1 else f"camera_info, camera {number} of {len(cameras)},"
        rows.append(_parsed_camera(camera, name, lens))
    rotation, position, target, fov, zoom = (torch.stack(column) for column in zip(*rows, strict=True))
    return _Path(rotation, position, target, fov, zoom)


def _parsed_camera(camera: dict, name: str, lens: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return rotation (3, 3), position (3,), target (3,), fov and zoom of one camera dictionary, in our world.

    name: what error messages call the camera.
    lens: ValueError for an orthographic camera."""
    try:
        position = _numbers(camera["position"], "xyz")
        target = _numbers(camera.get("target") or dict.fromkeys("xyz", 0.0), "xyz")
        given = camera.get("quaternion")
        quaternion = None if not given else _numbers(given, "xyzw")
        roll = float(camera.get("roll") or 0.0)
        found = {"fov": float(camera.get("fov") or FOV), "zoom": float(camera.get("zoom") or 1.0)}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{name} must hold position and target with x, y, z; got {camera!r}") from error
    for key, (low, high) in _LIMITS.items():
        if not low <= found[key] <= high:
            raise ValueError(f"{name} has {key} {found[key]}, outside {low}..{high}")
    if lens and str(camera.get("cameraType", "")).lower().startswith("ortho"):
        raise ValueError(f"{name} is orthographic; make it perspective, or use it as direction")
    axes = _look_at(position - target, name) if quaternion is None else _turned(quaternion, name)
    if roll and quaternion is None:
        axes = axes @ axis_angle_to_matrix(torch.tensor([0.0, 0.0, math.radians(roll)], dtype=torch.float64))
    rotation = _OPENCV @ axes.T @ _OURS.T
    if abs(float(_angles(rotation[None])[1])) > _STEEPEST:
        raise ValueError(f"{name} looks straight up or down, where no yaw can be told; tilt it less than {_STEEPEST:g}")
    fov, zoom = (torch.tensor(found[key], dtype=torch.float64) for key in ("fov", "zoom"))
    return rotation, _OURS @ position, _OURS @ target, fov, zoom


def _numbers(values: dict, keys: str) -> Tensor:
    found = torch.tensor([float(values[key]) for key in keys], dtype=torch.float64)
    if not bool(found.isfinite().all()):
        raise ValueError(f"{values} holds no finite numbers")
    return found


def _look_at(back: Tensor, name: str) -> Tensor:
    """Return the columns right, up, backwards (3, 3) of a camera without roll in the viewer's world.

    back: (3,) from the target to the camera; name: what error messages call the camera."""
    if float(back.norm()) < 1e-6:
        raise ValueError(f"{name} has its camera in its target; move one of them")
    back = back / back.norm()
    right = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), back)
    right = right / right.norm().clamp_min(1e-12)
    return torch.stack([right, torch.linalg.cross(back, right), back], 1)


def _turned(quaternion: Tensor, name: str) -> Tensor:
    """Return the columns right, up, backwards (3, 3) of a quaternion (x, y, z, w) of any non-zero length."""
    length = float(quaternion.norm())
    if length < 1e-6:
        raise ValueError(f"{name} has a quaternion of zeros")
    x, y, z, w = (quaternion / length).tolist()
    sine = math.sqrt(x * x + y * y + z * z)
    scale = 2 * math.atan2(sine, w) / sine if sine > 1e-12 else 0.0
    return axis_angle_to_matrix(torch.tensor([x, y, z], dtype=torch.float64) * scale)


def _angles(rotation: Tensor) -> tuple[Tensor, Tensor]:
    """Return the yaw and pitch (N,) in degrees, as in `projection.look_at`, of view rotations (N, 3, 3)."""
    x, y, z = rotation[:, 2].unbind(-1)
    return torch.rad2deg(torch.atan2(x, y)), torch.rad2deg(torch.asin((-z).clamp(-1, 1)))


def _path_resampled(path: _Path, frames: int) -> _Path:
    """Return `frames` cameras, evenly along the path; between two cameras they rotate about one axis, as in an orbit.

    A camera's position relative to its target is interpolated in the camera's own axes: between two cameras of an orbit
    the distance stays constant, where a straight line between the positions would cut the corner."""
    count = len(path.position)
    at = torch.linspace(0, count - 1, frames, dtype=torch.float64) if count > 1 else torch.zeros(frames).double()
    left = at.long().clamp(0, max(0, count - 2))
    right, share = (left + 1).clamp_max(count - 1), at - left
    step = matrix_to_axis_angle(path.rotation[left].transpose(1, 2) @ path.rotation[right])
    rotation = path.rotation[left] @ axis_angle_to_matrix(step * share[:, None])
    own = (path.rotation @ (path.position - path.target)[..., None])[..., 0]

    def between(values: Tensor) -> Tensor:
        return torch.lerp(values[left], values[right], share if values.ndim == 1 else share[:, None])

    target = between(path.target)
    position = target + (rotation.transpose(1, 2) @ between(own)[..., None])[..., 0]
    return _Path(rotation, position, target, between(path.fov), between(path.zoom))


def _zoomed(intrinsics: Tensor, zoom: float) -> Tensor:
    scaled = intrinsics.clone()
    scaled[0, 0] *= zoom
    scaled[1, 1] *= zoom
    return scaled
