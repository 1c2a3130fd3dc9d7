"""The decorator of functions that numba compiles to machine code. Only modules of compiled loops import this one."""

import hashlib

import numba


def compiled(function):
    """Compile a function at its first call, cached on disk where a folder is writable; it holds no interpreter lock.

    Sums may be taken in another order and multiplications joined with additions, so that loops run in vector
    registers; numbers must be finite. The cache contains the module's name, which differs inside ComfyUI, so every name
    gets its own cache files."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz", "nnan"}}
    function.__qualname__ += "_" + hashlib.sha256(function.__module__.encode()).hexdigest()[:8]
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return numba.njit(**options)(function)
