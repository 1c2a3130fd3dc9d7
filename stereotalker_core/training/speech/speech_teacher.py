"""Features of a public speech model over a corpus, as a second target for `audio_encoder.py`: writes teacher.npy.

`python -m stereotalker_core train speech-teacher --data data/speech/train --whisper FOLDER` needs a Whisper
folder in Hugging Face format (tiny.en suffices; tools/whisper_from_ctranslate2.py makes one from a CTranslate2 file).
With --like FOLDER the features are scaled like those of that corpus. A linear probe trained on that corpus then
predicts phones from the features; its confident predictions are kept (guesses.npy) as labels for recordings without.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...audio.encoder import HOP
from ...audio.load import normalise_loudness
from ...audio.phones import PHONES
from ...checkpoint import write_atomically
from ...synthetic.speech.corpus import Corpus, phone_labels
from ..loop import generator
from .audio_encoder import IGNORED, utterance_wave

logger = logging.getLogger(__name__)


class WhisperTeacher:
    """The encoder of Whisper as a teacher: called with an utterance, it returns hidden states at 50 Hz.

    folder: the model, in Hugging Face format; layer: the encoder layer whose output is taken, from 1 on. Utterances
        keep their own length, while Whisper itself fills all to 30 s."""

    def __init__(self, folder: str | Path, layer: int) -> None:
        from transformers import WhisperFeatureExtractor, WhisperModel

        self.encoder: Any = WhisperModel.from_pretrained(folder).encoder.eval()
        if not 1 <= layer <= len(self.encoder.layers):
            raise ValueError(f"layer {layer} is not one of 1..{len(self.encoder.layers)}")
        self.layer = layer
        self.extract: Any = WhisperFeatureExtractor(feature_size=self.encoder.config.num_mel_bins)

    @torch.no_grad()
    def __call__(self, waveform: Tensor) -> Tensor:
        """Map samples (S,) at 16 kHz -> hidden states (ceil(S / 320), D), one for each frame of `SpeechEncoder`."""
        frames = -(-waveform.shape[0] // HOP)
        samples = F.pad(waveform, (0, (frames + 1) * HOP - waveform.shape[0])).numpy()
        mel = self.extract(samples, sampling_rate=16_000, padding=False, return_tensors="pt").input_features
        hidden = F.gelu(self.encoder.conv2(F.gelu(self.encoder.conv1(mel)))).transpose(1, 2)
        hidden = hidden + self.encoder.embed_positions.weight[: hidden.shape[1]]
        for layer in self.encoder.layers[: self.layer]:
            out = layer(hidden, attention_mask=None)
            hidden = out[0] if isinstance(out, tuple) else out
        hidden = F.layer_norm(hidden[0], hidden.shape[-1:])
        # frame k of Whisper is centred on sample 320 k, ours on 320 k + 160
        return (hidden[:frames] + hidden[1 : frames + 1]) / 2


def write_teacher(data: Path, teacher: WhisperTeacher, like: Path | None = None) -> Path:
    """Write the teacher's features of a whole corpus to teacher.npy (N, D) float16 in its folder -> the file's path.

    Each of the D features is standardised by its mean and deviation over a corpus.
    data: folder of the corpus; teacher: computes the features; like: folder of the corpus whose mean and deviation are
        used, None: of this one."""
    corpus = Corpus(data)
    parts = []
    for i in range(len(corpus)):
        parts.append(teacher(normalise_loudness(utterance_wave(corpus, i))).half().numpy())
        if i % 500 == 499:
            logger.info("%d of %d utterances", i + 1, len(corpus))
    values = np.concatenate(parts)
    if like is None:
        sample = values[:: max(1, len(values) // 50_000)].astype(np.float32)
        mean, deviation = sample.mean(0), sample.std(0).clip(1e-3)
    else:
        mean, deviation = np.load(like / "teacher_scale.npy")
    for start in range(0, len(values), 10_000):
        rows = slice(start, start + 10_000)
        values[rows] = (values[rows].astype(np.float32) - mean) / deviation
    write_atomically(data / "teacher_scale.npy", lambda name: np.save(name, np.stack([mean, deviation])))
    write_atomically(data / "teacher.npy", lambda name: np.save(name, values))
    return data / "teacher.npy"


class PhoneProbe(nn.Module):
    """Map teacher features (N, D) of one utterance -> phone logits (N, 40), each frame from its +-3 neighbours."""

    def __init__(self, width: int, hidden: int = 256) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, hidden, 7, padding=3)
        self.out = nn.Linear(hidden, len(PHONES))

    def forward(self, features: Tensor) -> Tensor:
        return self.out(F.gelu(self.first(features.float().T[None]))[0].T)


def fit_probe(data: Path, steps: int = 1500, frames: int = 3000, seed: int = 0) -> PhoneProbe:
    """Train the phone probe on a corpus with labels and teacher.npy.

    data: its folder; steps: optimiser steps; frames: per step; seed: of the training."""
    corpus, values = Corpus(data), np.load(data / "teacher.npy", mmap_mode="r")
    starts = np.concatenate([[0], np.cumsum([-(-e["samples"] // HOP) for e in corpus.entries])])
    labels = np.concatenate(
        [phone_labels(u.phones, b - a) for u, a, b in zip(corpus, starts, starts[1:], strict=False)]
    )
    torch.manual_seed(seed)
    probe = PhoneProbe(values.shape[1])
    optimizer = torch.optim.AdamW(probe.parameters(), 1e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(steps):
        first = int(generator(seed, step).integers(0, max(1, len(values) - frames)))
        logits = probe(torch.from_numpy(np.asarray(values[first : first + frames])))
        loss = F.cross_entropy(logits, torch.from_numpy(labels[first : first + frames]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        if step % 250 == 0:
            logger.info("probe %d loss %.3f", step, float(loss.detach()))
    return probe.eval()


@torch.no_grad()
def write_guesses(data: Path, probe: PhoneProbe, sure: float = 0.7) -> float:
    """Write data/guesses.npy (N,) int16: the probe's phone where its probability exceeds `sure` -> fraction of frames
    with one."""
    values = np.load(data / "teacher.npy", mmap_mode="r")
    parts = []
    for start in range(0, len(values), 5000):
        chance, phone = probe(torch.from_numpy(np.asarray(values[start : start + 5000]))).softmax(-1).max(-1)
        parts.append(torch.where(chance > sure, phone, IGNORED).numpy().astype(np.int16))
    guesses = np.concatenate(parts)
    write_atomically(data / "guesses.npy", lambda name: np.save(name, guesses))
    return float((guesses != IGNORED).mean())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train speech-teacher`."""
    parser.add_argument("--data", type=Path, default=Path("data/speech/train"))
    parser.add_argument("--whisper", type=Path, required=True)
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--like", type=Path, help="a labelled corpus that has its features already")


def run(options: argparse.Namespace) -> None:
    """Write the teacher's features of a corpus, and the probe's phones where it has none."""
    logger.info("wrote %s", write_teacher(options.data, WhisperTeacher(options.whisper, options.layer), options.like))
    if options.like and not all(e["phones"] for e in Corpus(options.data).entries):
        logger.info("the probe is sure of %.2f of the frames", write_guesses(options.data, fit_probe(options.like)))
