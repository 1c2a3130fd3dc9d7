"""The measurement of the memory that a command used."""

import sys


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process so far, in MB; NaN on systems that do not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
