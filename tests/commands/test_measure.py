"""The C library is asked for two pools of memory, unless the user has chosen their number."""

import sys

import pytest

from stereotalker_core.commands.talking import measure


@pytest.fixture()
def calls(monkeypatch):
    found = []
    monkeypatch.setattr(measure, "_glibc", lambda function, *values: found.append((function, *values)))
    monkeypatch.setattr(sys, "platform", "linux")
    return found


def test_two_pools_on_linux_alone(calls, monkeypatch):
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    measure.share_arenas()
    assert calls == [("mallopt", -8, 2)]
    monkeypatch.setattr(sys, "platform", "win32")
    measure.share_arenas()
    measure.give_memory_back()
    assert len(calls) == 1


def test_the_users_number_of_pools_is_kept(calls, monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "8")
    measure.share_arenas()
    assert not calls
    measure.give_memory_back()
    assert calls == [("malloc_trim", 0)]


def test_a_library_without_the_function_is_no_fault():
    measure._glibc("a_function_that_no_library_has", 1)
