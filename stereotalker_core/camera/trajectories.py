"""Camera paths around a half body: fixed, orbit, keyframes, and the second eye of a stereo pair.

A `Framing` says what the canvas shows; a path turns it into one camera per frame. Yaw and pitch are degrees: yaw 0 is
the photograph's own view (or the front of the body, see `framing_for`), positive yaw moves the camera towards the
subject's right side, positive pitch puts it above.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..body.model import HalfBody
from ..geometry.projection import intrinsics_for, look_at
from ..records import Cameras, Identity
from ..shapes import dims

CANVAS = (256, 256)
MODES = ("auto", "half_body", "portrait")
ORIGINS = ("photo", "body")  # from where yaw is measured
_DISTANCE = 2.4  # m
_HEIGHT = 0.86  # m of the half-body canvas
_HIPS = 0.06  # m below the half-body canvas to which a photograph may show trousers; below, legs would be missing
_BELOW_HEAD = 0.21  # m from the head bone down to the middle of the half-body canvas
_FORWARD = -0.02  # m; the middle of the trunk lies a little in front of the hips
FACTORS = (0.2, 5.0)  # sane range of a keyframe's distance factor


@dataclass(frozen=True)
class Framing:
    """The part of the world that a camera shows.

    target: world (x, y, z) m that the camera turns about, in the middle of the picture where `aside` is 0.
    distance: m from the camera to the target.
    height, width: m around the target that every canvas must show; width None: as wide as high.
    heading: degrees of the view that a path calls yaw 0.
    aside: m that the camera stands to its own right of the line to the target, as when a photographer does not centre
        the person.
    most: width of the photograph in m at the target; None where there is no photograph to stay within.
    middle: m from the middle of the photograph to that of the person, positive to the right in the picture. A canvas
        narrower than `most` is shifted by this, to be centred on the person, but no further than to the photograph's
        edge. Other canvases are not shifted."""

    target: tuple[float, float, float]
    distance: float
    height: float
    width: float | None = None
    heading: float = 0.0
    aside: float = 0.0
    middle: float = 0.0
    most: float | None = None

    def __post_init__(self) -> None:
        sizes = (self.distance, self.height, self.across, 1.0 if self.most is None else self.most)
        values = (*self.target, *sizes, self.heading, self.aside, self.middle)
        if len(self.target) != 3 or not all(map(math.isfinite, values)) or min(sizes) <= 0:
            raise ValueError(
                f"a framing needs a finite target (x, y, z) and heading, distance, height and width > 0, got {self}"
            )

    @property
    def across(self) -> float:
        """Return the width in metres that every canvas must show."""
        return self.height if self.width is None else self.width

    def intrinsics(self, size: tuple[int, int]) -> Tensor:
        """Return the intrinsics (3, 3) of a canvas (H, W) that shows `height` and `across` metres at `distance`.

        A wider canvas shows more on both sides; a higher one shows more above and keeps its bottom edge, where
        portraits end."""
        rows, columns = size
        if rows * self.across <= columns * self.height:
            matrix = intrinsics_for(self.height, self.distance, size)
        else:
            held = columns * self.height / self.across  # rows
            matrix = intrinsics_for(self.height * rows / held, self.distance, size)
            matrix[1, 2] = rows - held / 2
        if self.most is not None:
            metre = float(matrix[0, 0]) / self.distance  # px
            spare = max(0.0, self.most - columns / metre) / 2
            matrix[0, 2] -= min(max(self.middle, -spare), spare) * metre
        return matrix

    def zoomed(self, factor: float) -> "Framing":
        """Return the same view from `factor` times the distance, showing `factor` times as many metres."""
        sizes = {"distance": self.distance * factor, "height": self.height * factor, "width": self.across * factor}
        return replace(self, **sizes, aside=self.aside * factor, middle=self.middle * factor)


def canonical_framing(head_z: float) -> Framing:
    """Return the half-body view on which all nano networks are trained; head_z: height of the head bone in the A pose,
    m."""
    return Framing((0.0, _FORWARD, head_z - _BELOW_HEAD), _DISTANCE, _HEIGHT)


def framing_for(body: HalfBody, identity: Identity, mode: str = "auto", yaw_origin: str = "photo") -> Framing:
    """Return the framing of one person on a canvas.

    body: the half body.
    identity: the person.
    mode: "auto": the photograph's own crop; a canvas of the photograph's shape shows exactly that, a narrower one is
        centred on the person, a wider or higher one extends beyond the photograph's edges; the frame never reaches
        below the hips, where the body ends. "portrait": the same, but centred on the photograph. "half_body": the
        canonical view.
    yaw_origin: "photo": yaw 0 is the photograph's own view; "body": it faces the front of the trunk.

    Yaw and pitch are chosen by the camera path. ValueError for another mode or origin."""
    if mode not in MODES:
        raise ValueError(f"framing mode {mode!r} is unknown; use one of {', '.join(MODES)}")
    if yaw_origin not in ORIGINS:
        raise ValueError(f"yaw_origin {yaw_origin!r} is unknown; use one of {', '.join(ORIGINS)}")
    shown = _framing_for(body, identity, mode)
    return shown if yaw_origin == "photo" else replace(shown, heading=identity.trunk_yaw)


def _framing_for(body: HalfBody, identity: Identity, mode: str) -> Framing:
    bones = body.rest(identity.shape[None]).bones[0]
    canonical = canonical_framing(float(bones[body.bone_index["head"], 2]))
    if mode == "half_body":
        return canonical
    centre, distance, bottom = _portrait_view(identity, canonical.target)
    rows, columns = identity.portrait.shape[-2:]
    height = rows * distance / float(identity.intrinsics[1, 1])
    most = columns * distance / float(identity.intrinsics[0, 0])
    if mode == "portrait":
        # a broad photograph fills a square from top to bottom; a tall one on a tall canvas need not show more
        return Framing(centre, distance, height, min(height, most))
    left, right = _breadth(identity)
    across, middle = (right - left) * most, ((left + right) / 2 - 0.5) * most
    hips = canonical.target[2] - canonical.height / 2 - _HIPS
    if bottom < hips:  # the top stays
        cut = max(canonical.height, height - (hips - bottom))
        centre = (*centre[:2], centre[2] + height / 2 - cut / 2)
        height = cut
    # the camera turns about the body, wherever in the picture it stands
    target = (*canonical.target[:2], centre[2])
    return Framing(target, distance, height, min(across, most), 0.0, centre[0] - target[0], middle, most)


def _breadth(identity: Identity) -> tuple[float, float]:
    """Return the left and right end of the person's mask, as fractions of the photograph's width."""
    columns = (identity.mask[0] > 0.5).sum(0) > 0.01 * identity.mask.shape[-2]
    seen = columns.nonzero().squeeze(1)
    if not len(seen):
        return 0.0, 1.0
    return float(seen[0]) / len(columns), float(seen[-1] + 1) / len(columns)


def _portrait_view(
    identity: Identity, anchor: tuple[float, float, float]
) -> tuple[tuple[float, float, float], float, float]:
    """Return the portrait camera's view at the depth of an anchor point (x, y, z) m of the world.

    Returns the world point in the middle of the picture at that depth, the depth (m), and the world z (m) of the bottom
    edge."""
    rows, columns = identity.portrait.shape[-2:]
    matrix, intrinsics = identity.world_to_camera.double().cpu(), identity.intrinsics.double().cpu()
    rotation, shift = matrix[:3, :3], matrix[:3, 3]
    depth = rotation[2] @ torch.tensor(anchor, dtype=torch.float64) + shift[2]
    if not float(depth) > 0:
        raise ValueError("the identity's portrait camera looks away from the person; fit the portrait again")
    pixels = torch.tensor([[columns / 2, rows / 2], [columns / 2, rows]], dtype=torch.float64)
    rays = (pixels - intrinsics[:2, 2]) / intrinsics.diagonal()[:2]
    points = (torch.cat([rays, torch.ones(2, 1, dtype=torch.float64)], 1) * depth - shift) @ rotation
    x, y, z = points[0].tolist()
    return (x, y, z), float(depth), float(points[1, 2])


def fixed(
    framing: Framing, frames: int, yaw: float = 0.0, pitch: float = 0.0, size: tuple[int, int] = CANVAS
) -> Cameras:
    """Return cameras that stand still. ValueError for a yaw outside -180..180 or a bad size.

    framing: what the canvas shows; frames: T, the length of the clip; yaw, pitch: degrees; size: (H, W) px."""
    return keyframes(framing, frames, [(0, yaw, pitch, 1.0)], size)


def orbit(
    framing: Framing,
    frames: int,
    start_yaw: float,
    end_yaw: float,
    pitch: float = 0.0,
    size: tuple[int, int] = CANVAS,
    ease: bool = False,
) -> Cameras:
    """Return cameras that move from start_yaw in the first frame to end_yaw in the last.

    framing: what the canvas shows.
    frames: T, the length of the clip.
    start_yaw, end_yaw, pitch: degrees.
    size: (H, W) px.
    ease: slow start and end instead of constant speed."""
    _check_view(start_yaw, pitch)
    _check_view(end_yaw, pitch)
    progress = torch.linspace(0, 1, _checked_frames(frames))
    if ease:
        progress = progress * progress * (3 - 2 * progress)
    yaw = start_yaw + (end_yaw - start_yaw) * progress
    return _cameras(framing, yaw, torch.full_like(yaw, pitch), torch.ones_like(yaw), size)


def keyframes(
    framing: Framing,
    frames: int,
    keys: Sequence[tuple[int, float, float, float]],
    size: tuple[int, int] = CANVAS,
) -> Cameras:
    """Return cameras that move smoothly through keys, without overshoot between them.

    framing: what the canvas shows.
    frames: T, the length of the clip.
    keys: (frame, yaw, pitch, distance factor), angles in degrees.
    size: (H, W) px.

    The camera stands still before the first key and after the last. ValueError for no key, frames that do not increase,
    or a value out of range."""
    if not keys:
        raise ValueError("a keyframed camera needs at least one (frame, yaw, pitch, distance factor)")
    for _, yaw, pitch, factor in keys:
        _check_view(yaw, pitch)
        if not FACTORS[0] <= factor <= FACTORS[1]:
            raise ValueError(f"distance factor {factor} is outside {FACTORS[0]}..{FACTORS[1]}")
    moments = torch.tensor([float(key[0]) for key in keys], dtype=torch.float64)
    if not bool(torch.isfinite(moments).all()) or not bool((moments.diff() > 0).all()):
        raise ValueError(f"keyframes must come at increasing frames, got {[key[0] for key in keys]}")
    values = torch.tensor([[float(v) for v in key[1:]] for key in keys], dtype=torch.float64)
    at = torch.arange(_checked_frames(frames), dtype=torch.float64)
    yaw, pitch, factor = monotone_cubic(moments, values, at).float().unbind(1)
    return _cameras(framing, yaw, pitch, factor, size)


def stereo_pair(cameras: Cameras, baseline_m: float = 0.063) -> tuple[Cameras, Cameras]:
    """Return the (left, right) cameras of a stereo pair: parallel, half the baseline (m) to each side along the x axis.
    """
    if not (math.isfinite(baseline_m) and 0 <= baseline_m <= 1):
        raise ValueError(f"baseline {baseline_m} m is outside 0..1")
    return _shifted_sideways(cameras, -baseline_m / 2), _shifted_sideways(cameras, baseline_m / 2)


def monotone_cubic(x: Tensor, y: Tensor, at: Tensor) -> Tensor:
    """Interpolate knots by a monotone piecewise cubic (Fritsch and Carlson 1980) -> (T, C).

    x: (N,) increasing positions; y: (N, C) values there; at: (T,) where to evaluate. Smooth first derivative, no
    overshoot between knots, constant outside them."""
    known = dims(y, "N C", **dims(x, "N"))
    if known["N"] == 1:
        return y.expand(len(at), -1).clone()
    step = x.diff()[:, None]  # (N-1, 1)
    slope = y.diff(dim=0) / step
    before, after = slope[:-1], slope[1:]
    w1, w2 = 2 * step[1:] + step[:-1], step[1:] + 2 * step[:-1]
    same = before * after > 0
    # weighted harmonic mean of the two slopes; a local extremum gets a level tangent
    inner = (w1 + w2) / (w1 / torch.where(same, before, 1.0) + w2 / torch.where(same, after, 1.0))
    level = torch.zeros_like(y[:1])  # the path starts and ends at rest
    tangent = torch.cat([level, torch.where(same, inner, 0.0), level])
    left = (torch.searchsorted(x, at, right=True) - 1).clamp(0, len(x) - 2)
    width = step[left]
    t = ((at - x[left])[:, None] / width).clamp(0, 1)
    h00, h10 = (1 + 2 * t) * (1 - t) ** 2, t * (1 - t) ** 2
    h01, h11 = t * t * (3 - 2 * t), t * t * (t - 1)
    return h00 * y[left] + h10 * width * tangent[left] + h01 * y[left + 1] + h11 * width * tangent[left + 1]


def _cameras(framing: Framing, yaw: Tensor, pitch: Tensor, factor: Tensor, size: tuple[int, int]) -> Cameras:
    size = checked_size(size)
    if framing.heading:
        yaw = (yaw + framing.heading + 180) % 360 - 180
    matrix = look_at(torch.tensor(framing.target), yaw, pitch, framing.distance * factor)
    matrix[:, 0, 3] -= framing.aside * factor  # from further away as far beside the line to the person
    return Cameras(matrix, framing.intrinsics(size), yaw, size)


def _shifted_sideways(cameras: Cameras, along_x: float) -> Cameras:
    matrix = cameras.world_to_camera.clone()
    matrix[:, 0, 3] -= along_x
    return Cameras(matrix, cameras.intrinsics, cameras.yaw, cameras.size)


def checked_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size (rows, columns) of a canvas; ValueError for one that the renderer cannot draw."""
    rows, columns = size
    if any(side < 64 or side % 8 for side in (rows, columns)):
        raise ValueError(f"size {rows}x{columns} must be multiples of 8, at least 64")
    return rows, columns


def _checked_frames(frames: int) -> int:
    if frames < 1:
        raise ValueError(f"a camera path needs at least one frame, got {frames}")
    return frames


def _check_view(yaw: float, pitch: float) -> None:
    if not (math.isfinite(yaw) and -180 <= yaw <= 180):
        raise ValueError(f"yaw {yaw} is outside -180..180 degrees")
    if not (math.isfinite(pitch) and -89 <= pitch <= 89):
        raise ValueError(f"pitch {pitch} is outside -89..89 degrees")
