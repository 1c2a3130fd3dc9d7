"""Speech corpus -> training data of stage 1: `python -m stereotalker_core train motion-data --split train`.

Utterances of one emotion and style are joined into recordings of some 20 s with pauses, the procedural teacher moves to
them, and all per-frame tracks are stored once, one recording after the other, as memory-mapped arrays:
phones (N, 40) float16 probabilities, prosody (N, 5), features (N, D), motion (N, 199) rotations then expression,
text (N, P) and heard (N, P) states of the language prior, closed (N,) lips shut by p, b or m, word (N,) its number in
words.txt (0 = none), gesture (N,) 1 + the class of the meaning gesture that is going on; and for each of R recordings
style (R, 10), held (R,) has held-out words, starts (R + 1,).
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

from ...audio.encoder import SpeechEncoder
from ...audio.phones import CLOSURES, PHONE_INDEX, PHONES
from ...checkpoint import NANO, load, write_atomically
from ...motion.conditioning import Style, prosody
from ...motion.networks.prior import LanguagePrior
from ...records import Audio, Motion
from ...shapes import FPS, SAMPLE_RATE, frame_count
from ...synthetic.movement.gestures import GestureEvent
from ...synthetic.movement.teacher import teach_with_labels
from ...synthetic.speech.corpus import Corpus
from ...synthetic.speech.utterance import Phone, Utterance, Word
from ...synthetic.speech.vocabulary import GESTURE_WORDS, HELD_OUT_WORDS

logger = logging.getLogger(__name__)
STYLE_ENERGY = {"neutral": 1.0, "lively": 1.4, "calm": 0.6}
TRACKS = ("phones", "prosody", "features", "motion", "text", "heard", "closed", "word", "gesture")
_TYPES = {"closed": np.uint8, "gesture": np.uint8, "word": np.int16}  # of the stored arrays; float16 else
CLASSES = tuple(GESTURE_WORDS)


@dataclass(frozen=True)
class Recording:
    """The recording: utterances of one emotion and style joined with pauses, to which the teacher moves.

    utterance: the joined speech; intensity: of the emotion, 0..1; held: it contains held-out words (words that training
    never pairs with a gesture), so that crops leave it out unless asked."""

    utterance: Utterance
    emotion: str
    style: str
    held: bool
    intensity: float = 1.0


def join(utterances: list[Utterance], gaps: list[float]) -> Utterance:
    """Concatenate utterances, with gaps[i] seconds of silence after number i; all times are shifted to fit.

    The pauses become phones of silence, so that the phones cover the whole without gaps."""
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
    """Join the corpus's utterances to recordings of about `seconds`, in random order; yield each.

    The utterances of one recording share emotion, intensity, style, and whether they are held out. The first recordings
    are a random sample of all."""
    rng = random.Random(seed)
    groups: dict[tuple[str, int, str, bool], list[int]] = defaultdict(list)
    for i, entry in enumerate(corpus.entries):
        held = any(word.lower() in HELD_OUT_WORDS for word, _, _ in entry["words"])
        groups[entry["emotion"], entry.get("intensity", 3), entry["style"], held].append(i)
    plan: list[tuple[tuple[str, int, str, bool], list[int]]] = []
    for kind, members in sorted(groups.items()):
        rng.shuffle(members)
        while members:
            chosen, total = [], 0.0
            while members and total < seconds:
                chosen.append(members.pop())
                total += corpus.entries[chosen[-1]]["seconds"]
            plan.append((kind, chosen))
    rng.shuffle(plan)
    for (emotion, intensity, style, held), chosen in plan:
        spoken = join([corpus[i] for i in chosen], [rng.uniform(0.05, 0.9) for _ in chosen])
        yield Recording(spoken, emotion, style, held, intensity / 3)


def perform(recording: Recording, seed: int) -> tuple[Motion, list[GestureEvent], Style]:
    """Let the teacher perform a recording -> the motion, its gestures, and the style that a user would set to get it.

    recording: what is said and how; seed: determines the handedness, which is random, and the performance."""
    rng = np.random.default_rng(seed)
    handedness = float(np.clip(rng.normal(0, 0.6), -1, 1))
    spoken, style, intensity = recording.utterance, recording.style, recording.intensity
    motion, events = teach_with_labels(
        None, spoken, seed, style, recording.emotion, handedness=handedness, intensity=intensity
    )
    return motion, events, Style(recording.emotion, intensity, STYLE_ENERGY[style], handedness)


def oracle_phones(phones: Sequence[Phone], frames: int) -> Tensor:
    """Return (frames, 40) the fraction of each frame that each phone takes: the output of a perfect encoder."""
    out = torch.zeros(frames, len(PHONES))
    for name, start, end, _ in phones:
        first, last = int(start * FPS), min(frames, int(np.ceil(end * FPS)))
        for t in range(first, last):
            out[t, PHONE_INDEX[name]] += max(0.0, min(end * FPS, t + 1) - max(start * FPS, t))
    out[:, PHONE_INDEX["sil"]] += (1 - out.sum(1)).clamp_min(0)
    return out


def closed_frames(phones: Sequence[Phone], frames: int) -> Tensor:
    """Return (frames,), 1 in the middle frame of every p, b and m, where lips must be shut."""
    out = torch.zeros(frames)
    for name, start, end, _ in phones:
        if name in CLOSURES:
            out[min(frames - 1, int((start + end) / 2 * FPS))] = 1
    return out


def gesture_frames(events: Sequence[GestureEvent], frames: int) -> Tensor:
    """Return (frames,) 1 + class of the meaning gesture during preparation, stroke and hold; 0 elsewhere."""
    out = torch.zeros(frames)
    for event in events:
        if event.gesture in CLASSES:
            out[int(event.start * FPS) : int((event.end - 0.3) * FPS)] = 1 + CLASSES.index(event.gesture)
    return out


def word_frames(words: Sequence[Word], numbers: dict[str, int], frames: int) -> Tensor:
    """Return (frames,) the number of the word being said, 0 between words, on the frames of `LanguagePrior.read`.

    numbers: {word: number}; new words are added to it."""
    out = torch.zeros(frames)
    for word, start, end in words:
        first = min(round(start * FPS), frames)
        out[first : max(first + 1, round(end * FPS))] = numbers.setdefault(word.lower(), len(numbers) + 1)
    return out


def sound_tracks(spoken: Utterance, encoder: SpeechEncoder | None, prior: LanguagePrior) -> dict[str, Tensor]:
    """Compute what the networks hear of an utterance -> {"phones" (T, 40), "prosody" (T, 5), "features" (T, D), "heard"
    (T, P)}.

    spoken: the utterance; encoder: None takes its true phones and no features (D = 0); prior: computes "heard", its
        states from the sound."""
    frames = frame_count(spoken.seconds)
    if encoder is None:
        probabilities, features = oracle_phones(spoken.phones, frames), torch.zeros(frames, 0)
    else:
        speech = encoder.encode(Audio(spoken.waveform, spoken.waveform[None], SAMPLE_RATE))
        probabilities, features = speech.phones.exp(), speech.features
    sound = prosody(spoken.waveform, frames)
    heard = prior.hear_all(torch.cat([probabilities, sound], 1))
    return {"phones": probabilities, "prosody": sound, "features": features, "heard": heard}


def prepare(
    speech: Path, out: Path, seed: int, encoder: SpeechEncoder | None, prior: LanguagePrior, limit: int | None = None
) -> None:
    """Write the arrays of one split.

    speech: folder of its corpus.
    out: folder of the arrays.
    seed: determines how recordings are joined and performed.
    encoder: the speech encoder; None for true phones.
    prior: the language prior.
    limit: recordings at most; None for all."""
    collected: dict[str, list[np.ndarray]] = defaultdict(list)
    styles, held, numbers = [], [], {}
    for index, recording in enumerate(recordings(Corpus(speech), seed)):
        if limit is not None and index >= limit:
            break
        motion, events, style = perform(recording, seed * 100_003 + index)
        spoken, frames = recording.utterance, len(motion)
        tracks = sound_tracks(spoken, encoder, prior) | {
            "motion": torch.cat([motion.rotations.flatten(1), motion.expression], 1),
            "text": prior.read(spoken.words, frames),
            "closed": closed_frames(spoken.phones, frames),
            "word": word_frames(spoken.words, numbers, frames),
            "gesture": gesture_frames(events, frames),
        }
        _collect(collected, tracks)
        styles.append(style.vector().numpy())
        held.append(recording.held)
        if index % 50 == 0:
            logger.info("%s: %d recordings", out, index + 1)
    _write_tracks(out, collected)
    np.save(out / "style.npy", np.stack(styles))
    np.save(out / "held.npy", np.array(held))
    np.save(out / "starts.npy", np.cumsum([0] + [len(p) for p in collected["closed"]]))
    (out / "words.txt").write_text("\n".join(["-", *numbers]) + "\n", encoding="utf-8")


def _collect(collected: dict[str, list[np.ndarray]], tracks: dict[str, Tensor]) -> None:
    for name, track in tracks.items():
        collected[name].append(track.numpy().astype(_TYPES.get(name, np.float16)))


def _write_tracks(out: Path, collected: dict[str, list[np.ndarray]]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, parts in collected.items():
        write_atomically(out / f"{name}.npy", lambda path, parts=parts: np.save(path, np.concatenate(parts)))


@torch.no_grad()
def update_sound(speech: Path, out: Path, seed: int, encoder: SpeechEncoder | None, prior: LanguagePrior) -> None:
    """Replace the tracks of the sound after a change of the encoder; the performances stay. Arguments as in `prepare`.
    """
    collected: dict[str, list[np.ndarray]] = defaultdict(list)
    for _, recording in zip(range(len(MotionData(out))), recordings(Corpus(speech), seed), strict=False):
        _collect(collected, sound_tracks(recording.utterance, encoder, prior))
    _write_tracks(out, collected)


@torch.no_grad()
def update_heard(folder: Path, prior: LanguagePrior) -> None:
    """Recompute heard.npy, the states that the prior hears in the stored sound; needed after that path of the prior was
    trained.

    folder: of the split; prior: the language prior."""
    data = MotionData(folder)
    parts = [prior.hear_all(data.recording(i)["audio"][0]).half().numpy() for i in range(len(data))]
    _write_tracks(folder, {"heard": parts})


class MotionData:
    """The memory-mapped arrays of one split, from which crops are drawn. ValueError where the folder holds none.

    folder: of the split; features: True to read the speech encoder's features as well, as part of "audio"."""

    def __init__(self, folder: str | Path, features: bool = False):
        folder = Path(folder)
        if not (folder / "starts.npy").is_file():
            raise ValueError(f"{folder} holds no motion data; write it with training.motion_data")
        self.starts = np.load(folder / "starts.npy")
        self.style = np.load(folder / "style.npy")
        self.held = np.load(folder / "held.npy")
        wanted = [name for name in TRACKS if features or name != "features"]
        self.words = (folder / "words.txt").read_text(encoding="utf-8").split()
        self.tracks = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in wanted}
        self.audio = ("phones", "prosody", "features") if features else ("phones", "prosody")
        self.name = folder.name

    def described(self) -> str:
        """Return a line of text for a checkpoint's metadata: name, length and number of recordings."""
        return f"{self.name}: {self.starts[-1] / FPS / 60:.1f} min in {len(self)} recordings"

    def __len__(self) -> int:
        return len(self.style)

    def crops(self, rng: np.random.Generator, batch: int, frames: int, held: bool = False) -> dict[str, Tensor]:
        """Draw B random crops of T frames -> {track: (B, T, ...)}, with "audio" (B, T, F) and "style" (B, 10).

        rng: random generator; batch: B; frames: T; held: True to draw from recordings with held-out words, too. The top
            of this file describes the tracks. "audio" joins phones and prosody, and the features where these are read.
        """
        lengths = np.diff(self.starts)
        long = np.flatnonzero((lengths >= frames) & (held | ~self.held))
        chosen = rng.choice(long, batch, p=lengths[long] / lengths[long].sum())
        first = self.starts[chosen] + (rng.random(batch) * (lengths[chosen] - frames + 1)).astype(int)
        return self._rows(first, frames) | {"style": torch.from_numpy(self.style[chosen]).float()}

    def recording(self, index: int) -> dict[str, Tensor]:
        """Return one whole recording as a batch of one, with the keys of `crops`."""
        first, last = self.starts[index : index + 2]
        return self._rows(np.array([first]), last - first) | {"style": torch.from_numpy(self.style[[index]]).float()}

    def _rows(self, first: np.ndarray, frames: int) -> dict[str, Tensor]:
        rows = first[:, None] + np.arange(frames)
        out = {name: torch.from_numpy(track[rows].astype(np.float32)) for name, track in self.tracks.items()}
        return out | {"audio": torch.cat([out[name] for name in self.audio], -1)}


