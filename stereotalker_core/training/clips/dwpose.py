"""Plain video + DWPose (OpenPose) keypoints -> clips: pose, camera, masks and the person's fit, all estimated.

    VIDEO.mp4 and beside it VIDEO.json: a list of OpenPose frames, one per video frame (what pose nodes save), or a
    folder VIDEO/ with one JSON file per frame. Optional: VIDEO_masks/ with one PNG per frame (white = person). The
    sound is the video's own.

1. The best frontal frame gives the person: `fit_portrait`. 2. Every frame is fitted, starting from its neighbour's fit,
with the shape fixed (Levenberg-Marquardt on the keypoints). 3. Rotations, expression and camera are smoothed over time,
and frames without a person are interpolated. 4. The body's mean yaw is moved to the camera. 5. Masks come from files,
or from the embedded perception; where it finds nobody, from the fitted body."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...audio.load import load_audio
from ...body.fitting.fit import fit_portrait, gather_evidence
from ...body.fitting.fit_pose import PoseFit, fit_pose
from ...body.fitting.pose_parameters import Parameters
from ...body.model import HalfBody
from ...body.regions import region_of_part
from ...geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from ...geometry.skeleton import JOINT_INDEX
from ...perception.keypoints import SPARSE_NAMES, Keypoints, from_openpose
from ...perception.networks import Perception, load_perception
from ...records import Audio, Cameras, Identity, Motion, Regions
from ...shapes import FPS, REGIONS, SAMPLE_RATE, size_of
from ...video.guides.maps import render_guides
from .clip import (
    Clip,
    ClipInfo,
    KeypointTrack,
    pictures,
    present,
    read_picture,
    video_frames,
    write_clip,
    write_identity,
)
from .resample import positions, smooth, smooth_rotations
from .smplx import split_twist

logger = logging.getLogger(__name__)
_ITERATIONS = 6  # of the fit of a frame that starts from its neighbour's


@dataclass(frozen=True)
class VideoImport:
    """The settings of a video import.

    seconds: length of a clip.
    size: px of the square crop around the person.
    smoothing: weight of the squared second difference over time, see `resample.smooth`; 0 = none.
    missing: fraction of frames that may lack a person."""

    seconds: float = 5.0
    size: int = 256
    smoothing: float = 4.0
    missing: float = 0.3

    def __post_init__(self) -> None:
        if not self.seconds >= 0.4 or self.size % 8 or self.size < 64 or not 0 <= self.missing < 1:
            raise ValueError(f"needed: seconds >= 0.4, size a multiple of 8 from 64 on, missing in 0..1, got {self}")


@dataclass(frozen=True)
class PictureWindow:
    """The square crop of a picture: top, left and side in px."""

    top: int
    left: int
    side: int

    def points(self, keypoints: Keypoints, size: int) -> Keypoints:
        """Map keypoints from px of the whole picture to px of the crop, resized to `size`."""
        moved = Keypoints(keypoints.names, keypoints.xy - torch.tensor([self.left, self.top]), keypoints.sigma)
        return moved.scaled(size / self.side)

    def cut(self, image: Tensor, size: int) -> Tensor:
        """Crop an image (C, H, W) and resize it -> (C, size, size)."""
        part = image[None, :, self.top : self.top + self.side, self.left : self.left + self.side]
        return F.interpolate(part, (size, size), mode="bilinear", antialias=True, align_corners=False)[0]


def import_video(video: str | Path, root: str | Path, wanted: VideoImport | None = None) -> list[Path]:
    """Import one video with its keypoints as clips and an identity under `root` -> the clips' folders.

    wanted: the settings; None: the defaults. ValueError where keypoints are missing or differ in number from the
    video's frames, too few frames show a person, or none can be fitted."""
    wanted, video = wanted or VideoImport(), Path(video)
    raw = read_keypoints(video)
    count, rate, (height, width) = _video_facts(video)
    if len(raw) != count:
        raise ValueError(f"{video} has {count} frames, its keypoints {len(raw)}; detect them again on this very file")
    chosen = positions(count, rate, FPS).round().long().tolist()
    found = [_facing_person(raw[i], width, height) for i in chosen]
    lacking = sum(k is None for k in found) / len(found)
    if lacking > wanted.missing:
        raise ValueError(
            f"{video}: {lacking:.0%} of the frames show nobody who looks towards the camera, {wanted.missing:.0%} are "
            "allowed; cut the video, or raise `missing`"
        )
    window = person_window([k for k in found if k is not None], height, width)
    points = [k and window.points(k, wanted.size) for k in found]
    best = best_frame(points)
    masks = _mask_files(video, count)
    cut = {i: window.cut(f, wanted.size) for i, f in video_frames(video, [chosen[best]])}
    body = HalfBody()
    mask = _file_mask(masks, chosen[best], window, wanted.size)
    networks = load_perception()
    identity = fit_portrait(body, cut[chosen[best]], points[best], mask, networks=networks)
    motion, cameras = fit_track(body, points, best, identity, wanted)
    write_identity(identity, root, video.stem)
    pieces = _pieces(len(chosen), round(wanted.seconds * FPS))
    source, sound = video_frames(video, chosen), _sound(video)
    written = []
    for number, piece in enumerate(pieces):
        frames = torch.stack([window.cut(next(source)[1], wanted.size) for _ in range(piece.stop - piece.start)])
        given = [_file_mask(masks, i, window, wanted.size) for i in chosen[piece]]
        clip = _import_piece(f"{video.stem}_{number:03d}", video.stem, frames, motion[piece], cameras[piece])
        regions = estimate_regions(body, identity, clip, points[piece], given, networks)
        clip = replace(clip, regions=regions, keypoints=_track(points[piece]), audio=_cut_sound(sound, piece))
        written.append(write_clip(clip, root))
    return written


