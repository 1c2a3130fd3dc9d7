"""load_audio / make_audio: containers, rates, layouts, and every refusal."""

import logging
import math
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from stereotalker_core.audio.load import load_audio, make_audio, normalise_loudness, resample
from stereotalker_core.audio.spool import spool_audio

ALSA = sorted(Path("/usr/share/sounds/alsa").glob("*.wav"))
ASTERISK = sorted(Path("/usr/share/asterisk/sounds/en_US_f_Allison").glob("*.g722"))


def tone(rate: int, seconds: float = 0.8, hertz: float = 440.0, channels: int = 1) -> np.ndarray:
    """(C, S) of a tone; the second channel is half as loud."""
    wave = 0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.stack([wave / (1 + c) for c in range(channels)]).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int, codec: str, video: bool = False, **options) -> Path:
    """Encode (C, S) floats with PyAV."""
    with av.open(str(path), "w", **options) as container:
        if video:
            picture = container.add_stream("mpeg4", rate=25, width=64, height=64, pix_fmt="yuv420p")
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(samples)]
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout)
        frame.sample_rate, frame.pts = rate, 0
        convert = av.AudioResampler(stream.format, layout, rate, stream.frame_size or None)
        for part in [*convert.resample(frame), *convert.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
        if video:
            for _ in range(20):
                container.mux(picture.encode(av.VideoFrame(64, 64, "yuv420p")))
            container.mux(picture.encode(None))
    return path


def frequency(waveform: torch.Tensor) -> float:
    """Frequency (Hz) of the strongest bin at 16 kHz."""
    spectrum = torch.fft.rfft(waveform * torch.hann_window(len(waveform))).abs()
    return float(spectrum.argmax()) * 16_000 / len(waveform)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "channels"),
    [
        ("a.wav", "pcm_s16le", 8_000, 1),
        ("a.wav", "pcm_s24le", 44_100, 2),
        ("a.wav", "pcm_f32le", 96_000, 1),
        ("a.wav", "pcm_u8", 22_050, 1),
        ("a.flac", "flac", 48_000, 2),
        ("a.flac", "flac", 96_000, 1),
        ("a.mp3", "libmp3lame", 44_100, 2),
        ("a.mp3", "libmp3lame", 8_000, 1),
        ("a.ogg", "flac", 32_000, 1),
        ("a.ogg", "libopus", 48_000, 2),
        ("a.m4a", "aac", 44_100, 2),
        ("a.m4a", "aac", 16_000, 1),
        ("a.g722", "g722", 16_000, 1),
        ("a.wav", "pcm_s16le", 48_000, 6),
    ],
)
def test_containers(tmp_path, name, codec, rate, channels):
    audio = load_audio(write(tmp_path / name, tone(rate, channels=channels), rate, codec))
    assert audio.original_rate == rate and audio.original.shape[0] == channels
    assert audio.waveform.ndim == 1 and audio.waveform.dtype == torch.float32
    assert abs(audio.seconds - 0.8) < (0.12 if name[2:] in ("mp3", "m4a") else 0.03)  # lossy codecs pad
    assert audio.waveform.shape[0] == math.ceil(audio.original.shape[1] * 16_000 / rate)
    assert abs(frequency(audio.waveform) - 440) < 3


def test_sound_of_a_video(tmp_path):
    audio = load_audio(write(tmp_path / "v.mp4", tone(48_000, channels=2), 48_000, "aac", video=True))
    assert audio.original.shape[0] == 2 and abs(frequency(audio.waveform) - 440) < 3


def test_lossless_original_is_untouched(tmp_path):
    samples = tone(44_100, channels=2)
    audio = load_audio(write(tmp_path / "a.wav", samples, 44_100, "pcm_f32le"))
    assert torch.equal(audio.original, torch.from_numpy(samples))


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resample_keeps_time_and_rejects_aliases(rate):
    seconds = 0.5
    low = resample(torch.from_numpy(tone(rate, seconds, 1000)[0]), rate)
    expected = torch.from_numpy(tone(16_000, seconds, 1000)[0])
    assert low.shape == expected.shape
    middle = slice(800, -800)
    assert float((low - expected)[middle].abs().max()) < 2e-3
    if rate > 24_000:
        high = resample(torch.from_numpy(tone(rate, seconds, 11_000)[0]), rate)
        assert float(high[middle].abs().max()) < 1e-3


