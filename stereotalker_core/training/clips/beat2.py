"""BEAT and BEAT2 recordings -> clips: SMPL-X poses, ARKit weights, sound, words and phones.

A recording is a base name with files found anywhere under the source folder, as the data sets lay them out:

    NAME.npz       SMPL-X: poses (N, 165) axis-angle, mocap_frame_rate (BEAT2 smplxflame_30/)
    NAME.json      ARKit weights: {"names": [...], "frames": [{"weights": [...], "time": s}, ...]} (BEAT; optional)
    NAME.wav       speech (wave16k/)
    NAME.TextGrid  tiers with "word" and "phone" in their names (textgrid/; optional)

Without ARKit weights the expression is jawOpen alone, from the jaw joint of SMPL-X (0.4 rad = fully open). BEAT's base
names are speaker_name_take_…; emotions are not encoded in BEAT2 and stay neutral."""

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...audio.load import load_audio
from ...audio.phones import PHONE_INDEX
from ...audio.textgrid import Interval, read_textgrid
from ...body.model import HalfBody
from ...motion.arkit import ARKIT, ARKIT_INDEX
from ...records import Audio, Motion
from ...shapes import FPS, SAMPLE_RATE
from .clip import Clip, ClipInfo, Phone, Word, present, write_clip
from .resample import positions, resample_rotations, resample_values
from .smplx import SMPLX_INDEX, SMPLX_JOINTS, rotations_from_smplx

logger = logging.getLogger(__name__)
_JAW_OPEN = 0.4  # radians of the SMPL-X jaw that count as fully open
_SILENCE = ("", "sil", "sp", "spn", "<eps>", "<unk>")


def import_beat2(source: str | Path, root: str | Path, seconds: float = 20.0, names: Sequence[str] = ()) -> list[Path]:
    """Import recordings as clips of at most `seconds` under `root` -> the clips' folders.

    source: folder of the data set.
    root: folder in which the clips are written.
    seconds: largest length of a clip; longer recordings are split.
    names: base names of the recordings to import, () for all.

    ValueError names a recording whose files are missing or broken; no clip of that recording is written then."""
    if not seconds >= 1:
        raise ValueError(f"clips of {seconds} s are too short; use at least 1")
    source = Path(source)
    found = {path.stem: path for path in sorted(source.rglob("*.npz"))}
    if not found:
        raise ValueError(f"{source} holds no .npz recordings; give the folder of BEAT2 (smplxflame_30 inside it)")
    if missing := [n for n in names if n not in found]:
        raise ValueError(f"no recording {missing[0]!r} under {source}")
    body, written = HalfBody(), []
    for name in names or found:
        recording = read_recording(source, found[name], body)
        for clip in cut(recording, seconds):
            written.append(write_clip(clip, root))
        logger.info("%s: %d frames", name, recording.info.frames)
    return written


def read_recording(source: Path, npz: Path, body: HalfBody) -> Clip:
    """Read one recording as a single clip at 25 fps, as long as the shorter of sound and motion.

    source: folder of the data set; npz: the recording's SMPL-X file, whose base name its other files share; body: the
        half body."""
    poses, fps = read_smplx(npz)
    wave = _beside(source, npz.stem, ".wav")
    if wave is None:
        raise ValueError(f"recording {npz.stem} has no {npz.stem}.wav under {source}")
    sound = load_audio(wave)
    at = positions(len(poses), fps, FPS)
    frames = min(len(at), int(sound.seconds * FPS + 1e-6))
    if frames < 2:
        raise ValueError(f"recording {npz.stem} has {len(poses)} poses and {sound.seconds:.2f} s of sound: too short")
    at = at[:frames]
    rotations = resample_rotations(rotations_from_smplx(poses, body), at)
    arkit = _beside(source, npz.stem, ".json")
    if arkit is None:
        jaw = poses.unflatten(1, (-1, 3))[:, SMPLX_INDEX["jaw"]].norm(dim=1, keepdim=True)
        expression = torch.zeros(frames, len(ARKIT))
        expression[:, ARKIT_INDEX["jawOpen"]] = (resample_values(jaw, at)[:, 0] / _JAW_OPEN).clamp(0, 1)
    else:
        expression = read_arkit(arkit, frames)
    grid = _beside(source, npz.stem, ".TextGrid")
    words, phones = read_speech(grid, frames / FPS) if grid is not None else (None, ())
    waveform = sound.waveform[: round(frames / FPS * SAMPLE_RATE)]
    audio = Audio(waveform, waveform[None], SAMPLE_RATE)
    transcript = " ".join(word for word, _, _ in words or ())
    info = ClipInfo(npz.stem, frames, transcript=transcript, source=f"BEAT2 {npz.stem}")
    return Clip(info, motion=Motion(rotations, expression), audio=audio, words=words, phones=phones)


