"""The hands of a person: 21 points each, from the wrists of the body and from the palm detector.

Zhang et al., MediaPipe Hands: On-device real-time hand tracking (arXiv 2006.10214)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .bodies import Body
from .detect import Detection, detect, distinct
from .networks import Perception
from .squares import Pyramid, Square, direction, turned

ARMS = {"L": (11, 13, 15, 19, 17), "R": (12, 14, 16, 20, 18)}  # shoulder, elbow, wrist, index, little finger of the 33
_PALM = [0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18]  # points that tell the next square: without finger tips
_SUGGESTED = 0.3
_PRESENT = 0.5
_REACH = 0.7  # forearms that a hand's wrist may lie from the body's


@dataclass(frozen=True)
class Hand:
    """The detected hand: points (21, 2) px in OpenPose's order, presence in 0..1, right: probability of a right hand.
    """

    points: Tensor
    presence: float
    right: float

    @property
    def size(self) -> float:
        """Return the distance in px from the wrist to the middle knuckle."""
        return float((self.points[0] - self.points[9]).norm())


def find_hands(networks: Perception, picture: Pyramid, body: Body) -> dict[str, Hand]:
    """Return the visible hands as {"L": hand, "R": hand}; a hand needs a wrist of the body near it."""
    arms = [side for side in ARMS if _may_be_seen(body, side, picture)]
    if not arms:
        return {}
    squares = _recropped(networks, picture, [_around_wrist(body, side) for side in arms])
    squares += [palm_square(one) for one in _palms(networks, picture, body, arms)]
    hands: list[Hand] = []
    for hand in sorted(look_at_hands(networks, picture, squares), key=lambda h: -h.presence):
        if hand.presence > 0.2 and not any(_same_hand(hand, other) for other in hands):
            hands.append(hand)
    followed = look_at_hands(networks, picture, [hand_square(hand.points) for hand in hands])
    hands = [max(pair, key=lambda h: h.presence) for pair in zip(hands, followed, strict=True)]
    return _assigned([hand for hand in hands if hand.presence > _PRESENT], body, arms)


def look_at_hands(networks: Perception, picture: Pyramid, squares: Sequence[Square]) -> list[Hand]:
    """Run the hand network on each square of the picture -> the hand it sees, with a low presence where there is none.
    """
    if not squares:
        return []
    size = networks.size("hand_landmark_full")
    flat, presence, right, _ = networks.run("hand_landmark_full", picture.crops(squares, size))
    unit = (flat.view(-1, 21, 3)[..., :2].cpu() + 0.5) / size
    found = zip(squares, unit, presence.reshape(-1).tolist(), right.reshape(-1).tolist(), strict=True)
    return [Hand(square.to_picture(points), seen, sure) for square, points, seen, sure in found]


def _assigned(hands: Sequence[Hand], body: Body, arms: Sequence[str]) -> dict[str, Hand]:
    """Assign each hand to the arm whose wrist is at its start -> {"L" or "R": hand}.

    hands: detected; body: gives the wrists; arms: the sides to assign. For wrists that are near each other, whether a
    hand looks like a left or a right one decides."""
    pairs = []
    for k, hand in enumerate(hands):
        for side in arms:
            away = float((hand.points[0] - body.points[ARMS[side][2]]).norm()) / _forearm(body, side)
            alike = hand.right if side == "R" else 1 - hand.right
            if away < _REACH:
                pairs.append((hand.presence - away + 0.5 * alike, k, side))
    chosen: dict[str, Hand] = {}
    for _, k, side in sorted(pairs, reverse=True):
        if side not in chosen and not any(_same_hand(hands[k], other) for other in chosen.values()):
            chosen[side] = hands[k]
    return chosen


def _same_hand(one: Hand, other: Hand) -> bool:
    return float((one.points - other.points).norm(dim=1).mean()) < 0.35 * max(one.size, other.size)


def _may_be_seen(body: Body, side: str, picture: Pyramid) -> bool:
    """Tell whether the wrist lies in the picture and is not certainly hidden."""
    wrist = ARMS[side][2]
    x, y = body.points[wrist].tolist()
    return float(body.visibility[wrist]) > 0.1 and 0 <= x <= picture.width and 0 <= y <= picture.height


def _forearm(body: Body, side: str) -> float:
    """Return the length of the forearm in px, at least half the shoulders' width, for arms that point at the camera."""
    _, elbow, wrist, _, _ = ARMS[side]
    return max(float((body.points[wrist] - body.points[elbow]).norm()), 0.5 * body.shoulders, 1.0)


def _around_wrist(body: Body, side: str) -> Square:
    """Return the square around a hand, from the body's three hand points of that side ("L" or "R")."""
    _, _, wrist, index, little = ARMS[side]
    knuckle = (2 * body.points[index] + body.points[little]) / 3  # about where the middle finger begins
    reach = float((knuckle - body.points[wrist]).norm())
    side_px = max(5.4 * reach, 0.8 * _forearm(body, side))
    turn = direction(body.points[wrist], knuckle) + math.pi / 2
    return Square.around(knuckle, side_px, turn).moved(0.0, -0.1)


def _recropped(networks: Perception, picture: Pyramid, squares: Sequence[Square]) -> list[Square]:
    """Return the refined squares: the network marks the centre of the hand and a point below it."""
    size = networks.size("hand_recrop")
    (out,) = networks.run("hand_recrop", picture.crops(squares, size))
    found = []
    for square, values in zip(squares, out.reshape(-1, 2, 2).cpu(), strict=True):
        centre, below = square.to_picture((values + 0.5) / size)
        reach = 2 * float((below - centre).norm())
        found.append(Square.around(centre, max(reach, 1.0), direction(centre, below) - math.pi / 2).moved(0.0, -0.1))
    return found


def _palms(networks: Perception, picture: Pyramid, body: Body, arms: Sequence[str]) -> list[Detection]:
    """Return the detections of the palm detector near the wrists of these arms ("L", "R")."""
    windows = [replace(around, side=1.6 * around.side, turn=0.0) for around in (_around_wrist(body, s) for s in arms)]
    groups = detect(networks, "palm_detection_full", picture, windows, _SUGGESTED)
    return distinct([one for group in groups for one in group[:2]])[:4]


def palm_square(found: Detection) -> Square:
    """Return the square of a hand from its palm detection (points: wrist first, middle knuckle third)."""
    turn = direction(found.points[0], found.points[2]) + math.pi / 2
    centre = found.centre + turned(torch.tensor([0.0, -0.5 * found.side]), turn)
    return Square.around(centre, 2.6 * found.side, turn)


def hand_square(points: Tensor) -> Square:
    """Return the square for the next pass of the hand network, from the 21 points (21, 2) px of a hand."""
    knuckles = (points[5] + 2 * points[9] + points[13]) / 4
    palm = points[_PALM]
    low, high = palm.amin(0), palm.amax(0)
    side = max(2 * float((high - low).max()), 1.0)
    return Square.around((low + high) / 2, side, direction(points[0], knuckles) + math.pi / 2).moved(0.0, -0.1)