def fit_track(
    body: HalfBody, points: Sequence[Keypoints | None], best: int, identity: Identity, wanted: VideoImport
) -> tuple[Motion, Cameras]:
    """Fit the body to the keypoints of all T frames -> smooth motion and cameras of T frames.

    body: the half body.
    points: keypoints per frame, None where nobody is found.
    best: index of the frame from which `identity` was made; the fit starts there and goes on in both directions.
    identity: the person, whose shape stays fixed.
    wanted: the settings of the import."""
    size = (wanted.size, wanted.size)
    first = _with_shape(body, fit_pose(body, present(points[best], "keypoints"), size), identity.shape)
    fits: dict[int, PoseFit] = {}
    for order in (range(best, len(points)), range(best - 1, -1, -1)):
        last = first
        for t in order:
            seen = points[t]
            if seen is not None:
                last = fits[t] = fit_pose(body, seen, size, last, iterations=(0, _ITERATIONS), hold=("shape",))
    known = sorted(fits)
    nearest = [min(known, key=lambda k, t=t: abs(k - t)) for t in range(len(points))]
    error = torch.stack([fits[k].error.median() for k in nearest])
    weight = 1 / (1 + (error / error.median().clamp_min(1e-3)).square())  # frames that fit badly count less
    weight = weight * torch.tensor([float(t in fits) for t in range(len(points))])
    rotations = torch.stack([fits[k].rotations for k in nearest])
    expression = torch.stack([fits[k].expression for k in nearest])
    shift = torch.stack([fits[k].world_to_camera[:3, 3] for k in nearest])
    rotations = smooth_rotations(rotations, wanted.smoothing, weight)
    expression = smooth(expression, wanted.smoothing / 4, weight).clamp(0, 1)  # lips are faster than arms
    shift = smooth(shift, 10 * wanted.smoothing, weight)
    matrix = torch.eye(4).repeat(len(points), 1, 1)
    matrix[:, :3, :3], matrix[:, :3, 3] = first.world_to_camera[:3, :3], shift
    rotations, matrix, yaw = turn_to_camera(rotations, matrix)
    return Motion(rotations, expression), Cameras(matrix, first.intrinsics, yaw, size)


