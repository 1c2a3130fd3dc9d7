"""Speech corpus -> training data of stage 1: `python -m stereotalker_core.training.motion_data --split train`.

Utterances of one emotion and style are joined into recordings of some 20 s with pauses, the procedural teacher moves to
them, and all per-frame tracks are stored once, one recording after the other, as memory-mapped arrays:
phones (N, 40) float16 probabilities, prosody (N, 5), features (N, D), motion (N, 199) rotations then expression,
text (N, P) and heard (N, P) states of the language prior, closed (N,) lips shut by p, b or m; and for each of R
recordings style (R, 7), held (R,) has held-out words, starts (R + 1,).
"""

import argparse
import logging
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..audio.encoder import SpeechEncoder
from ..audio.phones import CLOSURES, PHONE_INDEX, PHONES
from ..checkpoint import NANO, load
from ..motion.conditioning import Style, prosody
from ..motion.prior import LanguagePrior
from ..records import Audio, Motion
from ..shapes import FPS, SAMPLE_RATE, frame_count
from ..synthetic.corpus import Corpus
from ..synthetic.teacher import teach_with_labels
from ..synthetic.tts import Phone, Utterance
from ..synthetic.vocabulary import HELD_OUT_WORDS

logger = logging.getLogger(__name__)
STYLE_ENERGY = {"neutral": 1.0, "lively": 1.4, "calm": 0.6}
TRACKS = ("phones", "prosody", "features", "motion", "text", "heard", "closed")


@dataclass(frozen=True)
class Recording:
    """Several utterances of one emotion and style, with pauses: what the teacher moves to.

    held: it has words that must not be learned with (or without) a gesture.
    """

    utterance: Utterance
    emotion: str
    style: str
    held: bool


def join(utterances: list[Utterance], gaps: list[float]) -> Utterance:
    """Utterances one after the other, gaps[i] seconds of silence after the i-th; times follow, phones tile."""
    waves, words, phones, offset = [], [], [], 0.0
    for utterance, gap in zip(utterances, gaps, strict=True):
        pause = torch.zeros(round(gap * SAMPLE_RATE))
        waves += [utterance.waveform, pause]
        words += [(w, s + offset, e + offset) for w, s, e in utterance.words]
        phones += [(p, s + offset, e + offset, k) for p, s, e, k in utterance.phones]
        spoken = offset + utterance.seconds
        offset = spoken + len(pause) / SAMPLE_RATE
        if len(pause):
            phones.append(("sil", spoken, offset, 0))
    text = " ".join(u.text for u in utterances)
    return replace(utterances[0], waveform=torch.cat(waves), words=tuple(words), phones=tuple(phones), text=text)


def recordings(corpus: Corpus, seed: int, seconds: float = 20.0) -> Iterator[Recording]:
    """All utterances of the corpus in recordings of about `seconds`, grouped by emotion, style and held-out words."""
    rng = random.Random(seed)
    groups: dict[tuple[str, str, bool], list[int]] = defaultdict(list)
    for i, entry in enumerate(corpus.entries):
        held = any(word.lower() in HELD_OUT_WORDS for word, _, _ in entry["words"])
        groups[entry["emotion"], entry["style"], held].append(i)
    for (emotion, style, held), members in sorted(groups.items()):
        rng.shuffle(members)
        while members:
            chosen, total = [], 0.0
            while members and total < seconds:
                chosen.append(corpus[members.pop()])
                total += chosen[-1].seconds
            gaps = [rng.uniform(0.05, 0.9) for _ in chosen]
            yield Recording(join(chosen, gaps), emotion, style, held)


