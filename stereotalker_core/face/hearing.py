"""The sound input of ProbTalk3D, piece by piece: a long recording is never copied, raw features are never stored.

The embedded model reads 45 numbers per frame (phone probabilities and prosody), kept for the whole recording: 0.3 MB
per minute. A model with its own HuBERT reads one window at a time."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..audio.encoder import SpeechEncoder, pair_log_probabilities, pieces
from ..audio.level import Levelled
from ..audio.phones import PHONES
from ..motion.conditioning import N_PROSODY, prosody, speech_channels
from ..records import Audio, SpeechFeatures
from ..shapes import FPS, SAMPLE_RATE
from .hubert import waveform_scale
from .model import ProbTalk3D

_FRAME = round(SAMPLE_RATE / FPS)  # samples of a video frame


@torch.no_grad()
def hear(encoder: SpeechEncoder, audio: Audio) -> Tensor:
    """Return (T, 45) of the whole recording: phone probabilities (40), then prosody (5), on the CPU.

    encoder: the speech encoder; where it wraps a public model, only its `phones` encoder runs.
    audio: the recording.

    Equal to `speech_channels` of `encoder.encode(audio)`."""
    own = encoder if isinstance(encoder, SpeechEncoder) else getattr(encoder, "phones", None)
    if not isinstance(own, SpeechEncoder):
        return speech_channels(encoder.encode(audio), audio.waveform, use_features=False)
    frames, waveform, device = audio.frame_count(), Levelled(audio.waveform), own.head.weight.device
    heard, first = torch.empty(frames, len(PHONES) + N_PROSODY), 0
    for piece, cut in pieces(waveform, 2 * frames, own.reach):
        _, logits = own.encode_batch(piece[None].to(device))
        chances = pair_log_probabilities(logits[0, cut].float().cpu().log_softmax(-1)).exp()
        heard[first : first + len(chances), : len(PHONES)] = chances
        first += len(chances)
    heard[:, len(PHONES) :] = prosody(waveform, frames)
    return heard


def heard_windows(
    model: ProbTalk3D, encoder: SpeechEncoder | None, audio: Audio, overlap: int, speech: SpeechFeatures | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Yield (first frame, sound (1, t, A)) of windows that cover the recording; neighbours share `overlap` frames.

    model: determines the windows' length and what is heard (A numbers per frame).
    encoder: the speech encoder; None for a model with its own HuBERT.
    audio: the recording.
    overlap: frames that neighbours share.
    speech: the encoder's output, if already known.

    ValueError where the encoder does not fit the model."""
    total, hop = audio.frame_count(), model.config.window - overlap
    starts = range(0, max(1, total - overlap), hop)
    if model.feature_extractor is None:
        heard = _heard(model, encoder, audio, speech)
        for first in starts:
            yield first, heard[None, first : min(first + hop + overlap, total)].to(model.device)
        return
    mean, factor = waveform_scale(audio.waveform)
    for first in starts:
        count = min(hop + overlap, total - first)
        piece = (audio.waveform[first * _FRAME : (first + count) * _FRAME] - mean) * factor
        # HuBERT makes a frame or two less than the sound is long: silence after it gives the last frames
        piece = torch.nn.functional.pad(piece, (0, (count + 1) * _FRAME - len(piece)))
        yield first, model.hear(piece[None].to(model.device))[:, :count]


def _heard(model: ProbTalk3D, encoder: SpeechEncoder | None, audio: Audio, speech: SpeechFeatures | None) -> Tensor:
    if speech is not None:
        heard = speech_channels(speech, audio.waveform, use_features=False)
    elif encoder is None:
        raise ValueError("this model needs an audio encoder beside it; load the embedded one")
    else:
        heard = hear(encoder, audio)
    if heard.shape[1] != model.config.audio:
        raise ValueError(f"the encoder gives {heard.shape[1]} numbers, the model takes {model.config.audio}")
    return heard