@pytest.mark.parametrize(("samples", "rate"), [(44_100, 44_100), (44_101, 44_100), (1764, 16_000), (7_057, 44_100)])
def test_frames_cover_the_original(samples, rate):
    audio = make_audio(torch.randn(1, max(samples, rate // 10)) * 0.1, rate)
    assert audio.frame_count() == math.ceil(round(audio.original.shape[1] / rate * 25, 9))


def test_mix_survives_cancelling_channels(caplog):
    wave = torch.from_numpy(tone(16_000))
    with caplog.at_level(logging.WARNING):
        audio = make_audio(torch.cat([wave, -wave]), 16_000)
    assert torch.equal(audio.waveform, wave[0])
    assert "channel 1 of 2" in caplog.text  # counted as --channel counts


def test_over_full_scale_is_scaled_not_clipped():
    wave = torch.from_numpy(tone(16_000)) * 10
    audio = make_audio(wave, 16_000)
    assert float(audio.waveform.abs().max()) == pytest.approx(1)
    assert torch.equal(audio.original, wave)


@pytest.mark.parametrize("gain", [1e-3, 0.03, 1.0, 7.0])
def test_loudness_ignores_gain_and_pauses(gain):
    torch.manual_seed(0)
    speech = torch.randn(16_000) * 0.2
    plain = normalise_loudness(speech)
    paused = normalise_loudness(torch.cat([speech, torch.randn(64_000) * 1e-4]) * gain)
    assert torch.allclose(paused[:16_000], plain, rtol=1e-3, atol=1e-4)
    assert float(plain.square().mean().sqrt()) == pytest.approx(0.1, rel=0.01)
    assert torch.equal(normalise_loudness(torch.zeros(16_000)), torch.zeros(16_000))


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (torch.zeros(1, 0), 16_000, "empty"),
        (torch.zeros(0, 100), 16_000, "empty"),
        (torch.ones(1, 1599), 16_000, "lasts 0.100 s|lasts 0.099"),
        (torch.tensor([[0.1] * 8_000 + [float("nan")] + [0.1] * 8_000]), 16_000, "1 samples are NaN.*0.500 s"),
        (torch.tensor([[0.1] * 8_000 + [float("inf")]]), 16_000, "NaN or infinite"),
        (torch.ones(1, 16_000, dtype=torch.int16), 16_000, "float samples.*int16"),
        (torch.ones(1, 16_000), 0, "sample rate 0 Hz"),
        (torch.ones(16_000, 2), 16_000, "transpose"),
        (torch.ones(16_000), 16_000, "expected"),
    ],
)
def test_refusals_of_samples(waveform, rate, message):
    with pytest.raises(ValueError, match=message):
        make_audio(waveform, rate)


def test_refusals_of_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.wav"):
        load_audio(tmp_path / "nothing.wav")
    with pytest.raises(ValueError, match="folder"):
        load_audio(tmp_path)
    (tmp_path / "empty.wav").touch()
    with pytest.raises(ValueError, match="empty"):
        load_audio(tmp_path / "empty.wav")
    for name in ("notes.txt", "noise.mp3", "noise.wav", "data.xyz"):
        (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(5000))
        with pytest.raises(ValueError, match=name):
            load_audio(tmp_path / name)
    (tmp_path / "text.txt").write_text("hello, this is not a sound\n" * 50)
    with pytest.raises(ValueError, match="text.txt"):
        load_audio(tmp_path / "text.txt")


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (torch.zeros(1, 16_000), "digital silence"),
        (torch.tensor([[1e-4, -1e-4] * 8_000]), "-80 dBFS"),
        (torch.full((1, 16_000), 0.5), "digital silence"),
    ],
)
def test_a_silent_recording_is_one_in_which_nobody_speaks(waveform, message, caplog):
    audio = make_audio(waveform, 16_000)
    assert audio.frame_count() == 25 and not audio.waveform.any()
    assert torch.equal(audio.original, waveform) and message in caplog.text


def test_a_constant_offset_is_taken_out():
    speech = 0.01 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    found = make_audio(speech + 0.4, 16_000).waveform
    torch.testing.assert_close(found, speech[0] - speech.mean(), atol=1e-6, rtol=0)


def test_video_without_sound(tmp_path):
    with av.open(str(tmp_path / "mute.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, width=64, height=64, pix_fmt="yuv420p")
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match="no sound track.*video"):
        load_audio(tmp_path / "mute.mp4")


def test_truncated_file_gives_what_is_there(tmp_path):
    path = write(tmp_path / "a.flac", tone(16_000, 2.0), 16_000, "flac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 0.3 < load_audio(path).seconds < 1.9


@pytest.mark.skipif(not ALSA, reason="needs Debian's alsa-utils")
def test_real_recordings_of_alsa_utils():
    for path in ALSA:
        audio = load_audio(path)
        assert audio.original_rate == 48_000 and 0.5 < audio.seconds < 6
        assert 1e-3 < float(audio.waveform.abs().max()) <= 1


@pytest.mark.skipif(not ASTERISK, reason="needs Debian's asterisk-core-sounds-en-g722")
def test_real_recordings_of_asterisk():
    audio = load_audio(next(p for p in ASTERISK if p.stem == "vm-options"))
    assert audio.original_rate == 16_000 and audio.seconds > 1


def test_a_channel_and_a_track_can_be_chosen(tmp_path):
    both = tone(16_000, channels=2)
    path = write(tmp_path / "two.wav", both, 16_000, "pcm_s16le")
    for channel in (1, 2):
        found = load_audio(path, channel=channel)
        np.testing.assert_allclose(found.waveform.numpy(), both[channel - 1], atol=1e-4)
        np.testing.assert_allclose(spool_audio(path, channel=channel).waveform[:].numpy(), both[channel - 1], atol=1e-4)
        assert found.original.shape[0] == 2
    for read in (load_audio, spool_audio):
        with pytest.raises(ValueError, match="channel 3 does not exist; the sound has 2"):
            read(path, channel=3)
        with pytest.raises(ValueError, match="sound track 2 does not exist; the file has 1"):
            read(path, track=2)
