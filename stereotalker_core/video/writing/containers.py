"""The formats of video files, and the silent pieces of video from which finished clips are joined."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...shapes import FPS, dims

QUALITIES = ("draft", "good", "high", "best")
_CRF = {"libx264": (30, 23, 17, 10), "libvpx-vp9": (44, 36, 28, 18)}
_BT709, _LIMITED = 1, 1  # ffmpeg's numbers of Rec. 709 in its tables, and of studio range
STREAMED = (".mp4", ".mov", ".mkv", ".webm")
PICTURES = (".gif", ".png")
TRANSPARENT = (".mov", ".webm", ".gif", ".png")


@dataclass(frozen=True)
class Format:
    """The codecs of a container: of the picture, with its pixel format and options, and of the sound."""

    codec: str
    pixels: str
    options: dict[str, str]
    sound: str

    @property
    def transparent(self) -> bool:
        return self.pixels.startswith("yuva")


def format_for(path: str | Path, quality: str = "high", transparent: bool = False) -> Format:
    """Return the codecs for a file with this suffix.

    path: the file; quality: one of QUALITIES; transparent: with an alpha channel.

    .mp4, .mkv, .mov: H.264 and AAC; .mov with transparency: ProRes 4444 and PCM; .webm: VP9 and Opus. ValueError for an
    unknown quality or suffix, and for one that cannot be transparent."""
    suffix = Path(path).suffix.lower()
    if quality not in QUALITIES:
        raise ValueError(f"quality {quality!r} is unknown; use one of {', '.join(QUALITIES)}")
    if suffix not in STREAMED:
        raise ValueError(f"{path} must end in one of {', '.join(STREAMED)}")
    if transparent and suffix not in TRANSPARENT:
        raise ValueError(f"{suffix} holds no transparency; use one of {', '.join(TRANSPARENT)}")
    level = QUALITIES.index(quality)
    one = {"threads": "1"}  # thread: the same bytes on any machine
    if suffix == ".webm":
        settings = {"crf": str(_CRF["libvpx-vp9"][level]), "b": "0", "deadline": "good", "cpu-used": "4"}
        if transparent:
            settings["auto-alt-ref"] = "0"  # hidden frames have no place for their alpha
        return Format("libvpx-vp9", "yuva420p" if transparent else "yuv420p", one | settings, "libopus")
    if transparent:
        return Format("prores_ks", "yuva444p10le", one | {"profile": "4444", "vendor": "apl0"}, "pcm_s16le")
    settings = {"crf": str(_CRF["libx264"][level]), "preset": "medium"}
    return Format("libx264", "yuv420p", one | settings, "aac")


def bytes_of(frames: Tensor, alpha: Tensor | None = None) -> np.ndarray:
    """Map frames (T, 3, H, W) in [-1, 1] and alpha (T, 1, H, W) in [0, 1] or None -> (T, H, W, 3 or 4) uint8."""
    dims(frames, "T 3 H W")
    pixels = ((frames.float().clamp(-1, 1) + 1) * 127.5).round()
    if alpha is not None:
        pixels = torch.cat([pixels, (alpha.float().clamp(0, 1) * 255).round().to(pixels)], 1)
    return np.ascontiguousarray(pixels.to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy())


class Piece:
    """The writer of consecutive frames as one silent, independently playable file (closed GOP); `close` finishes it.

    path: of the file.
    size: (H, W) px; an odd side is extended by one repeated pixel where chroma is subsampled."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float, form: Format):
        import av
        from av.codec.context import Flags

        self.size, self.form, self.frames = size, form, 0
        self.fps = Fraction(fps or FPS).limit_denominator(1001)
        self._closed = False
        self.container = av.open(str(path), "w", options={"fflags": "+bitexact"})
        self.stream: Any = self.container.add_stream(form.codec, rate=self.fps, options=dict(form.options))
        if form.transparent:
            self.stream.metadata["alpha_mode"] = "1"
        context = self.stream.codec_context
        odd = 0 if form.codec == "prores_ks" else 1
        context.height, context.width = (side + (side % 2) * odd for side in size)
        context.pix_fmt = form.pixels
        context.flags |= Flags.bitexact
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED

    def write(self, pixels: np.ndarray) -> None:
        """Append frames (T, H, W, 3 or 4) uint8."""
        from av import VideoFrame

        context = self.stream.codec_context
        more = (context.height - self.size[0], context.width - self.size[1])
        kind = "rgba" if pixels.shape[-1] == 4 else "rgb24"
        for image in np.pad(pixels, [(0, 0), (0, more[0]), (0, more[1]), (0, 0)], mode="edge"):
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format=kind)
            frame = frame.reformat(format=self.form.pixels, dst_colorspace="ITU709")
            frame.pts, frame.time_base = self.frames, 1 / self.fps
            self.container.mux(self.stream.encode(frame))
            self.frames += 1

    def close(self) -> None:
        """Flush the encoder and finish the file."""
        if not self._closed:
            self._closed = True
            self.container.mux(self.stream.encode(None))
            self.container.close()
