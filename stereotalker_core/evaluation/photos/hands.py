"""Hands visible in a drawn frame: how many, whether the motion put them there, and their colour.

Hands are searched for in the whole picture, also in the background, where the photograph's hands may have been left."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...body.model import HalfBody
from ...geometry.projection import project
from ...perception.detect import detect, distinct, tiles
from ...perception.hands import Hand, hand_square, look_at_hands, palm_square
from ...perception.networks import Perception
from ...perception.squares import Pyramid
from ...records import Cameras, Identity, Motion
from .metrics import CHEEKS, skin_lab

_SUGGESTED = 0.4  # palm detector's score from which the hand network has a look
_PRESENT = 0.85  # of the hand network, from which a hand counts: ears and cheeks reach .8, hands are above .9
_TILES = 0.67  # of the longer side, beside the whole picture
_MOST = 12  # proposals looked at
_NEAR = 0.5  # head heights that a drawn hand's points may lie from the motion's on average; further is another hand
_PART, _INSIDE = 0.7, 0.8  # of a hand's extent below which, and share of points inside it from which, another is a part
_L_OFFSET = 16.0  # CIE 1976: L* + 16, a* and b* are linear in cube roots of XYZ
_PALM = (0, 1, 5, 9, 13, 17)


def find_all_hands(networks: Perception, image: Tensor) -> list[Hand]:
    """Return every hand in a picture (3, H, W) in [-1, 1], each once, the most certain first."""
    picture = Pyramid((image / 2 + 0.5).clamp(0, 1))
    windows = [picture.whole(), *tiles(picture, _TILES)]
    groups = detect(networks, "palm_detection_full", picture, windows, _SUGGESTED)
    proposals = distinct([one for group in groups for one in group])[:_MOST]
    hands = look_at_hands(networks, picture, [palm_square(one) for one in proposals])
    for _ in range(2):  # a hand stays one when it is looked at where its own points are; an ear does not
        hands = [hand for hand in hands if hand.presence > 0.2]
        hands = look_at_hands(networks, picture, [hand_square(hand.points) for hand in hands])
    return distinct_hands([hand for hand in hands if hand.presence > _PRESENT])


def distinct_hands(hands: Sequence[Hand]) -> list[Hand]:
    """Merge repeated detections: keep the most certain of hands whose points nearly coincide, and drop parts of other
    hands."""
    kept: list[Hand] = []
    hands = [hand for hand in hands if not any(_part_of(hand, other) for other in hands)]
    for hand in sorted(hands, key=lambda h: -h.presence):
        if not any(_same_hand(hand, other) for other in kept):
            kept.append(hand)
    return kept


def _same_hand(one: Hand, other: Hand) -> bool:
    """Tell whether two detections are the same hand.

    They are if their points are less than a quarter of the larger hand's extent apart on average, or their centres less
    than a fifth of it. Clasped hands are further apart. The extent is used because a palm that points at the camera has
    no length."""
    extent = max(_extent(one), _extent(other))
    apart = float((one.points - other.points).norm(dim=1).mean())
    middles = float((one.points.mean(0) - other.points.mean(0)).norm())
    return apart < 0.25 * extent or middles < 0.2 * extent


def _part_of(small: Hand, large: Hand) -> bool:
    """Tell whether a detection is only part of another hand, such as bent finger tips: much smaller and inside it."""
    low, high = large.points.amin(0), large.points.amax(0)
    inside = ((small.points >= low) & (small.points <= high)).all(1)
    return _extent(small) < _PART * _extent(large) and float(inside.float().mean()) > _INSIDE


def _extent(hand: Hand) -> float:
    """Return the longer side of the bounding box of a hand's points, px."""
    return float((hand.points.amax(0) - hand.points.amin(0)).max())


