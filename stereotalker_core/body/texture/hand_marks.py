"""Details of hands that no portrait shows: nails, creases at the joints, lines of the palm, and its paler skin.

Everything is a factor on the linear colour of the person's skin, painted once on the mean body; both hands are alike.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..model import HalfBody

_FINGERS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))  # OpenPose's joints
_NAIL = (0.42, 0.97)  # share of the last phalanx, from its joint, that the nail covers
_NAIL_WIDTH = (0.0068, 0.0056, 0.0058, 0.0054, 0.0046)  # m, half, thumb to little finger
_NAIL_TONE, _NAIL_EDGE, _NAIL_RIM = (1.30, 1.18, 1.18), (1.6, 1.7, 1.75), 0.6
_CREASE, _WRINKLE = 0.0017, 0.0036  # m: width of a crease, distance of the wrinkles on a joint's back
_PALM_TONE = (1.12, 1.00, 0.98)
_KNUCKLE_TONE = (0.99, 0.88, 0.86)
_LINE_DEPTH = (0.10, 0.19, 0.19)  # of a palm's line, in red, green and blue: blood shines through
_PAD, _HOLLOW = 0.020, 0.022  # m
_PAD_TONE = (1.01, 0.93, 0.92)
_LINES = (  # of the palm: shares of the way from the wrist to the middle knuckle, from index to little finger
    ((0.92, 0.22), (0.80, 0.45), (0.74, 0.75), (0.74, 1.05)),
    ((0.76, -0.08), (0.68, 0.30), (0.56, 0.62), (0.46, 0.86)),
    ((0.76, -0.08), (0.62, 0.16), (0.40, 0.34), (0.12, 0.38)),
)


def hand_marks(body: HalfBody, corners: Tensor, weight: Tensor, hands: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors (N, 3) on the linear colour of the hands' texels, 1 elsewhere, and (N,) in [0, 1], 1 on the
    palm.

    body: the half body.
    corners: (N, 3) vertices of the texels' triangles.
    weight: (N, 3) barycentric, where in the triangle.
    hands: (N,) bool, texels of hands."""
    at = hands.nonzero().squeeze(1)
    point = (body.mean[corners[at]] * weight[at][..., None]).sum(1)
    normal = (body.normals(body.mean[None])[0][corners[at]] * weight[at][..., None]).sum(1)
    mirror = torch.where(point[:, :1] < 0, -1.0, 1.0) * point.new_tensor([1.0, 0, 0]) + point.new_tensor([0, 1.0, 1.0])
    tint, palm = _marks(_hand_joints(body), point * mirror, F.normalize(normal * mirror, dim=1))
    whole, inner = torch.ones_like(weight), torch.zeros_like(weight[:, 0])
    return whole.index_copy(0, at, tint.to(whole)), inner.index_copy(0, at, palm.to(inner))


def marked(skin: Tensor, marks: Tensor, palm: Tensor) -> Tensor:
    """Apply marks (n, 3) and the palm's tone to skin colours (n, 3) in [-1, 1]; the darker the skin, the paler the
    palm.

    palm: (n,) in [0, 1], 1 on the palm."""
    linear = (skin / 2 + 0.5).clamp_min(0).square()
    bright = linear.mean(1, keepdim=True)
    paler = 1 + 1.6 * (1 - bright / 0.35).clamp(0, 1) * palm[:, None]
    tone = 1 + (linear.new_tensor(_PALM_TONE) - 1) * palm[:, None]
    grey = (linear.amax(1) - linear.amin(1)) / linear.amax(1).clamp_min(1e-3)  # of a grey picture marks have no colour
    factor = marks * tone
    factor = torch.lerp(factor.mean(1, keepdim=True).expand_as(factor), factor, (grey / 0.3).clamp(0, 1)[:, None])
    return (linear * factor * paler).clamp(0, 1).sqrt() * 2 - 1


def _hand_joints(body: HalfBody) -> Tensor:
    """Return the joints (21, 3) of the left hand of the mean body, in metres."""
    rest = body.rest(body.mean.new_zeros(1, body.n_shape))
    posed = body.pose(rest, body.mean.new_zeros(1, 49, 3), body.mean.new_zeros(1, 52))
    return body.keypoints(posed.vertices, posed.bones)[0, [body.keypoint_index[f"hand.L.{k}"] for k in range(21)]]


