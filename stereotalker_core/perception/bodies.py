"""The body that belongs to a face: 33 points with visibility, and a mask of that one person (BlazePose).

Bazarevsky et al., BlazePose: On-device real-time body pose tracking (arXiv 2006.10204)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .detect import Detection, detect
from .faces import FoundFace
from .networks import Perception
from .squares import Pyramid, Square, direction, turned

POINTS = {  # COCO name -> row of the 33
    "nose": 0,
    "left_eye": 2,
    "right_eye": 5,
    "left_ear": 7,
    "right_ear": 8,
    "left_shoulder": 11,
    "right_shoulder": 12,
    "left_elbow": 13,
    "right_elbow": 14,
    "left_wrist": 15,
    "right_wrist": 16,
    "left_hip": 23,
    "right_hip": 24,
}
_SUGGESTED = 0.4  # detector's score from which the landmark network has a look
_PRESENT = 0.5
_MARGIN = 1.25  # of the square over the circle that two alignment points span
_HEAT_REACH = 3  # cells around a point whose heat refines it
_HIPS_BELOW, _RADIUS = 3.8, 4.7  # face heights from the face's centre to the hips, and of the body's circle


@dataclass(frozen=True)
class Body:
    """The detected body: points (33, 2) px, visibility (33,), presence in 0..1, mask (1, 256, 256) of the crop
    `square`."""

    points: Tensor
    visibility: Tensor
    presence: float
    square: Square
    mask: Tensor

    @property
    def shoulders(self) -> float:
        """Return the distance between the shoulders in px."""
        return float((self.points[11] - self.points[12]).norm())


def find_bodies(networks: Perception, picture: Pyramid, faces: Sequence[FoundFace]) -> list[Body | None]:
    """Return the body below each face, None where none is found.

    The network confuses people who stand close together, so a face without a fitting body is tried once more in a
    picture that shows nobody else."""
    found = _search(networks, picture, faces)
    for k, face in enumerate(faces):
        others = [other for other in faces if other is not face and _near(face, other)]
        if found[k] is None and others:
            (found[k],) = _search(networks, _alone(picture, face, others), [face])
    return found


def _search(networks: Perception, picture: Pyramid, faces: Sequence[FoundFace]) -> list[Body | None]:
    """Find the body of each face in two passes -> one per face, None where none is found.

    The first pass looks at the square of the body detector, or where that found none at a square below the face; the
    second at the square around the points of the first."""
    if not faces:
        return []
    detected = zip(_detections(networks, picture, faces), faces, strict=True)
    heads = [[one for one in group if _is_head(one, face)][:1] for group, face in detected]
    best = _best(networks, picture, faces, [[_alignment(one) for one in own] for own in heads])
    missing = [k for k, found in enumerate(best) if found is None]
    guesses = [[_body_below(faces[k], turn) for turn in _leanings(faces[k])] for k in missing]
    for k, found in zip(missing, _best(networks, picture, [faces[k] for k in missing], guesses), strict=True):
        best[k] = found
    again = [[] if found is None else [found[1]] for found in best]
    final = _best(networks, picture, faces, again)
    chosen = [second or first for first, second in zip(best, final, strict=True)]
    return [None if found is None or found[0].presence < _PRESENT else found[0] for found in chosen]


def _near(face: FoundFace, other: FoundFace) -> bool:
    return float((_centre(face) - _centre(other)).norm()) < 5 * max(face.height, other.height)


def _alone(picture: Pyramid, face: FoundFace, others: Sequence[FoundFace]) -> Pyramid:
    """Return the picture, grey wherever another face is nearer (in units of its height) than this one."""
    image = picture.levels[0][0]
    y, x = torch.meshgrid(torch.arange(picture.height) + 0.5, torch.arange(picture.width) + 0.5, indexing="ij")
    at = torch.stack([x, y], -1)
    own = (at - _centre(face)).norm(dim=-1) / face.height
    kept = torch.stack([(at - _centre(o)).norm(dim=-1) / o.height >= own for o in others]).all(0)
    return Pyramid(torch.where(kept.to(image.device), image, torch.full_like(image, 0.5)))


def _best(
    networks: Perception,
    picture: Pyramid,
    faces: Sequence[FoundFace],
    proposals: Sequence[Sequence[Square]],
) -> list[tuple[Body, Square] | None]:
    """Choose for each face the most certain body that fits it -> (body, square for the next pass), None where none
    fits.

    networks: the perception networks; picture: the picture to search; faces: the faces; proposals: for each face, the
        squares to look at."""
    looked = iter(look_at_bodies(networks, picture, [square for own in proposals for square in own]))
    best: list[tuple[Body, Square] | None] = []
    for face, own in zip(faces, proposals, strict=True):
        fitting = [found for found in (next(looked) for _ in own) if _fits(found[0], face)]
        best.append(max(fitting, key=lambda found: found[0].presence, default=None))
    return best


def look_at_bodies(
    networks: Perception,
    picture: Pyramid,
    squares: Sequence[Square],
) -> list[tuple[Body, Square]]:
    """Run the body network on each square of the picture -> (the body found there, the square for the next pass) of
    each."""
    if not squares:
        return []
    size = networks.size("pose_landmark_full")
    out = networks.run("pose_landmark_full", picture.crops(squares, size))
    flat, presence, mask, heat, _ = (value.cpu() for value in out)
    found = []
    for square, values, present, logits, warm in zip(squares, flat, presence, mask, heat, strict=True):
        values = values.view(39, 5)
        unit = refined(values[:, :2] / size, warm) + 0.5 / size
        points = square.to_picture(unit)
        visibility = torch.minimum(values[:33, 3].sigmoid(), values[:33, 4].sigmoid())
        body = Body(points[:33], visibility, float(present), square, logits.sigmoid())
        found.append((body, _circle(points[33], points[34])))
    return found


def refined(unit: Tensor, heat: Tensor) -> Tensor:
    """Move points (N, 2) in 0..1 to the local centre of mass of their heat maps (N, h, w), where the heat is strong
    enough."""
    count, rows, columns = heat.shape
    heat = heat.sigmoid()
    cell = (unit * unit.new_tensor([columns, rows])).long()
    y, x = torch.arange(rows)[None, :, None], torch.arange(columns)[None, None, :]
    near = ((x - cell[:, 0, None, None]).abs() <= _HEAT_REACH) & ((y - cell[:, 1, None, None]).abs() <= _HEAT_REACH)
    weight = heat * near
    total = weight.sum((1, 2)).clamp_min(1e-6)
    centre = torch.stack([(weight * x).sum((1, 2)) / columns, (weight * y).sum((1, 2)) / rows], -1) / total[:, None]
    return torch.where((weight.amax((1, 2)) >= 0.5)[:, None], centre, unit)


def _detections(networks: Perception, picture: Pyramid, faces: Sequence[FoundFace]) -> list[list[Detection]]:
    """Return for each face the body detections in the whole picture and near the face, best first."""
    near = [_window(face, turn) for face in faces for turn in _leanings(face)]
    owners = [k for k, face in enumerate(faces) for _ in _leanings(face)]
    everywhere, *found = detect(networks, "pose_detection", picture, [picture.whole(), *near], _SUGGESTED)
    groups = [list(everywhere) for _ in faces]
    for k, group in zip(owners, found, strict=True):
        groups[k] += group
    return [sorted(group, key=lambda d: -d.score) for group in groups]


def _leanings(face: FoundFace) -> list[float]:
    """Return the rolls (radians) to try for the body: upright, and the head's where that is far from upright."""
    return [0.0] if abs(face.turn) < math.radians(25) else [0.0, face.turn]


