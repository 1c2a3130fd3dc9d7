"""Odd recordings give a motion, or one clear error: nothing hangs, nothing is NaN."""

import itertools

import pytest
import torch

from stereotalker_core.audio.encoder import SpeechEncoder
from stereotalker_core.audio.load import make_audio
from stereotalker_core.motion.generation.sampling import MotionModels, condition_tracks, sample_motion, stream_motion
from stereotalker_core.motion.networks.prior import BLOCK
from tests.motion.samples import make_denoiser, make_prior

RATE = 16_000


@pytest.fixture(scope="module")
def models() -> MotionModels:
    torch.manual_seed(0)
    encoder = SpeechEncoder(SpeechEncoder.Config(24, 16, 1, 2, 32, 6, 7)).eval()
    return MotionModels(encoder, make_prior(), make_denoiser())


def recording(kind: str, seconds: float) -> torch.Tensor:
    t = torch.arange(int(seconds * RATE)) / RATE
    noise = torch.randn(len(t), generator=torch.Generator().manual_seed(0))
    return {
        "music": 0.2 * sum(torch.sin(2 * torch.pi * f * t) for f in (220.0, 277.2, 329.6)),
        "noise": 0.1 * noise,
        "loud": (5 * noise).clamp(-1, 1),
        "quiet": 2e-3 * torch.sin(2 * torch.pi * 200 * t),
    }[kind]


@pytest.mark.parametrize("kind", ["music", "noise", "loud", "quiet"])
def test_anything_that_sounds_gives_a_sane_motion(models, kind):
    audio = make_audio(recording(kind, 1.3)[None], RATE)
    motion = sample_motion(models, audio, steps=2)
    assert len(motion) == 33 and bool(motion.rotations.isfinite().all())
    assert float(motion.expression.min()) >= 0 and float(motion.expression.max()) <= 1


def test_a_tenth_of_a_second_is_enough(models):
    assert len(sample_motion(models, make_audio(recording("noise", 0.1)[None], RATE), steps=1)) == 3


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (torch.full((1, RATE), float("nan")), "NaN|finite"),
        (recording("noise", 0.05)[None], "0.1"),
    ],
)
def test_what_cannot_be_speech_is_refused(waveform, message):
    with pytest.raises(ValueError, match=message):
        make_audio(waveform, RATE)


def test_a_wrong_transcript_is_dropped_with_a_warning(models, caplog):
    audio = make_audio(recording("music", 1.0)[None], RATE)
    plain = sample_motion(models, audio, steps=1)
    told = sample_motion(models, audio, steps=1, transcript="a sentence of many words that nobody has ever said here")
    assert torch.equal(plain.rotations, told.rotations) and "going on without it" in caplog.text


def test_an_unknown_emotion_names_the_known_ones(models):
    audio = make_audio(recording("noise", 0.5)[None], RATE)
    with pytest.raises(ValueError, match="contempt"):
        sample_motion(models, audio, style="grumpy")


def test_a_long_recording_is_streamed_with_bounded_work(models):
    """Ten minutes: the first chunk comes after one window, and the prior keeps a few blocks alone."""
    audio = make_audio(recording("noise", 10.0).repeat(60)[None], RATE)
    _, prior = condition_tracks(models, audio, None, None, 1.0)
    for begin in range(0, 6 * BLOCK, BLOCK // 2):
        prior[begin : begin + 20]
        assert len(prior.blocks) <= 2
    first = list(itertools.islice(stream_motion(models, audio, steps=1), 2))
    assert sum(len(c) for c in first) < 60
