"""Pieces, parts and joins: the same packets as one run, sound whole, resumed runs, all containers."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from stereotalker_core.audio.load import make_audio
from stereotalker_core.video.writing import parts
from stereotalker_core.video.writing.containers import format_for
from stereotalker_core.video.writing.join import Part, join_parts, part_of
from stereotalker_core.video.writing.parts import ClipWriter
from stereotalker_core.video.writing.pictures import GifWriter, PictureWriter

SIZE, COUNT = (64, 96), 40


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch):
    monkeypatch.setattr(parts, "GRID", 10)


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    x = torch.linspace(-0.8, 0.8, SIZE[1]).expand(COUNT, 3, *SIZE).clone()
    x[:, 1] *= torch.linspace(-1, 1, COUNT)[:, None, None]
    return x


@pytest.fixture(scope="module")
def alpha() -> torch.Tensor:
    return torch.linspace(0, 1, SIZE[0])[:, None].expand(COUNT, 1, *SIZE).clone()


def speech(rate: int = 44100, channels: int = 2):
    generator = torch.Generator().manual_seed(0)
    return make_audio(0.2 * torch.randn(channels, int(1.6 * rate), generator=generator), rate)


def write(path, frames, audio=None, part=None, transparent=False, alpha=None, **settings):
    part = part or Part(0, COUNT, COUNT)
    writer = ClipWriter(
        path, SIZE, 25, format_for(path, "high", transparent), part, audio, {"comment": "x"}, **settings
    )
    with writer:
        for i in range(part.first + writer.done, part.stop, 7):
            now = slice(i, min(i + 7, part.stop))
            writer.write(frames[now], None if alpha is None else alpha[now])
    return path


def packets(path, kind: str) -> list[tuple]:
    with av.open(str(path)) as file:
        chosen = getattr(file.streams, kind)[0]
        return [(p.pts * p.time_base, bytes(p)) for p in file.demux(chosen) if p.size]


def decoded(path) -> tuple[np.ndarray, np.ndarray]:
    with av.open(str(path)) as file:
        images = np.stack([f.to_ndarray(format="rgb24") for f in file.decode(video=0)])
    with av.open(str(path)) as file:
        sound = np.concatenate([f.to_ndarray() for f in file.decode(audio=0)], -1)
    return images, sound


def alike(one, other) -> None:
    """All frames of both files, and their sound sample for sample.

    x264 gives a few macroblocks of the same pictures another three or four levels once in some hundred runs, on one
    thread, too, so that pictures are compared with a tolerance.
    """
    (images, sound), (others, also) = decoded(one), decoded(other)
    assert images.shape == others.shape and len(images) == COUNT
    assert np.abs(images.astype(int) - others).max() <= 12
    assert np.array_equal(sound, also)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_joined_parts_are_one_run(tmp_path, frames, suffix):
    """The packets of the parts in their order, and sound, times and pictures of one run."""
    audio = speech()
    whole = write(tmp_path / f"whole{suffix}", frames, audio)
    cuts = [(20, 30), (0, 20), (30, 40)]
    names = [write(tmp_path / f"{a}{suffix}", frames, audio, Part(a, b, COUNT)) for a, b in cuts]
    assert part_of(names[0]) == Part(20, 30, COUNT) and part_of(whole) is None
    assert join_parts(names, tmp_path / f"joined{suffix}") == Part(0, COUNT, COUNT)
    joined = tmp_path / f"joined{suffix}"
    assert part_of(joined) is None
    assert [b for _, b in packets(whole, "audio")] == [b for _, b in packets(joined, "audio")]
    in_order = [bytes_ for name in (names[1], names[0], names[2]) for _, bytes_ in packets(name, "video")]
    assert in_order == [b for _, b in packets(joined, "video")]
    for kind in ("audio", "video"):
        times = zip(packets(whole, kind), packets(joined, kind), strict=True)
        assert max(abs(a[0] - b[0]) for a, b in times) <= Fraction(1, 900)
    alike(whole, joined)


def test_parts_off_the_grid_and_of_parts(tmp_path, frames):
    audio = speech(16000, 1)
    names = [write(tmp_path / f"{a}.mp4", frames, audio, Part(a, b, COUNT)) for a, b in [(0, 13), (13, 14), (14, 40)]]
    assert join_parts(names[1:], tmp_path / "late.mp4") == Part(13, 40, COUNT) == part_of(tmp_path / "late.mp4")
    assert join_parts([names[0], tmp_path / "late.mp4"], tmp_path / "all.mp4").whole
    images, sound = decoded(tmp_path / "all.mp4")
    assert len(images) == COUNT
    assert np.array_equal(sound, decoded(write(tmp_path / "w.mp4", frames, audio))[1])


def test_what_cannot_be_joined(tmp_path, frames):
    a, b = (write(tmp_path / f"{i}.mp4", frames, None, Part(i, i + 10, COUNT)) for i in (0, 20))
    whole = write(tmp_path / "w.mp4", frames)
    out = tmp_path / "o.mp4"
    with pytest.raises(ValueError, match="frames 10:20 are missing"):
        join_parts([a, b], out)
    with pytest.raises(ValueError, match="both hold the same frames"):
        join_parts([a, a], out)
    with pytest.raises(ValueError, match="is no part of a clip"):
        join_parts([a, whole], out)
    other = write(tmp_path / "other.mp4", frames, speech(), Part(10, 20, COUNT))
    with pytest.raises(ValueError, match="other settings"):
        join_parts([a, other], out)
    (tmp_path / "t.mp4").write_text("no video")
    with pytest.raises(ValueError, match="no video that can be read"):
        join_parts([a, tmp_path / "t.mp4"], out)
    assert not out.exists() and not list(tmp_path.glob(".*"))


def test_a_killed_run_goes_on(tmp_path, frames):
    """A writer that is just dropped, as by SIGKILL: its finished pieces are used, those of another job are not."""
    whole, path = write(tmp_path / "w.mp4", frames, speech()), tmp_path / "v.mp4"
    killed = ClipWriter(path, SIZE, 25, format_for(path), Part(0, COUNT, COUNT), speech(), {"comment": "x"}, "job")
    killed.__enter__()
    killed.write(frames[:27])
    assert not path.exists()
    del killed
    again = ClipWriter(path, SIZE, 25, format_for(path), Part(0, COUNT, COUNT), job="other", resume=True)
    assert again.done == 0
    write(path, frames, speech(), job="job", resume=True)
    alike(whole, path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v.mp4", "w.mp4"]


def test_an_interrupted_run_never_replaces_a_whole_clip(tmp_path, frames):
    path = write(tmp_path / "v.mp4", frames)
    before = path.read_bytes()
    with (
        pytest.raises(KeyboardInterrupt),
        ClipWriter(path, SIZE, 25, format_for(path), Part(0, COUNT, COUNT)) as writer,
    ):
        writer.write(frames[:13])
        raise KeyboardInterrupt
    assert path.read_bytes() == before and writer.partial == tmp_path / "v.partial.mp4"
    with av.open(str(writer.partial)) as file:
        assert sum(1 for _ in file.decode(video=0)) == 13
    with pytest.raises(RuntimeError), ClipWriter(path, SIZE, 25, format_for(path), Part(0, COUNT, COUNT)) as writer:
        writer.write(frames[:3])
        raise RuntimeError
    assert path.read_bytes() == before and not writer.folder.exists()


@pytest.mark.parametrize("suffix, decoder, worst", [(".mov", None, 3), (".webm", "libvpx-vp9", 12)])
def test_transparency_survives(tmp_path, frames, alpha, suffix, decoder, worst):
    path = write(tmp_path / f"v{suffix}", frames, None, None, True, alpha)
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        context = av.CodecContext.create(decoder, "r") if decoder else stream.codec_context
        found = []
        for packet in file.demux(stream):
            found += [f.to_ndarray(format="rgba") for f in context.decode(packet)]
        found += context.decode(None) if decoder is None and not found else []
    wanted = (alpha[:, 0] * 255).numpy()
    assert len(found) == COUNT and np.abs(np.stack(found)[..., 3] - wanted).mean() < worst


def test_gif_and_pictures(tmp_path, frames, alpha):
    with GifWriter(tmp_path / "v.gif", SIZE, 25, transparent=True) as gif:
        gif.write(frames[:9], alpha[:9])
    from PIL import Image

    with Image.open(tmp_path / "v.gif") as file:
        assert file.n_frames == 9 and file.info["duration"] == 40
        file.seek(8)
        shown = np.asarray(file.convert("RGBA"))
    assert shown[0, 0, 3] == 0 and shown[-1, 0, 3] == 255 and abs(int(shown[-1, 0, 0]) - 25) < 20
    path = tmp_path / "f" / "%03d.png"
    with pytest.raises(KeyboardInterrupt), PictureWriter(path, Part(5, 12, COUNT)) as writer:
        writer.write(frames[5:8])
        raise KeyboardInterrupt
    again = PictureWriter(path, Part(5, 12, COUNT), resume=True)
    assert again.done == 3
    with again:
        again.write(frames[8:12])
    assert sorted(p.name for p in (tmp_path / "f").iterdir()) == [f"{i:03d}.png" for i in range(5, 12)]
    with Image.open(tmp_path / "f" / "005.png") as file:
        wanted = ((frames[5] + 1) * 127.5).permute(1, 2, 0).numpy()
        assert file.mode == "RGB" and np.abs(np.asarray(file) - wanted).max() <= 0.5
    for name in ("v.mp4", "v.avi"):
        with pytest.raises(ValueError, match="transparency|must end in"):
            format_for(name, "high", True)
