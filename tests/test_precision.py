import contextlib
import random

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


def test_a_busy_machine_decides_nothing(monkeypatch):
    """Where other processes stretch most tries, measuring goes on until undisturbed ones agree."""
    rng = random.Random(3)
    spent = {torch.float32: 0.003, torch.bfloat16: 0.001}
    calls = []

    def disturbed(dtype):
        calls.append(dtype)
        return spent[dtype] * (1 if rng.random() < 0.2 else rng.uniform(3, 20))

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(precision, "conv_seconds", disturbed)
    assert precision.cpu_has_bf16()
    assert 8 < len(calls) <= 2 + 2 * precision._TRIES


def test_measuring_ends_where_no_times_agree():
    """The shortest times decide after a bounded number of tries."""
    one, other = (iter([start * 1.5**-k for k in range(precision._TRIES)]) for start in (1.0, 4.0))
    assert precision.faster(lambda: next(one), lambda: next(other))
    assert next(one, None) is None


def test_measuring_leaves_the_number_of_threads(monkeypatch):
    """One thread measures, and the process has its threads back, also after an error."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    before, seen = torch.get_num_threads(), []

    def fails(dtype):
        seen.append(torch.get_num_threads())
        raise RuntimeError("no memory")

    monkeypatch.setattr(precision, "conv_seconds", fails)
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="no memory"):
            precision.cpu_has_bf16()
        assert torch.get_num_threads() == 2 and seen == [1]
    finally:
        torch.set_num_threads(before)


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
    assert len(calls) >= 8 and real(torch.float32) > 0
