"""Checks of clips before a training starts: every fault is reported with its clip, file and remedy before any work."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from ...audio.load import load_audio
from ...checkpoint import load_tensors
from ...records import Cameras, Identity, Motion
from ...shapes import FPS
from .clip import PARTS, ClipInfo, ClipSet, pictures, read_info

NEEDS = {  # trainer -> parts of every clip
    "renderer": ("frames", "motion", "cameras", "regions", "identity"),
    "experts": ("frames", "motion", "cameras", "regions", "identity"),
    "mask": ("frames", "motion", "cameras", "regions", "identity"),
    "motion": ("motion", "audio"),
    "prior": ("audio", "words"),
}
_SHOWN = 12  # faults in one message


def check_clips(root: str | Path, needs: Iterable[str], fps: float = FPS) -> list[ClipInfo]:
    """Check that all clips hold what a training needs, complete and valid -> the content of each clip.json.

    root: folder of the clips; needs: the parts (names of `clip.PARTS`) that every clip must have; fps: the frame rate
        that every clip must have.

    ValueError lists the faults: missing parts, other frame rates, counts or sizes that disagree, NaN, broken files."""
    needs = tuple(needs)
    if unknown := [n for n in needs if n not in PARTS]:
        raise ValueError(f"clips have no part {unknown[0]!r}; parts are {', '.join(PARTS)}")
    clips = ClipSet(root)
    faults: list[str] = []
    infos: list[ClipInfo] = []
    for folder in clips.folders:
        try:
            info = read_info(folder)
        except ValueError as error:
            faults.append(f"clip {folder.name}: {error}")
            continue
        infos.append(info)
        faults += [f"clip {info.name}: {fault}" for fault in _faults(clips, folder, info, needs, fps)]
    if faults:
        more = f"\n… and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise ValueError(f"{root} cannot be trained on:\n" + "\n".join(faults[:_SHOWN]) + more)
    return infos


def _faults(clips: ClipSet, folder: Path, info: ClipInfo, needs: tuple[str, ...], fps: float) -> list[str]:
    found = []
    if abs(info.fps - fps) > 0.01:
        found.append(f"it has {info.fps:g} fps, {fps:g} are needed; import it again (the importers resample)")
    for part in needs:
        check = _CHECKS[part]
        try:
            fault = check(clips, folder, info)
        except (ValueError, OSError, KeyError) as error:
            fault = f"{part} cannot be read ({error}); export it again"
        if fault:
            found.append(fault)
    return found


def _check_pictures(name: str, folder: Path, info: ClipInfo) -> str | None:
    from PIL import Image

    files = pictures(folder / name)
    if len(files) != info.frames:
        return f"{name}/ holds {len(files)} PNG files, clip.json says {info.frames} frames; export it again"
    sizes = set()
    for file in (files[0], files[-1]):
        with Image.open(file) as picture:
            sizes.add((picture.height, picture.width))
    if info.size is None or sizes != {tuple(info.size)}:
        return f"{name}/ has pictures of {sorted(sizes)}, clip.json says {info.size}; make them equal"
    return None


def _check_frames(clips: ClipSet, folder: Path, info: ClipInfo) -> str | None:
    if (folder / "frames").is_dir():
        return _check_pictures("frames", folder, info)
    video = folder / "video.mp4"
    if not video.is_file():
        return "frames are missing: neither frames/ nor video.mp4 is there"
    import av

    with av.open(str(video)) as file:
        if not file.streams.video:
            return "video.mp4 holds no picture"
        stream = file.streams.video[0]
        count, rate = stream.frames or sum(1 for _ in file.decode(stream)), float(stream.average_rate or 0)
        size = (stream.height, stream.width)
    if count != info.frames:
        return f"video.mp4 has {count} frames, clip.json says {info.frames}; export it again"
    if abs(rate - info.fps) > 0.01:
        return f"video.mp4 runs at {rate:g} fps, clip.json says {info.fps:g}; export it again"
    if info.size is None or size != tuple(info.size):
        return f"video.mp4 is {size}, clip.json says {info.size}; make them equal"
    return None


def _check_regions(clips: ClipSet, folder: Path, info: ClipInfo) -> str | None:
    if not (folder / "regions").is_dir():
        return "regions are missing: regions/ is not there (import with masks, or let the importer estimate them)"
    return _check_pictures("regions", folder, info)


def _record(name: str, kind: type) -> Callable[[ClipSet, Path, ClipInfo], str | None]:
    def check(clips: ClipSet, folder: Path, info: ClipInfo) -> str | None:
        path = folder / f"{name}.safetensors"
        if not path.is_file():
            return f"{name} is missing: {path.name} is not there"
        record = kind.load(path)
        if len(record) != info.frames:
            return f"{path.name} has {len(record)} frames, clip.json says {info.frames}; export it again"
        return _finite(path, load_tensors(path)[0]) or _agree(record, info)

    return check


def _finite(path: Path, tensors: dict[str, torch.Tensor]) -> str | None:
    for key, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            first = (~torch.isfinite(value)).flatten(1).any(1).nonzero() if value.ndim > 1 else None
            where = f" (first in frame {int(first[0])})" if first is not None and len(first) else ""
            return f"{path.name} has NaN or infinite values in {key}{where}; repair or drop the clip"
    return None


def _agree(record: Motion | Cameras, info: ClipInfo) -> str | None:
    if isinstance(record, Motion) and abs(record.fps - info.fps) > 0.01:
        return f"its motion runs at {record.fps:g} fps, clip.json says {info.fps:g}; import it again"
    if isinstance(record, Cameras) and info.size is not None and tuple(record.size) != tuple(info.size):
        return f"its cameras are for {tuple(record.size)} px, the pictures are {tuple(info.size)}; scale the intrinsics"
    return None


def _check_keypoints(clips: ClipSet, folder: Path, info: ClipInfo) -> str | None:
    path = folder / "keypoints.npz"
    if not path.is_file():
        return "keypoints are missing: keypoints.npz is not there"
    with np.load(path, allow_pickle=False) as data:
        xy, confidence = data["xy"], data["confidence"]
    if len(xy) != info.frames:
        return f"keypoints.npz has {len(xy)} frames, clip.json says {info.frames}; export it again"
    if not np.isfinite(xy).all() or not np.isfinite(confidence).all():
        return "keypoints.npz has NaN: mark unseen points with confidence 0, not with NaN"
    return None


def _check_audio(clips: ClipSet, folder: Path, info: ClipInfo) -> str | None:
    path = folder / "audio.wav"
    if not path.is_file():
        return "audio is missing: audio.wav is not there"
    seconds = load_audio(path).seconds
    if abs(seconds - info.seconds) > 1.5 / info.fps:
        return f"audio.wav lasts {seconds:.3f} s, its {info.frames} frames {info.seconds:.3f} s; cut one of them"
    return None


def _check_words(clips: ClipSet, folder: Path, info: ClipInfo) -> str | None:
    path = folder / "speech.json"
    if not path.is_file():
        return "words are missing: speech.json is not there (import a TextGrid, or align the transcript)"
    words = json.loads(path.read_text(encoding="utf-8"))["words"]
    times = [t for _, start, end in words for t in (start, end)]
    if not np.isfinite(times).all() or any(end < start for _, start, end in words):
        return "speech.json has times that are no numbers or run backwards; align the words again"
    if times and times[-1] > info.seconds + 0.5:
        return f"speech.json ends at {times[-1]:.2f} s, after the clip's {info.seconds:.2f} s"
    return None


def _check_identity(clips: ClipSet, folder: Path, info: ClipInfo) -> str | None:
    if info.identity is None:
        return "clip.json names no identity: fit a portrait of the person (importers do with --identity)"
    path = clips.identity_path(info.identity)
    if not path.is_file():
        return f"its identity {info.identity!r} is missing: no file {path.name} in identities/"
    Identity.load(path)
    return _finite(path, load_tensors(path)[0])


_CHECKS: dict[str, Callable[[ClipSet, Path, ClipInfo], str | None]] = {
    "frames": _check_frames,
    "regions": _check_regions,
    "motion": _record("motion", Motion),
    "cameras": _record("cameras", Cameras),
    "keypoints": _check_keypoints,
    "audio": _check_audio,
    "words": _check_words,
    "identity": _check_identity,
}