def _marks(joints: Tensor, point: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors (n, 3) and the palm's share (n,) of `hand_marks` for points of a left hand.

    joints: (21, 3) m, from `_hand_joints`; point: (n, 3) m on the surface; normal: (n, 3) unit vectors there."""
    back = F.normalize(torch.linalg.cross(joints[5] - joints[0], joints[17] - joints[0]), dim=0)
    starts, ends = _phalanges(joints)
    finger, along, away = _nearest_segment(point, starts, ends)  # (n,) phalanx 0..14, metres from its joint, distance
    metacarpal = _nearest_segment(point, joints[[0] * 4], joints[[5, 9, 13, 17]])[2]
    on_finger = (away < metacarpal).to(point)
    tint = torch.ones_like(point)
    dorsal = torch.stack([_dorsal(joints, back, k) for k in range(15)])[finger]
    facing = (normal * dorsal).sum(1)
    palm = ((-facing - 0.05) / 0.35).clamp(0, 1) * on_finger + ((-(normal @ back) - 0.0) / 0.35).clamp(0, 1) * (
        1 - on_finger
    )
    tint = tint * _creases(joints, point, facing, on_finger)
    knuckles = torch.exp(-((torch.cdist(point, joints[[5, 9, 13, 17]]).amin(1) - 0.008).clamp_min(0) / 0.006).square())
    red = knuckles * ((normal @ back) / 0.5).clamp(0, 1)
    tint = tint * (1 + (point.new_tensor(_KNUCKLE_TONE) - 1) * red[:, None])
    on_palm = (palm * (1 - on_finger))[:, None]
    tint = tint * (1 - _palm_lines(joints, point, back)[:, None] * on_palm * point.new_tensor(_LINE_DEPTH))
    tint = tint * (1 + (_pads(joints, point) - 1) * on_palm)
    axis = F.normalize(ends - starts, dim=1)[finger]
    side = (normal * torch.linalg.cross(axis, dorsal)).sum(1).abs()
    tint = tint * (1 - 0.16 * side.square() * on_finger)[:, None]  # fingers shade each other
    for k in range(5):
        tint = _with_nail(tint, point, facing, finger == 3 * k + 2, starts[3 * k + 2], ends[3 * k + 2], dorsal, k)
    return tint, palm


def _phalanges(joints: Tensor) -> tuple[Tensor, Tensor]:
    """Return the start and end joint (15, 3) of every phalanx of a hand with joints (21, 3), finger by finger."""
    chain = [(a, b) for row in _FINGERS for a, b in zip(row, row[1:], strict=False)]
    return joints[[a for a, _ in chain]], joints[[b for _, b in chain]]


def _nearest_segment(point: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the segment nearest to each point (n, 3): its index (n,), metres from its start along it (n,), distance
    (n,).

    start, end: (K, 3) of the segments."""
    axis = end - start
    length = axis.norm(dim=1)
    along = ((point[:, None] - start) * axis).sum(2) / length
    foot = start + (along / length).clamp(0, 1)[..., None] * axis
    away, which = (point[:, None] - foot).norm(dim=2).min(1)
    return which, along.gather(1, which[:, None])[:, 0], away


def _dorsal(joints: Tensor, back: Tensor, phalanx: int) -> Tensor:
    """Return the unit vector (3,) in which the back of a phalanx (0..14) faces; a thumb faces across the hand.

    joints: (21, 3) m; back: (3,) unit vector out of the back of the hand; phalanx: as in `_phalanges`."""
    finger, k = divmod(phalanx, 3)
    a, b = (joints[_FINGERS[finger][k + i]] for i in range(2))
    axis = F.normalize(b - a, dim=0)
    towards = back if finger else F.normalize(0.45 * back + F.normalize(joints[5] - joints[17], dim=0), dim=0)
    return F.normalize(towards - (towards @ axis) * axis, dim=0)


def _creases(joints: Tensor, point: Tensor, facing: Tensor, on_finger: Tensor) -> Tensor:
    """Return the factors (n, 3) of the creases on the inside of the finger joints and of the wrinkles on their backs.

    joints: (21, 3) m, of the hand.
    point: (n, 3) m on its surface.
    facing: (n,) cosine between the surface's normal and the back of the hand.
    on_finger: (n,) 1 on fingers."""
    out = torch.ones_like(point)
    inner, outer = ((-facing) / 0.4).clamp(0, 1), (facing / 0.5).clamp(0, 1)
    for row in _FINGERS:
        for k in range(3):
            a, joint, b = (joints[row[k - 1]] if k else joints[0]), joints[row[k]], joints[row[k + 1]]
            axis = F.normalize(F.normalize(b - joint, dim=0) + F.normalize(joint - a, dim=0), dim=0)
            offset = point - joint
            along = offset @ axis
            near = ((0.016 - (offset - along[:, None] * axis).norm(dim=1)) / 0.004).clamp(0, 1) * on_finger
            line = torch.exp(-(along / _CREASE).square())
            out = out * (1 - 0.38 * line * inner * near)[:, None]
            if k == 0:
                continue
            wrinkles = sum(torch.exp(-((along - s * _WRINKLE) / (0.7 * _CREASE)).square()) for s in (-1, 0, 1))
            out = out * (1 - 0.20 * wrinkles * outer * near)[:, None]
            red = torch.exp(-(along / 0.007).square()) * outer * near
            out = out * (1 + (point.new_tensor(_KNUCKLE_TONE) - 1) * red[:, None])
    return out


def _palm_lines(joints: Tensor, point: Tensor, back: Tensor) -> Tensor:
    """Return (n,) in [0, 1], 1 on the three lines of the palm; joints: (21, 3) m; point: (n, 3) m on the surface; back:
    (3,) unit vector out of the back of the hand."""
    up = joints[9] - joints[0]
    across = joints[17] - joints[5]
    across = across - (across @ up) / (up @ up) * up
    origin = joints[0] + ((joints[5] - joints[0]) @ across) / (across @ across) * across
    place = torch.stack([(point - joints[0]) @ up / up.norm(), (point - origin) @ across / across.norm()], 1)
    size = torch.stack([up.norm(), across.norm()])
    out = torch.zeros_like(place[:, 0])
    for line in _LINES:
        knots = place.new_tensor(line) * size
        away = _nearest_segment(place, knots[:-1], knots[1:])[2]
        out = torch.maximum(out, torch.exp(-(away / (0.8 * _CREASE)).square()))
    return out


def _pads(joints: Tensor, point: Tensor) -> Tensor:
    """Return the factors (n, 3) of a palm's pads, which are redder than its hollow, which lies in their shade.

    joints: (21, 3) m, of the hand; point: (n, 3) m on its surface."""
    wrist, thumb, index, little = joints[[0, 2, 5, 17]]
    pads = torch.stack([(wrist + thumb) / 2, 0.45 * wrist + 0.55 * little, *joints[[5, 9, 13, 17]]])
    near = torch.exp(-(torch.cdist(point, pads) / _PAD).square()).amax(1)
    hollow = torch.exp(-((point - (2 * wrist + 3 * index + 3 * little) / 8).norm(dim=1) / _HOLLOW).square())
    tone = 1 + (point.new_tensor(_PAD_TONE) - 1) * near[:, None]
    return tone * (1 - 0.10 * hollow)[:, None]


def _with_nail(
    tint: Tensor,
    point: Tensor,
    facing: Tensor,
    own: Tensor,
    start: Tensor,
    end: Tensor,
    dorsal: Tensor,
    finger: int,
) -> Tensor:
    """Return the factors (n, 3) with the nail of one finger added.

    tint: (n, 3) factors so far.
    point: (n, 3) m on the surface.
    facing: (n,) cosine between its normal and the back of the phalanx.
    own: (n,) 1 on this phalanx.
    start, end: (3,) m, the ends of the finger's last phalanx.
    dorsal: (3,) unit vector out of its back.
    finger: 0 (thumb) to 4."""
    axis, length = F.normalize(end - start, dim=0), (end - start).norm()
    offset = point - start
    aside = (offset * torch.linalg.cross(axis.expand_as(dorsal), dorsal)).sum(1)
    low, high, half = _NAIL[0] * length, _NAIL[1] * length, _NAIL_WIDTH[finger]
    along = offset @ axis - (low + high) / 2
    corner = 0.6 * half
    dx, dy = (aside.abs() - half + corner).clamp_min(0), (along.abs() - (high - low) / 2 + corner).clamp_min(0)
    away = (dx.square() + dy.square()).sqrt() - corner  # m outside the rounded plate
    there = own * ((facing - 0.25) / 0.2).clamp(0, 1)
    plate = (0.5 - away / 0.0012).clamp(0, 1) * there
    rim = torch.exp(-((away - 0.0004) / 0.0009).square()) * there
    edge = ((along - (high - low) / 2 + 0.0024) / 0.0012).clamp(0, 1)[:, None]
    tone = torch.lerp(tint.new_tensor(_NAIL_TONE).expand_as(tint), tint.new_tensor(_NAIL_EDGE).expand_as(tint), edge)
    tint = torch.lerp(tint, tone, plate[:, None])
    return tint * (1 - (1 - _NAIL_RIM) * rim * (1 - plate))[:, None]
