"""The people in a photograph: points, mask, expression and a calibrated confidence for each, largest first."""

import logging
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..shapes import dims
from .bodies import POINTS, Body, find_bodies
from .faces import IRISES, MESH68, FoundFace, confidence, facing, find_faces
from .hands import Hand, find_hands
from .keypoints import HELP, Keypoints, default_sigma
from .networks import Perception, load_perception
from .segment import person_masks, with_hands
from .squares import Pyramid

logger = logging.getLogger(__name__)
_SEEN = 0.5  # visibility from which a point of the body is given
_ACCEPTED = 0.5  # confidence below which nobody is there
_DOUBTFUL = 0.9  # and below which a warning says so
_ON_THE_FACE = ("nose", "left_eye", "right_eye")  # of the body: the mesh knows them better
# of face heights, measured likewise; elbows are as far off, but fits that follow them draw forearms where they are
_SPREAD = {"ear": 0.1, "shoulder": 0.06, "elbow": 0.035, "wrist": 0.1, "hip": 0.25}

__all__ = ["Person", "find_person", "load_perception", "people"]


@dataclass(frozen=True)
class Person:
    """The detected person, in px of the picture (pixel centres at .5; z in the same unit as x and y, away from the
    camera).

    keypoints: mesh.0..477, face.0..67, iris.L/R, body.*, hand.L/R.0..20, those inside the picture; see `Keypoints`.
    visibility: (N,) in [0, 1] of the keypoints; low where the head itself hides a point.
    box, face_box: (4,) x0, y0, x1, y1.
    mask: (1, H, W) in [0, 1], this person only, coarse.
    mesh: (478, 3); None where no face is seen.
    expression: (52,) in [0, 1] in the order of motion.arkit.ARKIT; None without a face.
    confidence: 0..1, that this is a person's face with the points on it."""

    keypoints: Keypoints
    visibility: Tensor
    box: Tensor
    face_box: Tensor
    mask: Tensor
    mesh: Tensor | None
    expression: Tensor | None
    confidence: float
    warnings: tuple[str, ...]


@torch.no_grad()
def people(image: Tensor, networks: Perception | None = None) -> list[Person]:
    """Return everybody whose face is visible in image (3, H, W) in [-1, 1], largest face first; on the image's device.
    """
    dims(image, "3 H W")
    networks = networks or load_perception(image.device)
    picture = Pyramid((image.detach().to(networks.device, torch.float32) / 2 + 0.5).clamp(0, 1))
    faces, bodies, sure = _judged(networks, picture)
    masks = person_masks(networks, picture, faces, bodies)
    found = []
    for face, body, mask, value in zip(faces, bodies, masks, sure, strict=True):
        hands = {}
        if body is not None:
            hands = find_hands(networks, picture, body)
            mask = with_hands(mask, body, list(hands.values()))
        found.append(_on_device(_put_together(picture, face, body, hands, mask, value), image.device))
    return found


def find_person(image: Tensor, networks: Perception | None = None, number: int | None = None) -> Person:
    """Return one person in the picture: the largest, or `number` counted from 1 = the largest.

    ValueError of one line where nobody is found or the number is too high. Warnings about several people without a
    number, and about the person, are logged."""
    everybody = people(image, networks)
    if not everybody:
        raise ValueError(f"no person found: a face must be seen, from the front or up to 60 degrees aside; {HELP}")
    if number is not None and not 1 <= number <= len(everybody):
        raise ValueError(f"person {number} does not exist; {len(everybody)} found, 1 is the largest")
    if number is None and len(everybody) > 1:
        places = ", ".join(f"{k}: {_place(person, image)}" for k, person in enumerate(everybody, 1))
        logger.warning("%d people found, the largest is taken; choose another by number (%s)", len(everybody), places)
    person = everybody[(number or 1) - 1]
    for warning in person.warnings:
        logger.warning("%s", warning)
    return person


def _place(person: Person, image: Tensor) -> str:
    """Return where a person is in the picture: "left", "middle" or "right"."""
    x = float(person.face_box[[0, 2]].mean()) / image.shape[2]
    return "left" if x < 0.4 else "right" if x > 0.6 else "middle"


def _judged(networks: Perception, picture: Pyramid) -> tuple[list[FoundFace], list[Body | None], list[float]]:
    """Return the accepted faces, largest first, with their bodies and the confidence in each."""
    faces = [face for face in find_faces(networks, picture) if confidence(face, 1.0) >= _ACCEPTED]
    bodies = find_bodies(networks, picture, faces)
    judged = [
        (face, body, confidence(face, 0.0 if body is None else body.presence))
        for face, body in zip(faces, bodies, strict=True)
    ]
    kept = sorted((one for one in judged if one[2] >= _ACCEPTED), key=lambda one: -one[0].height)
    return [f for f, _, _ in kept], [b for _, b, _ in kept], [c for _, _, c in kept]


