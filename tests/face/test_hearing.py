"""Piecewise hearing gives what hearing at once gives, and keeps no copy of a long recording."""

import pytest
import torch
from golden import mini

from stereotalker_core.audio.encoder import CHUNK, HOP, SpeechEncoder
from stereotalker_core.face.hearing import hear, heard_windows
from stereotalker_core.face.hubert import prepare_waveform, waveform_scale
from stereotalker_core.face.model import ProbTalk3D
from stereotalker_core.motion.conditioning import speech_channels
from stereotalker_core.records import Audio


def recording(seconds, seed=0):
    wave = 0.1 * torch.randn(round(16000 * seconds), generator=torch.Generator().manual_seed(seed)) + 0.02
    return Audio(wave, wave[None], 16000)


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    small = SpeechEncoder.Config(width=32, layers=1, heads=2, feed_forward=32, position_kernel=3, context=4)
    return SpeechEncoder(small).eval()


@pytest.mark.parametrize("seconds", [0.1, 1.0, 2.5 * CHUNK * HOP / 16000 + 0.013])
def test_hearing_in_pieces_equals_the_channels_of_the_whole(encoder, seconds):
    audio = recording(seconds)
    expected = speech_channels(encoder.encode(audio), audio.waveform, use_features=False)
    torch.testing.assert_close(hear(encoder, audio), expected, atol=1e-5, rtol=0)


def test_a_wrapped_encoder_is_asked_for_its_phones_and_a_foreign_one_for_everything(encoder):
    class Wrapper(torch.nn.Module):
        def __init__(self, phones):
            super().__init__()
            self.phones = phones

    class Foreign:
        def encode(self, audio):
            return encoder.encode(audio)

    audio = recording(1.3)
    expected = hear(encoder, audio)
    assert torch.equal(hear(Wrapper(encoder), audio), expected)
    torch.testing.assert_close(hear(Foreign(), audio), expected, atol=1e-5, rtol=0)


def test_the_scale_is_the_stretch_and_the_normalisation_in_one():
    wave = recording(1.0).waveform
    low, high = wave.min(), wave.max()
    stretched = 2 * (wave - low) / (high - low) - 1
    expected = (stretched - stretched.mean()) / torch.sqrt(stretched.var(correction=0) + 1e-5)
    torch.testing.assert_close(prepare_waveform(wave), expected, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="silent"):
        waveform_scale(torch.full((100,), 0.3))


def test_hubert_hears_windows_of_the_prepared_recording():
    model = mini(2)
    object.__setattr__(model, "config", ProbTalk3D.Config(model.config.prior, model.config.hubert, 32, 3, window=40))
    audio = recording(3.0)
    whole = torch.nn.functional.pad(prepare_waveform(audio.waveform), (0, 1280))
    found = list(heard_windows(model, None, audio, 24))
    assert [first for first, _ in found] == [0, 16, 32, 48]
    for first, sound in found:
        count = min(40, 75 - first)
        piece = whole[first * 640 : (first + count) * 640]
        expected = model.hear(torch.nn.functional.pad(piece, (0, 640))[None])[:, :count]
        torch.testing.assert_close(sound, expected, atol=1e-4, rtol=0)


def test_no_piece_is_as_long_as_the_recording(encoder, monkeypatch):
    seen, original = [], SpeechEncoder.encode_batch

    def watched(self, waveforms, keep=None):
        seen.append(waveforms.shape[1])
        return original(self, waveforms, keep)

    monkeypatch.setattr(SpeechEncoder, "encode_batch", watched)
    audio = recording(90.0)
    hear(encoder, audio)
    assert len(seen) == -(-90 * 50 // CHUNK) and max(seen) <= (CHUNK + 2 * encoder.reach) * HOP
