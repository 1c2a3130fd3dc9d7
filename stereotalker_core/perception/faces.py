"""Faces in a picture: found at any size and roll, with 478 points each, and their expression."""

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
_CERTAIN = 0.87  # a face of this score in the upright picture: no need to turn it (413 photographs: all above .89)
_HOPELESS = -6.0  # logit of the first look below which nothing was ever a face
_EXPRESSIVE = (  # the 146 mesh points that face_blendshapes reads
    *(0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80),
    *(81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153),
    *(154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249),
    *(251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314),
    *(317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382),
    *(384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, *range(468, 478)),
)


@dataclass(frozen=True)
class FoundFace:
    """The face as the networks see it.

    mesh: (478, 3) px, z away from the camera.
    score: how sure the box detector is, 0..1.
    presence: how sure the mesh network is, as a logit, the lower one of the last two passes.
    drift: mean movement of the points between these passes, in face heights; moved: (478,) of each point, in px.
    expression: (52,) in 0..1."""

    mesh: Tensor
    score: float
    presence: float
    drift: float
    moved: Tensor
    expression: Tensor

    @property
    def height(self) -> float:
        """Return the distance in px from the top of the mesh's forehead to the chin."""
        return float((self.mesh[10] - self.mesh[152]).norm())

    @property
    def aside(self) -> float:
        """Return the angle between the face's direction and the camera, in degrees."""
        return math.degrees(math.acos(min(max(-float(forward(self.mesh)[2]), -1.0), 1.0)))

    @property
    def turn(self) -> float:
        """Return the roll of the head in radians, clockwise as seen in the picture."""
        return _roll(self.mesh)


def find_faces(networks: Perception, picture: Pyramid) -> list[FoundFace]:
    """Return everything that may be a face, most certain first, each once; `confidence` judges them."""
    proposals = distinct(_upright_faces(networks, picture))
    if not proposals or proposals[0].score < _CERTAIN:
        proposals = distinct(proposals + _thorough(networks, picture))
    squares, scores = [_face_square(found) for found in proposals], [found.score for found in proposals]
    faces = look_at_faces(networks, picture, squares, scores)
    kept: list[FoundFace] = []
    for face in sorted(faces, key=lambda f: -confidence(f, 1.0)):
        if not any(_same_face(face, other) for other in kept):
            kept.append(face)
    return kept


def confidence(face: FoundFace, body: float) -> float:
    """Return the confidence in 0..1 that this is a person's face.

    face: the candidate; body: presence in 0..1 of a body that fits it, 0 without one.

    A logistic regression on what distinguishes faces from other things: the networks' scores, how little the points
    move between passes (a mesh on a clock or a cat's head keeps sliding), and a body. Fitted to 413 photographs and 319
    harder variants of 18 of them and of synthetic people (rolled, cropped, covered, small, dark), against 204 proposals
    of the box detector that are no faces; all of those are below 0.5."""
    logit = 0.135 * face.presence - 1.765 * math.log(face.drift + 0.001) + 3.26 * body + 8.1 * face.score - 18.5
    return 1 / (1 + math.exp(-logit))


def forward(mesh: Tensor) -> Tensor:
    """Return the face's direction, a unit vector (3,), x right, y down, z away; (0, 0, -1) looks into the camera."""
    across, up = mesh[454] - mesh[234], mesh[10] - mesh[152]
    out = torch.linalg.cross(across, up)
    return out / out.norm().clamp_min(1e-6)


def look_at_faces(
    networks: Perception,
    picture: Pyramid,
    squares: Sequence[Square],
    scores: Sequence[float],
) -> list[FoundFace]:
    """Run the face network in three passes per square, each on the square around the points of the previous pass.

    networks: the perception networks.
    picture: the picture to search.
    squares: where a face may be, one per proposal.
    scores: how sure the box detector was of each.

    Proposals that are clearly no face are dropped after the first pass."""
    meshes, presence, _ = _meshes_in(networks, picture, squares)
    kept = [k for k, logit in enumerate(presence) if logit > _HOPELESS]
    second, sure, _ = _meshes_in(networks, picture, [_own_square(meshes[k]) for k in kept])
    third, surer, upright = _meshes_in(networks, picture, [_own_square(mesh) for mesh in second])
    expressions = _expressions(networks, upright)
    found = []
    for n, k in enumerate(kept):
        mesh, moved = third[n], (third[n] - second[n])[:, :2].norm(dim=1)
        drift = float(moved[:468].mean() / (mesh[10] - mesh[152]).norm().clamp_min(1e-3))
        found.append(FoundFace(mesh, scores[k], min(sure[n], surer[n]), drift, moved, expressions[n]))
    return found