def perform(recording: Recording, seed: int) -> tuple[Motion, Style]:
    """The teacher's performance at a random intensity and handedness, and the controls a user would set for it."""
    rng = np.random.default_rng(seed)
    handedness = float(np.clip(rng.normal(0, 0.6), -1, 1))
    intensity = float(rng.uniform(0.3, 1.0))
    spoken, style = recording.utterance, recording.style
    motion, _ = teach_with_labels(None, spoken, seed, style, recording.emotion, handedness=handedness)
    if recording.emotion != "neutral":
        plain, _ = teach_with_labels(None, spoken, seed, style, "neutral", handedness=handedness)
        motion = Motion(motion.rotations, torch.lerp(plain.expression, motion.expression, intensity), motion.fps)
    return motion, Style(recording.emotion, intensity, STYLE_ENERGY[style], handedness)


def oracle_phones(phones: Sequence[Phone], frames: int) -> Tensor:
    """(frames, 40) share of each frame that each phone sounds: what a perfect encoder would say."""
    out = torch.zeros(frames, len(PHONES))
    for name, start, end, _ in phones:
        first, last = int(start * FPS), min(frames, int(np.ceil(end * FPS)))
        for t in range(first, last):
            out[t, PHONE_INDEX[name]] += max(0.0, min(end * FPS, t + 1) - max(start * FPS, t))
    out[:, PHONE_INDEX["sil"]] += (1 - out.sum(1)).clamp_min(0)
    return out


def closed_frames(phones: Sequence[Phone], frames: int) -> Tensor:
    """(frames,) 1 in the frame nearest to the middle of every p, b, m: where lips must be shut."""
    out = torch.zeros(frames)
    for name, start, end, _ in phones:
        if name in CLOSURES:
            out[min(frames - 1, int((start + end) / 2 * FPS))] = 1
    return out


def recording_tracks(
    recording: Recording, motion: Motion, encoder: SpeechEncoder | None, prior: LanguagePrior
) -> dict[str, Tensor]:
    """All per-frame tracks of one recording; encoder None = oracle phones without features."""
    spoken = recording.utterance
    frames = frame_count(spoken.seconds)
    if encoder is None:
        probabilities, features = oracle_phones(spoken.phones, frames), torch.zeros(frames, 0)
    else:
        speech = encoder.encode(Audio(spoken.waveform, spoken.waveform[None], SAMPLE_RATE))
        probabilities, features = speech.phones.exp(), speech.features
    sound = prosody(spoken.waveform, frames)
    return {
        "phones": probabilities,
        "prosody": sound,
        "features": features,
        "motion": torch.cat([motion.rotations.flatten(1), motion.expression], 1),
        "text": prior.read(spoken.words, frames),
        "heard": prior.hear_all(torch.cat([probabilities, sound], 1)),
        "closed": closed_frames(spoken.phones, frames),
    }


def prepare(
    speech: Path, out: Path, seed: int, encoder: SpeechEncoder | None, prior: LanguagePrior, limit: int | None = None
) -> None:
    """Write the arrays of one split; `limit` recordings at most."""
    collected: dict[str, list[np.ndarray]] = defaultdict(list)
    styles, held = [], []
    for index, recording in enumerate(recordings(Corpus(speech), seed)):
        if limit is not None and index >= limit:
            break
        motion, style = perform(recording, seed * 100_003 + index)
        tracks = recording_tracks(recording, motion, encoder, prior)
        for name, track in tracks.items():
            collected[name].append(track.numpy().astype(np.uint8 if name == "closed" else np.float16))
        styles.append(style.vector().numpy())
        held.append(recording.held)
        if index % 50 == 0:
            logger.info("%s: %d recordings", out, index + 1)
    out.mkdir(parents=True, exist_ok=True)
    for name, parts in collected.items():
        np.save(out / f"{name}.npy", np.concatenate(parts))
    np.save(out / "style.npy", np.stack(styles))
    np.save(out / "held.npy", np.array(held))
    np.save(out / "starts.npy", np.cumsum([0] + [len(p) for p in collected["closed"]]))


@torch.no_grad()
def update_heard(folder: Path, prior: LanguagePrior) -> None:
    """Write heard.npy anew, from the stored sound, after the prior's sound path was trained."""
    data = MotionData(folder)
    parts = [prior.hear_all(data.recording(i)["audio"][0]).half().numpy() for i in range(len(data))]
    np.save(folder / "heard.npy", np.concatenate(parts))


