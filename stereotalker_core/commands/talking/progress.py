"""The progress of a command on stderr: stage, count, speed, time left; the quality and the warnings of a fit."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from ...records import Identity

_LABELS = {
    "load": "loading",
    "fit": "fitting the portrait",
    "bake": "drawing unseen sides",
    "motion": "speech -> motion",
    "render": "rendering",
}
_CORE = __name__.partition(".commands")[0]
_SEERS = tuple(f"{_CORE}.{part}." for part in ("body", "perception"))  # loggers of the fit
_QUIET_SECONDS = 10.0  # between lines where stderr is a file
_FAST_SECONDS = 0.1  # between updates on a terminal


@contextmanager
def held_warnings() -> Iterator[None]:
    """Keep the warnings of a fit out of the log inside a with block; `ProgressLine.fitted` prints them instead."""

    def others(record: logging.LogRecord) -> bool:
        return record.levelno != logging.WARNING or not record.name.startswith(_SEERS)

    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(others)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(others)


class ProgressLine:
    """The progress display: called with (stage, done, total), it rewrites one line on a terminal, else adds a line now
    and then.

    stream: where it is written, None for stderr; enabled: False shows nothing."""

    def __init__(self, stream: TextIO | None = None, enabled: bool = True):
        self.stream = stream or sys.stderr
        self.enabled = enabled
        self.seconds: dict[str, float] = {}  # of each stage
        self._terminal = self.stream.isatty()
        self._stage, self._start, self._shown = "", 0.0, 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.perf_counter()
        if stage != self._stage:
            self._stage, self._start, self._shown = stage, now, 0.0
        elapsed = self.seconds[stage] = now - self._start
        finished = done >= total
        wait = _FAST_SECONDS if self._terminal else _QUIET_SECONDS
        if self.enabled and (finished or now - self._shown >= wait and (self._terminal or self._shown)):
            self._write(self.text(stage, done, total, elapsed), finished)
            self._shown = now
        self._shown = self._shown or now

    def fitted(self, identity: Identity) -> None:
        """Print how well the body fits the portrait, and what had to be guessed, one line each."""
        if self.enabled:
            self.stream.write(f"fit quality {identity.quality:.2f} (of 1)\n")
            self.stream.writelines(f"warning: {' '.join(text.split())}\n" for text in identity.warnings)
            self.stream.flush()

    @staticmethod
    def text(stage: str, done: int, total: int, elapsed: float) -> str:
        """Return the progress line: the stage, how much of it is done, and the remaining time.

        stage: its name; done, total: numbers of frames or steps; elapsed: seconds since the stage began."""
        label = f"{_LABELS.get(stage, stage):<21}"
        if done >= total:
            return f"{label} done in {elapsed:.1f} s"
        if done == 0:
            return f"{label} ..."
        left = elapsed / done * (total - done)
        return f"{label} {done}/{total}  {100 * done / total:.0f} %  eta {int(left // 60)}:{int(left % 60):02d}"

    def _write(self, text: str, finished: bool) -> None:
        if self._terminal:
            self.stream.write(f"\r\x1b[K{text}" + ("\n" if finished else ""))
        else:
            self.stream.write(text + "\n")
        self.stream.flush()
