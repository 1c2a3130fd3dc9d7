"""Frames and speech -> a video file (H.264 + AAC), written as they arrive, playable after an interruption."""

import errno
import logging
import os
import shutil
import tempfile
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...records import Audio
from ...shapes import FPS, dims

if TYPE_CHECKING:
    from av.container import OutputContainer

logger = logging.getLogger(__name__)
SUFFIXES = (".mp4", ".mov", ".mkv")
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_AAC_FRAME = 1024
_BT709 = 1  # the number of Rec. 709 in ffmpeg's primaries, transfer and matrix tables
_LIMITED = 1
_LEAST_FREE = 16 * 2**20  # bytes that must be free before work starts


def check_output(path: str | Path, suffixes: tuple[str, ...] = SUFFIXES) -> Path:
    """Check that an output can be written, before any work and without leaving anything behind -> its path.

    ValueError for a suffix that is not in `suffixes`, or a folder of that name; OSError where writing is impossible (no
    permission, read-only, a file where a folder is needed) or less than 16 MB are free."""
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path} must end in one of {', '.join(suffixes)}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name the file to write")
    if path.is_symlink() and not path.exists():
        raise ValueError(f"{path} is a link that leads nowhere; choose another name")
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(f"{path} exists and is write-protected; choose another name")
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror}); choose another folder") from error
    if free < _LEAST_FREE:
        raise OSError(f"no space for {path}: {free / 2**20:.0f} MB free; make room or choose another disk")
    return path


class VideoWriter:
    """The streaming writer, a context manager: frames (T, 3, H, W) in, one file out, the same bytes for the same input.

    path: the file.
    size: (H, W) px; an odd side is extended by one repeated pixel, as 4:2:0 requires.
    fps: frames per second.
    audio: its original is resampled if AAC requires it, and written up to the last frame; None for no sound.
    metadata: tags of the container, as text.

    The file is written under a temporary name beside `path` and renamed when it is closed. An exception inside the with
    block (Ctrl-C too) closes it with the frames so far, as NAME.partial.EXT where a finished file has the name; only a
    full disk or no frame at all leaves no file."""

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        fps: float = FPS,
        audio: Audio | None = None,
        metadata: dict[str, str] | None = None,
    ):
        self.path = check_output(path)
        self.size, self.fps, self.audio = size, Fraction(fps).limit_denominator(1001), audio
        self.metadata = metadata or {}
        self.frames = 0
        self._container: OutputContainer | None = None
        self._samples = 0  # of the original, already given to the encoder

    def __enter__(self) -> "VideoWriter":
        import av

        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.stem}.", suffix=self.path.suffix)
        os.close(handle)
        self._partial = Path(name)
        options = {"fflags": "+bitexact"}  # no clock, no random ids: the same input gives the same file
        if self.path.suffix.lower() != ".mkv":
            options["movflags"] = "+faststart"
        self._container = av.open(name, "w", options=options)
        self._container.metadata.update(self.metadata)
        self._add_video()
        self._add_audio()
        return self

    @property
    def _file(self) -> "OutputContainer":
        """Return the container that is being written. ValueError outside the with block."""
        if self._container is None:
            raise ValueError(f"{self.path} is not open; write inside of a `with` block")
        return self._container

    def _add_video(self) -> None:
        from av.codec.context import Flags

        options = {"crf": "17", "preset": "medium", "threads": "1"}  # one thread: the same bytes on any machine
        self._video = self._file.add_stream("libx264", rate=self.fps, options=options)
        context = self._video.codec_context
        context.height, context.width = (side + side % 2 for side in self.size)
        context.pix_fmt = "yuv420p"
        context.flags |= Flags.bitexact
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED

    def _add_audio(self) -> None:
        if self.audio is None:
            return
        from av import AudioResampler
        from av.codec.context import Flags

        channels, rate = self.audio.original.shape[0], self.audio.original_rate
        layout = "stereo" if channels == 2 else "mono"  # the layout of more channels is unknown: they are mixed
        target = rate if rate in _AAC_RATES else 48000
        self._sound = self._file.add_stream("aac", rate=target, layout=layout)
        self._sound.codec_context.flags |= Flags.bitexact
        self._sound.codec_context.bit_rate = 96_000 * (2 if layout == "stereo" else 1)
        self._resampler = AudioResampler("fltp", layout, target, frame_size=_AAC_FRAME)

    def write(self, frames: Tensor) -> None:
        """Append frames (T, 3, H, W) in [-1, 1] and the sound that belongs to them. OSError where the disk is full."""
        from av import VideoFrame

        dims(frames, "T 3 H W", H=self.size[0], W=self.size[1])
        pixels = ((frames.float().clamp(-1, 1) + 1) * 127.5).round().to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()
        odd = [(0, 0), *((0, side % 2) for side in self.size), (0, 0)]
        for image in np.pad(pixels, odd, mode="edge"):
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
            frame.pts, frame.time_base = self.frames, 1 / self.fps
            self._file.mux(self._video.encode(frame))
            self.frames += 1
            self._write_sound()

    def _write_sound(self) -> None:
        """Encode the sound up to the end of the latest frame."""
        if self.audio is None:
            return
        from av import AudioFrame

        rate = self.audio.original_rate
        until = min(round(self.frames * rate / self.fps), self.audio.original.shape[1])
        if until <= self._samples:
            return
        piece = self.audio.original[:, self._samples : until]
        if piece.shape[0] > 2:
            piece = piece.mean(0, keepdim=True)
        layout = "stereo" if piece.shape[0] == 2 else "mono"
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(piece.clamp(-1, 1).numpy()), "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, self._samples, Fraction(1, rate)
        self._samples = until
        for block in self._resampler.resample(frame):
            self._file.mux(self._sound.encode(block))

    def close(self, target: Path | None = None) -> None:
        """Flush, finalise and rename the file; without any frame it is deleted. Closing twice has no effect.

        target: another name for it than `path`."""
        if self._container is None:
            return
        if self.frames == 0:
            self._discard()
            return
        try:
            if self.audio is not None:
                for block in self._resampler.resample(None):
                    self._file.mux(self._sound.encode(block))
                self._file.mux(self._sound.encode(None))
            self._file.mux(self._video.encode(None))
            self._container.close()
            self._container = None
            os.chmod(self._partial, 0o644)
            os.replace(self._partial, target or self.path)
        except OSError as error:
            self._discard()
            raise OSError(error.errno, f"{self.path} could not be completed: {error.strerror}") from error

    def _discard(self) -> None:
        """Delete the unfinished file, ignoring errors of its container."""
        container, self._container = self._container, None
        if container is not None:
            try:
                container.close()
            except (OSError, ValueError) as error:
                logger.debug("closing a discarded video: %s", error)
        self._partial.unlink(missing_ok=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            self._discard()
            raise OSError(
                error.errno, f"the disk is full after {self.frames} frames; {self.path} was not written, make room"
            ) from error
        finished = error is not None and self.path.is_file()
        self.close(self.path.with_name(f"{self.path.stem}.partial{self.path.suffix}") if finished else None)
