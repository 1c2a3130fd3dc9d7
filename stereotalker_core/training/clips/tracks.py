"""Clips -> the per-frame tracks that the stage-1 trainers read (`training/motion/motion_data.MotionData`).

Each clip is one recording: the speech encoder's output, prosody, the motion, and the language prior's states for the
words and for the sound. Clips without a motion (speech alone) serve the prior; those without words have no text states.
Emotion, intensity, energy and handedness come from clip.json. Meaning gestures are not labelled, so the gesture track
is empty."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...audio.encoder import SpeechEncoder
from ...audio.phones import CLOSURES, PHONE_INDEX, PHONES
from ...motion.conditioning import prosody
from ...motion.networks.prior import LanguagePrior
from ...shapes import N_EXPRESSIONS
from ..motion.motion_data import closed_frames, word_frames
from .check import NEEDS, check_clips
from .clip import Clip, ClipSet, Word, present, save_json

logger = logging.getLogger(__name__)
_TYPES = {"closed": np.uint8, "gesture": np.uint8, "word": np.int16}  # of the stored arrays; float16 else
_SURE = 0.5  # probability above which a frame counts as a closure


@torch.no_grad()
def prepare_tracks(
    root: str | Path,
    out: str | Path,
    trainer: str,
    encoder: SpeechEncoder,
    prior: LanguagePrior,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Check the clips and compute their per-frame tracks for the stage-1 trainers -> the folder `out`, in which they
    are written.

    Nothing is computed where `out` was written from the same clips with the same encoder and prior.
    root: folder of the clips.
    out: folder of the tracks.
    trainer: which training they are for, "motion" or "prior".
    encoder: the speech encoder.
    prior: the language prior.
    progress: called with (clips done, clips in total).

    ValueError for faulty clips."""
    infos = check_clips(root, NEEDS[trainer])
    out, clips = Path(out), ClipSet(root)
    weights = sum(float(p.double().abs().sum()) for module in (encoder, prior) for p in module.parameters())
    plan = {"clips": [[i.name, i.frames, i.source] for i in infos], "models": f"{weights:.6e}"}
    if (out / "plan.json").is_file() and json.loads((out / "plan.json").read_text(encoding="utf-8")) == plan:
        return out
    tracks: dict[str, list[np.ndarray]] = {}
    styles, starts, numbers = [], [0], {}
    for index, info in enumerate(infos):
        clip = clips.read(index, ("motion", "audio", "words"))
        rows = clip_tracks(clip, encoder, prior) | {"word": word_numbers(clip.words or (), numbers, info.frames)}
        for name, values in rows.items():
            tracks.setdefault(name, []).append(values.cpu().numpy().astype(_TYPES.get(name, np.float16)))
        styles.append(info.style().vector().numpy())
        starts.append(starts[-1] + info.frames)
        if progress:
            progress(index + 1, len(infos))
    out.mkdir(parents=True, exist_ok=True)
    (out / "plan.json").unlink(missing_ok=True)
    arrays = {name: np.concatenate(parts) for name, parts in tracks.items()}
    arrays |= {"style": np.stack(styles), "held": np.zeros(len(infos), bool), "starts": np.array(starts)}
    for name, values in arrays.items():
        np.save(out / f"{name}.npy", values)
    (out / "words.txt").write_text("\n".join(["-", *numbers]) + "\n", encoding="utf-8")
    save_json(plan, out / "plan.json")
    return out


def clip_tracks(clip: Clip, encoder: SpeechEncoder, prior: LanguagePrior) -> dict[str, Tensor]:
    """Return {name: (frames, ...)}, the tracks of one clip; the top of training/motion/motion_data.py describes each.

    "phones", "prosody", "features", "motion" (zero without one), "text", "heard", "closed", "gesture" (zero)."""
    frames = clip.info.frames
    audio = present(clip.audio, "audio")
    speech = encoder.encode(audio)
    probabilities, features = (_fit(x, frames) for x in (speech.phones.exp(), speech.features))
    sound = prosody(audio.waveform, frames).to(probabilities.device)
    if clip.motion is None:
        motion = torch.zeros(frames, 49 * 3 + N_EXPRESSIONS)
    else:
        motion = torch.cat([clip.motion.rotations.flatten(1), clip.motion.expression], 1)
    words = clip.words or ()
    closed = closed_frames(clip.phones, frames) if clip.phones else heard_closures(probabilities)
    return {
        "phones": probabilities,
        "prosody": sound,
        "features": features,
        "motion": motion,
        "text": prior.read(words, frames),
        "heard": prior.hear_all(torch.cat([probabilities, sound], 1)),
        "closed": closed,
        "gesture": torch.zeros(frames),
    }


def word_numbers(words: Sequence[Word], numbers: dict[str, int], frames: int) -> Tensor:
    """Return for each frame the number of the word that is being said, (frames,), 0 where none is.

    words: with times in s; numbers: {word: its number}, to which a new word is added with the next number; frames:
        length of the result."""
    return word_frames([("".join(word.split()) or "-", start, end) for word, start, end in words], numbers, frames)



def heard_closures(probabilities: Tensor) -> Tensor:
    """Map phone probabilities (T, 40) -> (T,), 1 in the middle frame of every interval that is certainly p, b or m."""
    columns = [PHONE_INDEX[p] for p in PHONES if p in CLOSURES]
    sure = (probabilities[:, columns].sum(1) > _SURE).int().tolist()
    out, start = torch.zeros(len(sure)), None
    for t, here in enumerate([*sure, 0]):
        if here and start is None:
            start = t
        elif not here and start is not None:
            out[(start + t - 1) // 2] = 1
            start = None
    return out


def _fit(x: Tensor, frames: int) -> Tensor:
    """Cut x to `frames` rows, or repeat its last row; sound and frames may differ by rounding."""
    return x[:frames] if len(x) >= frames else torch.cat([x, x[-1:].expand(frames - len(x), -1)])
