"""The frames by which a photograph is judged: a few moments of one motion, at the photograph's own framing."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...geometry.skeleton import HEAD_JOINTS, JOINT_INDEX, SPINE_JOINTS
from ...motion.arkit import ARKIT_INDEX
from ...pipeline import Look, Models, Scene, View, render
from ...records import Cameras, Identity, Motion
from ...shapes import size_of

OWN, SHUT, OPEN = "own", "shut", "open"
TURNED = (-40, -30, -20, 20, 30, 40)  # degrees
QUICK_TURNED = (-30, 30)
SIDES = ("side-60", "side+60")  # views of the hair beside and behind the face
GESTURES = ("half_body", "auto", "half_body", "auto")  # framings in which half bodies show their hands besides


@dataclass(frozen=True)
class Frame:
    """The drawn frame: `picture` (3, S, S) in [-1, 1], and the one-frame `motion` and `cameras` that it shows."""

    picture: Tensor
    motion: Motion
    cameras: Cameras


@dataclass(frozen=True)
class Shot:
    """The description of a frame to draw: yaw in degrees, framing mode, and frame number of the motion."""

    yaw: float
    framing: str
    moment: int


def shots(motion: Motion, half_body: bool, quick: bool = False) -> dict[str, Shot]:
    """Choose the frames to draw -> {name: shot}: yaw 0 with the mouth most shut and most open, other yaws, gestures.

    motion: whose frames they are.
    half_body: whether gestures are in view.
    quick: only those that the table needs most.

    The mouth counts as shut where the sum of jawOpen and the head's rotation in radians is least, so that a nod does
    not count as an error of the face. Other yaws and gestures take moments spread evenly over the motion."""
    jaw = motion.expression[:, ARKIT_INDEX["jawOpen"]]
    bearing = motion.rotations[:, [JOINT_INDEX[name] for name in (*SPINE_JOINTS, *HEAD_JOINTS)]].sum(1).norm(dim=1)
    shut = int((jaw + bearing).argmin())
    plan = {SHUT: Shot(0, "portrait", shut)}
    turned = QUICK_TURNED if quick else TURNED
    gestures = (GESTURES[:2] if quick else GESTURES) if half_body else ()
    for name in SIDES:
        plan[name] = Shot(float(name.removeprefix("side")), "portrait", shut)
    if not quick:
        plan[OPEN] = Shot(0, "portrait", int(jaw.argmax()))
    moments = spread_moments(len(motion), len(turned) + len(gestures))
    for yaw, moment in zip(turned, moments, strict=False):
        plan[f"yaw{yaw:+d}"] = Shot(yaw, "portrait", moment)
    for k, (framing, moment) in enumerate(zip(gestures, moments[len(turned) :], strict=True)):
        plan[f"{framing}_{k}"] = Shot(0, framing, moment)
    return plan


def spread_moments(frames: int, count: int) -> list[int]:
    """Return the middle frames of `count` equal parts of a motion of `frames` frames."""
    return [int((k + 0.5) * frames / count) for k in range(count)]


def draw(models: Models, identity: Identity, motion: Motion, cameras: Cameras) -> Frame:
    """Render one frame as the pipeline does; motion, cameras: one frame each."""
    (chunk,) = render(models, Scene(identity, motion, cameras), Look())
    return Frame(chunk.frames[0], motion, cameras)


def draw_shot(models: Models, identity: Identity, motion: Motion, shot: Shot, size: int) -> Frame:
    """Draw one shot of a person on a square canvas.

    models: draw it; identity: the person; motion: what the person performs; shot: which frame of it, seen from where;
        size: px of a side."""
    view = View(yaw=shot.yaw, framing=shot.framing, size=size)
    cameras = view.cameras(models.body, identity, 1)
    return draw(models, identity, motion[slice(shot.moment, shot.moment + 1)], cameras)


def draw_own(models: Models, identity: Identity, size: int) -> Frame:
    """Render the photograph's own pose, expression and camera, on the canvas of `framed`; size: px."""
    motion = Motion(identity.rotations[None], identity.expression[None])
    return draw(models, identity.literal(), motion, own_cameras(identity, size))


def own_cameras(identity: Identity, size: int) -> Cameras:
    """Return the photograph's own camera for the square canvas of `framed`; size: px."""
    factors, left = _placement(size_of(identity.portrait), size)
    intrinsics = identity.intrinsics * identity.intrinsics.new_tensor([*factors, 1.0])[:, None]
    intrinsics[0, 2] += left
    forward = identity.world_to_camera[2, :3]
    yaw = math.degrees(math.atan2(float(forward[0]), float(forward[1])))
    return Cameras(identity.world_to_camera[None], intrinsics, torch.tensor([yaw]), (size, size))


def framed(image: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Resize a picture (C, H, W) to a height of size px and centre it on a square canvas.

    A wider picture is cropped; a narrower one leaves zeros (grey) beside it. Returns (C, size, size), and (1, size,
    size), 1 where the canvas shows the picture."""
    factors, left = _placement(size_of(image), size)
    width = round(image.shape[2] * factors[0])
    small = F.interpolate(image[None], (size, width), mode="bilinear", antialias=True, align_corners=False)[0]
    both = torch.cat([small, torch.ones_like(small[:1])])
    right = size - width - left
    canvas = F.pad(both, (left, right))  # negative: cut
    return canvas[:-1], canvas[-1:]


def framed_points(points: Tensor, source: tuple[int, int], size: int) -> Tensor:
    """Map points (N, 2 or more) px of a picture of source (H, W) -> (N, 2) px of `framed`'s canvas."""
    factors, left = _placement(source, size)
    return points[:, :2] * points.new_tensor(factors) + points.new_tensor([float(left), 0.0])


def _placement(source: tuple[int, int], size: int) -> tuple[tuple[float, float], int]:
    """Return the scale factors of x and y, and the left edge of the picture on the canvas in whole px."""
    width = max(1, round(source[1] * size / source[0]))
    return (width / source[1], size / source[0]), (size - width) // 2
