"""The choice of gestures by framing: a half-body frame keeps the hands in view, a head-and-shoulder crop shows none."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..body.model import HalfBody
from ..geometry.projection import project
from ..geometry.skeleton import ARM_JOINTS, HAND_JOINTS, JOINT_INDEX
from ..records import Cameras, Identity, Motion
from .trajectories import Framing

HANDS = ("auto", "on", "off")
_GLIMPSE = 0.02  # mean visibility of the hands' texels from which a photograph shows hands
_ELBOW = 0.30  # m below the shoulder joint that a frame must show for hands to belong into it
_MOMENTS = 40  # of a motion that are looked at
_SPARE = 0.012  # m around the fingers in all of them
_WIDEST = 1.25  # times the photograph's crop: more would be another picture
_HANGING = 0.6  # radians by which an arm of the A pose is lowered to hang


def hands_seen(body: HalfBody, identity: Identity) -> bool:
    """Tell whether the photograph shows hands, by the visibility of their texels."""
    uv = body.uv_in(identity.atlas_layout)
    hands = body.vertices_in("hand.L", "hand.R")[body.render_vertex]
    grid = uv[hands][None, None].to(identity.visibility) * 2 - 1
    return float(F.grid_sample(identity.visibility[None], grid, align_corners=False).mean()) > _GLIMPSE


def widened(framing: Framing, body: HalfBody, identity: Identity, motion: Motion) -> Framing:
    """Return the framing with room for the hands of a motion at yaw 0, downwards and to the sides.

    framing: the photograph's crop; it grows to at most 1.25 times its size, and its top edge stays.
    body: the half body.
    identity: the person; without visible hands in the photograph the framing is returned unchanged.
    motion: T frames, whose hands are to be in view."""
    if framing.most is None or not hands_seen(body, identity):
        return framing
    across, down = _finger_extent(framing, body, identity, motion)
    bottom, half = framing.height / 2, framing.across / 2
    lower = min(max(bottom, float(down.max()) + _SPARE), bottom + (_WIDEST - 1) * framing.height)
    left = min(framing.middle - half, float(across.min()) - _SPARE)
    right = max(framing.middle + half, float(across.max()) + _SPARE)
    height, x, y, z = bottom + lower, *framing.target
    return replace(
        framing,
        target=(x, y, z - (lower - bottom) / 2),
        height=height,
        width=min(right - left, _WIDEST * max(framing.most, framing.across)),
        middle=(left + right) / 2,
    )


def _finger_extent(framing: Framing, body: HalfBody, identity: Identity, motion: Motion) -> tuple[Tensor, Tensor]:
    """Return how far all finger points are to the right of and below the target (metres, two flat tensors), at yaw 0.

    framing: gives the target; motion: a few of its moments are looked at."""
    few = motion[:: max(1, len(motion) // _MOMENTS)]
    x, y, z = framing.target
    camera = torch.eye(4)
    camera[:3, :3] = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # level, from the front
    camera[:3, 3] = camera[:3, :3] @ -torch.tensor([x + framing.aside, y - framing.distance, z])
    points = _hand_points(body, identity, few).cpu()
    pixel = project(points, camera[None], torch.eye(3))[..., :2] * framing.distance
    return pixel[..., 0].flatten(), pixel[..., 1].flatten()


def _hand_points(body: HalfBody, identity: Identity, motion: Motion) -> Tensor:
    """Return (T, 42, 3): the finger points of both hands while this person performs a motion."""
    chosen = [i for i, name in enumerate(body.keypoint_names) if name.startswith("hand.")]
    device, performed = body.mean.device, identity.performed(motion)
    rest = body.rest(identity.shape[None].to(device), identity.shell[None].to(device))
    posed = body.pose(rest, performed.rotations.to(device), performed.expression.to(device))
    return body.keypoints(posed.vertices, posed.bones)[:, chosen]


def gestures_belong(body: HalfBody, identity: Identity, cameras: Cameras) -> bool:
    """Tell whether the frame has room for gestures: it reaches down to the elbows, or the photograph shows hands."""
    bones = body.rest(identity.shape[None].to(body.mean)).bones[0]
    level = float(bones[body.bone_index["upperarm01.L"], 2]) - _ELBOW
    point = torch.tensor([[[0.0, -0.02, level]]]).to(cameras.world_to_camera)
    rows = project(point.expand(len(cameras), 1, 3), cameras.world_to_camera, cameras.intrinsics)[..., 1]
    return bool((rows < cameras.size[0]).any()) or hands_seen(body, identity)


def staged(body: HalfBody, identity: Identity, motion: Motion, cameras: Cameras, hands: str = "auto") -> Motion:
    """Return the motion with only those gestures for which the frame has room.

    body: the half body.
    identity: the person.
    motion: T frames.
    cameras: what the frame shows.
    hands: "on" leaves the motion as it is; "off" holds the arms in the photograph's pose, or hanging where its hands
        are out of the picture; "auto" is "off" for a head-and-shoulder crop and "on" elsewhere.

    ValueError for another value of `hands`."""
    if hands not in HANDS:
        raise ValueError(f"hands {hands!r} is unknown; use one of {', '.join(HANDS)}")
    if hands == "on" or hands == "auto" and gestures_belong(body, identity, cameras):
        return motion
    held = _with_arms_held(motion, identity.rotations)
    if hands_seen(body, identity):
        return held
    points = _hand_points(body, identity, held[:: max(1, len(held) // _MOMENTS)]).to(cameras.world_to_camera)
    middle = cameras[len(cameras) // 2 : len(cameras) // 2 + 1]
    rows = project(points, middle.world_to_camera, cameras.intrinsics)[..., 1]
    return held if float(rows.min()) > cameras.size[0] else _with_arms_held(motion, _hanging(identity.rotations))


def _with_arms_held(motion: Motion, rotations: Tensor) -> Motion:
    """Return the motion with arms and hands fixed in one pose (49, 3)."""
    joints = [JOINT_INDEX[n] for side in "LR" for n in (*ARM_JOINTS[side], *HAND_JOINTS[side])]
    out = motion.rotations.clone()
    out[:, joints] = rotations[joints].to(out)
    return replace(motion, rotations=out)


def _hanging(rotations: Tensor) -> Tensor:
    """Return a pose (49, 3) with its arms lowered; the shoulders stay as they are."""
    out = rotations.clone()
    for side, sign in (("L", 1.0), ("R", -1.0)):
        arm, hand = ([JOINT_INDEX[n] for n in joints[side]] for joints in (ARM_JOINTS, HAND_JOINTS))
        out[arm[2:] + hand] = 0.0
        out[JOINT_INDEX[f"upperarm01.{side}"], 1] = sign * _HANGING
    return out
