"""Key poses of the arms: joint angles found by inverse kinematics on the mean body, and the shapes of the hand.

Each pose was specified by wrist position, finger direction and palm direction; the angles here reach them within 2 mm.
The same numbers serve both sides: `poses.arm_pose` mirrors them."""

import torch
from torch import Tensor

from .poses import ArmAngles

# lower, forward, elbow, twist, roll, flex, side (degrees, see poses.ArmAngles)
ARMS: dict[str, tuple[float, ...]] = {
    "hang": (32, 0, -25, 0, 0, 0, 0),
    "hang_bent": (30, 4, 5, 10, 10, 5, 0),
    "front": (20, -9, 49, 24, 45, 25, 16),
    "front_high": (21, -8, 60, 21, 36, 31, 19),
    "beat_prep": (25, 11, 69, 6, -6, 1, 5),
    "beat_stroke": (26, 12, 46, 9, -40, -5, -2),
    "open_prep": (28, 5, 66, 0, -68, -7, -13),
    "open_stroke": (34, 13, 45, -8, -73, -6, -10),
    "press_prep": (20, 18, 70, 16, 65, 11, -16),
    "press_stroke": (22, 16, 47, 18, 68, 1, -1),
    "you_stroke": (37, 38, 26, 10, -69, -10, -16),
    "me_prep": (23, 12, 54, 15, -33, 29, 6),
    "me_stroke": (27, 1, 82, 27, -54, 46, -12),
    "no_prep": (27, 22, 54, 40, 70, 4, -3),
    "no_stroke": (24, 5, 58, -6, 72, -1, -1),
    "yes_prep": (35, 20, 76, 3, -6, 0, -16),
    "yes_stroke": (35, 18, 50, 3, -5, -1, -16),
    "big_prep": (36, 11, 57, 17, 0, -14, 0),
    "big_stroke": (12, -9, 74, -16, -34, -12, 8),
    "small_prep": (28, 11, 58, -2, -13, 1, -1),
    "small_stroke": (38, 16, 47, 26, 0, -24, 5),
    "up_prep": (25, 9, 56, 6, -6, -16, 19),
    "up_stroke": (32, 39, 87, -13, 30, 2, 9),
    "down_prep": (27, 22, 79, 9, 62, 31, -20),
    "down_stroke": (23, 12, 38, 18, 70, -8, -2),
    "many_prep": (36, 12, 51, 20, -66, -13, -12),
    "many_stroke": (35, 9, 60, -17, -71, -12, -18),
    "think_prep": (27, 15, 60, 9, -27, 10, 19),
    "think_stroke": (36, 41, 84, 28, -40, -3, 8),
    "stop_prep": (24, 12, 66, 12, 66, -39, 19),
    "stop_stroke": (25, 39, 49, 23, 73, -51, 18),
    "greet_prep": (15, 4, 72, -8, 39, -46, 19),
    "greet_stroke": (18, 36, 87, -19, 50, -10, 4),
}
# curl of index, middle, ring, little, then thumb opposition and spread (degrees)
HANDS: dict[str, tuple[float, ...]] = {
    "relaxed": (14, 17, 20, 22, 12, 0),
    "open": (5, 6, 7, 8, 5, 4),
    "spread": (2, 2, 2, 3, 0, 11),
    "flat": (2, 2, 2, 2, 5, 0),
    "cup": (25, 27, 29, 30, 25, 0),
    "point": (2, 62, 66, 68, 45, 0),
    "fist": (66, 68, 70, 72, 10, 0),
    "pinch": (38, 34, 30, 26, 45, 0),
}
N_ANGLES = 7 + 6 + 1  # arm, hand, shrug


def key_pose(arm: str, hand: str) -> Tensor:
    """Return the angles (14,) in degrees of a named arm pose with a named hand shape and no shrug."""
    return torch.tensor([*ARMS[arm], *HANDS[hand], 0.0])


def to_angles(track: Tensor) -> ArmAngles:
    """Map angles (T, 14) in degrees -> the record that `poses.arm_pose` takes."""
    lower, forward, elbow, twist, roll, flex, side = track[:, :7].unbind(1)
    return ArmAngles(
        lower, forward, elbow, twist, roll, flex, side,
        curl=track[:, 7:11], thumb=track[:, 11], spread=track[:, 12], shrug=track[:, 13],
    )  # fmt: skip
