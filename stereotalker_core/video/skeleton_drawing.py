"""OpenPose-style drawings of a posed body, for networks that are steered by them (ControlNet, AnimateAnyone)."""

import torch
from torch import Tensor

from ..body.model import HalfBody, Posed
from ..camera.projection import project
from ..records import Cameras

_BODY = {  # OpenPose's limbs of the upper body: (from, to), colour = place on the hue wheel
    ("neck", "right_shoulder"): 0,
    ("neck", "left_shoulder"): 20,
    ("right_shoulder", "right_elbow"): 40,
    ("right_elbow", "right_wrist"): 60,
    ("left_shoulder", "left_elbow"): 80,
    ("left_elbow", "left_wrist"): 100,
    ("neck", "right_hip"): 120,
    ("neck", "left_hip"): 180,
    ("neck", "nose"): 240,
    ("nose", "right_eye"): 260,
    ("right_eye", "right_ear"): 280,
    ("nose", "left_eye"): 300,
    ("left_eye", "left_ear"): 320,
}
_FINGERS = [(0 if k == 1 else 4 * f + k - 1, 4 * f + k) for f in range(5) for k in range(1, 5)]


def draw_skeleton(body: HalfBody, posed: Posed, cameras: Cameras) -> Tensor:
    """Body limbs and fingers of posed (batch T) at the cameras: (T, 3, H, W) in [-1, 1] on black."""
    if len(posed.vertices) != len(cameras):
        raise ValueError(f"{len(posed.vertices)} poses for {len(cameras)} cameras; they must agree")
    points = project(body.keypoints(posed.vertices, posed.bones), cameras.world_to_camera, cameras.intrinsics)[..., :2]
    at = {name: points[:, i] for name, i in body.keypoint_index.items() if not name.startswith("mp.")}
    at["body.neck"] = (at["body.left_shoulder"] + at["body.right_shoulder"]) / 2
    rows, columns = cameras.size
    device = points.device
    y = (torch.arange(rows, device=device) + 0.5)[:, None]
    x = (torch.arange(columns, device=device) + 0.5)[None]
    picture = torch.zeros(len(points), 3, rows, columns, device=device)
    thick = max(1.5, rows / 128)
    limbs = [(f"body.{a}", f"body.{b}", hue, thick) for (a, b), hue in _BODY.items()]
    for side in "LR":
        limbs += [(f"hand.{side}.{a}", f"hand.{side}.{b}", 18 * i, thick / 2) for i, (a, b) in enumerate(_FINGERS)]
    for first, second, hue, width in limbs:
        cover = _segment(x, y, at[first], at[second], width)
        picture = torch.lerp(picture, _colour(hue, picture)[:, None, None].expand_as(picture), cover[:, None])
    return picture * 2 - 1


def _segment(x: Tensor, y: Tensor, a: Tensor, b: Tensor, radius: float) -> Tensor:
    """(T, H, W) coverage of the capsule between points a and b (T, 2)."""
    d = b - a
    length = d.square().sum(1).clamp_min(1e-6)[:, None, None]
    ax, ay = x - a[:, 0, None, None], y - a[:, 1, None, None]
    dx, dy = d[:, 0, None, None], d[:, 1, None, None]
    t = ((ax * dx + ay * dy) / length).clamp(0, 1)
    distance = ((ax - t * dx).square() + (ay - t * dy).square()).sqrt()
    return (radius + 0.5 - distance).clamp(0, 1)


def _colour(hue: float, like: Tensor) -> Tensor:
    """(3,) saturated colour of a hue in degrees."""
    third = like.new_tensor([0.0, 120.0, 240.0])
    distance = ((hue - third + 180) % 360 - 180).abs()
    return (2 - distance / 60).clamp(0, 1)