def posed_hands(
    body: HalfBody,
    identity: Identity,
    motion: Motion,
    cameras: Cameras,
) -> tuple[dict[str, Tensor], float]:
    """Return where the motion's only frame shows both hands, {"L", "R": (21, 2) px}, and the head's height in px."""
    rest = body.rest(identity.shape[None])
    posed = body.pose(rest, motion.rotations, motion.expression)
    points = body.keypoints(posed.vertices, posed.bones)
    pixels = project(points, cameras.world_to_camera, cameras.intrinsics)[0]
    rows = {side: [body.keypoint_index[f"hand.{side}.{k}"] for k in range(21)] for side in "LR"}
    head = body.triangles[torch.isin(body.triangle_part, _parts(body, "face", "scalp"))].unique()
    upright = rest.vertices[0, head, 2]
    depth = project(posed.bones[:, [body.bone_index["head"]]], cameras.world_to_camera, cameras.intrinsics)[0, 0, 2]
    height = float((upright.max() - upright.min()) * cameras.intrinsics[1, 1] / depth)
    return {side: pixels[index, :2] for side, index in rows.items()}, height


def _parts(body: HalfBody, *names: str) -> Tensor:
    return torch.tensor([body.part_index[name] for name in names])


def hand_errors(
    found: Sequence[Hand],
    meant: dict[str, Tensor],
    head_height: float,
    size: tuple[int, int],
) -> tuple[list[float], int]:
    """Compare detected hands with those of the motion -> (errors of the hands that were found, number that should be
    seen).

    found: detected hands.
    meant: {"L", "R": (21, 2) px} of the motion.
    head_height: px.
    size: (H, W) of the frame.

    A hand of the motion should be seen if all its points are inside the frame. It is matched to the nearest detection
    that no other hand has; one further away than half a head does not match. An error is the mean distance of the 21
    points in head heights."""
    wanted = {side: points for side, points in meant.items() if _within_picture(points, size)}
    pairs = sorted(
        (float((hand.points - points).norm(dim=1).mean()) / head_height, k, side)
        for k, hand in enumerate(found)
        for side, points in wanted.items()
    )
    errors, used, placed = [], set(), set()
    for error, k, side in pairs:
        if error < _NEAR and k not in used and side not in placed:
            errors.append(error)
            used.add(k)
            placed.add(side)
    return errors, len(wanted)


def _within_picture(points: Tensor, size: tuple[int, int]) -> bool:
    x, y = points.unbind(1)
    return bool(((x >= 0) & (x <= size[1]) & (y >= 0) & (y <= size[0])).all())


def hand_tone(image: Tensor, hands: Sequence[Hand], mesh: Tensor, same_light: bool = False) -> float:
    """Return the CIE76 colour difference between palms (or backs) of the hands and the cheeks; NaN where either is
    missing.

    image: (3, H, W) in [-1, 1].
    hands: detected in it.
    mesh: (478, 3) px of the face.
    same_light: whether the hands are first lit as brightly as the cheeks: a hand in the shade is no other skin."""
    face = skin_lab(image, [mesh[list(cheek), :2] for cheek in CHEEKS])
    hand = hand_colour(image, hands)
    if face is None or hand is None:
        return math.nan
    return float((face - (as_bright(hand, face) if same_light else hand)).norm())


def as_bright(lab: Tensor, other: Tensor) -> Tensor:
    """Return the L*a*b* (3,) of a colour (3,) under as much light of the same kind as gives it the other's lightness.

    Light multiplies XYZ, so L* + 16, a* and b* grow by the cube root of the factor (CIE 1976, above .9 % of white)."""
    factor = (other[0] + _L_OFFSET) / (lab[0] + _L_OFFSET)
    return torch.stack([other[0], lab[1] * factor, lab[2] * factor])


def hand_colour(image: Tensor, hands: Sequence[Hand]) -> Tensor | None:
    """Return the median L*a*b* (3,) of the palms or backs of hands; None where they are not visible."""
    return skin_lab(image, [one.points[list(_PALM)] for one in hands]) if hands else None
