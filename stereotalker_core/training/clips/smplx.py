"""SMPL-X poses -> the rotations of our `Motion`; no SMPL-X model file is needed, because only rotations are used.

SMPL-X rotates 55 joints about axes parallel to the world (y up, z to the front, x to the person's left) from a T pose.
Our joints rotate about axes parallel to the world (z up, -y to the front, x to the left) from an A pose with bent
elbows. With C the change of axes, and F_j the rotation that maps bone j from the T pose to the A pose,

    ours_j = F_parent(j) · C · smplx_j · C^T · F_j^T

so that every bone points in the same direction. F is the identity for trunk, neck and head (both rest upright) and
follows from the bones of our asset for arms and hands: the bone's direction, and the hinge of the elbow or the line of
the knuckles.

| ours | SMPL-X |
|---|---|
| root | pelvis (global orientation) |
| spine03 | spine1 · spine2 |
| spine01 | spine3 |
| neck01..03 | neck, a third each |
| head | head |
| clavicle | collar |
| shoulder01 | (identity) |
| upperarm01 | shoulder |
| lowerarm01 | elbow |
| lowerarm02, wrist | wrist: the twist about the forearm, the rest |
| finger1..5-1..3 | thumb, index, middle, ring, pinky 1..3 |

Legs, jaw, eyes and the translation of the pelvis are left out. With flat_hand_mean=False (BEAT2) fingers are stored
relative to the model's mean hand, which is identified with our relaxed hand."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody
from ...geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from ...geometry.skeleton import JOINT_INDEX, N_JOINTS
from ...shapes import dims

_BODY = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "jaw", "left_eye", "right_eye",
)  # fmt: skip
_FINGERS = ("index", "middle", "pinky", "ring", "thumb")  # the order of the model
SMPLX_JOINTS = _BODY + tuple(f"{side}_{f}{k}" for side in ("left", "right") for f in _FINGERS for k in (1, 2, 3))
SMPLX_INDEX = {name: i for i, name in enumerate(SMPLX_JOINTS)}  # 55 joints
_OUR_FINGER = {"thumb": 1, "index": 2, "middle": 3, "ring": 4, "pinky": 5}
TO_OURS = torch.tensor([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])  # C: (x, y up, z front) -> (x, -y front, z up)


def frame(primary: Tensor, secondary: Tensor) -> Tensor:
    """Return a frame (3, 3) with columns: primary direction, secondary made orthogonal to it, their cross product."""
    first = F.normalize(primary, dim=0)
    second = F.normalize(secondary - first * (first @ secondary), dim=0)
    return torch.stack([first, second, torch.linalg.cross(first, second)], 1)


def rest_alignment(body: HalfBody) -> dict[str, Tensor]:
    """Return the rotations from the T to the A pose of both arms' bones, {"upper.L", "lower.L", "hand.L", and ".R": (3,
    3)}.

    They are F at the top of this file, in our axes."""
    out = {}
    for side, sign in (("L", 1.0), ("R", -1.0)):

        def at(name: str, side: str = side) -> Tensor:
            return body.bone_mean[body.bone_index[f"{name}.{side}"]].cpu()

        upper, lower = at("lowerarm01") - at("upperarm01"), at("wrist") - at("lowerarm01")
        hinge, along = torch.linalg.cross(upper, lower), torch.tensor([sign, 0.0, 0.0])
        front, back = torch.tensor([0.0, -1.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
        elbow = torch.linalg.cross(along, front)  # palms down, a bent elbow brings the hand to the front
        out[f"upper.{side}"] = frame(upper, hinge) @ frame(along, elbow).T
        out[f"lower.{side}"] = frame(lower, hinge) @ frame(along, elbow).T
        knuckles = at("finger5-1") - at("finger2-1")  # from the index finger to the little one: backwards in the T pose
        out[f"hand.{side}"] = frame(at("finger3-1") - at("wrist"), knuckles) @ frame(along, back).T
    return out


def rotations_from_smplx(poses: Tensor, body: HalfBody) -> Tensor:
    """Map axis-angles (T, 165) of the 55 SMPL-X joints -> rotations (T, 49, 3) of a Motion. ValueError for other
    shapes."""
    dims(poses, f"T {3 * len(SMPLX_JOINTS)}")
    local = TO_OURS @ axis_angle_to_matrix(poses.float().unflatten(1, (-1, 3))) @ TO_OURS.T  # (T, 55, 3, 3)
    out = torch.eye(3).repeat(len(poses), N_JOINTS, 1, 1)

    def of(name: str) -> Tensor:
        return local[:, SMPLX_INDEX[name]]

    def put(name: str, rotation: Tensor) -> None:
        out[:, JOINT_INDEX[name]] = rotation

    put("root", of("pelvis"))
    put("spine03", of("spine1") @ of("spine2"))
    put("spine01", of("spine3"))
    third = axis_angle_to_matrix(matrix_to_axis_angle(of("neck")) / 3)
    for name in ("neck01", "neck02", "neck03"):
        put(name, third)
    put("head", of("head"))
    align = rest_alignment(body)
    for side, word in (("L", "left"), ("R", "right")):
        upper, lower, hand = (align[f"{name}.{side}"] for name in ("upper", "lower", "hand"))
        put(f"clavicle.{side}", of(f"{word}_collar"))
        put(f"upperarm01.{side}", of(f"{word}_shoulder") @ upper.T)
        put(f"lowerarm01.{side}", upper @ of(f"{word}_elbow") @ lower.T)
        # about the lower half of the forearm, so that the turn does not move the wrist
        middle, wrist = (body.bone_mean[body.bone_index[f"{name}.{side}"]].cpu() for name in ("lowerarm02", "wrist"))
        twist, bend = split_twist(lower @ of(f"{word}_wrist") @ hand.T, wrist - middle)
        put(f"lowerarm02.{side}", twist)
        put(f"wrist.{side}", bend)
        for finger, number in _OUR_FINGER.items():
            for k in (1, 2, 3):
                put(f"finger{number}-{k}.{side}", hand @ of(f"{word}_{finger}{k}") @ hand.T)
    return matrix_to_axis_angle(out)


def split_twist(rotation: Tensor, axis: Tensor) -> tuple[Tensor, Tensor]:
    """Split rotations (T, 3, 3) into (twist about axis (3,), rest), such that rotation = twist @ rest."""
    axis = F.normalize(axis, dim=0)
    vector = matrix_to_axis_angle(rotation)
    angle = vector.norm(dim=-1, keepdim=True)
    # quaternion (cos a/2, sin a/2 n); its part along the axis, normalised, is the twist
    real = torch.cos(angle / 2)
    imaginary = vector * 0.5 * torch.sinc(angle / (2 * torch.pi))
    along = (imaginary * axis).sum(-1, keepdim=True)
    twist = axis_angle_to_matrix(2 * torch.atan2(along, real) * axis)
    return twist, twist.transpose(-1, -2) @ rotation
