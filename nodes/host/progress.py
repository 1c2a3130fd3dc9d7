"""Progress bar with previews, cancelling, and a check for NaN."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.overrides import TorchFunctionMode

from .folders import INSIDE
from .pictures import to_pil

_INTERVAL = 0.1  # s between two looks at the cancel button


class Progress:
    """The progress bar of ComfyUI with a preview picture, called with the number of finished steps (of `total`).

    Where the user has pressed cancel a call raises ComfyUI's interruption. Outside ComfyUI it does nothing."""

    def __init__(self, total: int):
        self.total = max(1, total)
        self.bar = None
        if INSIDE:
            import comfy.utils

            self.bar = comfy.utils.ProgressBar(self.total)

    def __call__(self, done: int, preview: Tensor | None = None) -> None:
        """Show `done` steps of the total; preview: (3, H, W) in [-1, 1]."""
        check_interrupted()
        if self.bar is None:
            return
        picture = None if preview is None else ("JPEG", to_pil(preview), 512)
        self.bar.update_absolute(min(done, self.total), self.total, picture)


def interrupted() -> bool:
    """Tell whether the user has pressed cancel and ComfyUI's interruption has not been raised for it yet."""
    if not INSIDE:
        return False
    import comfy.model_management

    return comfy.model_management.processing_interrupted()


def check_interrupted() -> None:
    """Raise ComfyUI's InterruptProcessingException after the user pressed cancel; it must not be swallowed."""
    if INSIDE:
        import comfy.model_management

        comfy.model_management.throw_exception_if_processing_interrupted()


class _Watch(TorchFunctionMode):
    """The mode that checks the cancel button between torch operations, at most every `_INTERVAL` seconds.

    After a cancel the with block ends with ComfyUI's interruption, even where torch has replaced it by another
    exception: `load_state_dict` turns every exception during its copies into a RuntimeError about the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.last = time.monotonic()
        self.cancelled = False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        now = time.monotonic()
        if now - self.last > _INTERVAL:
            self.last = now
            self.cancelled = self.cancelled or interrupted()
            check_interrupted()
        return func(*args, **(kwargs or {}))

    def __exit__(self, kind, error, trace):
        super().__exit__(kind, error, trace)
        if self.cancelled:
            import comfy.model_management

            if not isinstance(error, comfy.model_management.InterruptProcessingException):
                raise comfy.model_management.InterruptProcessingException from error


@contextmanager
def interruptible() -> Iterator[None]:
    """Let cancelling take effect between any two torch operations inside a with block, without callbacks."""
    check_interrupted()
    if not INSIDE:
        yield
        return
    with _Watch():
        yield


def check_finite(frames: Tensor, what: str) -> None:
    """Raise ValueError where frames of a network hold NaN or infinite values, instead of returning black pictures.

    what: name of the network, for the message."""
    if not bool(frames.isfinite().all()):
        raise ValueError(
            f"{what} gave values that are no numbers; check the model files "
            "(`python -m stereotalker_core info`), expert strengths above 2, or start ComfyUI with --force-fp32"
        )