def facing(mesh: Tensor) -> Tensor:
    """Return (478,) in 0..1: whether a point of the mesh is on the side of the head that faces the camera.

    The head is modelled as a ball around a point behind the face; points that face away from the camera are hidden."""
    height = (mesh[10] - mesh[152]).norm()
    outward = mesh - (mesh[[234, 454]].mean(0) - 0.1 * height * forward(mesh))
    cosine = -outward[:, 2] / outward.norm(dim=1).clamp_min(1e-6)
    return torch.sigmoid(12 * (cosine + 0.1))


def _meshes_in(
    networks: Perception,
    picture: Pyramid,
    squares: Sequence[Square],
) -> tuple[list[Tensor], list[float], Tensor]:
    """Run the face network on squares of the picture -> meshes, their presence, and points in the crops.

    Returns B meshes (478, 3) in px of the picture, their presence as B logits, and the same points (B, 478, 2) in px of
    the upright crops."""
    if not squares:
        return [], [], torch.zeros(0, 478, 2)
    size = networks.size("face_landmarks_detector")
    flat, presence, _ = networks.run("face_landmarks_detector", picture.crops(squares, size))
    raw = flat.reshape(len(squares), 478, 3).cpu()
    upright = raw[..., :2] + 0.5
    meshes = [
        torch.cat([square.to_picture(points / size), depth * (square.side / size)], 1)
        for square, points, depth in zip(squares, upright, raw[..., 2:], strict=True)
    ]
    return meshes, presence.reshape(-1).tolist(), upright


def _own_square(mesh: Tensor) -> Square:
    """Return the square that the network expects around a face with this mesh."""
    return square_around(mesh[:468, :2], 1.5, _roll(mesh))


def _upright_faces(networks: Perception, picture: Pyramid) -> list[Detection]:
    """Detect upright faces: the short-range network on the whole picture and tiles, the full-range network once."""
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
    """Detect faces in rotated pictures and smaller tiles, for rolled heads and very small ones."""
    squares = [picture.whole(k, turn) for turn in _TURNS for k in (1.0, 1.5)]
    near = detect(networks, "face_detection_short_range", picture, squares, _SUGGESTED)
    far = detect(networks, "face_detection_full_range_sparse", picture, tiles(picture, 0.55), _SUGGESTED)
    return [one for group in near + far for one in group]


_TURNS = tuple(math.radians(d) for d in (-45, 45, -90, 90, 180))


def _face_square(found: Detection) -> Square:
    return Square.around(found.centre, 1.5 * found.side, direction(found.points[0], found.points[1]))


def _roll(mesh: Tensor) -> float:
    """Return the roll (radians) of the line from the outer corner of the right eye to that of the left."""
    return direction(mesh[33, :2], mesh[263, :2])


def _same_face(one: FoundFace, other: FoundFace) -> bool:
    away = float((one.mesh[:468, :2].mean(0) - other.mesh[:468, :2].mean(0)).norm())
    return away < 0.6 * max(one.height, other.height)


def _expressions(networks: Perception, upright: Tensor) -> Tensor:
    """Map mesh points (B, 478, 2) of upright faces -> coefficients (B, 52) in the order of motion.arkit.

    The network's first output, "neutral", is dropped; it has none for tongueOut, which stays 0."""
    if not len(upright):
        return torch.zeros(0, 52)
    (out,) = networks.network("face_blendshapes")(upright[:, list(_EXPRESSIVE)].to(networks.device))
    return torch.cat([out[:, 1:], torch.zeros_like(out[:, :1])], 1).cpu()
