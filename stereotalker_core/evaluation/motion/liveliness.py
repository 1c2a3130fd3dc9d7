"""Measures of a motion that need no teacher: jerks, rests, head turns, lips that move without speech."""

import math

import torch
from torch import Tensor

from ...body.model import HalfBody
from ...geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from ...geometry.skeleton import ARM_JOINTS, HEAD_JOINTS, JOINT_INDEX, SPINE_JOINTS
from ...motion.lips import CLOSED_MM, lip_gap
from ...records import Motion

JERK_DEGREES = 15.0  # acceleration of an arm joint, degrees per frame squared, that reads as a jump
REST_SPEED = 0.03  # m/s of both wrists below which the hands rest
_ARMS = [JOINT_INDEX[name] for side in "LR" for name in ARM_JOINTS[side]]
_TURNS = [JOINT_INDEX[name] for name in SPINE_JOINTS + HEAD_JOINTS]


def joint_acceleration(motion: Motion) -> Tensor:
    """Return (T - 2,) the largest acceleration of any arm joint, degrees per frame^2, computed on rotation matrices."""
    matrices = axis_angle_to_matrix(motion.rotations[:, _ARMS].double())
    turn = matrix_to_axis_angle(matrices[1:] @ matrices[:-1].transpose(-1, -2))  # (T - 1, 12, 3) a frame
    return turn.diff(dim=0).norm(dim=-1).amax(1) * (180 / math.pi)


def jerk_frames(motion: Motion) -> int:
    """Return the number of frames in which an arm joint accelerates by more than `JERK_DEGREES`."""
    return int((joint_acceleration(motion) > JERK_DEGREES).sum())


def wrist_speed(motion: Motion, body: HalfBody) -> Tensor:
    """Return the speed (T - 1, 2) of the left and the right wrist on the mean body, m/s."""
    rest = body.rest(torch.zeros(1, body.n_shape))
    parts = []
    for first in range(0, len(motion), 500):
        rotations = motion.rotations[first : first + 500]
        heads = body.forward_kinematics(body.bone_rotations(rotations), rest.bones)[1][:, body.motion_bones]
        parts.append(heads[:, [JOINT_INDEX["wrist.L"], JOINT_INDEX["wrist.R"]]])
    return torch.cat(parts).diff(dim=0).norm(dim=-1) * motion.fps


def rest_share(motion: Motion, body: HalfBody) -> float:
    """Return the fraction of frames in which both hands are slower than 3 cm/s."""
    return float((wrist_speed(motion, body).amax(1) < REST_SPEED).float().mean())


def head_yaw(motion: Motion) -> Tensor:
    """Return the yaw (T,) of the face by spine and neck together, degrees; positive towards the person's left."""
    world = torch.eye(3, dtype=torch.float64).expand(len(motion), 3, 3)
    for index in _TURNS:
        world = world @ axis_angle_to_matrix(motion.rotations[:, index].double())
    front = -world[..., 1]  # where -y, the front of the face, points
    return torch.atan2(front[:, 0], -front[:, 1]) * (180 / math.pi)


def head_yaw_range(motion: Motion, seconds: float = 60.0) -> float:
    """Return the range (largest minus smallest) of the head's yaw over `seconds`, averaged over such intervals;
    degrees."""
    yaw, size = head_yaw(motion), round(seconds * motion.fps)
    pieces = [yaw[i : i + size] for i in range(0, max(1, len(yaw) - size // 2), size)]
    return float(torch.stack([piece.max() - piece.min() for piece in pieces]).mean())


def open_share(motion: Motion, speechless: Tensor, gap: tuple[Tensor, Tensor]) -> tuple[float, int]:
    """Return the fraction of the frames marked speechless (T,) in which the lips are apart, and the number of those
    frames."""
    apart = lip_gap(motion.expression, gap)[speechless] >= CLOSED_MM
    return (float(apart.float().mean()) if len(apart) else 0.0), int(speechless.sum())
