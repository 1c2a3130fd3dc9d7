"""OpenPose drawings of a posed body, for networks that are steered by them (ControlNet, AnimateAnyone)."""

import torch
from torch import Tensor

from ...body.model import HalfBody, Posed
from ...geometry.projection import project
from ...records import Cameras
from ...shapes import joined
from .openpose_drawing import POINTS, draw_openpose

# OpenPose order of 18; None = the neck (middle of the shoulders) or not in a half body
_BODY = (
    "nose", None, "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", None, None, "left_hip", None, None, "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip
_NECK, _SHOULDERS = 1, [2, 5]


def draw_skeleton(body: HalfBody, posed: Posed, cameras: Cameras) -> Tensor:
    """Draw body, hands and face of posed (batch T) as seen by the cameras -> (T, 3, H, W) in [-1, 1] on black."""
    drawings, device = [], posed.vertices.device
    for frame in skeleton_points(body, posed, cameras).cpu():  # one by one: cancel is heard between torch operations
        drawn = torch.from_numpy(draw_openpose(frame.numpy(), cameras.size))
        drawings.append(drawn.permute(2, 0, 1)[None].to(device).float() / 127.5 - 1)
    return joined(drawings)


def skeleton_points(body: HalfBody, posed: Posed, cameras: Cameras) -> Tensor:
    """Return px (T, 128, 2): OpenPose's 18 body points, 21 points per hand (left, right), 68 of the face; NaN =
    missing."""
    if len(posed.vertices) != len(cameras):
        raise ValueError(f"{len(posed.vertices)} poses for {len(cameras)} cameras; they must agree")
    seen = project(body.keypoints(posed.vertices, posed.bones), cameras.world_to_camera, cameras.intrinsics)[..., :2]
    names = [None if n is None else f"body.{n}" for n in _BODY]
    names += [f"hand.{side}.{i}" for side in "LR" for i in range(21)] + [f"face.{i}" for i in range(68)]
    points = seen.new_full((len(seen), POINTS, 2), torch.nan)
    for i, name in enumerate(names):
        if name is not None:
            points[:, i] = seen[:, body.keypoint_index[name]]
    points[:, _NECK] = points[:, _SHOULDERS].mean(1)
    return points
