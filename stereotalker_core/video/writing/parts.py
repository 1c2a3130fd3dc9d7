"""A clip written as finished pieces of five seconds, so that an interrupted run continues where it stopped.

Pieces lie in a hidden folder beside the file (`.NAME.parts`), on a fixed grid of frames: runs, parts and resumed runs
are split at the same frames and so encode identically. The file itself appears when it is complete. An interrupted run
leaves a playable file of what it has, under the requested name only if no file existed there before."""

import errno
import hashlib
import json
import shutil
import uuid
from fractions import Fraction
from pathlib import Path

import numpy as np
from torch import Tensor

from ...records import Audio
from .containers import Format, Piece, bytes_of
from .join import Part, mux

GRID = 125  # frames of a piece


class ClipWriter:
    """The context manager that writes a stream of frames (T, 3, H, W) to one file, the same bytes for the same input.

    path: .mp4, .mov, .mkv or .webm, in the format `form` (see `format_for`).
    size: (H, W) px.
    fps: frames per second.
    part: which frames of which clip these are.
    audio: the whole clip's recording; written up to the last frame.
    tags: of the container.
    job: identifies what the frames depend on; pieces of another job are not used.
    resume: use finished pieces of an earlier run of this job; `done` is the number of their frames."""

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        fps: float,
        form: Format,
        part: Part,
        audio: Audio | None = None,
        tags: dict[str, str] | None = None,
        job: object = None,
        resume: bool = False,
    ):
        self.path, self.size, self.form, self.part, self.audio = Path(path), size, form, part, audio
        self.fps, self.tags = Fraction(fps).limit_denominator(1001), tags or {}
        self.folder = self.path.with_name(f".{self.path.name}.parts")
        settings = [form.codec, form.pixels, form.options, size, str(self.fps), part.first, part.count, job]
        self.job = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
        self._own = uuid.uuid4().hex[:8]  # a dropped writer of the same clip may still hold its own open piece
        self.partial: Path | None = None  # where an interrupted run has put what it had
        self._piece: Piece | None = None
        self._held: list[np.ndarray] = []
        if not resume or not self._same_job():
            self._pieces: list[tuple[int, int]] = []
        else:
            self._pieces = self._found()
        self.done = self.frames = sum(stop - first for first, stop in self._pieces)

    def _same_job(self) -> bool:
        note = self.folder / "job.json"
        try:
            return json.loads(note.read_text(encoding="utf-8"))["job"] == self.job
        except (OSError, ValueError, KeyError):
            return False

    def _found(self) -> list[tuple[int, int]]:
        """Return the (first, stop) of finished pieces, from the first frame on without a gap."""
        found, at = [], self.part.first
        while at < self.part.stop and self._name(at, self._end(at)).is_file():
            found.append((at, self._end(at)))
            at = self._end(at)
        return found

    def _end(self, first: int) -> int:
        return min(self.part.stop, (first // GRID + 1) * GRID)

    def _name(self, first: int, stop: int) -> Path:
        return self.folder / f"{first:07d}-{stop:07d}{self._suffix()}"

    def _suffix(self) -> str:
        """Return the suffix of the pieces, .mp4 for .mkv files, since Matroska lacks decoding times and begins late."""
        suffix = self.path.suffix.lower()
        return ".mp4" if suffix == ".mkv" else suffix

    def __enter__(self) -> "ClipWriter":
        if not self._pieces:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "job.json").write_text(json.dumps({"job": self.job}), encoding="utf-8")
        return self

    def write(self, frames: Tensor, alpha: Tensor | None = None) -> None:
        """Append frames (T, 3, H, W) in [-1, 1] and, where the format is transparent, their alpha (T, 1, H, W)."""
        pixels = bytes_of(frames, alpha if self.form.transparent else None)
        while len(pixels):
            at = self.part.first + self.frames
            if at >= self.part.stop:
                raise ValueError(f"more frames than {self.part.first}:{self.part.stop}")
            if self._piece is None:
                self._piece = Piece(self._open_name(), self.size, float(self.fps), self.form)
            few = pixels[: self._end(at) - at]
            self._piece.write(few)
            self.frames += len(few)
            pixels = pixels[len(few) :]
            if at + len(few) == self._end(at):
                self._finish()

    def _open_name(self) -> Path:
        return self.folder / f"open-{self._own}{self._suffix()}"

    def _finish(self) -> None:
        """Close the open piece, if any, and rename it to the name of a finished one."""
        piece, self._piece = self._piece, None
        if piece is None:
            return
        piece.close()
        stop = self.part.first + self.frames
        self._open_name().replace(self._name(stop - piece.frames, stop))
        self._pieces.append((stop - piece.frames, stop))

    def _mux(self, path: Path) -> None:
        part = Part(self.part.first, self.part.first + self.frames, self.part.count)
        names = [self._name(*piece) for piece in self._pieces]
        if self.frames < self.part.stop - self.part.first:  # what was interrupted is a clip of its own
            part = Part(part.first, part.stop, part.stop)
        mux(names, path, part, self.fps, self.tags, self.audio, self.form.sound)

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            self._drop_open()
            raise OSError(
                error.errno,
                f"the disk is full after {self.frames} frames; {self.path} was not written, make room",
            ) from error
        if kind is None:
            self._finish()
            if self.frames:
                self._mux(self.path)
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        if issubclass(kind, KeyboardInterrupt) and self.frames:
            self._finish()
            here = not self.path.exists()
            self.partial = self.path if here else self.path.with_name(f"{self.path.stem}.partial{self.path.suffix}")
            self._mux(self.partial)
        self._drop_open()

    def _drop_open(self) -> None:
        """Delete the unfinished piece, and the folder if it has no finished one."""
        piece, self._piece = self._piece, None
        if piece is not None:
            self.frames -= piece.frames
            piece.container.close()
        for path in self.folder.glob(f"open-{self._own}.*"):
            path.unlink(missing_ok=True)
        if not any(self._name(first, stop).is_file() and stop == self._end(first) for first, stop in self._pieces):
            shutil.rmtree(self.folder, ignore_errors=True)
