"""Features of a public speech model over a corpus, as a second target for `audio_encoder.py`: writes teacher.npy.

`python -m stereotalker_core.training.speech_teacher --data data/speech/train --whisper FOLDER` needs a Whisper folder
in Hugging Face format (tiny.en suffices; tools/whisper_from_ctranslate2.py makes one from a CTranslate2 file).
"""

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..audio.encoder import HOP
from ..audio.load import normalise_loudness
from ..checkpoint import write_atomically
from ..synthetic.corpus import Corpus
from .audio_encoder import utterance_wave

logger = logging.getLogger(__name__)


class WhisperTeacher:
    """Hidden states after `layer` encoder layers, at 50 Hz, of utterances at their own length (no 30 s window)."""

    def __init__(self, folder: str | Path, layer: int) -> None:
        from transformers import WhisperFeatureExtractor, WhisperModel

        self.encoder: nn.Module = WhisperModel.from_pretrained(folder).encoder.eval()
        if not 1 <= layer <= len(self.encoder.layers):
            raise ValueError(f"layer {layer} is not one of 1..{len(self.encoder.layers)}")
        self.layer = layer
        self.extract = WhisperFeatureExtractor(feature_size=self.encoder.config.num_mel_bins)

    @torch.no_grad()
    def __call__(self, waveform: Tensor) -> Tensor:
        """(S,) at 16 kHz -> (ceil(S / 320), D), centred like the frames of `SpeechEncoder`."""
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


def write_teacher(data: Path, teacher: WhisperTeacher) -> Path:
    """Write data/teacher.npy (N, D) float16, each dimension standardised over the corpus; the path."""
    corpus = Corpus(data)
    parts = []
    for i in range(len(corpus)):
        parts.append(teacher(normalise_loudness(utterance_wave(corpus, i))).half().numpy())
        if i % 500 == 499:
            logger.info("%d of %d utterances", i + 1, len(corpus))
    values = np.concatenate(parts)
    sample = values[:: max(1, len(values) // 50_000)].astype(np.float32)
    mean, deviation = sample.mean(0), sample.std(0).clip(1e-3)
    for start in range(0, len(values), 10_000):
        rows = slice(start, start + 10_000)
        values[rows] = (values[rows].astype(np.float32) - mean) / deviation
    path = data / "teacher.npy"
    write_atomically(path, lambda name: np.save(name, values))
    return path


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="speech_teacher", description="Precompute the teacher's features.")
    parser.add_argument("--data", type=Path, default=Path("data/speech/train"))
    parser.add_argument("--whisper", type=Path, required=True)
    parser.add_argument("--layer", type=int, default=3)
    o = parser.parse_args(arguments)
    logger.info("wrote %s", write_teacher(o.data, WhisperTeacher(o.whisper, o.layer)))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    main()
