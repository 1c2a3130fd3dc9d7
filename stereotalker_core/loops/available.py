"""The compiled loops for tensors: which modules there are, whether numba can compile them, tensors as arrays."""

import functools
import logging
import threading
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

logger = logging.getLogger(__name__)
_BUSY = threading.Lock()  # of the first import and compilation


@dataclass(frozen=True)
class Loops:
    """The modules of compiled functions: pictures, the places that inpainting copies from, surfaces, points of a fit.
    """

    pictures: ModuleType
    places: ModuleType
    surfaces: ModuleType
    points: ModuleType


@functools.lru_cache(maxsize=1)
def _loops() -> Loops | None:
    """Import the modules and compile one small function; None where numba is missing, disabled or does not work."""
    try:
        from numba.core import config
        from numba.core.errors import NumbaError
    except (ImportError, OSError) as error:  # OSError: a numba whose native library does not fit this system
        logger.info("people are fitted without numba (%s)", error)
        return None
    if getattr(config, "DISABLE_JIT", False):
        return None
    from pickle import PickleError

    try:
        from . import pictures, places, points, surfaces

        pictures.chess_distance(np.ones((1, 1), np.bool_), np.zeros((1, 1), np.float32))
    except (NumbaError, PickleError, ImportError, OSError, EOFError) as error:
        logger.warning("people are fitted without numba, more slowly (%s: %s)", type(error).__name__, error)
        return None
    return Loops(pictures, places, surfaces, points)


def loops_for(*tensors: Tensor) -> Loops | None:
    """Return the compiled functions where they serve these tensors, else None: then tensor operations do the same.

    They serve tensors on the CPU of whole numbers, truth values and float32, of which no gradient is wanted."""
    for tensor in tensors:
        if tensor.device.type != "cpu" or tensor.is_floating_point() and tensor.dtype != torch.float32:
            return None
        if tensor.requires_grad and torch.is_grad_enabled() or not _in_memory(tensor):
            return None
    with _BUSY:
        return _loops()


def _in_memory(tensor: Tensor) -> bool:
    """Tell whether a tensor has numbers that can be read, unlike those of `torch.func` and of tracing."""
    try:
        tensor.data_ptr()
    except RuntimeError:
        return False
    return True


def array(tensor: Tensor) -> np.ndarray:
    """Return a tensor as an array whose last axis is contiguous in memory; no copy where it already is."""
    return tensor.detach().contiguous().numpy()
