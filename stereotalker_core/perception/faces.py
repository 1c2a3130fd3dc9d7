"""Faces of a picture: where they are at any size and roll, 478 points each, and their expression."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .detect import Detection, detect, distinct, tiles
from .networks import Perception
from .squares import Pyramid, Square, direction, square_around

IRISES = {"R": 468, "L": 473}
MESH68 = (  # points of the mesh that stand for the 68-point scheme
    (162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389)
    + (71, 63, 105, 66, 107, 336, 296, 334, 293, 301)
    + (168, 197, 5, 4, 75, 97, 2, 326, 305)
    + (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
    + (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
    + (78, 82, 13, 312, 308, 317, 14, 87)
)
_SUGGESTED = 0.35  # detector's score from which the mesh network has a look
_CERTAIN = 0.75  # a face of this score in the upright picture: no need to turn it
_LOOKS = 3
_EXPRESSIVE = (  # the 146 mesh points that face_blendshapes reads
    *(0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80),
    *(81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153),
    *(154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249),
    *(251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314),
    *(317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382),
    *(384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, *range(468, 478)),
)


@dataclass(frozen=True)
class Face:
    """mesh (478, 3) px, z in px away from the camera; its square; scores in 0..1; expression (52,)."""

    mesh: Tensor
    square: Square
    box_score: float
    presence: float
    expression: Tensor

    @property
    def height(self) -> float:
        """Pixels from the top of the mesh's forehead to the chin."""
        return float((self.mesh[10] - self.mesh[152]).norm())

    @property
    def turn(self) -> float:
        """Roll in radians, clockwise as seen in the picture."""
        return _roll(self.mesh)


def find_faces(networks: Perception, picture: Pyramid) -> list[Face]:
    """Every face, largest first, each once; nothing is judged here but the networks' own presence."""
    proposals = distinct(_upright(networks, picture))
    if not proposals or proposals[0].score < _CERTAIN:
        proposals = distinct(proposals + _thorough(networks, picture))
    squares = [_face_square(found) for found in proposals]
    faces = look_at_faces(networks, picture, squares, [found.score for found in proposals])
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: -f.presence * f.box_score):
        if face.presence >= 0.5 and not any(_same(face, other) for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda f: -f.height)


def look_at_faces(
    networks: Perception,
    picture: Pyramid,
    squares: Sequence[Square],
    scores: Sequence[float],
) -> list[Face]:
    """The mesh of each square's face, looked at three times, every time in the square that the points ask for."""
    if not squares:
        return []
    size = networks.size("face_landmarks_detector")
    for look in range(_LOOKS):
        flat, presence, _ = networks.run("face_landmarks_detector", picture.crops(squares, size))
        raw = flat.reshape(len(squares), 478, 3).cpu()
        unit = (raw[..., :2] + 0.5) / size
        meshes = [
            torch.cat([q.to_picture(u), r[:, 2:] * (q.side / size)], 1)
            for q, u, r in zip(squares, unit, raw, strict=True)
        ]
        if look < _LOOKS - 1:
            squares = [square_around(m[:468, :2], 1.5, _roll(m)) for m in meshes]
    probability = presence.reshape(-1).sigmoid().tolist()
    expressions = _expressions(networks, unit * torch.tensor([float(size)]))
    found = zip(meshes, squares, scores, probability, expressions, strict=True)
    return [Face(*values) for values in found]


def _upright(networks: Perception, picture: Pyramid) -> list[Detection]:
    """Whole picture, far out (a face that fills the frame), near (tiles); the far-range network once."""
    near = detect(
        networks,
        "face_detection_short_range",
        picture,
        [picture.whole(k) for k in (1.0, 1.5, 2.2)] + tiles(picture, 0.55),
        _SUGGESTED,
    )
    far = detect(networks, "face_detection_full_range_sparse", picture, [picture.whole()], _SUGGESTED)
    return [one for group in near + far for one in group]


def _thorough(networks: Perception, picture: Pyramid) -> list[Detection]:
    """The picture turned, and smaller tiles: for rolled heads and for very small ones."""
    squares = [picture.whole(k, turn) for turn in _TURNS for k in (1.0, 1.5)]
    near = detect(networks, "face_detection_short_range", picture, squares, _SUGGESTED)
    far = detect(networks, "face_detection_full_range_sparse", picture, tiles(picture, 0.55), _SUGGESTED)
    return [one for group in near + far for one in group]


_TURNS = tuple(math.radians(d) for d in (-45, 45, -90, 90, 180))


def _face_square(found: Detection) -> Square:
    return Square(*found.centre.tolist(), 1.5 * found.side, direction(found.points[0], found.points[1]))


def _roll(mesh: Tensor) -> float:
    """Of the line from the outer corner of the right eye to that of the left."""
    return direction(mesh[33, :2], mesh[263, :2])


def _same(one: Face, other: Face) -> bool:
    away = float((one.mesh[:468, :2].mean(0) - other.mesh[:468, :2].mean(0)).norm())
    return away < 0.4 * max(one.height, other.height)


def _expressions(networks: Perception, upright: Tensor) -> Tensor:
    """Mesh points (B, 478, 2) of upright faces -> (B, 52) in the order of motion.arkit: alphabetical, tongueOut last.

    The network's first number is "neutral"; it says nothing of the tongue, which stays 0.
    """
    (out,) = networks.face_blendshapes(upright[:, list(_EXPRESSIVE)].to(networks.device))
    return torch.cat([out[:, 1:], torch.zeros_like(out[:, :1])], 1).cpu()
