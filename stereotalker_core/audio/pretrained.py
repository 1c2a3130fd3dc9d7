"""Public full-size speech encoders (wav2vec 2.0, HuBERT, WavLM, Whisper) behind the interface of `SpeechEncoder`.

For waveform models the result equals one pass of transformers over the whole recording; above 20 s long.py reorders the
same work, and beyond `exact_seconds` the transformer runs in windows. Whisper's encoder always takes 30 s, padded with
zeros: a longer recording is encoded in pieces of 20 s with 2 s of context on either side."""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import checkpoint
from ..records import Audio, SpeechFeatures
from ..shapes import SAMPLE_RATE
from .encoder import HOP, SpeechEncoder, pair, pieces
from .load import loudness_gain
from .long import long_hidden

WAVEFORM_MODELS = ("wav2vec2", "hubert", "wavlm")
KINDS = (*WAVEFORM_MODELS, "whisper")
PIECE = 1000  # encoder frames (20 s) that a public network hears at a time: Whisper's windows are of 30 s
CONTEXT = 100  # frames of 20 ms that Whisper hears on either side of a piece
EXACT_SECONDS = 300.0  # up to here equal to one pass; the time grows with the square of the length


def load_speech_encoder(
    path: str | Path | None = None, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> "SpeechEncoder | PretrainedSpeechEncoder":
    """Load a speech encoder: the embedded one, another one in our format, or a public model.

    path: one of our files, or a folder in Hugging Face format (safetensors); None for the embedded encoder.
    device, dtype: where and how the weights are stored.

    FileNotFoundError or ValueError says what is missing or unknown, and the remedy. convert.speech reads more formats.
    """
    path = checkpoint.NANO / "audio_encoder.safetensors" if path is None else Path(path)
    if path.is_dir():
        return PretrainedSpeechEncoder.from_folder(path, embedded_encoder()).to(device, dtype).eval()
    return checkpoint.load(SpeechEncoder, path, device, dtype)


def embedded_encoder() -> SpeechEncoder:
    """Return the encoder that ships with the package; FileNotFoundError names its file where it is missing."""
    return checkpoint.load(SpeechEncoder, checkpoint.NANO / "audio_encoder.safetensors")


class PretrainedSpeechEncoder(nn.Module):
    """The features of a public model, with the phone log-probabilities of our own encoder.

    model: a wav2vec 2.0, HuBERT or WavLM model of transformers, or a Whisper model's encoder.
    phones: our own encoder.
    kind: which of KINDS the model is.
    normalised: whether it was trained on waveforms of zero mean and unit variance.
    exact_seconds: the longest recording that is encoded exactly as in one pass."""

    model: Any  # one of many classes of transformers

    def __init__(
        self,
        model: nn.Module,
        phones: SpeechEncoder,
        kind: str,
        normalised: bool = True,
        exact_seconds: float = EXACT_SECONDS,
    ) -> None:
        super().__init__()
        self.exact_seconds = exact_seconds
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no speech encoder that works; these do: {', '.join(KINDS)}")
        self.model, self.kind, self.normalised, self.phones = model, kind, normalised, phones

    @classmethod
    def from_folder(cls, folder: str | Path, phones: SpeechEncoder) -> "PretrainedSpeechEncoder":
        """Load a public model from a folder in Hugging Face format with safetensors weights.

        phones: our own encoder, which adds the phone log-probabilities.

        FileNotFoundError without a config.json; ValueError for another kind of model, and without safetensors weights.
        """
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"no config.json in {folder}; give a model folder in Hugging Face format")
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        if kind not in KINDS:
            raise ValueError(f"{folder} holds a {kind!r} model; speech encoders that work: {', '.join(KINDS)}")
        if not [*folder.glob("*.safetensors")]:
            raise ValueError(f"{folder} has no .safetensors weights; convert.speech.load_speech_model reads others")
        from transformers import AutoModel

        model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        settings = folder / "preprocessor_config.json"
        told = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
        normalised = told.get("do_normalize", True)
        return cls(model.get_encoder() if kind == "whisper" else model, phones, kind, normalised)

    @property
    def feature_width(self) -> int:
        """Return the width D of the features: two 50 Hz frames concatenated per video frame."""
        return 2 * self.model.config.hidden_size

    @torch.no_grad()
    def encode(self, audio: Audio, features: bool = True) -> SpeechFeatures:
        """Return the features (T, 2 * width of the model) and phone log-probabilities (T, 40), with T =
        audio.frame_count().

        features: False skips the public model; the features are then (T, 0)."""
        own = self.phones.encode(audio, features=False)
        if not features:
            return own
        wave = audio.waveform[:]  # of a recording on disk: all of it
        if self.kind == "whisper":
            wave = wave * loudness_gain(wave)
        elif self.normalised:  # what these models were trained with: zero mean, unit variance
            deviation, mean = torch.std_mean(wave)
            wave = (wave - mean) / (deviation + 1e-7)
        frames = 2 * len(own.phones)
        if self.kind == "whisper":
            hidden = torch.cat([self._whisper(piece)[cut] for piece, cut in pieces(wave, frames, CONTEXT, PIECE)])
        else:
            hidden = self._hidden(F.pad(wave, (0, frames * HOP - wave.shape[0])))
        return SpeechFeatures(pair(hidden), own.phones, audio.seconds)

    def _hidden(self, waveform: Tensor) -> Tensor:
        """Map (S,), S a multiple of 320 -> (S / 320, D); frame i is centred on sample 320 i + 160, as in
        `SpeechEncoder`."""
        x = F.pad(waveform, (40, 40))  # their frames of 400 samples, 320 apart
        if waveform.shape[0] > PIECE * HOP:
            return long_hidden(self.model, x, round(self.exact_seconds * SAMPLE_RATE / HOP))
        weight = next(self.model.parameters())
        return self.model(x[None].to(weight.device, weight.dtype)).last_hidden_state[0].float().cpu()

    def _whisper(self, waveform: Tensor) -> Tensor:
        """Map (S,), at most 30 s -> (S / 320, D) by Whisper's encoder."""
        from transformers import WhisperFeatureExtractor

        frames, weight = waveform.shape[0] // HOP, next(self.model.parameters())
        extract = WhisperFeatureExtractor(feature_size=self.model.config.num_mel_bins)
        shifted = F.pad(waveform[HOP // 2 :], (0, HOP // 2)).numpy()  # its frame k is centred on sample 320 k
        samples = HOP * self.model.config.max_source_positions
        mel = extract(shifted, sampling_rate=SAMPLE_RATE, padding="max_length", max_length=samples, return_tensors="pt")
        hidden = self.model(mel.input_features.to(weight.device, weight.dtype)).last_hidden_state
        return hidden[0, :frames].float().cpu()
