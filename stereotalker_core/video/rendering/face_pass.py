"""Face pass: the square around the face drawn again at a multiple of the resolution, averaged down and blended in.

On a half-body canvas the face has few pixels, and far fewer latents. The face's camera is the canvas camera with other
intrinsics, so guides, masks and the portrait's crop need no changes; the square is fixed over the clip, so that the
face does not move relative to the rest of the picture."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody, Rest
from ...body.regions import FACE_PARTS
from ...geometry.projection import project
from ...records import Cameras, Motion

LARGEST_SCALE = 4
_MARGIN = 1.25  # of the face's radius: hair line, chin and the seam lie inside of the square
_FILLS = 0.75  # share of the canvas's shorter side above which the face has its pixels already
_TOGETHER = 1000  # frames whose heads are placed at once
_FEATHER = 6  # the blend rises over this fraction of the square, 1 / 6


@dataclass(frozen=True)
class FaceWindow:
    """The square of the canvas (top, left, side in px) that is drawn at `scale` times the resolution."""

    top: int
    left: int
    side: int
    scale: int

    def cameras(self, cameras: Cameras) -> Cameras:
        """Return the cameras that see only this square of the canvas, at `scale` times its resolution."""
        intrinsics = cameras.intrinsics.clone()
        intrinsics[:2, 2] -= intrinsics.new_tensor([self.left, self.top])
        intrinsics[:2] *= self.scale
        return replace(cameras, intrinsics=intrinsics, size=(self.side * self.scale,) * 2)

    def weight(self) -> Tensor:
        """Return blending weights (1, 1, side, side): 1 in the middle, falling to 0 at the rim."""
        place = (torch.arange(self.side) + 0.5) / self.side
        rise = (torch.minimum(place, 1 - place) * _FEATHER).clamp(0, 1)
        return (rise[:, None] * rise)[None, None]


def face_window(body: HalfBody, rest: Rest, motion: Motion, cameras: Cameras, scale: int) -> FaceWindow | None:
    """Return the smallest square that contains the face in all frames; None where the face fills the canvas already.

    body: the half body.
    rest: the person's body at rest.
    motion, cameras: T frames each.
    scale: how many times the resolution the square is drawn at; ValueError outside 2..LARGEST_SCALE."""
    if not 2 <= scale <= LARGEST_SCALE:
        raise ValueError(f"the face pass draws at 2 to {LARGEST_SCALE} times the canvas, got {scale}; 1 leaves it out")
    centre, radius = _face_ball(body, rest)
    middle = torch.cat([_follow(body, rest, part, centre) for part in motion.rotations.split(_TOGETHER)])
    seen = project(middle[:, None], cameras.world_to_camera, cameras.intrinsics)[:, 0]
    reach = _MARGIN * radius * cameras.intrinsics[0, 0] / seen[:, 2].clamp_min(1e-3)
    low, high = ((seen[:, :2] + sign * reach[:, None]) for sign in (-1, 1))
    (left, top), (right, bottom) = low.amin(0).tolist(), high.amax(0).tolist()
    step = math.lcm(64, scale) // scale  # the inset's side must be a multiple of 64
    side = step * math.ceil(max(right - left, bottom - top) / step)
    rows, columns = cameras.size
    if side > _FILLS * min(rows, columns):
        return None
    corner = ((top + bottom - side) / 2, (left + right - side) / 2)
    top, left = (min(max(0, round(v)), n - side) for v, n in zip(corner, (rows, columns), strict=True))
    return FaceWindow(top, left, side, scale)


def _face_ball(body: HalfBody, rest: Rest) -> tuple[Tensor, Tensor]:
    """Return the centre (3,) and radius of the face's vertices at rest."""
    names = torch.tensor([body.part_index[name] for name in FACE_PARTS], device=rest.vertices.device)
    chosen = body.triangles[torch.isin(body.triangle_part, names)].unique()
    points = rest.vertices[0, chosen]
    centre = (points.amin(0) + points.amax(0)) / 2
    return centre, (points - centre).norm(dim=1).amax()


def _follow(body: HalfBody, rest: Rest, rotations: Tensor, point: Tensor) -> Tensor:
    """Map a point (3,) of the resting head -> its positions (T, 3) under rotations (T, 49, 3)."""
    head = body.bone_index["head"]
    turn, heads = body.forward_kinematics(body.bone_rotations(rotations), rest.bones.expand(len(rotations), -1, -1))
    return heads[:, head] + (turn[:, head] @ (point - rest.bones[0, head])[:, None])[..., 0]


def with_face(
    parts: Iterator[tuple[Tensor, Tensor]], faces: Iterator[tuple[Tensor, Tensor]], window: FaceWindow
) -> Iterator[tuple[Tensor, Tensor]]:
    """Blend the faces of a second, larger drawing into a stream; both yield (picture and alpha (t, 4, H, W), lift).

    parts: the whole pictures; faces: the larger drawing; window: where it belongs. Both contain the same frames; t may
    differ."""
    rows = slice(window.top, window.top + window.side)
    columns = slice(window.left, window.left + window.side)
    ready: Tensor | None = None
    for values, lift in parts:
        while ready is None or len(ready) < len(values):
            small = F.avg_pool2d(next(faces)[0], window.scale)
            ready = small if ready is None else torch.cat([ready, small])
        now, ready = ready[: len(values)], ready[len(values) :]
        values = values.clone()
        values[..., rows, columns] = torch.lerp(values[..., rows, columns], now, window.weight().to(now))
        yield values, lift
