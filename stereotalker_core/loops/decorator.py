"""The decorators of functions that numba compiles to machine code. Only modules of compiled loops import this one."""

import hashlib

import numba


def machine_code(function, **more):
    """Compile a function at its first call, cached on disk where a folder is writable; it holds no interpreter lock.

    more: further options of `numba.njit`. The cache contains the module's name, which differs inside ComfyUI, so every
    name gets its own cache files."""
    options = {"nogil": True, "error_model": "numpy", **more}
    function.__qualname__ += "_" + hashlib.sha256(function.__module__.encode()).hexdigest()[:8]
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return numba.njit(**options)(function)


def compiled(function):
    """Compile a function as `machine_code` does, for loops in vector registers: sums may be taken in another order and
    multiplications joined with additions; numbers must be finite."""
    return machine_code(function, fastmath={"reassoc", "contract", "nsz", "nnan"})
