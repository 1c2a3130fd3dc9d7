"""Arms, hands, head and spine in anatomical angles -> motion rotations.

Every function returns (T, 49, 3) axis-angle of MOTION_JOINTS, zero for joints of other limbs, so that poses of
different limbs are simply added. Angles are degrees, floats or (T,) tensors; 0 everywhere is the A pose."""

from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody, Rest
from ...geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from ...geometry.skeleton import JOINT_INDEX, MOTION_JOINTS, N_JOINTS, NECK_SHARE, SHOULDER_SHARE
from ...shapes import dims

Angle = float | Tensor
_SPINE_SHARE = {"root": 0.2, "spine03": 0.4, "spine01": 0.4}


@dataclass(frozen=True)
class ArmAngles:
    """The angles of one arm in degrees, each a float or (T,).

    lower: upper arm down from the A pose (32 hangs, -42 horizontal).
    forward: swing to the front (-20..70).
    elbow: flexion beyond the ~40 of the A pose (-30..90).
    twist: of the upper arm, + brings the hand across the chest (-40..50).
    roll: of the forearm, + turns the palm down (-70..70).
    flex, side: wrist flexion (-50..60) and deviation (-20..20, + to the thumb).
    curl: of each finger joint (-5..75), or (T, 4) one per finger from index to little.
    thumb: opposition (0..60); spread: fan of the fingers (-5..12).
    shrug: shoulder lift (0..12), the arm keeps its direction."""

    lower: Angle = 32.0
    forward: Angle = 0.0
    elbow: Angle = -25.0
    twist: Angle = 0.0
    roll: Angle = 0.0
    flex: Angle = 0.0
    side: Angle = 0.0
    curl: Angle = 8.0
    thumb: Angle = 8.0
    spread: Angle = 0.0
    shrug: Angle = 0.0


def joint_heads(body: HalfBody, rest: Rest) -> Tensor:
    """Return the bone heads (49, 3) of MOTION_JOINTS in metres for the first body of `rest`, for the pose functions."""
    return rest.bones[0, body.motion_bones]


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def _turn(axis: Tensor, degrees: Angle) -> Tensor:
    """Return rotation matrices (T|1, 3, 3) about a unit axis (3,) by a float or (T,) degrees."""
    angle = torch.deg2rad(torch.as_tensor(degrees, dtype=axis.dtype, device=axis.device).reshape(-1))
    return axis_angle_to_matrix(axis * angle[:, None])


def _assemble(rotations: dict[str, Tensor]) -> Tensor:
    """Combine {joint: rotation matrices (T|1, 3, 3)} into axis-angles (T, 49, 3); other joints are zero."""
    length = max(len(r) for r in rotations.values())
    first = next(iter(rotations.values()))
    out = first.new_zeros(length, N_JOINTS, 3)
    index = torch.tensor([JOINT_INDEX[name] for name in rotations], device=first.device)
    stacked = torch.stack([r.expand(length, 3, 3) for r in rotations.values()], 1)
    out[:, index] = matrix_to_axis_angle(stacked)
    return out


class HandFrame:
    """The directions of a hand in the A pose: along (to the knuckles), across (little to index), palm (outwards)."""

    def __init__(self, heads: Tensor, side: str):
        at = {name: heads[JOINT_INDEX[f"{name}.{side}"]] for name in ("finger2-1", "finger5-1", "wrist")}
        self.along = _unit((at["finger2-1"] + at["finger5-1"]) / 2 - at["wrist"])
        self.across = _unit(at["finger2-1"] - at["finger5-1"])
        sign = 1.0 if side == "L" else -1.0
        self.palm = _unit(torch.linalg.cross(self.along, self.across) * sign)


def arm_pose(heads: Tensor, side: str, angles: ArmAngles) -> Tensor:
    """Return the rotations (T, 49, 3) of one arm and its hand.

    heads: (49, 3) from `joint_heads`; side: "L" or "R"; angles: degrees."""
    dims(heads, f"{N_JOINTS} 3")
    if side not in ("L", "R"):
        raise ValueError(f"side must be 'L' or 'R', got {side!r}")
    at = {name: heads[JOINT_INDEX[name]] for name in MOTION_JOINTS if name.endswith(f".{side}")}
    sign = 1.0 if side == "L" else -1.0
    ex, ey = torch.eye(3, dtype=heads.dtype, device=heads.device)[:2]
    upper = _unit(at[f"lowerarm01.{side}"] - at[f"upperarm01.{side}"])
    fore = _unit(at[f"wrist.{side}"] - at[f"lowerarm01.{side}"])
    hinge = _unit(torch.linalg.cross(upper, fore))
    hand = HandFrame(heads, side)
    lower, shrug = (torch.as_tensor(a, dtype=heads.dtype) for a in (angles.lower, angles.shrug))
    half_roll = torch.as_tensor(angles.roll, dtype=heads.dtype) * (0.5 * sign)
    # lifting the clavicle swings the whole arm outwards: the upper arm takes the same angle back
    pose = {
        f"clavicle.{side}": _turn(ey, -sign * shrug),
        f"shoulder01.{side}": _turn(ey, sign * SHOULDER_SHARE * lower),
        f"upperarm01.{side}": _turn(ey, sign * shrug)
        @ _turn(ex, -torch.as_tensor(angles.forward))
        @ _turn(ey, sign * lower)
        @ _turn(upper, torch.as_tensor(angles.twist) * sign),
        f"lowerarm01.{side}": _turn(hinge, angles.elbow),
        f"lowerarm02.{side}": _turn(fore, half_roll),
        f"wrist.{side}": _turn(torch.linalg.cross(hand.along, hand.palm), angles.flex)
        @ _turn(hand.palm, torch.as_tensor(angles.side, dtype=heads.dtype) * sign)
        @ _turn(fore, half_roll),
    }
    return _assemble(pose | _finger_rotations(at, side, hand, angles) | _thumb(at, side, hand, angles.thumb))


