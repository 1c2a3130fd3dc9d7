"""A recording on disk is the recording in memory: the plain twin is `load_audio`."""

import numpy as np
import pytest
import torch

from stereotalker_core.audio.encoder import SpeechEncoder
from stereotalker_core.audio.load import load_audio, loudness_gain
from stereotalker_core.audio.spool import spool_audio, spool_recording
from stereotalker_core.motion.conditioning import prosody
from stereotalker_core.motion.generation.sampling import MotionModels, stream_motion
from tests.motion.samples import make_denoiser, make_prior


def write(path, rows: np.ndarray, rate: int):
    from scipy.io import wavfile

    wavfile.write(path, rate, rows.T)
    return path


def voices(seconds: float, rate: int, channels: int = 1, peak: float = 0.5) -> np.ndarray:
    rng = np.random.default_rng(0)
    t = np.arange(int(seconds * rate)) / rate
    envelope = np.abs(np.sin(2 * np.pi * 1.3 * t))
    rows = [envelope * (np.sin(2 * np.pi * 140 * t + c) + 0.3 * rng.standard_normal(len(t))) for c in range(channels)]
    rows = np.stack(rows)
    return (rows / np.abs(rows).max() * peak).astype(np.float32)


@pytest.mark.parametrize(
    ("rate", "channels", "peak"), [(16_000, 1, 0.5), (16_000, 2, 3.0), (44_100, 2, 0.5), (8_000, 1, 1e-3)]
)
def test_the_samples_are_those_of_load_audio(tmp_path, rate, channels, peak):
    path = write(tmp_path / "a.wav", voices(7.3, rate, channels, peak), rate)
    plain, spooled = load_audio(path), spool_audio(path)
    assert spooled.seconds == plain.seconds and spooled.frame_count() == plain.frame_count()
    torch.testing.assert_close(spooled.waveform[:], plain.waveform, atol=2e-6 if rate != 16_000 else 1e-7, rtol=0)
    assert torch.equal(spooled.waveform[1000:1500], spooled.waveform[:][1000:1500])
    # sums over memory that begins elsewhere: the same up to rounding
    assert loudness_gain(spooled.waveform) == pytest.approx(loudness_gain(spooled.waveform[:]), rel=1e-5)
    torch.testing.assert_close(prosody(spooled.waveform, 182), prosody(spooled.waveform[:], 182), atol=1e-4, rtol=1e-4)


def test_channels_that_cancel_fall_back_to_one(tmp_path):
    one = voices(1.0, 16_000)
    path = write(tmp_path / "a.wav", np.concatenate([one, -one]), 16_000)
    torch.testing.assert_close(spool_audio(path).waveform[:], torch.from_numpy(one[0]), atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.full((1, 16_000), np.nan, np.float32), "NaN"),
        (voices(0.05, 16_000), "0.050 s"),
    ],
)
def test_the_same_refusals(tmp_path, rows, message):
    path = write(tmp_path / "a.wav", rows, 16_000)
    for read in (load_audio, spool_audio):
        with pytest.raises(ValueError, match=message):
            read(path)
    with pytest.raises(FileNotFoundError, match="no file"):
        spool_audio(tmp_path / "none.wav")
    (tmp_path / "x.wav").write_bytes(b"not a sound file at all")
    with pytest.raises(ValueError, match="x.wav is not a sound file"):
        spool_audio(tmp_path / "x.wav")


def test_motion_of_a_spooled_recording_is_that_of_the_loaded_one(tmp_path):
    torch.manual_seed(0)
    encoder = SpeechEncoder(SpeechEncoder.Config(24, 16, 1, 2, 32, 6, 7)).eval()
    models = MotionModels(encoder, make_prior(), make_denoiser())
    path = write(tmp_path / "a.wav", voices(3.0, 16_000), 16_000)
    a, b = (list(stream_motion(models, read(path), steps=2)) for read in (load_audio, spool_audio))
    assert len(a) == len(b) > 1
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x.rotations, y.rotations, atol=1e-4, rtol=0)
        torch.testing.assert_close(x.expression, y.expression, atol=1e-4, rtol=0)


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_silence_is_zeros_and_an_offset_is_taken_out(tmp_path, offset):
    silent = write(tmp_path / "silent.wav", np.full((1, 16_000), offset, np.float32), 16_000)
    assert not spool_audio(silent).waveform[:].any()
    quiet = write(tmp_path / "quiet.wav", 0.1 * voices(1.0, 16_000) + np.float32(offset), 16_000)
    torch.testing.assert_close(spool_audio(quiet).waveform[:], load_audio(quiet).waveform, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (16_000, 3)])
def test_a_recording_on_disk_has_the_original_of_load_audio(tmp_path, rate, channels):
    path = write(tmp_path / "a.wav", voices(2.3, rate, channels), rate)
    plain, there = load_audio(path), spool_recording(path).to("cpu")
    assert there.original_rate == plain.original_rate and there.frame_count() == plain.frame_count()
    assert there.original.shape == tuple(plain.original.shape)
    torch.testing.assert_close(there.waveform[:], plain.waveform, atol=2e-6, rtol=0)
    for part in (slice(0, 10), slice(4990, 9000), slice(7, 7), slice(1234, 4321), slice(None)):
        assert torch.equal(there.original[:, part], plain.original[:, part])
    with pytest.raises(ValueError, match="in order"):
        there.original[:, ::2]
