"""The video writer: counts, sound, colours, repeatability, interruption, full disk, refused outputs."""

import errno
import subprocess

import av
import numpy as np
import pytest
import torch

from stereotalker_core.audio.load import make_audio
from stereotalker_core.video.writing.writer import VideoWriter, check_output


def ramp(frames: int, size: tuple[int, int]) -> torch.Tensor:
    """Smooth frames (T, 3, H, W) that differ in time and space."""
    x = torch.linspace(-0.8, 0.8, size[1]).expand(frames, 3, *size).clone()
    x[:, 1] *= torch.linspace(-1, 1, frames)[:, None, None]
    return x


def tone(seconds: float, rate: int, channels: int = 1):
    t = torch.arange(int(seconds * rate)) / rate
    return make_audio((0.3 * torch.sin(2 * torch.pi * 440 * t)).expand(channels, -1).contiguous(), rate)


def save(path, frames, audio=None, fps=25.0, chunk=8, **metadata):
    with VideoWriter(path, tuple(frames.shape[-2:]), fps, audio, metadata) as writer:
        for part in frames.split(chunk):
            writer.write(part)
    return path


def decode(path):
    """(T, H, W, 3) uint8, samples (C, S) or None, their rate, fps."""
    with av.open(str(path)) as file:
        fps = float(file.streams.video[0].average_rate)
        images = np.stack([f.to_ndarray(format="rgb24") for f in file.decode(video=0)])
    with av.open(str(path)) as file:
        if not file.streams.audio:
            return images, None, 0, fps
        rate = file.streams.audio[0].rate
        sound = np.concatenate([f.to_ndarray() for f in file.decode(audio=0)], 1)
    return images, sound, rate, fps


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_frames_colours_and_rate_survive(tmp_path, suffix):
    frames = ramp(30, (64, 96))
    images, sound, _, fps = decode(save(tmp_path / f"a{suffix}", frames))
    wanted = ((frames + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    assert images.shape == wanted.shape and sound is None and fps == 25
    assert np.abs(images - wanted).mean() < 3


@pytest.mark.parametrize("rate, channels", [(8000, 1), (16000, 1), (44100, 2), (9000, 1), (48000, 6)])
def test_sound_is_muxed_up_to_the_last_frame(tmp_path, rate, channels):
    audio = tone(1.5, rate, channels)
    _, sound, out_rate, _ = decode(save(tmp_path / "a.mp4", ramp(25, (32, 32)), audio))  # one second of frames
    assert sound.shape[0] == (2 if channels == 2 else 1)
    assert 1.0 <= sound.shape[1] / out_rate <= 1.0 + 1100 / out_rate  # whole AAC frames of 1024
    spectrum = np.abs(np.fft.rfft(sound[0, : out_rate // 2]))
    assert abs(np.argmax(spectrum) * 2 - 440) <= 4
    assert 0.2 < np.abs(sound[0, out_rate // 4 : out_rate // 2]).max() < 0.4


def test_sound_stays_aligned_with_the_frames(tmp_path):
    """A click in the middle of a recording comes out at its time, within an AAC frame."""
    wave = torch.zeros(1, 48000)
    wave[0, 24000:24480] = 0.8
    _, sound, rate, _ = decode(save(tmp_path / "a.mp4", ramp(25, (32, 32)), make_audio(wave, 48000)))
    assert abs(np.abs(sound[0]).argmax() / rate - 0.505) < 0.03


def test_same_input_gives_the_same_bytes_and_chunks_do_not_matter(tmp_path):
    frames, audio = ramp(40, (64, 64)), tone(1.6, 22050)
    first = save(tmp_path / "a.mp4", frames, audio, comment="seed 1").read_bytes()
    assert first == save(tmp_path / "b.mp4", frames, audio, comment="seed 1").read_bytes()
    assert first == save(tmp_path / "c.mp4", frames, audio, chunk=3, comment="seed 1").read_bytes()
    assert first != save(tmp_path / "d.mp4", frames, audio, comment="seed 2").read_bytes()


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_metadata_is_kept(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", ramp(3, (32, 32)), comment="synthetic media, seed 7", title="t")
    with av.open(str(path)) as file:
        found = {k.lower(): v for k, v in file.metadata.items()}
    assert found["comment"] == "synthetic media, seed 7" and found["title"] == "t"


def test_odd_sizes_are_widened_by_the_edge(tmp_path):
    images = decode(save(tmp_path / "a.mp4", ramp(4, (33, 51))))[0]
    assert images.shape[1:3] == (34, 52)
    assert np.abs(images[:, 33].astype(int) - images[:, 32]).mean() < 4


def test_an_interruption_leaves_a_playable_file(tmp_path):
    path = tmp_path / "a.mp4"
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, (32, 32), 25, tone(4, 16000)) as writer:
        writer.write(ramp(30, (32, 32)))
        raise KeyboardInterrupt
    images, sound, rate, _ = decode(path)
    assert len(images) == 30 and abs(sound.shape[1] / rate - 1.2) < 0.1
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_an_interruption_does_not_replace_a_finished_file(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"finished")
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, (32, 32)) as writer:
        writer.write(ramp(5, (32, 32)))
        raise KeyboardInterrupt
    assert path.read_bytes() == b"finished"
    assert len(decode(tmp_path / "a.partial.mp4")[0]) == 5 and len(list(tmp_path.iterdir())) == 2


def test_a_failure_before_the_first_frame_leaves_nothing_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), VideoWriter(path, (32, 32)):
        raise RuntimeError
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_a_disk_that_fills_while_writing_is_named_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.mp4"
    with pytest.raises(OSError, match="disk is full after 8 frames") as caught, VideoWriter(path, (32, 32)) as writer:
        writer.write(ramp(8, (32, 32)))
        full = OSError(errno.ENOSPC, "No space left on device")
        writer._container = type("Full", (), {"mux": _raise(full), "close": _raise(full)})()
        writer.write(ramp(8, (32, 32)))
    assert caught.value.errno == errno.ENOSPC and not list(tmp_path.iterdir())


def test_a_disk_that_fills_at_the_end_is_named_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.mp4"
    with pytest.raises(OSError, match="could not be completed"), VideoWriter(path, (32, 32)) as writer:
        writer.write(ramp(8, (32, 32)))
        full = OSError(errno.ENOSPC, "No space left on device")
        writer._container = type("Full", (), {"mux": _raise(full), "close": _raise(full)})()
    assert not list(tmp_path.iterdir())


def test_a_really_full_disk(tmp_path, monkeypatch):
    """A 1 MB tmpfs, where this process may mount one."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small tmpfs here; the two tests above replace the disk instead")
    try:
        with pytest.raises(OSError, match="MB free"):
            check_output(tmp_path / "a.mp4")
        monkeypatch.setattr("stereotalker_core.video.writing.writer._LEAST_FREE", 0)
        noise = torch.rand(120, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
        with pytest.raises(OSError) as caught:
            save(tmp_path / "a.mp4", noise)
        assert caught.value.errno == errno.ENOSPC and not list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize(
    "name, message", [("a.avi", "must end in"), ("folder.mp4", "is a folder"), ("file/a.mp4", "cannot be written")]
)
def test_bad_outputs_are_refused_before_work(tmp_path, name, message):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((ValueError, OSError), match=message):
        VideoWriter(tmp_path / name, (32, 32))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_protected_folder_or_file_is_refused(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "b.mp4").write_bytes(b"old")
    monkeypatch.setattr("stereotalker_core.video.writing.writer.os.access", lambda *_: False)
    with pytest.raises(PermissionError, match="write-protected"):
        check_output(tmp_path / "b.mp4")
    monkeypatch.setattr("stereotalker_core.video.writing.writer.tempfile.TemporaryFile", refuse)
    with pytest.raises(OSError, match="Permission denied"):
        check_output(tmp_path / "new" / "a.mp4")
    assert not (tmp_path / "new").exists()


def test_frames_of_another_size_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"got \(1, 3, 32, 40\)"), VideoWriter(tmp_path / "a.mp4", (32, 32)) as writer:
        writer.write(torch.zeros(1, 3, 32, 40))
    assert not list(tmp_path.iterdir())


def _raise(error):
    def raiser(*_):
        raise error

    return raiser
