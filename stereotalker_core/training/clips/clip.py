"""The clip format: one folder per clip, with the video of a talking person and everything known about it.

    ROOT/clips/NAME/clip.json            ClipInfo
                    frames/000000.png …  or video.mp4: the picture
                    motion.safetensors   Motion
                    cameras.safetensors  Cameras
                    regions/000000.png … soft masks: red = body, green = face, blue = hands, the rest is background
                    keypoints.npz        names (N,), xy (T, N, 2) px, confidence (T, N)
                    audio.wav            speech, as long as the frames
                    speech.json          {"words": [[word, start s, end s]…], "phones": [[phone, start, end, stress]…]}
    ROOT/identities/NAME.safetensors     Identity (fit of the person's portrait), shared by clips

Every part but clip.json may be missing; what a trainer needs is checked before it starts (check.py)."""

import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ...audio.load import load_audio
from ...checkpoint import write_atomically
from ...config import from_dict
from ...image import save_image
from ...motion.conditioning import Style
from ...records import Audio, Cameras, Identity, Motion, Regions
from ...shapes import FPS, REGIONS, SAMPLE_RATE, dims, size_of

FORMAT = 1
PARTS = ("frames", "motion", "cameras", "regions", "keypoints", "audio", "words", "identity")
Word = tuple[str, float, float]
Phone = tuple[str, float, float, int]
P = TypeVar("P")


@dataclass(frozen=True)
class ClipInfo:
    """The content of clip.json.

    name: what the clip's folder is called; frames: how many; fps: frames per second.
    size: (H, W) px of the picture, None without one.
    identity: name of the fit under ROOT/identities.
    transcript: the words.
    emotion, intensity, energy, handedness: as in `motion.conditioning.Style`.
    source: where the clip came from; format: version of this format."""

    name: str
    frames: int
    fps: float = FPS
    size: tuple[int, ...] | None = None
    identity: str | None = None
    transcript: str = ""
    emotion: str = "neutral"
    intensity: float = 1.0
    energy: float = 1.0
    handedness: float = 0.0
    source: str = ""
    format: int = FORMAT

    def __post_init__(self) -> None:
        if not self.name or Path(self.name).name != self.name or self.name.startswith("."):
            raise ValueError(f"a clip needs a name that can be a folder, got {self.name!r}")
        if self.format != FORMAT:
            raise ValueError(f"clip {self.name} has format {self.format}, this package reads {FORMAT}; update it")
        if self.frames < 1 or not self.fps > 0:
            raise ValueError(f"clip {self.name} needs frames >= 1 and fps > 0, got {self.frames} and {self.fps}")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ValueError(f"clip {self.name}: size must be (height, width), got {self.size}")
        self.style()

    def style(self) -> Style:
        """Return the style that a user would set to get this performance."""
        return Style(self.emotion, self.intensity, self.energy, self.handedness)

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


@dataclass(frozen=True)
class KeypointTrack:
    """The named points over time: names (N,), xy (T, N, 2) px, confidence (T, N) in [0, 1], 0 = not detected."""

    names: tuple[str, ...]
    xy: Tensor
    confidence: Tensor

    def __post_init__(self) -> None:
        known = dims(self.xy, "T N 2", N=len(self.names))
        dims(self.confidence, "T N", **known)


@dataclass(frozen=True)
class Clip:
    """The clip in memory: the parts that the top of this file describes; None where missing or not requested.

    frames: (T, 3, H, W) in [-1, 1]; words, phones: with times in seconds; the others as their classes say."""

    info: ClipInfo
    frames: Tensor | None = None
    motion: Motion | None = None
    cameras: Cameras | None = None
    regions: Regions | None = None
    keypoints: KeypointTrack | None = None
    audio: Audio | None = None
    words: tuple[Word, ...] | None = None
    phones: tuple[Phone, ...] = ()

    def __post_init__(self) -> None:
        tracks = {"frames": self.frames, "motion": self.motion, "cameras": self.cameras}
        tracks |= {"regions": self.regions and self.regions.masks, "keypoints": self.keypoints and self.keypoints.xy}
        for name, track in tracks.items():
            if track is not None and len(track) != self.info.frames:
                raise ValueError(f"clip {self.info.name} has {self.info.frames} frames, its {name} {len(track)}")


def present(part: P | None, name: str) -> P:
    """Return `part` unchanged. ValueError where it is None, because the clip lacks it; `name`: what the message calls
    it."""
    if part is None:
        raise ValueError(f"the clip has no {name}")
    return part


