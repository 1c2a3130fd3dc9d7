"""The use of bfloat16: on GPUs, and on CPUs where a convolution is measured to be faster with it."""

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import nn

M = TypeVar("M", bound=nn.Module)
_PAYS = 0.9  # of float32's time that bfloat16 may take: conversions between the types cost the rest
_SHAPE = (1, 80, 64, 64)  # of the probe: a layer of the nano renderer, one frame of 256 px
_AGREEING, _AGREE = 3, 1.25  # number of shortest times that must agree, and how well
_TRIES = 60
_MEASURING = threading.Lock()
_EMULATED = ("DEFAULT", "NO AVX", "AVX2")  # PyTorch's names of instruction sets


@functools.lru_cache(maxsize=1)
def cpu_has_bf16() -> bool:
    """Measure whether bfloat16 convolutions are faster than float32 on this CPU: about 30 ms, once per process.

    Instruction sets do not predict it: of two CPUs with AVX-512's bf16 dot products but without tiles (AMX), one was
    1.4 to 1.9 times as fast with bfloat16, the other took 1.7 times as long. Where bfloat16 is emulated (AVX2 and
    older), nothing is measured. One thread measures: several wait for each other where other processes run, too."""
    if torch.backends.cpu.get_cpu_capability() in _EMULATED:
        return False
    with on_one_thread():
        for dtype in (torch.float32, torch.bfloat16):  # the first try prepares
            conv_seconds(dtype)
        return faster(lambda: conv_seconds(torch.bfloat16), lambda: conv_seconds(torch.float32))


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Return a context in which PyTorch uses one thread, for one caller at a time: the number is the process's."""
    with _MEASURING:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def faster(one: Callable[[], float], other: Callable[[], float], share: float = _PAYS) -> bool:
    """Tell whether `one` takes less than a share of the time of `other`, also on a busy machine.

    one, other: run something once and return the seconds it took.
    share: of the other's time.

    The shortest times count. Both run in turn until the three shortest of each agree: other processes stretch many of
    the times, but not by the same factor; shards of one job that decided differently would draw different pictures."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(_TRIES):
        for seconds, measure in zip(times, (one, other), strict=True):
            seconds.append(measure())
        best = [sorted(seconds)[:_AGREEING] for seconds in times]
        if all(len(three) == _AGREEING and three[-1] < _AGREE * three[0] for three in best):
            break
    return min(times[0]) < share * min(times[1])


@torch.no_grad()
def conv_seconds(dtype: torch.dtype) -> float:
    """Return the seconds that one 3x3 convolution takes on the CPU in this dtype."""
    maps, kernel = torch.zeros(_SHAPE, dtype=dtype), torch.zeros(_SHAPE[1], _SHAPE[1], 3, 3, dtype=dtype)
    maps, kernel = (x.contiguous(memory_format=torch.channels_last) for x in (maps, kernel))
    start = time.perf_counter()
    F.conv2d(maps, kernel, padding=1)
    return time.perf_counter() - start


def channels_last_weights(network: M) -> M:
    """Return the network with its weights in channels-last layout, in which convolutions are fastest."""
    layout: dict[str, Any] = {"memory_format": torch.channels_last}  # torch's own signature leaves it out
    return network.to(**layout)


def rendering_precision(device: torch.device) -> AbstractContextManager:
    """Return an autocast context: bfloat16 on CPUs where it is faster; elsewhere the networks' own dtype."""
    return torch.autocast("cpu", torch.bfloat16) if device.type == "cpu" and cpu_has_bf16() else nullcontext()


def mixed_precision(device: str | torch.device, wanted: bool = True) -> AbstractContextManager:
    """Return the autocast context of a training step: bfloat16 where it is faster and `wanted`, else the weights'
    dtype."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=wanted and (kind != "cpu" or cpu_has_bf16()))
