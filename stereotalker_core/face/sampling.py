"""Speech -> N different performances of a face, of any length: overlapping windows with shared noise, cross-faded."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..audio.encoder import SpeechEncoder
from ..checkpoint import NANO, load
from ..options import check_limits, option, same_as
from ..records import Audio, SpeechFeatures
from ..shapes import FPS
from .hearing import heard_windows
from .layout import N_PARAMETERS, Face, FaceStyle, denormalise
from .model import ProbTalk3D
from .quantiser import Draw

logger = logging.getLogger(__name__)
OVERLAP = 24  # frames that two windows share
MAX_SAMPLES = 64
_STRIDE = 1_000_003  # between the seeds of two samples


@dataclass(frozen=True)
class FaceModels:
    """The ProbTalk3D model and, where it has no HuBERT of its own, the speech encoder for it."""

    model: ProbTalk3D
    encoder: SpeechEncoder | None

    @classmethod
    def load_nano(cls, device: str | torch.device = "cpu") -> "FaceModels":
        """Load the embedded model. FileNotFoundError names a missing file."""
        encoder = load(SpeechEncoder, NANO / "audio_encoder.safetensors", str(device))
        return cls(load(ProbTalk3D, NANO / "probtalk3d.safetensors", str(device)), encoder)


@dataclass(frozen=True)
class FaceOptions:
    """The settings of face sampling.

    temperature: 0 = deterministic; k: as in `quantiser.Draw`; seed: of the first performance, the next uses seed + 1;
    samples: number of performances."""

    temperature: float = same_as(Draw, "temperature")
    k: int = same_as(Draw, "k")
    seed: int = option(0, -(2**63), 2**64 - 1, "The performance.", widget=(0, 2**64 - 1))
    samples: int = option(1, 1, MAX_SAMPLES, "Performances to draw at once.", widget=(1, 16))

    def __post_init__(self) -> None:
        check_limits(self)


def sample_face(
    models: FaceModels,
    audio: Audio,
    style: FaceStyle | None = None,
    options: FaceOptions | None = None,
    callback: Callable[[int, int], None] | None = None,
    speech: SpeechFeatures | None = None,
) -> Face:
    """Sample all performances of a recording, audio.frame_count() frames each.

    models: ProbTalk3D and its encoder.
    audio: the recording.
    style: who speaks, in which emotion.
    options: of the sampling.
    callback: called with (frames done, frames in all).
    speech: the encoder's output for the recording, if already known."""
    options = options or FaceOptions()
    total, done = audio.frame_count(), 0
    parameters = torch.empty(options.samples, total, N_PARAMETERS)
    for chunk in stream_face(models, audio, style, options, speech):
        parameters[:, done : done + chunk.shape[1]] = chunk
        done += chunk.shape[1]
        if callback is not None:
            callback(done, total)
    return Face(parameters, models.model.config.basis, FPS)


@torch.no_grad()
def stream_face(
    models: FaceModels,
    audio: Audio,
    style: FaceStyle | None = None,
    options: FaceOptions | None = None,
    speech: SpeechFeatures | None = None,
) -> Iterator[Tensor]:
    """Yield chunks (N, t, 53) of consecutive frames in FLAME units, on the CPU; memory grows by 0.3 MB per minute.

    Arguments as in `sample_face`. Each window overlaps the previous one by 24 frames, uses the same sound and noise
    there, and is cross-faded with it."""
    options, model = options or FaceOptions(), models.model
    vector = (style or FaceStyle()).vector()[None].to(model.device)
    total, hop = audio.frame_count(), model.config.window - OVERLAP
    ramp = ((torch.arange(OVERLAP) + 0.5) / OVERLAP)[None, :, None]
    tail: Tensor | None = None
    for first, sound in heard_windows(model, models.encoder, audio, OVERLAP, speech):
        latent = model.predict(sound, vector)
        frames = torch.cat([_draw_performance(model, latent, first, options, i) for i in range(options.samples)])
        if tail is not None:
            shared = tail.shape[1]
            frames = torch.cat([torch.lerp(tail, frames[:, :shared], ramp[:, :shared]), frames[:, shared:]], 1)
        last = first + frames.shape[1] >= total
        kept = frames if last else frames[:, :hop]
        tail = frames[:, hop:]
        yield denormalise(kept).float().cpu()


def _draw_performance(model: ProbTalk3D, latent: Tensor, first: int, options: FaceOptions, sample: int) -> Tensor:
    """Return one performance (1, T, 53) of a window.

    latent: (1, T, C); first: frame number of the window; sample: number of the performance."""
    # codes that are drawn independently differ from window to window: their noise starts anew at each
    seed = (options.seed + sample) % 2**63 if model.config.coherence else options.seed + sample * _STRIDE + first
    return model.perform(latent, Draw(options.temperature, options.k, seed, model.config.coherence, first)).cpu()
