"""A video writer in its own thread: frames are encoded while the next ones are drawn."""

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from torch import Tensor

WAITING = 2  # portions of frames that may wait; then drawing waits, so that memory does not grow


class FrameWriter(Protocol):
    """The interface that `VideoWriter` and the writers of other files share."""

    @property
    def frames(self) -> int:
        """Return how many frames are in the file."""
        ...

    @property
    def write(self) -> Callable[..., None]:
        """Return the function that appends frames (T, 3, H, W) in [-1, 1], with further arguments of this writer."""
        ...

    def __enter__(self) -> object: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class BackgroundWriter:
    """The context manager that passes frames to a writer in its own thread: `write` returns before they are encoded.

    Errors of the encoding are raised by the next `write` or at the end of the with block. The file contains every frame
    that was passed, also after an exception in the block."""

    def __init__(self, writer: FrameWriter):
        self.writer = writer
        self._error: BaseException | None = None
        self._queue: queue.Queue[tuple[Tensor, ...] | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, name="video writer")

    @property
    def done(self) -> int:
        """Return how many frames an earlier run has already written, for writers that resume; else 0."""
        return getattr(self.writer, "done", 0)

    @property
    def partial(self):
        """Return the path of the unfinished file, for writers that have one; else None."""
        return getattr(self.writer, "partial", None)

    @property
    def frames(self) -> int:
        """Return how many frames are in the file."""
        return self.writer.frames

    def __enter__(self) -> "BackgroundWriter":
        self.writer.__enter__()
        self._thread.start()
        return self

    def write(self, *frames: Tensor) -> None:
        """Pass on frames (T, 3, H, W) in [-1, 1] and further arguments of the writer; they must not change afterwards.
        """
        self._raise()
        self._queue.put(frames)  # is always taken: after an error the thread goes on to throw away

    def _work(self) -> None:
        while (frames := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self.writer.write(*frames)
                except (OSError, ValueError, RuntimeError) as error:
                    self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        ours = self._error if error is None else None
        if ours is not None:
            kind, error, trace = type(ours), ours, ours.__traceback__
        self.writer.__exit__(kind, error, trace)
        if ours is not None:
            raise ours
