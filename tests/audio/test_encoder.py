"""SpeechEncoder: alignment to frames, chunks equal one pass, gain does not matter, checkpoints."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stereotalker_core import checkpoint
from stereotalker_core.audio import encoder as module
from stereotalker_core.audio.encoder import LogMel, SpeechEncoder, mel_filters, pair, pair_log_probabilities
from stereotalker_core.audio.load import loudness_gain, make_audio
from stereotalker_core.audio.phones import CLOSURES, PHONES, VOWELS

TINY = SpeechEncoder.Config(bins=20, width=16, layers=2, heads=2, feed_forward=32, context=5, position_kernel=7)


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return SpeechEncoder(TINY).eval()


def noise(seconds: float, seed: int = 0) -> torch.Tensor:
    """Noise whose loudness and colour change over time, so that frames differ."""
    torch.manual_seed(seed)
    wave = torch.randn(round(seconds * 16_000))
    smooth = F.avg_pool1d(wave[None], 5, 1, 2, count_include_pad=False)[0]
    blend = 0.5 + 0.5 * torch.sin(torch.arange(len(wave)) / 1500)
    return 0.1 * (blend * wave + (1 - blend) * smooth)


def test_inventory():
    assert len(PHONES) == len(set(PHONES)) == 40 and PHONES[0] == "sil"
    assert list(PHONES[1:]) == sorted(PHONES[1:]) and VOWELS.issubset(PHONES) and CLOSURES.issubset(PHONES)


@pytest.mark.parametrize("samples", [1600, 1601, 16_000, 16_001, 16_640, 40_321])
def test_one_feature_per_frame(encoder, samples):
    audio = make_audio(noise(samples / 16_000)[None], 16_000)
    out = encoder.encode(audio)
    assert out.features.shape == (audio.frame_count(), encoder.feature_width)
    assert out.phones.shape == (audio.frame_count(), 40)
    assert torch.allclose(out.phones.exp().sum(-1), torch.ones(audio.frame_count()), atol=1e-5)
    assert out.features.isfinite().all() and out.seconds == samples / 16_000


def test_chunks_equal_one_pass(encoder, monkeypatch):
    audio = make_audio(noise(8.23)[None], 16_000)
    whole = encoder.encode(audio)
    monkeypatch.setattr(module, "CHUNK", 60)
    pieces = encoder.encode(audio)
    assert torch.allclose(whole.features, pieces.features, atol=1e-4)
    assert torch.allclose(whole.phones, pieces.phones, atol=1e-4)
    assert whole.features.std(0).mean() > 1e-3  # frames do differ


def test_reach_is_the_true_dependence(encoder):
    """Noise beyond `reach` frames changes nothing at all; the same noise a few frames nearer does."""
    wave, middle = noise(4), 100
    changed = []
    for distance in (encoder.reach, encoder.reach - 4):
        other = wave.clone()
        other[: (middle - distance) * 320] = 10 * noise(4, 1)[: (middle - distance) * 320]
        with torch.no_grad():
            difference = encoder.encode_batch(wave[None])[0] - encoder.encode_batch(other[None])[0]
        changed.append(float(difference[0, middle].abs().max()))
    assert changed[0] == 0 and changed[1] > 0


def test_a_click_shows_in_its_own_frame(encoder):
    """No latency: a click in the middle of frame 50 has its strongest effect there, in the mel and in the hidden."""
    wave = noise(2) * 0.01
    other = wave.clone()
    other[50 * 320 + 150 : 50 * 320 + 170] += 1
    front = encoder.model.feature_extractor
    mel = (front.mel(wave[None]) - front.mel(other[None])).abs().sum(1)[0].detach()
    assert {100, 101} == set(mel.topk(2).indices.tolist())
    effect = (front(wave[None]) - front(other[None])).abs().sum(1)[0].detach()
    assert int(effect.argmax()) == 50


def test_gain_does_not_matter(encoder):
    wave = noise(2)
    loud, quiet = (encoder.encode(make_audio((wave * g)[None], 16_000)).phones for g in (1.0, 0.02))
    assert torch.allclose(loud, quiet, atol=1e-3)


def test_batch_of_two_equals_two_batches(encoder):
    waves = torch.stack([noise(1), noise(1, 1)])
    with torch.no_grad():
        together = encoder.encode_batch(waves)[1]
        apart = torch.cat([encoder.encode_batch(w[None])[1] for w in waves])
    assert torch.allclose(together, apart, atol=1e-4)


def test_encode_applies_the_loudness_gain_and_pads(encoder):
    """The plain recipe: scale, pad to whole frames, one pass, pair."""
    audio = make_audio(noise(1.013)[None], 16_000)
    wave = audio.waveform * loudness_gain(audio.waveform)
    wave = F.pad(wave, (0, audio.frame_count() * 640 - len(wave)))
    with torch.no_grad():
        hidden, logits = encoder.encode_batch(wave[None])
    out = encoder.encode(audio)
    assert torch.allclose(out.features, torch.cat([hidden[0, ::2], hidden[0, 1::2]], -1), atol=1e-5)
    mean = (logits[0, ::2].softmax(-1) + logits[0, 1::2].softmax(-1)) / 2
    assert torch.allclose(out.phones, mean.log(), atol=1e-5)


def test_pairing_keeps_order_and_survives_zero_probability():
    assert torch.equal(pair(torch.arange(8.0).reshape(4, 2)), torch.arange(8.0).reshape(2, 4))
    certain = torch.tensor([[0.0, -1e4], [-1e4, 0.0]])
    assert torch.allclose(pair_log_probabilities(certain), torch.full((1, 2), math.log(0.5)))


def test_mel_against_its_definition():
    """Frame j: 400 samples around 160 j + 80, Hann, 512-point power spectrum, triangles, log."""
    wave = noise(0.5)
    padded = np.pad(wave.numpy().astype(np.float64), 120)
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([padded[j * 160 : j * 160 + 400] * taper for j in range(50)])
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    expected = (np.log(np.maximum(power @ mel_filters(40, 257).double().numpy(), 1e-5)) + 4) / 4
    assert np.allclose(LogMel(40)(wave[None])[0].numpy(), expected.T, atol=1e-3)


def test_mel_filters_against_librosa():
    import librosa

    basis = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=40, fmin=40, fmax=7800, htk=True, norm=None)
    assert np.allclose(mel_filters(40, 257).T.numpy(), basis, atol=1e-4)


def test_device_of_halves(encoder):
    """A model in bf16 gives float32 records close to the full precision."""
    half = SpeechEncoder(TINY).eval()
    half.load_state_dict(encoder.state_dict())
    audio = make_audio(noise(1)[None], 16_000)
    out = half.to(torch.bfloat16).encode(audio)
    assert out.features.dtype == torch.float32
    assert (out.phones - encoder.encode(audio).phones).abs().mean() < 0.1


def test_checkpoint_round_trip(encoder, tmp_path):
    checkpoint.save(encoder, tmp_path / "e.safetensors", dtype=torch.float32)
    again = checkpoint.load(SpeechEncoder, tmp_path / "e.safetensors")
    audio = make_audio(noise(1)[None], 16_000)
    assert again.config == TINY and torch.equal(again.encode(audio).phones, encoder.encode(audio).phones)


def test_refusals(encoder):
    with pytest.raises(ValueError, match="321 samples"):
        encoder.encode_batch(torch.zeros(1, 321))
    with pytest.raises(ValueError, match="heads"):
        SpeechEncoder.Config(width=30, heads=4)
