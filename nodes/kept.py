"""The last results of the one-node graph, a person and a motion, so that a change of the camera only renders again."""

from __future__ import annotations

import hashlib
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")


class Last(Generic[T]):
    """The last value and the key of its inputs; only one, so that memory does not grow."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._value: T | None = None

    def get(self, key: str) -> T | None:
        """Return the value that was kept under this key, or None."""
        return self._value if key == self._key else None

    def keep(self, key: str, value: T) -> None:
        """Replace the kept value and key."""
        self._key, self._value = key, value


def fingerprint(*parts: Any) -> str:
    """Return a digest of the contents: tensors by shape and values, containers by their items, others by their text."""
    digest = hashlib.sha256()
    for part in parts:
        _add(digest, part)
    return digest.hexdigest()


def _add(digest, part: Any) -> None:
    if isinstance(part, torch.Tensor):
        values = part.detach().cpu().contiguous()
        digest.update(f"tensor {values.dtype} {tuple(values.shape)};".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().data)
    elif isinstance(part, dict):
        digest.update(f"dict {len(part)};".encode())
        for key, value in part.items():
            _add(digest, key)
            _add(digest, value)
    elif isinstance(part, (list, tuple)):
        digest.update(f"list {len(part)};".encode())
        for value in part:
            _add(digest, value)
    else:
        text = repr(part)
        digest.update(f"{type(part).__name__} {len(text)} {text};".encode())
