"""Prosody finds loudness and pitch; channels line up with frames; styles are checked."""

import math

import pytest
import torch

from stereotalker_core.motion.conditioning import N_PROSODY, STYLE_WIDTH, Style, prosody, speech_channels
from stereotalker_core.records import SpeechFeatures


def tone(hertz: float, seconds: float = 1.0) -> torch.Tensor:
    t = torch.arange(int(16_000 * seconds)) / 16_000
    return sum(torch.sin(2 * math.pi * hertz * k * t) / k for k in (1, 2, 3)) * 0.2


@pytest.mark.parametrize("hertz", [90.0, 140.0, 220.0, 330.0])
def test_pitch(hertz):
    track = prosody(tone(hertz), 25)
    assert (track[3:-3, 2] - math.log2(hertz / 140)).abs().max() < 0.05
    assert (track[3:-3, 4] > 0.8).all()


def test_noise_is_unvoiced_and_silence_is_quiet():
    noise = 0.1 * torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    track = prosody(torch.cat([noise, torch.zeros(16_000)]), 50)
    assert track[:, 2].abs().max() == 0 and track[:24, 4].mean() < 0.45
    assert track[:24, 0].mean() > 0.8 and track[27:, 0].max() < -2


def test_loudness_of_the_recording_does_not_matter():
    wave = tone(120) * torch.linspace(0.1, 1, 16_000)
    torch.testing.assert_close(prosody(wave, 25)[:, 0], prosody(0.25 * wave, 25)[:, 0], atol=0.02, rtol=0)


def test_long_sound_in_chunks_is_one_pass(monkeypatch):
    from stereotalker_core.motion import conditioning

    wave = tone(120, 3) * torch.rand(48_000, generator=torch.Generator().manual_seed(0))
    whole = prosody(wave, 75)
    monkeypatch.setattr(conditioning, "_CHUNK", 7)
    torch.testing.assert_close(prosody(wave, 75), whole)


def test_channels_are_probabilities_then_prosody_then_features():
    phones = torch.randn(25, 40).log_softmax(-1)
    speech = SpeechFeatures(torch.randn(25, 6), phones, 1.0)
    channels = speech_channels(speech, tone(120), use_features=False)
    assert channels.shape == (25, 40 + N_PROSODY)
    torch.testing.assert_close(channels[:, :40].sum(1), torch.ones(25))
    assert torch.equal(speech_channels(speech, tone(120), True)[:, -6:], speech.features)
    with pytest.raises(ValueError, match="frames"):
        speech_channels(speech, tone(120, 2.0), False)


def test_styles():
    assert Style().vector().abs().max() == 0 and len(Style("sad").vector()) == STYLE_WIDTH
    assert Style("happy", intensity=0.5).vector().sum() == 0.5
    for bad in ({"emotion": "bored"}, {"energy": 3.0}, {"handedness": -2.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Style(**bad)
