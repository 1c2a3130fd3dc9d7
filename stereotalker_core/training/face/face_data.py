"""Training data of ProbTalk3D: a 3DMEAD folder, and a synthetic set of the same form from the speech corpus.

    python -m stereotalker_core synth faces --speech data/speech --split train --out data/faces

A 3DMEAD folder has param/M003_012_5_1.npy, (1, T, 403), and wav/M003_012_5_1.wav (identity, sentence, emotion,
intensity). The synthetic set is memory-mapped: sound.npy (N, 45), what `conditioning.speech_channels` gives for every
frame of every sentence, motion.npy (M, 53) normalised, performance after performance, and index.json.
"""

import argparse
import json
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...audio.encoder import SpeechEncoder
from ...checkpoint import NANO, load
from ...face.arkit_map import layout_map
from ...face.hearing import hear
from ...face.layout import EMOTIONS, IDENTITIES, FaceStyle, denormalise, from_403, normalise, to_403
from ...records import Audio
from ...shapes import SAMPLE_RATE
from ...synthetic.movement.emotional_faces import draw_style, perform
from ...synthetic.speech.corpus import Corpus

logger = logging.getLogger(__name__)
SUBJECTS = {
    "train": IDENTITIES,
    "val": ("M032", "M033", "M034", "M035", "W033", "W035", "W036"),
    "test": ("M037", "M039", "M040", "M041", "M042", "W037", "W038", "W040"),
}
# stage 2: last sentence number of a split, for neutral and for the emotions
_SENTENCES = {"train": (32, 24), "val": (36, 27), "test": (40, 30)}


@dataclass(frozen=True)
class MeadClip:
    """The clip of a 3DMEAD folder: its name, the file of its motion, and its recording (None: no file)."""

    name: str
    path: Path
    sound: Path | None

    @property
    def motion(self) -> Tensor:
        """Return the normalised motion (T, 53); ValueError for a file of another shape."""
        values = np.load(self.path, allow_pickle=False)
        if values.ndim != 3 or values.shape[0] != 1 or values.shape[1] == 0:
            raise ValueError(f"{self.path} has shape {values.shape}; a 3DMEAD clip has (1, frames, 403)")
        return normalise(from_403(torch.from_numpy(values[0]).float()))

    @property
    def style(self) -> Tensor:
        """Return the style vector (43,): one-hot identity, emotion and intensity."""
        return FaceStyle.of_clip(self.name).vector()


def clip_fields(name: str) -> tuple[str, int, int]:
    """Parse "M003_012_5_1" -> (subject, sentence, emotion); ValueError for another form."""
    fields = name.split("_")
    if len(fields) != 4 or not all(f.isdigit() for f in fields[1:]):
        raise ValueError(f"{name!r} is not named like M003_012_5_1: subject, sentence, emotion, intensity")
    return fields[0], int(fields[1]), int(fields[2])


def sentence_split(emotion: int, sentence: int) -> str:
    """Return the split of stage 2 that a sentence belongs to: "train", "val", "test", or "" for a number beyond the
    last.

    emotion: index of the emotion; neutral has other limits; sentence: number of the sentence, from 1 on."""
    for split, limits in _SENTENCES.items():
        if 1 <= sentence <= limits[0 if emotion == 0 else 1]:
            return split
    return ""