def read_smplx(path: Path) -> tuple[Tensor, float]:
    """Read poses (N, 165) and the frame rate of a SMPL-X file. ValueError for missing arrays, other joint counts or
    NaN."""
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {key: data[key] for key in data.files if data[key].dtype != object}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no readable .npz ({error})") from error
    if "poses" not in arrays or "mocap_frame_rate" not in arrays:
        raise ValueError(f"{path} lacks poses or mocap_frame_rate; it is no SMPL-X recording")
    poses = torch.from_numpy(np.asarray(arrays["poses"], np.float32))
    if poses.ndim != 2 or poses.shape[1] != 3 * len(SMPLX_JOINTS):
        raise ValueError(f"{path} has poses of shape {tuple(poses.shape)}, SMPL-X has (frames, 165)")
    if not bool(torch.isfinite(poses).all()):
        bad = int((~torch.isfinite(poses)).any(1).nonzero()[0])
        raise ValueError(f"{path} has NaN poses (first in frame {bad}); drop or repair the recording")
    return poses, float(arrays["mocap_frame_rate"])


def read_arkit(path: Path, frames: int) -> Tensor:
    """Read ARKit weights from a .json file by name and time -> (frames, 52) at 25 fps in [0, 1].

    path: the file; frames: length of the result. Names that the file lacks stay 0."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        names, rows = [str(n) for n in data["names"]], data["frames"]
        weights = torch.tensor([row["weights"] for row in rows], dtype=torch.float32)
        times = torch.tensor([float(row["time"]) for row in rows], dtype=torch.float64)
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no ARKit weights (names, frames with weights and time): {error}") from error
    if weights.ndim != 2 or weights.shape[1] != len(names):
        raise ValueError(f"{path} has {len(names)} names and weights of shape {tuple(weights.shape)}; they must agree")
    if not bool(torch.isfinite(weights).all()) or not bool((times.diff() > 0).all()):
        raise ValueError(f"{path} has NaN weights or times that do not increase; drop or repair the recording")
    known = {name.lower(): i for name, i in ARKIT_INDEX.items()}
    columns = [(i, known[name.lower()]) for i, name in enumerate(names) if name.lower() in known]
    if len(columns) < 20:
        raise ValueError(f"{path} names only {len(columns)} ARKit expressions; these are other blend shapes")
    if weights.max() > 2:  # some exports count in percent
        weights = weights / 100
    wanted = times[0] + torch.arange(frames, dtype=torch.float64) / FPS
    right = torch.searchsorted(times, wanted).clamp(1, len(times) - 1)
    share = ((wanted - times[right - 1]) / (times[right] - times[right - 1])).clamp(0, 1)
    values = resample_values(weights, right - 1 + share)
    out = torch.zeros(frames, len(ARKIT))
    out[:, [j for _, j in columns]] = values[:, [i for i, _ in columns]]
    return out.clamp(0, 1)


def read_speech(path: Path, seconds: float) -> tuple[tuple[Word, ...], tuple[Phone, ...]]:
    """Read the words and ARPAbet phones of a TextGrid up to `seconds`; ValueError where it has no tier of words."""
    tiers = read_textgrid(path)
    words = next((v for k, v in tiers.items() if "word" in k.lower()), None)
    if words is None:
        raise ValueError(f"{path} has no tier of words, only {', '.join(tiers) or 'none'}")
    spoken = tuple((w, a, min(b, seconds)) for w, a, b in words if w.lower() not in _SILENCE and a < seconds)
    phones = next((v for k, v in tiers.items() if "phone" in k.lower()), [])
    return spoken, tuple(filter(None, (_phone_of_interval(p, seconds) for p in phones)))


def _phone_of_interval(interval: Interval, seconds: float) -> Phone | None:
    """Convert an interval of a TextGrid, ("AH0", start, end), to a phone with times and stress, ("ah", start, end, 0).

    seconds: length of the recording, at which the phone is cut off. None for an unknown phone, or one that begins
        later."""
    text, start, end = interval
    match = re.fullmatch(r"([A-Za-z<>]*)([012]?)", text)
    if match is None or start >= seconds:
        return None
    name, stress = match[1].lower(), int(match[2] or 0)
    name = "sil" if name in _SILENCE else name
    return (name, start, min(end, seconds), stress) if name in PHONE_INDEX else None


def cut(clip: Clip, seconds: float) -> list[Clip]:
    """Split a clip into pieces of at most `seconds`, each with its own times; a last piece below a second is dropped.
    """
    size, total = round(seconds * FPS), clip.info.frames
    if total <= size:
        return [clip]
    pieces = []
    for number, first in enumerate(range(0, total, size)):
        last = min(first + size, total)
        if last - first < FPS:
            break
        start, end = first / FPS, last / FPS
        words = None if clip.words is None else _items_within(clip.words, start, end)
        transcript = " ".join(w for w, *_ in words or ())
        info = ClipInfo(f"{clip.info.name}_{number:03d}", last - first, transcript=transcript, source=clip.info.source)
        wave = present(clip.audio, "audio").waveform[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        audio = Audio(wave, wave[None], SAMPLE_RATE)
        phones = _items_within(clip.phones, start, end)
        motion = present(clip.motion, "motion")[first:last]
        pieces.append(Clip(info, motion=motion, audio=audio, words=words, phones=phones))
    return pieces


def _items_within(items: Sequence[tuple], start: float, end: float) -> tuple:
    """Return the timed items whose middle lies in start..end (s), cut to that span, with times counted from its start.
    """
    return tuple(
        (name, max(a, start) - start, min(b, end) - start, *rest)
        for name, a, b, *rest in items
        if start <= (a + b) / 2 < end
    )


def _beside(source: Path, stem: str, suffix: str) -> Path | None:
    return next(iter(sorted(source.rglob(f"{stem}{suffix}"))), None)
