"""Clips without sound: an animated GIF, or a sequence of numbered PNG files; both may be transparent."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
from torch import Tensor

from .containers import bytes_of
from .join import Part, written

_NUMBER = re.compile(r"%0?(\d?)d")
_SEEN = 128  # alpha from which on a pixel of a GIF is opaque


class PictureWriter:
    """The writer of frames/%05d.png: one file per frame, numbered as in the whole clip; an interrupted run keeps them.

    path: with a place for the number, such as frames/%05d.png.
    part: which frames of which clip.
    transparent: whether the alpha that `write` gets is kept.
    resume: existing files are not drawn again; `done` is their number from the first frame on."""

    partial: Path | None = None

    def __init__(self, path: str | Path, part: Part, transparent: bool = False, resume: bool = False):
        self.path, self.part, self.transparent = Path(path), part, transparent
        self.frames = 0
        if resume:
            while self.frames < part.stop - part.first and self._name(self.frames).is_file():
                self.frames += 1
        self.done = self.frames

    def _name(self, number: int) -> Path:
        return self.path.with_name(self.path.name % (self.part.first + number))

    def __enter__(self) -> "PictureWriter":
        return self

    def write(self, frames: Tensor, alpha: Tensor | None = None) -> None:
        """Append frames (T, 3, H, W) in [-1, 1] and their alpha (T, 1, H, W)."""
        from PIL import Image

        for pixels in bytes_of(frames, alpha if self.transparent else None):
            with written(self._name(self.frames)) as name:
                Image.fromarray(pixels).save(name)
            self.frames += 1

    def __exit__(self, kind, error, trace) -> None:
        if kind is not None and self.frames:
            self.partial = self.path


def check_numbered(path: str | Path) -> None:
    """Raise ValueError for a .png path that does not contain exactly one place for the frame number, like %05d."""
    if len(_NUMBER.findall(Path(path).name)) != 1 or "%" in _NUMBER.sub("", Path(path).name):
        raise ValueError(f"{path} would be one picture: a sequence needs a number in its name, like frames/%05d.png")


class GifWriter:
    """The streaming writer of an animated GIF with one palette per frame; pixels are either opaque or transparent.

    path: the file; size: (H, W) px; fps: frames per second; transparent: whether the alpha that `write` gets is kept.
    """

    partial: Path | None = None
    done = 0

    def __init__(self, path: str | Path, size: tuple[int, int], fps: float, transparent: bool = False):
        self.path, self.size, self.transparent = Path(path), size, transparent
        self.fps = Fraction(fps).limit_denominator(1001)
        self.frames = 0
        self._written = written(self.path)

    def __enter__(self) -> "GifWriter":
        import av

        self.container = av.open(self._written.__enter__(), "w", options={"fflags": "+bitexact"})
        self.stream = self.container.add_stream("gif", rate=self.fps)
        self.stream.codec_context.height, self.stream.codec_context.width = self.size
        self.stream.codec_context.pix_fmt = "pal8"
        self.graph = self._palette()
        return self

    def _palette(self):
        """Build the filter graph split -> palettegen -> paletteuse, frame by frame."""
        from av.filter import Graph

        graph = Graph()
        rows, columns = self.size
        source = graph.add_buffer(width=columns, height=rows, format="rgba", time_base=1 / self.fps)
        split = graph.add("split")
        make = graph.add("palettegen", f"stats_mode=single:reserve_transparent={int(self.transparent)}")
        use, sink = graph.add("paletteuse", "new=1:dither=sierra2_4a"), graph.add("buffersink")
        source.link_to(split)
        split.link_to(use, 0, 0)
        split.link_to(make, 1, 0)
        make.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()
        return graph

    def write(self, frames: Tensor, alpha: Tensor | None = None) -> None:
        """Append frames (T, 3, H, W) in [-1, 1] and their alpha (T, 1, H, W)."""
        from av import VideoFrame

        for pixels in bytes_of(frames, alpha if self.transparent else None):
            if pixels.shape[-1] == 3:
                pixels = np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], -1)
            pixels[..., 3] = np.where(pixels[..., 3] < _SEEN, 0, 255)
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgba")
            frame.pts, frame.time_base = self.frames, 1 / self.fps
            self.graph.vpush(frame)
            self._encode_ready()
            self.frames += 1

    def _encode_ready(self) -> None:
        from av import error

        while True:
            try:
                frame = self.graph.vpull()
            except (error.BlockingIOError, error.EOFError):
                return
            self.container.mux(self.stream.encode(frame))

    def __exit__(self, kind, error, trace) -> None:
        keep = self.frames > 0 and (kind is None or issubclass(kind, KeyboardInterrupt))
        if keep:
            self.graph.vpush(None)
            self._encode_ready()
            self.container.mux(self.stream.encode(None))
            if kind is not None:
                taken = self.path.exists()
                self.partial = self.path.with_name(f"{self.path.stem}.partial.gif") if taken else self.path
                self._written.path = self.partial
        self.container.close()
        self._written.__exit__(*((None, None, None) if keep else (kind or ValueError, error, trace)))
