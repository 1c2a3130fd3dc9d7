"""The measurement of the memory that a command used, and its return to the system."""

import sys
from collections.abc import Callable


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process so far, in MB; NaN on systems that do not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def give_memory_back() -> None:
    """Return freed memory to the system, where the C library can (glibc); elsewhere without effect.

    Freed blocks between used ones stay with the process otherwise: after fit and motion some 150 MB, and tens more
    in the course of a long video."""
    import ctypes

    if not sys.platform.startswith("linux"):
        return
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # another C library
        return


def trimmed(progress: Callable[[str, int, int], None]) -> Callable[[str, int, int], None]:
    """Return `progress`, which gives freed memory back at the end of every stage besides: what a stage has freed would
    otherwise lie beside what the next one takes.

    progress: called with (stage, done, total)."""

    def told(stage: str, done: int, total: int) -> None:
        progress(stage, done, total)
        if done >= total:
            give_memory_back()

    return told
