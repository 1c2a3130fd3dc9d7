"""2D keypoints of a portrait: the record, and readers for OpenPose / DWPose JSON and for hand-made files.

Names are those of the body asset: "body.<COCO name>", "face.0".."face.67" (68-point scheme), "iris.L", "iris.R",
"hand.L.0".."hand.R.20"; and those of MediaPipe's face mesh: "mesh.0".."mesh.477", whose last ten are the irises (468 is
the centre of the right one, 473 of the left). L is the person's left, which a camera in front sees on the right."""

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..shapes import dims

logger = logging.getLogger(__name__)

_COCO18 = {  # OpenPose body part -> index; BODY_25 moves the parts after the elbows
    "nose": 0,
    "right_shoulder": 2,
    "right_elbow": 3,
    "right_wrist": 4,
    "left_shoulder": 5,
    "left_elbow": 6,
    "left_wrist": 7,
    "right_hip": 8,
    "left_hip": 11,
    "right_eye": 14,
    "left_eye": 15,
    "right_ear": 16,
    "left_ear": 17,
}
_BODY25 = _COCO18 | {"right_hip": 9, "left_hip": 12, "right_eye": 15, "left_eye": 16, "right_ear": 17, "left_ear": 18}
MESH_POINTS = 478
SPARSE_NAMES = (  # what an OpenPose file can hold, all of them points of the body asset
    tuple(f"body.{name}" for name in _COCO18)
    + tuple(f"face.{i}" for i in range(68))
    + ("iris.R", "iris.L")
    + tuple(f"hand.{side}.{i}" for side in "LR" for i in range(21))
)
NAMES = SPARSE_NAMES + tuple(f"mesh.{i}" for i in range(MESH_POINTS))
_KNOWN = frozenset(NAMES)
ALIASES = {  # for points set by hand
    "left_eye": "iris.L",
    "right_eye": "iris.R",
    "nose": "face.30",
    "left_mouth_corner": "face.54",
    "right_mouth_corner": "face.48",
    "chin": "face.8",
} | {name: f"body.{name}" for name in _COCO18 if name not in ("nose", "left_eye", "right_eye")}
_OUTLINE = frozenset((  # of the face: mesh points that slide along a silhouette
    10, 21, 54, 58, 67, 93, 103, 109, 127, 132, 136, 148, 149, 150, 152, 162, 172, 176, 234, 251, 284, 288, 297, 323,
    332, 338, 356, 361, 365, 377, 378, 379, 389, 397, 400, 454,
))  # fmt: skip
_CONFIDENT = 0.3
_OUTSIDE = 1.5  # longer sides of a picture beyond its edge: where hips of a portrait may be guessed
_SMALLEST_FACE = 24.0  # px of face height below which the fit has nothing to hold on to
_FACE_PER_SHOULDERS = 0.5  # face height / shoulder width, adults
HELP = 'connect a DWPose node to pose_keypoint, or give --keypoints with {"left_eye": [x, y], ...} in pixels'


