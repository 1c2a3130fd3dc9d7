import threading

import av
import pytest
import torch

from stereotalker_core.video.writing.background_writer import WAITING, BackgroundWriter
from stereotalker_core.video.writing.writer import VideoWriter


def pictures(count, shade=0.0):
    return torch.linspace(-1, 1, 32).expand(count, 3, 32, 32) * 0.5 + shade


def test_the_file_is_the_plain_writers(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", (32, 32)) as plain:
        for i in range(6):
            plain.write(pictures(3, i / 20))
    with BackgroundWriter(VideoWriter(tmp_path / "b.mp4", (32, 32))) as other:
        for i in range(6):
            other.write(pictures(3, i / 20))
    assert other.frames == 18
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_drawing_goes_on_while_frames_are_encoded_and_waits_where_too_many_do(tmp_path, monkeypatch):
    go, real = threading.Event(), VideoWriter.write
    monkeypatch.setattr(VideoWriter, "write", lambda self, frames: go.wait(30) and real(self, frames))
    handed = []

    def draw(writer):
        for i in range(WAITING + 3):
            writer.write(pictures(1))
            handed.append(i)

    with BackgroundWriter(VideoWriter(tmp_path / "v.mp4", (32, 32))) as writer:
        drawing = threading.Thread(target=draw, args=(writer,))
        drawing.start()
        drawing.join(1.0)
        assert WAITING <= len(handed) <= WAITING + 1 and writer.frames == 0 and drawing.is_alive()
        go.set()
        drawing.join(30)
    assert writer.frames == WAITING + 3


def test_an_error_of_the_encoder_surfaces_and_the_thread_ends(tmp_path, monkeypatch):
    def full(self, frames):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(VideoWriter, "write", full)
    before = threading.active_count()
    writer = BackgroundWriter(VideoWriter(tmp_path / "v.mp4", (32, 32)))
    with pytest.raises(OSError, match="disk is full after 0 frames"), writer:
        for _ in range(1000):
            writer.write(pictures(1))
    assert threading.active_count() == before and not list(tmp_path.iterdir())


def test_an_error_after_the_last_frame_surfaces_too(tmp_path):
    writer = BackgroundWriter(VideoWriter(tmp_path / "v.mp4", (32, 32)))
    with pytest.raises(ValueError, match=r"got \(1, 3, 32, 40\)"), writer:
        writer.write(torch.zeros(1, 3, 32, 40))


def test_cancelling_leaves_a_file_that_plays(tmp_path):
    with pytest.raises(KeyboardInterrupt), BackgroundWriter(VideoWriter(tmp_path / "v.mp4", (32, 32))) as writer:
        writer.write(pictures(5))
        writer.write(pictures(4))
        raise KeyboardInterrupt
    with av.open(str(tmp_path / "v.mp4")) as file:
        assert sum(1 for _ in file.decode(video=0)) == 9 == writer.frames