class MixedMotion:
    """The combination of several `MotionData`, with their methods; weights: how often each is drawn, relative to the
    others."""

    def __init__(self, sets: Sequence[MotionData], weights: Sequence[float]):
        self.sets, self.shares = sets, np.array(weights) / sum(weights)

    def described(self) -> str:
        """Return a line of text about the sets, with how often each is drawn."""
        pairs = zip(self.sets, self.shares, strict=True)
        return " + ".join(f"{data.described()} ({share:.0%} of the crops)" for data, share in pairs)

    def crops(self, rng: np.random.Generator, batch: int, frames: int, held: bool = False) -> dict[str, Tensor]:
        """Draw crops as `MotionData.crops` does, each from a set chosen by the weights."""
        counts = rng.multinomial(batch, self.shares)
        parts = [data.crops(rng, int(n), frames, held) for data, n in zip(self.sets, counts, strict=True) if n]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def confuse_phones(probabilities: Tensor, rng: np.random.Generator, blur: float = 0.7, wrong: float = 0.2) -> Tensor:
    """Make true phones (B, T, 40) look like an encoder's output: blurred in time, some frames partly another phone.

    blur: standard deviation in frames; wrong: fraction of frames with another phone."""
    kernel = torch.exp(-0.5 * (torch.arange(-2, 3) / blur) ** 2)
    smooth = F.conv1d(probabilities.flatten(0, -2).T[:, None], (kernel / kernel.sum())[None, None], padding=2)
    smooth = smooth[:, 0].T.reshape(probabilities.shape)
    shape = probabilities.shape[:-1]
    other = torch.from_numpy(rng.integers(0, probabilities.shape[-1], shape))
    share = torch.from_numpy((rng.random(shape) < wrong) * rng.random(shape)).float()[..., None]
    return (1 - share) * smooth + share * F.one_hot(other, probabilities.shape[-1]).float()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train motion-data`."""
    parser.add_argument("--speech", type=Path, default=Path("data/speech"))
    parser.add_argument("--out", type=Path, default=Path("data/motion"))
    parser.add_argument("--split", default="train", help="folder of the speech corpus")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, default=None, help="recordings at most")
    parser.add_argument("--encoder", type=Path, default=NANO / "audio_encoder.safetensors", help="'-' = oracle phones")
    parser.add_argument("--prior", type=Path, default=NANO / "prior.safetensors")
    parser.add_argument("--heard-only", action="store_true", help="only write the states heard by --prior anew")
    parser.add_argument("--sound-only", action="store_true", help="only write what --encoder and --prior hear anew")


def run(options: argparse.Namespace) -> None:
    """Write the tracks of a split, or recompute those of the sound."""
    prior = load(LanguagePrior, options.prior)
    out = options.out / options.split
    if options.heard_only:
        update_heard(out, prior)
        return
    encoder = None if str(options.encoder) == "-" else load(SpeechEncoder, options.encoder)
    if options.sound_only:
        update_sound(options.speech / options.split, out, options.seed, encoder, prior)
        return
    with torch.no_grad():
        prepare(options.speech / options.split, out, options.seed, encoder, prior, options.limit)