def clip_folder(root: str | Path, name: str) -> Path:
    """Return the folder of a clip under a root."""
    return Path(root) / "clips" / name


def write_clip(clip: Clip, root: str | Path, video: bool = False) -> Path:
    """Write a clip under root/clips -> its folder, atomically; an existing clip of this name is replaced.

    video: write frames as video.mp4 (H.264, lossy) instead of PNG files."""
    target = clip_folder(root, clip.info.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    info = clip.info if clip.frames is None else replace(clip.info, size=size_of(clip.frames))
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{clip.info.name}."))
    try:
        _write_parts(replace(clip, info=info), partial, video)
        (partial / "clip.json").write_text(json.dumps(asdict(info), indent=1) + "\n", encoding="utf-8")
        os.chmod(partial, 0o755)
        if target.exists():
            shutil.rmtree(target)
        os.replace(partial, target)
    finally:
        if partial.exists():
            shutil.rmtree(partial)
    return target


def _write_parts(clip: Clip, folder: Path, video: bool) -> None:
    for name, record in (("motion", clip.motion), ("cameras", clip.cameras)):
        if record is not None:
            record.save(folder / f"{name}.safetensors")
    if clip.frames is not None and video:
        from ...video.writing.writer import VideoWriter

        with VideoWriter(folder / "video.mp4", size_of(clip.frames), clip.info.fps) as writer:
            writer.write(clip.frames)
    elif clip.frames is not None:
        _write_pictures(clip.frames, folder / "frames")
    if clip.regions is not None:
        _write_pictures(clip.regions.masks[:, 1:] * 2 - 1, folder / "regions")
    if clip.keypoints is not None:
        track = clip.keypoints
        np.savez(folder / "keypoints.npz", names=np.array(track.names), xy=track.xy, confidence=track.confidence)
    if clip.audio is not None:
        write_wav(clip.audio.waveform, folder / "audio.wav")
    if clip.words is not None:
        told = json.dumps({"words": clip.words, "phones": clip.phones}) + "\n"
        (folder / "speech.json").write_text(told, encoding="utf-8")


def _write_pictures(pictures: Tensor, folder: Path) -> None:
    folder.mkdir()
    for i, picture in enumerate(pictures):
        save_image(picture, folder / f"{i:06d}.png")


def write_wav(waveform: Tensor, path: Path) -> None:
    """Write a waveform (S,) at 16 kHz in [-1, 1] as a 16-bit WAV file."""
    import wave

    samples = (waveform.clamp(-1, 1) * 32767).round().to(torch.int16).numpy()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())


def read_info(folder: str | Path) -> ClipInfo:
    """Read clip.json of a clip's folder. ValueError says what is wrong with it."""
    path = Path(folder) / "clip.json"
    if not path.is_file():
        raise ValueError(f"{folder} is no clip: clip.json is missing")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error})") from error
    try:
        info = from_dict(ClipInfo, values)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no clip.json ({error})") from error
    if info.name != Path(folder).name:
        raise ValueError(f"{path} names the clip {info.name!r}, its folder {Path(folder).name!r}; rename one")
    return info


def read_clip(folder: str | Path, parts: Iterable[str] = PARTS) -> Clip:
    """Read a clip from its folder. ValueError where a file is broken.

    folder: the clip's folder; parts: names of PARTS to read. Parts that are not named, or have no file, are None in the
        result."""
    folder, parts = Path(folder), set(parts)
    info = read_info(folder)
    values: dict[str, Any] = {}
    for name, record in (("motion", Motion), ("cameras", Cameras)):
        if name in parts and (path := folder / f"{name}.safetensors").is_file():
            values[name] = record.load(path)
    if "frames" in parts:
        values["frames"] = _read_frames(folder, info)
    if "regions" in parts and (folder / "regions").is_dir():
        shares = torch.stack([read_picture(p) for p in pictures(folder / "regions")]) / 2 + 0.5
        values["regions"] = Regions(torch.cat([(1 - shares.sum(1, keepdim=True)).clamp_min(0), shares], 1))
    if "keypoints" in parts and (path := folder / "keypoints.npz").is_file():
        with np.load(path, allow_pickle=False) as data:
            arrays = (torch.from_numpy(data[k].astype(np.float32)) for k in ("xy", "confidence"))
            values["keypoints"] = KeypointTrack(tuple(data["names"].tolist()), *arrays)
    if "audio" in parts and (path := folder / "audio.wav").is_file():
        values["audio"] = load_audio(path)
    if "words" in parts and (path := folder / "speech.json").is_file():
        speech = json.loads(path.read_text(encoding="utf-8"))
        values["words"] = tuple((str(w), float(a), float(b)) for w, a, b in speech["words"])
        values["phones"] = tuple((str(p), float(a), float(b), int(k)) for p, a, b, k in speech.get("phones", ()))
    return Clip(info, **values)


