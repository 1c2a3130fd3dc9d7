"""The joint names of a `Motion` (upper body + fingers) and their order, for everything that stores a motion.

Rotations are about the joint, in the WORLD-aligned axes of the A pose, composed down the chain (parents carry
children): identity everywhere is the A pose. Metres; z up, front of the person is -y, +x is the person's LEFT."""

_ARM = ("clavicle", "shoulder01", "upperarm01", "lowerarm01", "lowerarm02", "wrist")
_FINGERS = tuple(f"finger{f}-{k}" for f in range(1, 6) for k in range(1, 4))  # finger1 is the thumb

SPINE_JOINTS = ("root", "spine03", "spine01")
HEAD_JOINTS = ("neck01", "neck02", "neck03", "head")
ARM_JOINTS = {side: tuple(f"{name}.{side}" for name in _ARM) for side in "LR"}
HAND_JOINTS = {side: tuple(f"{name}.{side}" for name in _FINGERS) for side in "LR"}

MOTION_JOINTS = (
    SPINE_JOINTS + HEAD_JOINTS + ARM_JOINTS["L"] + ARM_JOINTS["R"] + HAND_JOINTS["L"] + HAND_JOINTS["R"]
)  # 49
N_JOINTS = len(MOTION_JOINTS)
NECK_SHARE = {"neck01": 0.2, "neck02": 0.2, "neck03": 0.2, "head": 0.4}  # of a nod, in motions and in fitted poses
SHOULDER_SHARE = 0.15  # by which the shoulder follows an arm that is lowered or lifted
JOINT_INDEX = {name: i for i, name in enumerate(MOTION_JOINTS)}


def mirrored_joints() -> list[int]:
    """Return the index of the left-right counterpart of each motion joint."""
    swap = {"L": "R", "R": "L"}
    return [JOINT_INDEX[n[:-1] + swap[n[-1]] if n.endswith((".L", ".R")) else n] for n in MOTION_JOINTS]