def turn_to_camera(rotations: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move the median yaw of the body to the camera, so that the body faces forward on average and the picture stays
    the same.

    rotations: (T, 49, 3) axis-angle of the body; matrix: (T, 4, 4) world to camera, before the turn.

    Returns rotations (T, 49, 3), world to camera (T, 4, 4), and the yaw of the camera (T,) in degrees."""
    vertical = torch.tensor([0.0, 0.0, 1.0])
    root = axis_angle_to_matrix(rotations[:, JOINT_INDEX["root"]])
    twist = matrix_to_axis_angle(split_twist(root, vertical)[0])[:, 2]
    turn = axis_angle_to_matrix(twist.median() * vertical)
    rotations = rotations.clone()
    rotations[:, JOINT_INDEX["root"]] = matrix_to_axis_angle(turn.T @ root)
    matrix = matrix.clone()
    matrix[:, :3, :3] = matrix[:, :3, :3] @ turn
    forward = matrix[:, 2, :3]
    return rotations, matrix, torch.rad2deg(torch.atan2(forward[:, 0], forward[:, 1]))


@torch.no_grad()
def estimate_regions(
    body: HalfBody,
    identity: Identity,
    clip: Clip,
    points: Sequence[Keypoints | None],
    given: Sequence[Tensor | None],
    networks: Perception,
) -> Regions:
    """Return the soft masks of a clip: its person's mask, divided into body, face and hands as the fitted body shows
    them.

    body: the half body.
    identity: the person.
    clip: its frames, motion and cameras.
    points: keypoints per frame, None where nobody is found.
    given: mask of the person per frame (1, H, W), None where it is to be predicted.
    networks: the perception networks, which predict masks; where they find nobody, the body's own silhouette is taken.
    """
    table = region_of_part(body.part_names)
    motion, cameras = present(clip.motion, "motion"), present(clip.cameras, "cameras")
    out = []
    for t in range(clip.info.frames):
        part = render_guides(body, identity, motion[t : t + 1], cameras[t : t + 1]).part[0]
        mask = given[t]
        if mask is None:
            mask = _found_mask(present(clip.frames, "frames")[t], points[t], networks)
        if mask is None:
            mask = (part > 0).float()
        label = table[part[0].long()].clamp_min(1)
        person = F.one_hot(label, len(REGIONS)).movedim(-1, 0).float() * mask
        person[:1] = 1 - mask
        out.append(person)
    return Regions(torch.stack(out))


def _found_mask(frame: Tensor, points: Keypoints | None, networks: Perception) -> Tensor | None:
    """Return the mask (1, H, W) of one person in a frame; None where the networks find nobody.

    frame: (3, H, W) in [-1, 1]; points: keypoints of the person, who is the one whose face contains them, None: the
        largest person; networks: find faces and masks."""
    try:
        return gather_evidence(frame, points, None, networks, None).mask
    except ValueError as error:
        logger.debug("a mask comes from the fitted body: %s", error)
        return None


def read_keypoints(video: Path) -> list[dict[str, Any]]:
    """Read the OpenPose frames {"people", "canvas_width", "canvas_height"} beside a video, one per frame.

    ValueError says what is missing or broken."""
    path, folder = video.with_suffix(".json"), video.with_suffix("")
    files = [path] if path.is_file() else sorted(folder.glob("*.json"))
    if not files:
        raise ValueError(f"{video} has no keypoints: neither {path.name} nor {folder.name}/*.json is there")
    frames: list[dict[str, Any]] = []
    for file in files:
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{file} is not JSON ({error})") from error
        frames += data if isinstance(data, list) else [data]
    if bad := [i for i, f in enumerate(frames) if not isinstance(f, dict) or "people" not in f]:
        raise ValueError(f"{video}: frame {bad[0]} of the keypoints has no 'people'; these are no OpenPose keypoints")
    return frames


def _facing_person(frame: dict[str, Any], width: int, height: int) -> Keypoints | None:
    """Return the keypoints of the largest person in a frame who faces the camera, None where there is none.

    frame: as from `read_keypoints`; width, height: px of the video."""
    try:
        return from_openpose(frame, width, height)
    except ValueError as error:
        logger.debug("a frame is left out: %s", error)
        return None


def person_window(points: Sequence[Keypoints], height: int, width: int) -> PictureWindow:
    """Return the largest square of a picture of height x width px, centred on the person's points as far as
    possible."""
    side = min(height, width)
    middle = torch.stack([k.xy.mean(0) for k in points]).median(0).values
    left = min(max(round(float(middle[0])) - side // 2, 0), width - side)
    top = min(max(round(float(middle[1])) - side // 2, 0), height - side)
    return PictureWindow(top, left, side)


def best_frame(points: Sequence[Keypoints | None]) -> int:
    """Return the index of the frame with most keypoints and, among those, the most frontal face."""

    def turned(k: Keypoints) -> float:
        eyes = [k.point(n)[0] for n in ("body.left_eye", "body.right_eye") if n in k]
        if len(eyes) < 2 or "body.nose" not in k:
            return 1.0
        gap = float(eyes[0] - eyes[1])
        return abs(float(k.point("body.nose")[0]) - float(eyes[0] + eyes[1]) / 2) / max(abs(gap), 1e-3)

    seen = {t: k for t, k in enumerate(points) if k is not None}
    most = max(len(k) for k in seen.values())
    return min((t for t, k in seen.items() if len(k) >= 0.9 * most), key=lambda t: turned(seen[t]))


def _with_shape(body: HalfBody, fit: PoseFit, shape: Tensor) -> PoseFit:
    parameters = next(p for p in (Parameters(body, h) for h in (False, True)) if len(p.mean) == len(fit.vector))
    vector = fit.vector.clone()
    vector[parameters.slices["shape"]] = shape.to(vector)
    return replace(fit, vector=vector, shape=shape)


def _video_facts(video: Path) -> tuple[int, float, tuple[int, int]]:
    """Return the number of frames, frames per second, and (height, width) of a video."""
    count, shape = 0, (0, 0)
    for _, frame in video_frames(video):
        count, shape = count + 1, size_of(frame)
    import av

    with av.open(str(video)) as file:
        rate = float(file.streams.video[0].average_rate or 0)
    if not 1 <= rate <= 240:
        raise ValueError(f"{video} states {rate:g} frames per second; re-encode it with a constant frame rate")
    return count, rate, shape


def _mask_files(video: Path, count: int) -> list[Path]:
    folder = video.with_name(f"{video.stem}_masks")
    files = pictures(folder) if folder.is_dir() else []
    if files and len(files) != count:
        raise ValueError(f"{folder} holds {len(files)} masks, {video.name} has {count} frames; they must agree")
    return files


def _file_mask(files: list[Path], frame: int, window: PictureWindow, size: int) -> Tensor | None:
    return window.cut(read_picture(files[frame])[:1] / 2 + 0.5, size) if files else None


def _pieces(frames: int, length: int) -> list[slice]:
    """Split frames into slices of `length`; a remainder of fewer than ten frames is dropped."""
    starts = range(0, frames, length)
    return [slice(s, min(s + length, frames)) for s in starts if min(s + length, frames) - s >= min(10, frames)]


def _import_piece(name: str, identity: str, frames: Tensor, motion: Motion, cameras: Cameras) -> Clip:
    info = ClipInfo(name, len(frames), size=tuple(frames.shape[-2:]), identity=identity, source=f"video {identity}")
    return Clip(info, frames=frames, motion=motion, cameras=cameras)


def _track(points: Sequence[Keypoints | None]) -> KeypointTrack:
    xy, confidence = torch.zeros(len(points), len(SPARSE_NAMES), 2), torch.zeros(len(points), len(SPARSE_NAMES))
    for t, k in enumerate(points):
        if k is not None:
            rows = [SPARSE_NAMES.index(n) for n in k.names]
            xy[t, rows], confidence[t, rows] = k.xy, 1.0
    return KeypointTrack(SPARSE_NAMES, xy, confidence)


def _sound(video: Path) -> Tensor | None:
    """Read the video's sound (S,) at 16 kHz; None where it has none, or is silent."""
    try:
        return load_audio(video).waveform
    except ValueError as error:
        logger.info("%s: no speech (%s)", video, error)
        return None


def _cut_sound(sound: Tensor | None, piece: slice) -> Audio | None:
    if sound is None:
        return None
    first, last = (round(t / FPS * SAMPLE_RATE) for t in (piece.start, piece.stop))
    wave = F.pad(sound, (0, max(0, last - len(sound))))[first:last]
    return Audio(wave, wave[None], SAMPLE_RATE)


def import_videos(source: str | Path, root: str | Path, wanted: VideoImport | None = None) -> Iterator[list[Path]]:
    """Import all videos of a folder that have keypoints beside them; yield each one's clip folders.

    source: the folder; root: where clips are written; wanted: as in `import_video`."""
    videos = [p for p in sorted(Path(source).glob("*")) if p.suffix.lower() in (".mp4", ".mov", ".mkv", ".webm")]
    if not videos:
        raise ValueError(f"{source} holds no videos (mp4, mov, mkv, webm)")
    for video in videos:
        yield import_video(video, root, wanted)