@dataclass(frozen=True)
class Keypoints:
    """The named image points: xy (N, 2) px, sigma (N,) px, their standard deviation."""

    names: tuple[str, ...]
    xy: Tensor
    sigma: Tensor

    def __post_init__(self) -> None:
        dims(self.xy, "N 2", N=len(self.names))
        dims(self.sigma, "N", N=len(self.names))
        unknown = [n for n in self.names if n not in _KNOWN]
        if unknown:
            raise ValueError(f"unknown keypoint {unknown[0]!r}; known: {', '.join(ALIASES)}, or names like 'face.30'")
        if len(set(self.names)) < len(self.names):
            raise ValueError("a keypoint is given twice")
        if not bool(torch.isfinite(self.xy).all()) or not bool((self.sigma > 0).all()):
            raise ValueError("keypoints must be finite and have a positive sigma")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def index(self) -> dict[str, int]:
        """Return {name of a keypoint: its row in xy and sigma}."""
        return {name: i for i, name in enumerate(self.names)}

    def __contains__(self, name: str) -> bool:
        return name in self.index

    def point(self, name: str) -> Tensor:
        """Return the position (2,) px of one keypoint."""
        return self.xy[self.index[name]]

    def subset(self, names: Iterable[str]) -> "Keypoints":
        """Return the keypoints whose names are listed and present, in this record's order."""
        wanted = set(names)
        rows = [i for i, n in enumerate(self.names) if n in wanted]
        return Keypoints(tuple(self.names[i] for i in rows), self.xy[rows], self.sigma[rows])

    def scaled(self, factor: float) -> "Keypoints":
        """Return the same points in an image resized by `factor`."""
        return Keypoints(self.names, self.xy * factor, self.sigma * factor)

    def to(self, device: str | torch.device) -> "Keypoints":
        """Return the same points on another device."""
        return Keypoints(self.names, self.xy.to(device), self.sigma.to(device))

    def face_height(self) -> float:
        """Return the height from hairline to chin in px, estimated from the points present; 0 where none allow it."""
        for first, second, factor in (
            ("face.27", "face.8", 1.45),
            ("mesh.168", "mesh.152", 1.45),
            ("iris.L", "iris.R", 2.9),
            ("mesh.473", "mesh.468", 2.9),
            ("body.left_eye", "body.right_eye", 2.9),
            ("body.left_shoulder", "body.right_shoulder", _FACE_PER_SHOULDERS),
        ):
            if first in self and second in self:
                return factor * float((self.point(first) - self.point(second)).norm())
        return 0.0

    def check_inside(self, height: int, width: int) -> None:
        """Raise ValueError where a point lies too far outside the picture (height x width px) to be part of a person in
        it."""
        reach = _OUTSIDE * max(height, width)
        low, high = self.xy.new_tensor([-reach, -reach]), self.xy.new_tensor([width + reach, height + reach])
        far = ((self.xy < low) | (self.xy > high)).any(1)
        if bool(far.any()):
            row = int(far.int().argmax())
            x, y = self.xy[row].tolist()
            raise ValueError(
                f"keypoint {self.names[row]} at ({x:.4g}, {y:.4g}) lies far outside of the "
                f"{width} x {height} px picture: were the points found in another one?"
            )

    def check_front(self) -> None:
        """Raise ValueError for a back view, a missing face or a face too small to fit; the message gives the remedy."""
        face = sum(n.startswith(("face.", "mesh.")) for n in self.names)
        eyes = [("iris.R", "iris.L"), ("mesh.468", "mesh.473"), ("body.right_eye", "body.left_eye")]
        eyes += [("face.36", "face.45"), ("mesh.33", "mesh.263")]
        eyes = [pair for pair in eyes if all(n in self for n in pair)]
        nose = "body.nose" in self or "face.30" in self
        if not eyes or not (nose or face >= 20):
            raise ValueError(f"no face points: the person must look towards the camera (both eyes seen); {HELP}")
        height = self.face_height()
        if height < _SMALLEST_FACE:
            raise ValueError(
                f"the face is only {height:.0f} px high, at least {_SMALLEST_FACE:.0f} are needed; "
                "crop the portrait to head and upper body, or use a larger picture"
            )
        right, left = (self.point(n) for n in eyes[0])
        shoulders = [n for n in ("body.right_shoulder", "body.left_shoulder") if n in self]
        turned = len(shoulders) == 2 and float(self.point(shoulders[0])[0] - self.point(shoulders[1])[0]) > 0
        if float(right[0] - left[0]) > 0.2 * height or turned:
            raise ValueError("left and right are swapped: a back view or upside-down portrait, or mirrored keypoints")


def default_sigma(name: str, face_height: float) -> float:
    """Return the standard deviation in px of a detected point, typical of common detectors for this face height (px).
    """
    group, _, rest = name.partition(".")
    if group == "face":
        share = 0.035 if int(rest) < 17 else 0.02 if int(rest) < 27 else 0.012
    elif group == "mesh":
        share = 0.03 if int(rest) in _OUTLINE else 0.015 if int(rest) >= 468 else 0.012
    else:
        share = {"iris": 0.015, "hand": 0.05, "body": 0.10 if "hip" in rest else 0.07}[group]
    return max(0.5, share * face_height)


def make_keypoints(points: Mapping[str, Sequence[float]]) -> Keypoints:
    """Build Keypoints from {"name": (x, y) or (x, y, sigma)} in px; names of the body asset or their plain aliases."""
    if not points:
        raise ValueError(f"no keypoints given; {HELP}")
    try:
        named = {ALIASES.get(name, name): tuple(float(v) for v in value) for name, value in points.items()}
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"keypoints are numbers of pixels ({error}); {HELP}") from error
    for name, value in named.items():
        if len(value) not in (2, 3):
            raise ValueError(f"keypoint {name!r} needs x, y and maybe sigma, got {len(value)} numbers")
    names = tuple(named)
    xy = torch.tensor([named[n][:2] for n in names])
    height = Keypoints(names, xy, torch.ones(len(names))).face_height() or 100.0
    sigma = [named[n][2] if len(named[n]) == 3 else default_sigma(n, height) for n in names]
    return Keypoints(names, xy, torch.tensor(sigma))


