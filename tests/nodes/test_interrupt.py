"""Cancel between two torch operations leaves the block as ComfyUI's own exception, wherever torch was."""

import sys
from types import ModuleType

import pytest
import torch
from graph import PACK, load_pack

load_pack()
progress = sys.modules[f"{PACK}.nodes.host.progress"]


class InterruptProcessingException(Exception):
    """The exception of ComfyUI's model_management, of a base class that torch catches."""


@pytest.fixture
def cancel(monkeypatch):
    """A function that presses the cancel button of a ComfyUI that is nothing but this button."""
    state = {"pressed": False}

    def throw() -> None:
        if state["pressed"]:
            state["pressed"] = False
            raise InterruptProcessingException

    comfy, management = ModuleType("comfy"), ModuleType("comfy.model_management")
    management.InterruptProcessingException = InterruptProcessingException
    management.processing_interrupted = lambda: state["pressed"]
    management.throw_exception_if_processing_interrupted = throw
    comfy.model_management = management
    monkeypatch.setitem(sys.modules, "comfy", comfy)
    monkeypatch.setitem(sys.modules, "comfy.model_management", management)
    monkeypatch.setattr(progress, "INSIDE", True)
    monkeypatch.setattr(progress, "_INTERVAL", -1.0)
    return lambda: state.update(pressed=True)


def test_an_operation_is_stopped(cancel):
    with pytest.raises(InterruptProcessingException), progress.interruptible():
        torch.zeros(2).add(1)
        cancel()
        torch.zeros(2).add(1)
        pytest.fail("went on")


def test_loading_weights_is_stopped_with_the_same_exception(cancel, monkeypatch):
    """torch catches what happens while it copies, and reports it as a checkpoint that does not fit."""
    looked = progress._Watch.__torch_function__

    def pressed_at_the_copy(watch, func, types, args=(), kwargs=None):
        if func is torch.Tensor.copy_:
            cancel()
        return looked(watch, func, types, args, kwargs)

    monkeypatch.setattr(progress._Watch, "__torch_function__", pressed_at_the_copy)
    with pytest.raises(InterruptProcessingException) as found, progress.interruptible():
        torch.nn.Linear(2, 2).load_state_dict(torch.nn.Linear(2, 2).state_dict())
    assert "Error(s) in loading state_dict" in str(found.value.__cause__)


def test_other_errors_stay_what_they_are(cancel):
    with pytest.raises(RuntimeError, match="size mismatch"), progress.interruptible():
        torch.nn.Linear(2, 2).load_state_dict(torch.nn.Linear(3, 2).state_dict())


def test_cancel_before_the_block_is_heard_at_once(cancel):
    cancel()
    with pytest.raises(InterruptProcessingException), progress.interruptible():
        pytest.fail("began")