def _read_frames(folder: Path, info: ClipInfo) -> Tensor | None:
    if (folder / "frames").is_dir():
        return torch.stack([read_picture(p) for p in pictures(folder / "frames")])
    video = folder / "video.mp4"
    return torch.stack([f for _, f in video_frames(video)]) if video.is_file() else None


def pictures(folder: Path) -> list[Path]:
    """Return the PNG files of a folder, sorted by name."""
    return sorted(folder.glob("*.png"))


def read_picture(path: Path) -> Tensor:
    """Read a PNG -> (3, H, W) in [-1, 1]; ValueError for a broken one."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            pixels = np.asarray(file.convert("RGB"), dtype=np.float32)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path} is no readable picture ({error}); export the clip again") from error
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 127.5 - 1


def video_frames(path: Path, frames: Sequence[int] | None = None) -> Iterator[tuple[int, Tensor]]:
    """Yield (index, frame (3, H, W) in [-1, 1]) of a video.

    frames: increasing indices to yield, with repeats allowed; None for all.

    ValueError where it is no video, or ends before the last of these frames."""
    import av
    from av.error import FFmpegError

    wanted = deque(frames) if frames is not None else None
    try:
        with av.open(str(path)) as file:
            if not file.streams.video:
                raise ValueError(f"{path} holds no picture; give a video")
            for i, frame in enumerate(file.decode(file.streams.video[0])):
                if wanted is None or (wanted and wanted[0] == i):
                    pixels = torch.from_numpy(frame.to_ndarray(format="rgb24"))
                    picture = pixels.permute(2, 0, 1).float() / 127.5 - 1
                    yield i, picture
                    while wanted and wanted.popleft() == i and wanted and wanted[0] == i:
                        yield i, picture
                if wanted is not None and not wanted:
                    return
    except (FFmpegError, OSError) as error:
        raise ValueError(f"{path} is no readable video ({error})") from error
    if wanted:
        raise ValueError(f"{path} ends before its frame {wanted[0]}; re-encode it")


class ClipSet:
    """The clips under a root, sorted by name. ValueError where there are none."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.folders = sorted(p.parent for p in (self.root / "clips").glob("[!.]*/clip.json"))
        if not self.folders:
            raise ValueError(f"{self.root} holds no clips (no clips/NAME/clip.json); make some with `train clips`")

    def __len__(self) -> int:
        return len(self.folders)

    def infos(self) -> list[ClipInfo]:
        """Return the content of every clip's clip.json."""
        return [read_info(folder) for folder in self.folders]

    def read(self, index: int, parts: Iterable[str] = PARTS) -> Clip:
        """Read a clip of this set. index: its number in the order of names; parts: which of its parts to read, as in
        `read_clip`."""
        return read_clip(self.folders[index], parts)

    def identity_path(self, name: str) -> Path:
        """Return the path of the fit of a person."""
        return self.root / "identities" / f"{name}.safetensors"

    def identity(self, name: str) -> Identity:
        """Load the fit of a person, by name."""
        return Identity.load(self.identity_path(name))


def write_identity(identity: Identity, root: str | Path, name: str) -> Path:
    """Write a person's fit as root/identities/NAME.safetensors -> the file. identity: the fit; name: what it is called.
    """
    path = Path(root) / "identities" / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    identity.save(path)
    return path


def regions_from_labels(labels: Tensor, alpha: Tensor) -> Regions:
    """Convert region labels (T, H, W) and the person's alpha (T, 1, H, W) to soft masks; unlabelled pixels are body."""
    person = torch.nn.functional.one_hot(labels.long().clamp_min(1), len(REGIONS)).movedim(-1, 1).float() * alpha
    person[:, :1] = 1 - alpha
    return Regions(person)


def save_json(values: object, path: Path) -> None:
    """Write an object as JSON to a file, atomically."""
    write_atomically(path, lambda name: Path(name).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8"))