def _put_together(
    picture: Pyramid,
    face: FoundFace,
    body: Body | None,
    hands: dict[str, Hand],
    mask: Tensor,
    sure: float,
) -> Person:
    """Combine the results of the networks for one person.

    picture: the photograph.
    face, body, hands: what was detected.
    mask: (1, H, W) of this person.
    sure: the confidence, 0..1."""
    points = _face_points(face) | _body_points(face, body) | _hand_points(hands)
    inside = {
        name: value
        for name, value in points.items()
        if 0 <= value[0] <= picture.width and 0 <= value[1] <= picture.height
    }
    values = torch.tensor(list(inside.values()))
    keypoints = Keypoints(tuple(inside), values[:, :2], values[:, 2])
    return Person(
        keypoints,
        values[:, 3],
        _covering_box(keypoints, mask, picture),
        _corners(face.mesh[:, :2], picture),
        mask,
        face.mesh,
        face.expression,
        sure,
        _warnings(picture, face, body, sure),
    )


def _face_points(face: FoundFace) -> dict[str, tuple[float, float, float, float]]:
    """Return the points of the face: {keypoint name: (x px, y px, standard deviation px, visibility 0..1)}."""
    height = 1.45 * float((face.mesh[168, :2] - face.mesh[152, :2]).norm())
    rows = {f"mesh.{i}": i for i in range(478)} | {f"face.{k}": i for k, i in enumerate(MESH68)}
    rows |= {f"iris.{side}": i for side, i in IRISES.items()}
    xy, moved, seen = face.mesh[:, :2].tolist(), (2 * face.moved).tolist(), facing(face.mesh).tolist()
    aside = 1 + 0.9 * math.sin(math.radians(min(face.aside, 90.0)))  # measured on synthetic people turned to 60 degrees
    return {
        name: (*xy[i], max(default_sigma(name, height), moved[i]) * aside * (2 - seen[i]), seen[i])
        for name, i in rows.items()
    }


def _body_points(face: FoundFace, body: Body | None) -> dict[str, tuple[float, float, float, float]]:
    if body is None:
        return {}
    found = {}
    for name, i in POINTS.items():
        seen = float(body.visibility[i])
        if seen >= _SEEN and name not in _ON_THE_FACE:
            sigma = max(1.0, _SPREAD[name.partition("_")[2]] * face.height)
            found[f"body.{name}"] = (*body.points[i].tolist(), sigma, seen)
    return found


def _hand_points(hands: dict[str, Hand]) -> dict[str, tuple[float, float, float, float]]:
    return {
        f"hand.{side}.{k}": (x, y, max(1.0, 0.08 * hand.size), hand.presence)
        for side, hand in hands.items()
        for k, (x, y) in enumerate(hand.points.tolist())
    }


def _warnings(picture: Pyramid, face: FoundFace, body: Body | None, sure: float) -> tuple[str, ...]:
    found = []
    if sure < _DOUBTFUL:
        found.append(f"the face was found with little certainty ({sure:.2f}): a drawing, or hard to see")
    if face.height < 64:
        found.append(f"the face is only {face.height:.0f} px high; a closer or larger picture shows more of it")
    outside = sum(not (0 <= x <= picture.width and 0 <= y <= picture.height) for x, y in face.mesh[:, :2].tolist())
    if outside > 24:
        found.append("part of the face lies outside the picture; what is missing will be invented")
    if face.aside > 40:
        found.append(f"the head is turned {face.aside:.0f} degrees from the camera; its far side will be invented")
    if body is None:
        found.append("no body was found below the face; shoulders and arms will be invented")
    return tuple(found)


def _corners(points: Tensor, picture: Pyramid) -> Tensor:
    """Return the bounding box (4,) x0, y0, x1, y1 of points (N, 2), clipped to the picture."""
    limit = points.new_tensor([picture.width, picture.height])
    low, high = points.amin(0), points.amax(0)
    return torch.cat([torch.minimum(low.clamp_min(0), limit), torch.minimum(high.clamp_min(0), limit)])


def _covering_box(keypoints: Keypoints, mask: Tensor, picture: Pyramid) -> Tensor:
    """Return the bounding box (4,) of the points and of the rows and columns that the mask covers noticeably."""
    corners = [_corners(keypoints.xy, picture)]
    solid = (mask[0] > 0.5).float()
    rows, columns = solid.mean(1), solid.mean(0)
    y, x = (rows > 0.02).nonzero()[:, 0], (columns > 0.02).nonzero()[:, 0]
    if len(x) and len(y):
        corners.append(torch.tensor([float(x[0]), float(y[0]), float(x[-1]) + 1, float(y[-1]) + 1]))
    boxes = torch.stack(corners)
    return torch.cat([boxes[:, :2].amin(0), boxes[:, 2:].amax(0)])


def _on_device(person: Person, device: torch.device) -> Person:
    return replace(
        person,
        keypoints=person.keypoints.to(device),
        visibility=person.visibility.to(device),
        box=person.box.to(device),
        face_box=person.face_box.to(device),
        mask=person.mask.to(device),
        mesh=None if person.mesh is None else person.mesh.to(device),
        expression=None if person.expression is None else person.expression.to(device),
    )