class MotionData:
    """The arrays of one split, memory-mapped."""

    def __init__(self, folder: str | Path, features: bool = False):
        folder = Path(folder)
        if not (folder / "starts.npy").is_file():
            raise ValueError(f"{folder} holds no motion data; write it with training.motion_data")
        self.starts = np.load(folder / "starts.npy")
        self.style = np.load(folder / "style.npy")
        self.held = np.load(folder / "held.npy")
        wanted = [name for name in TRACKS if features or name != "features"]
        self.tracks = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in wanted}
        self.audio = ("phones", "prosody", "features") if features else ("phones", "prosody")

    def __len__(self) -> int:
        return len(self.style)

    def crops(self, rng: np.random.Generator, batch: int, frames: int, held: bool = False) -> dict[str, Tensor]:
        """Random crops: audio (B, T, F), motion (B, T, 199), text, heard (B, T, P), closed (B, T), style (B, 7).

        held: take them also from recordings with held-out words.
        """
        lengths = np.diff(self.starts)
        long = np.flatnonzero((lengths >= frames) & (held | ~self.held))
        chosen = rng.choice(long, batch, p=lengths[long] / lengths[long].sum())
        first = self.starts[chosen] + (rng.random(batch) * (lengths[chosen] - frames + 1)).astype(int)
        return self._rows(first, frames) | {"style": torch.from_numpy(self.style[chosen]).float()}

    def recording(self, index: int) -> dict[str, Tensor]:
        """One whole recording, as a batch of one."""
        first, last = self.starts[index : index + 2]
        return self._rows(np.array([first]), last - first) | {"style": torch.from_numpy(self.style[[index]]).float()}

    def _rows(self, first: np.ndarray, frames: int) -> dict[str, Tensor]:
        rows = first[:, None] + np.arange(frames)
        out = {name: torch.from_numpy(track[rows].astype(np.float32)) for name, track in self.tracks.items()}
        return out | {"audio": torch.cat([out[name] for name in self.audio], -1)}


def confuse_phones(probabilities: Tensor, rng: np.random.Generator, blur: float = 0.7, wrong: float = 0.2) -> Tensor:
    """Make oracle phones (B, T, 40) look like an encoder's: blurred in time, some frames partly another phone."""
    kernel = torch.exp(-0.5 * (torch.arange(-2, 3) / blur) ** 2)
    smooth = F.conv1d(probabilities.flatten(0, -2).T[:, None], (kernel / kernel.sum())[None, None], padding=2)
    smooth = smooth[:, 0].T.reshape(probabilities.shape)
    shape = probabilities.shape[:-1]
    other = torch.from_numpy(rng.integers(0, probabilities.shape[-1], shape))
    share = torch.from_numpy((rng.random(shape) < wrong) * rng.random(shape)).float()[..., None]
    return (1 - share) * smooth + share * F.one_hot(other, probabilities.shape[-1]).float()


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="training.motion_data", description=__doc__.splitlines()[0])
    parser.add_argument("--speech", type=Path, default=Path("data/speech"))
    parser.add_argument("--out", type=Path, default=Path("data/motion"))
    parser.add_argument("--split", choices=("train", "val"), default="train")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, default=None, help="recordings at most")
    parser.add_argument("--encoder", type=Path, default=NANO / "audio_encoder.safetensors", help="'-' = oracle phones")
    parser.add_argument("--prior", type=Path, default=NANO / "prior.safetensors")
    parser.add_argument("--heard-only", action="store_true", help="only write the states heard by --prior anew")
    options = parser.parse_args(arguments)
    prior = load(LanguagePrior, options.prior)
    out = options.out / options.split
    if options.heard_only:
        update_heard(out, prior)
        return
    encoder = None if str(options.encoder) == "-" else load(SpeechEncoder, options.encoder)
    with torch.no_grad():
        prepare(options.speech / options.split, out, options.seed, encoder, prior, options.limit)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