def _centre(face: FoundFace) -> Tensor:
    return (face.mesh[10, :2] + face.mesh[152, :2]) / 2


def _window(face: FoundFace, turn: float) -> Square:
    """Return the square that contains head and upper body; turn: its roll in radians."""
    return Square.around(_centre(face), 7.0 * face.height, turn).moved(0.0, 0.25)


def _body_below(face: FoundFace, turn: float) -> Square:
    """Return the square of an adult's body, estimated from the face alone; turn: its roll in radians."""
    hips = _centre(face) + turned(torch.tensor([0.0, _HIPS_BELOW * face.height]), turn)
    return Square.around(hips, 2 * _RADIUS * _MARGIN * face.height, turn)


def _alignment(found: Detection) -> Square:
    return _circle(found.points[0], found.points[1])


def _circle(centre: Tensor, end: Tensor) -> Square:
    """Return the square of a body from the detector's circle: its centre (2,), and `end` (2,) on the rim above it."""
    side = 2 * _MARGIN * float((end - centre).norm())
    return Square.around(centre, max(side, 1.0), direction(centre, end) + math.pi / 2)


def _is_head(found: Detection, face: FoundFace) -> bool:
    """Tell whether a detection of the body detector lies at the person's head."""
    return float((found.centre - _centre(face)).norm()) < 0.8 * face.height


def _fits(body: Body, face: FoundFace) -> bool:
    """Tell whether the body's nose and eyes coincide with those of the face."""
    own = torch.stack([face.mesh[4, :2], face.mesh[473, :2], face.mesh[468, :2]])
    away = (body.points[[0, 2, 5]] - own).norm(dim=1).mean()
    return float(away) < 0.35 * face.height