def _finger_rotations(at: dict[str, Tensor], side: str, hand: HandFrame, angles: ArmAngles) -> dict[str, Tensor]:
    curl = torch.as_tensor(angles.curl, dtype=hand.palm.dtype)
    curl = curl if curl.ndim == 2 else curl.reshape(-1, 1).expand(-1, 4)
    spread = torch.as_tensor(angles.spread, dtype=hand.palm.dtype)
    out: dict[str, Tensor] = {}
    for finger in range(2, 6):
        joint = [f"finger{finger}-{k}.{side}" for k in (1, 2, 3)]
        fan = _turn(_unit(torch.linalg.cross(hand.along, hand.across)), spread * (3.4 - finger) / 1.5)
        for k, name in enumerate(joint):
            start, end = (joint[k], joint[k + 1]) if k < 2 else (joint[1], joint[2])
            bend = _turn(_unit(torch.linalg.cross(at[end] - at[start], hand.palm)), curl[:, finger - 2])
            out[name] = fan @ bend if k == 0 else bend
    return out


def _thumb(at: dict[str, Tensor], side: str, hand: HandFrame, opposition: Angle) -> dict[str, Tensor]:
    """Return the rotations of the thumb, which swings in front of the palm and then bends towards the little finger.

    at: {joint: head (3,)}; side: "L" or "R"; hand: its directions; opposition: degrees."""
    joint = [f"finger1-{k}.{side}" for k in (1, 2, 3)]
    amount = torch.as_tensor(opposition, dtype=hand.palm.dtype)
    base = _unit(at[joint[1]] - at[joint[0]])
    tip = _unit(at[joint[2]] - at[joint[1]])
    inwards = _unit(0.5 * hand.palm - hand.across)
    return {
        joint[0]: _turn(_unit(torch.linalg.cross(base, _unit(hand.palm - 0.6 * hand.across))), 0.55 * amount),
        joint[1]: _turn(_unit(torch.linalg.cross(tip, inwards)), 0.6 * amount),
        joint[2]: _turn(_unit(torch.linalg.cross(tip, inwards)), 0.8 * amount),
    }


def head_pose(pitch: Angle = 0.0, yaw: Angle = 0.0, roll: Angle = 0.0) -> Tensor:
    """Return a pose of the head (T, 49, 3): pitch + nods down, yaw + turns and roll + tilts to the person's own left.
    """
    return _column(NECK_SHARE, pitch, yaw, roll)


def spine_pose(pitch: Angle = 0.0, yaw: Angle = 0.0, roll: Angle = 0.0) -> Tensor:
    """Return a pose of the trunk (T, 49, 3): pitch + leans forward, yaw + turns and roll + leans to the own left."""
    return _column(_SPINE_SHARE, pitch, yaw, roll)


def _column(share: dict[str, float], pitch: Angle, yaw: Angle, roll: Angle) -> Tensor:
    ex, ey, ez = torch.eye(3)
    p, y, r = (torch.as_tensor(a, dtype=torch.float32).reshape(-1) for a in (pitch, yaw, roll))
    return _assemble({n: _turn(ez, y * w) @ _turn(ex, p * w) @ _turn(ey, r * w) for n, w in share.items()})


def rest_arms(heads: Tensor) -> Tensor:
    """Return both arms hanging relaxed (1, 49, 3); heads: from `joint_heads`."""
    angles = ArmAngles()
    return arm_pose(heads, "L", angles) + arm_pose(heads, "R", angles)


def blend_angles(a: ArmAngles, b: ArmAngles, weight: Tensor) -> ArmAngles:
    """Interpolate the angles of two arm poses by weight (T,) in [0, 1]; 0 gives a."""
    return replace(
        a, **{f.name: _lerp(getattr(a, f.name), getattr(b, f.name), weight) for f in fields(ArmAngles)}
    )


def _lerp(a: Angle, b: Angle, weight: Tensor) -> Tensor:
    start, end = torch.as_tensor(a), torch.as_tensor(b)
    w = weight[:, None] if max(start.ndim, end.ndim) == 2 else weight
    return start + (end - start) * w
