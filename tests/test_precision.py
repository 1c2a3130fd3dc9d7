import contextlib

import pytest
import torch

from stereotalker_core import precision


@pytest.fixture(autouse=True)
def fresh():
    """The answer is kept for the process; every test asks anew and leaves nothing behind."""
    precision.cpu_has_bf16.cache_clear()
    yield
    precision.cpu_has_bf16.cache_clear()


@pytest.mark.parametrize("half, faster", [(0.5, True), (0.85, True), (0.95, False), (1.7, False)])
def test_bfloat16_is_used_where_it_is_measured_to_be_faster(monkeypatch, half, faster):
    seconds = {torch.float32: 1.0, torch.bfloat16: half}
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(precision, "conv_seconds", seconds.get)
    assert precision.cpu_has_bf16() is faster
    inside = precision.rendering_precision(torch.device("cpu"))
    assert isinstance(inside, contextlib.nullcontext) is not faster
    with inside:
        found = torch.ones(2, 2) @ torch.ones(2, 2)
    assert (found.dtype == torch.bfloat16) is faster


def test_one_slow_moment_of_the_machine_decides_nothing(monkeypatch):
    """Each type's fastest try counts, and not the first, which prepares."""
    single, half = iter([9.0, 1.0, 1.0, 5.0]), iter([9.0, 0.5, 8.0, 8.0])
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(precision, "conv_seconds", lambda dtype: next(single if dtype == torch.float32 else half))
    assert precision.cpu_has_bf16()


def test_nothing_is_tried_where_bfloat16_is_emulated(monkeypatch):
    def never(dtype):
        raise AssertionError("tried")

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(precision, "conv_seconds", never)
    assert not precision.cpu_has_bf16()


def test_the_probe_runs_once_and_takes_time(monkeypatch):
    calls = []
    real = precision.conv_seconds
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(precision, "conv_seconds", lambda dtype: calls.append(dtype) or real(dtype))
    assert precision.cpu_has_bf16() == precision.cpu_has_bf16()
    assert len(calls) == 8 and real(torch.float32) > 0