def mead_clips(folder: str | Path, stage: int, split: str) -> list[MeadClip]:
    """Return the clips of a split, sorted by name; stage 1 splits by subject, stage 2 by sentence.

    folder: the 3DMEAD folder; stage: of the training, 1 or 2; split: "train", "val" or "test".

    ValueError where the folder holds no such clip, or, for stage 2, where one lacks its recording."""
    folder = Path(folder)
    if stage not in (1, 2) or split not in SUBJECTS:
        raise ValueError(f"stage {stage} and split {split!r} must be 1 or 2 and one of {', '.join(SUBJECTS)}")
    found = []
    for path in sorted((folder / "param").glob("*.npy")):
        subject, sentence, emotion = clip_fields(path.stem)
        sound = folder / "wav" / f"{path.stem}.wav"
        if stage == 1 and subject in SUBJECTS[split]:
            found.append(MeadClip(path.stem, path, sound if sound.is_file() else None))
        elif stage == 2 and subject in IDENTITIES and sentence_split(emotion, sentence) == split:
            if not sound.is_file():
                raise ValueError(f"{path.name} has no recording at {sound}")
            found.append(MeadClip(path.stem, path, sound))
    if not found:
        raise ValueError(f"{folder} holds no clip of split {split!r} for stage {stage} (param/M003_012_5_1.npy)")
    return found


