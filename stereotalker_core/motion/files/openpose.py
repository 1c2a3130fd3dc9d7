"""OpenPose JSON of a motion seen by cameras: the POSE_KEYPOINT layout of pose nodes, one entry per frame."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...body.model import HalfBody
from ...checkpoint import write_atomically
from ...geometry.projection import project
from ...records import Cameras, Motion

# OpenPose order of 18; "" = neck (middle of the shoulders), None = not in a half body
_BODY = (
    "nose", "", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", None, None, "left_hip", None, None, "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip
_CHUNK = 32


@torch.no_grad()
def openpose_frames(
    motion: Motion, body: HalfBody, cameras: Cameras, shape: Tensor | None = None
) -> list[dict[str, Any]]:
    """Return one {"people", "canvas_width", "canvas_height"} per frame.

    motion: T frames.
    body: the half body.
    cameras: T of them.
    shape: (K,) of the body; None for the mean one.

    Points are x, y in px and confidence 1, or 0 outside the canvas. ValueError where motion and cameras differ in
    length."""
    if len(motion) != len(cameras):
        raise ValueError(f"{len(motion)} frames of motion and {len(cameras)} cameras do not fit")
    device = body.mean.device
    shape = torch.zeros(body.n_shape, device=device) if shape is None else shape.to(device)
    rest = body.rest(shape[None])
    frames = []
    for start in range(0, len(motion), _CHUNK):
        part, view = motion[start : start + _CHUNK].to(device), cameras[start : start + _CHUNK].to(device)
        posed = body.pose(rest, part.rotations, part.expression)
        points = project(body.keypoints(posed.vertices, posed.bones), view.world_to_camera, view.intrinsics)
        frames += [_frame(p, body, cameras.size) for p in points.cpu()]
    return frames


def save_openpose(frames: list[dict[str, Any]], path: str | Path) -> None:
    """Write the list of frames as one JSON file."""
    text = json.dumps(frames)
    write_atomically(path, lambda name: Path(name).write_text(text, encoding="utf-8"))


def _frame(points: Tensor, body: HalfBody, size: tuple[int, int]) -> dict[str, Any]:
    """Map the pixels (N, 3) of all keypoints -> one OpenPose frame; size: (H, W) of the canvas."""
    rows, columns = size

    def flat(chosen: list[Tensor | None]) -> list[float]:
        out: list[float] = []
        for p in chosen:
            x, y = (0.0, 0.0) if p is None else (float(p[0]), float(p[1]))
            seen = p is not None and 0 <= x < columns and 0 <= y < rows
            out += [round(x, 3), round(y, 3), 1.0] if seen else [0.0, 0.0, 0.0]
        return out

    def at(name: str) -> Tensor:
        return points[body.keypoint_index[name]]

    neck = (at("body.left_shoulder") + at("body.right_shoulder")) / 2
    person = {
        "pose_keypoints_2d": flat([None if n is None else at(f"body.{n}") if n else neck for n in _BODY]),
        "face_keypoints_2d": flat([*(at(f"face.{i}") for i in range(68)), at("iris.R"), at("iris.L")]),
        "hand_left_keypoints_2d": flat([at(f"hand.L.{i}") for i in range(21)]),
        "hand_right_keypoints_2d": flat([at(f"hand.R.{i}") for i in range(21)]),
    }
    return {"people": [person], "canvas_width": columns, "canvas_height": rows}
