"""The measurement of the memory that a command used, and its return to the system."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress

_ARENA_MAX = -8  # M_ARENA_MAX of glibc's malloc.h


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process so far, in MB; NaN on systems that do not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def share_arenas() -> None:
    """Let threads take their memory from the same two pools, where the C library can (glibc), in a process of our own.

    By default up to eight pools a core are opened, each of which keeps what was freed in it; the peak then grows by
    chance with the length of a video. The environment's MALLOC_ARENA_MAX is respected."""
    if sys.platform.startswith("linux") and "MALLOC_ARENA_MAX" not in os.environ:
        _glibc("mallopt", _ARENA_MAX, 2)


def give_memory_back() -> None:
    """Return freed memory to the system, where the C library can (glibc); elsewhere without effect.

    Freed blocks between used ones stay with the process otherwise: after fit and motion some 150 MB, and tens more
    in the course of a long video."""
    if sys.platform.startswith("linux"):
        _glibc("malloc_trim", 0)


def _glibc(function: str, *values: int) -> None:
    """Call a function of the C library that not every one has."""
    import ctypes

    with suppress(OSError, AttributeError):  # another C library
        getattr(ctypes.CDLL(None), function)(*values)


def trimmed(progress: Callable[[str, int, int], None]) -> Callable[[str, int, int], None]:
    """Return `progress`, which gives freed memory back at the end of every stage besides: what a stage has freed would
    otherwise lie beside what the next one takes.

    progress: called with (stage, done, total)."""

    def told(stage: str, done: int, total: int) -> None:
        progress(stage, done, total)
        if done >= total:
            give_memory_back()

    return told
