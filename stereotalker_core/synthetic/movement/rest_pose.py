"""Write motion/rest_pose.json: both arms hanging, slightly bent, as the teacher rests them."""

import json

import torch
from torch import Tensor

from ...body.model import HalfBody
from ...motion.edit import PARTS
from ...motion.generation.bearing import REST_POSE
from .gestures import RESTS
from .key_poses import key_pose, to_angles
from .poses import arm_pose, joint_heads


def hanging_arms() -> Tensor:
    """Return the rotations (42, 3) of relaxed hanging arms and hands on the mean body."""
    body = HalfBody()
    heads = joint_heads(body, body.rest(torch.zeros(1, body.n_shape)))
    angles = to_angles(key_pose(*RESTS["bent"])[None])
    return (arm_pose(heads, "L", angles) + arm_pose(heads, "R", angles))[0, list(PARTS["hands"])]


if __name__ == "__main__":
    rows = [[round(float(x), 4) for x in row] for row in hanging_arms()]
    REST_POSE.write_text(json.dumps(rows) + "\n", encoding="utf-8")