def write_mead(clips: Iterator[tuple[str, Tensor, Tensor]], folder: str | Path) -> int:
    """Write clips (name, normalised motion (T, 53), waveform (S,) at 16 kHz) as a 3DMEAD folder -> their number."""
    import wave

    folder = Path(folder)
    (folder / "param").mkdir(parents=True, exist_ok=True)
    (folder / "wav").mkdir(parents=True, exist_ok=True)
    count = 0
    for name, motion, waveform in clips:
        clip_fields(name)
        np.save(folder / "param" / f"{name}.npy", to_403(denormalise(motion))[None].double().numpy())
        with wave.open(str(folder / "wav" / f"{name}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes((waveform.clamp(-1, 1) * 32767).round().short().numpy().tobytes())
        count += 1
    return count


@torch.no_grad()
def write_faces(
    speech: Path, out: Path, encoder: SpeechEncoder, performances: int, seed: int, limit: int | None
) -> int:
    """Write the synthetic set of one split of the corpus, with several performances of every sentence -> their number.

    speech: folder of the split.
    out: folder of the set.
    encoder: the speech encoder.
    performances: how many of every sentence.
    seed: determines styles and performances.
    limit: sentences at most; None for all."""
    if performances < 1:
        raise ValueError(f"performances must be at least 1, got {performances}")
    corpus, to_face, rng = Corpus(speech), layout_map(), random.Random(seed)
    sounds, motions, clips = [], [], []
    for i in range(len(corpus) if limit is None else min(limit, len(corpus))):
        utterance = corpus[i]
        sounds.append(hear(encoder, _audio(utterance.waveform)).half().numpy())
        for k in range(performances):
            style = draw_style(rng)
            motion = normalise(to_face.face(perform(utterance, style, seed * 1009 + k)))
            motions.append(motion.half().numpy())
            clips.append({"sentence": i, "style": [style.identity, style.emotion, style.intensity]})
        if i % 500 == 0:
            logger.info("%s: %d sentences", out, i + 1)
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "sound.npy", np.concatenate(sounds))
    np.save(out / "motion.npy", np.concatenate(motions))
    index = {"frames": [len(s) for s in sounds], "clips": clips, "seed": seed}
    (out / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return len(clips)


def _audio(waveform: Tensor) -> Audio:
    return Audio(waveform, waveform[None], SAMPLE_RATE)


class FaceData:
    """The reader of the synthetic set in a folder. ValueError where the folder holds none."""

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        if not (folder / "index.json").is_file():
            raise ValueError(f"{folder} holds no face data; write it with: synth faces")
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        frames = np.array(index["frames"])
        self.sentence = np.array([clip["sentence"] for clip in index["clips"]])
        self.styles = [FaceStyle(*clip["style"]) for clip in index["clips"]]
        self.vectors = torch.stack([style.vector() for style in self.styles])
        self.lengths = frames[self.sentence]
        self.sound_start = (np.cumsum(frames) - frames)[self.sentence]
        self.motion_start = np.cumsum(self.lengths) - self.lengths
        self.sound = np.load(folder / "sound.npy", mmap_mode="r")
        self.motion = np.load(folder / "motion.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self.styles)

    def clip(self, index: int) -> dict[str, Tensor]:
        """Return one whole performance as a batch of one: {"sound" (1, T, 45), "motion" (1, T, 53), "style" (1,
        43)}."""
        return self._rows(np.array([index]), np.zeros(1, dtype=int), int(self.lengths[index]))

    def crops(self, rng: np.random.Generator, batch: int, frames: int) -> dict[str, Tensor]:
        """Draw crops of random clips that are long enough: {"sound" (B, T, 45), "motion" (B, T, 53), "style" (B, 43)}.

        rng: random generator; batch: B, number of crops; frames: T, length of each. "sound" is phone probabilities and
            prosody, "motion" the normalised face parameters, "style" the vector of a `FaceStyle`. ValueError where no
            clip has T frames."""
        long = np.flatnonzero(self.lengths >= frames)
        if not len(long):
            raise ValueError(f"no clip has {frames} frames; the longest has {self.lengths.max()}")
        chosen = rng.choice(long, batch)
        first = (rng.random(batch) * (self.lengths[chosen] - frames + 1)).astype(int)
        return self._rows(chosen, first, frames)

    def _rows(self, chosen: np.ndarray, first: np.ndarray, frames: int) -> dict[str, Tensor]:
        steps = np.arange(frames)
        sound = self.sound[(self.sound_start[chosen] + first)[:, None] + steps]
        motion = self.motion[(self.motion_start[chosen] + first)[:, None] + steps]
        return {
            "sound": torch.from_numpy(sound.astype(np.float32)),
            "motion": torch.from_numpy(motion.astype(np.float32)),
            "style": self.vectors[torch.from_numpy(chosen)],
        }


class MixedFaces:
    """The combination of several sets, with the methods of `FaceData`; shares: how often each is drawn, relative to the
    others."""

    def __init__(self, sets: list[FaceData], shares: list[float]) -> None:
        if len(sets) != len(shares) or not sets or min(shares) <= 0:
            raise ValueError(f"{len(sets)} sets need as many positive shares, got {shares}")
        self.sets, self.shares = sets, np.array(shares) / sum(shares)

    def crops(self, rng: np.random.Generator, batch: int, frames: int) -> dict[str, Tensor]:
        """Draw crops as `FaceData.crops` does, each from a set chosen by the shares."""
        counts = rng.multinomial(batch, self.shares)
        parts = [data.crops(rng, int(n), frames) for data, n in zip(self.sets, counts, strict=True) if n]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def read_sets(folder: Path, splits: str) -> FaceData | MixedFaces:
    """Open the sets of a folder: "train" -> that one, "train6:3,kokoro:1" -> both, mixed in the ratio 3 to 1.

    folder: parent of the sets; splits: their names, with the weight of each (1 where none is given)."""
    pairs = [(name.strip(), share or "1") for name, _, share in (s.partition(":") for s in splits.split(","))]
    sets = [FaceData(folder / name) for name, _ in pairs]
    return sets[0] if len(sets) == 1 else MixedFaces(sets, [float(share) for _, share in pairs])


def emotion_index(style: FaceStyle) -> int:
    """Return the emotion's index in EMOTIONS, 0..7."""
    return EMOTIONS.index(style.emotion)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `synth faces`."""
    parser.add_argument("--speech", type=Path, default=Path("data/speech"))
    parser.add_argument("--split", default="train", help="folder of the speech corpus, and of what is written")
    parser.add_argument("--out", type=Path, default=Path("data/faces"))
    parser.add_argument("--performances", type=int, default=4, help="of every sentence")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, default=None, help="sentences at most")
    parser.add_argument("--encoder", type=Path, default=NANO / "audio_encoder.safetensors")


def run(options: argparse.Namespace) -> None:
    """Write the performances of a split."""
    encoder = load(SpeechEncoder, options.encoder)
    out = options.out / options.split
    count = write_faces(options.speech / options.split, out, encoder, options.performances, options.seed, options.limit)
    logger.info("wrote %d performances to %s", count, out)