def from_openpose(
    data: Any, width: int | None = None, height: int | None = None, person: int | None = None
) -> Keypoints:
    """Read OpenPose / DWPose JSON -> Keypoints in px of an image of width x height.

    data: one frame, or a list of which the first frame is used; coordinates normalised, or in px of its canvas_width x
        canvas_height.
    width, height: size of the image in px; None: that of the canvas.
    person: number of the person, 1 = the largest; None takes the largest, with a warning where there are several.

    ValueError where nobody is found."""
    frame = data[0] if isinstance(data, list) and data else data
    people = frame.get("people") if isinstance(frame, dict) else None
    if not isinstance(frame, dict) or people is None:
        raise ValueError('these are no OpenPose keypoints: "people" is missing')
    if not people:
        raise ValueError(f"no person found in the keypoints; {HELP}")
    canvas = (frame.get("canvas_width") or width, frame.get("canvas_height") or height)
    size = (width or canvas[0], height or canvas[1])
    everyone = [_person_points(p, canvas, size) for p in people]
    everyone = sorted(everyone, key=_area, reverse=True)
    several = sum(_area(points) > 0 for points in everyone)
    if person is None and several > 1:
        logger.warning("%d people in the keypoints, the largest is taken; choose another by number", several)
    person = 1 if person is None else person
    if not 1 <= person <= len(everyone):
        raise ValueError(f"person {person} does not exist; the keypoints hold {len(everyone)}, 1 is the largest")
    if not everyone[person - 1]:
        raise ValueError(f"person {person} has no confident keypoints; {HELP}")
    points = make_keypoints(everyone[person - 1])
    points.check_front()
    return points


def load_keypoints(
    path: str | Path,
    width: int | None = None,
    height: int | None = None,
    person: int | None = None,
) -> Keypoints:
    """Read keypoints from a file: OpenPose JSON, or {"left_eye": [x, y], ...} in px.

    path: the file to read.
    width, height: size of the portrait in px, if known.
    person: see `from_openpose`; a file of names holds one person.

    FileNotFoundError, or ValueError where the file cannot be read."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no keypoints at {path}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error})") from error
    if isinstance(data, list) or (isinstance(data, dict) and "people" in data):
        return from_openpose(data, width, height, person)
    if not isinstance(data, dict) or not all(isinstance(v, list) for v in data.values()):
        raise ValueError(f"{path} holds neither OpenPose keypoints nor {{name: [x, y]}}")
    points = make_keypoints(data)
    points.check_front()
    return points


def _person_points(
    person: dict[str, Any], canvas: tuple[int | None, int | None], size: tuple[int | None, int | None]
) -> dict[str, tuple[float, float]]:
    body = _triples(person.get("pose_keypoints_2d"), canvas, size)
    index = _BODY25 if len(body) == 25 else _COCO18
    points = {f"body.{name}": body[i] for name, i in index.items() if i < len(body)}
    face = _triples(person.get("face_keypoints_2d"), canvas, size)
    points |= {f"face.{i}": p for i, p in enumerate(face[:68])}
    points |= {f"iris.{side}": face[68 + i] for i, side in enumerate("RL") if len(face) == 70}
    for side, name in (("L", "left"), ("R", "right")):
        hand = _triples(person.get(f"hand_{name}_keypoints_2d"), canvas, size)
        if sum(p[2] > _CONFIDENT for p in hand) > 12:  # fewer are mostly false
            points |= {f"hand.{side}.{i}": p for i, p in enumerate(hand[:21])}
    return {n: (x, y) for n, (x, y, c) in points.items() if c > _CONFIDENT and (x > 0 or y > 0)}


def _triples(
    flat: Sequence[float] | None, canvas: tuple[int | None, int | None], size: tuple[int | None, int | None]
) -> list[tuple[float, float, float]]:
    """Map flat numbers x, y, confidence, ... -> (x, y, confidence) triples in px of an image of `size` (width, height).

    canvas: (width, height) to which the numbers refer."""
    values = [float(v or 0) for v in flat or []]
    if len(values) % 3:
        raise ValueError(f"OpenPose keypoints come as x, y, confidence; {len(values)} numbers are no triples")
    triples = [tuple(values[i : i + 3]) for i in range(0, len(values), 3)]
    if not triples:
        return []
    normalised = max(max(abs(x), abs(y)) for x, y, _ in triples) <= 2
    if normalised and (size[0] is None or size[1] is None):
        raise ValueError(
            "the keypoints are normalised: canvas_width and canvas_height, or the picture's size, are needed"
        )
    scale = [1.0 if s is None or c is None else s if normalised else s / c for s, c in zip(size, canvas, strict=True)]
    return [(x * scale[0], y * scale[1], c) for x, y, c in triples]


def _area(points: dict[str, tuple[float, float]]) -> float:
    if not points:
        return 0.0
    x, y = zip(*points.values(), strict=True)
    return math.hypot(max(x) - min(x), max(y) - min(y))
