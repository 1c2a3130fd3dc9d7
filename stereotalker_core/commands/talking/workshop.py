"""The cache that many clips share: networks loaded once per device, every portrait fitted once."""

import argparse
from dataclasses import fields

from torch import Tensor

from ...pipeline import Models, heard_warnings
from ...records import Identity
from .outputs import digest, input_files

_PERSON = ("portrait", "mask", "keypoints", "identity", "bake_model")


class Workshop:
    """The cache that clips made by one process share: loaded networks, and the `keep` most recently fitted people."""

    def __init__(self, keep: int = 8):
        self.keep = keep
        self._models: dict[tuple[str, str], Models] = {}
        self._people: dict[tuple, Identity] = {}

    def models(self, device: str, mode: str = "play") -> Models:
        """Return the networks that ship with the package; each of them is loaded when it is first used.

        device: where they run; mode: how frames are made, as in `Models.load_nano`."""
        key = device, mode
        if key not in self._models:
            self._models[key] = Models.load_nano(device, mode, later=True)
        return self._models[key]

    def key(self, args: argparse.Namespace) -> tuple:
        """Return the cache key of a fit: digests of the input files, the number of the person, the bake's strength."""
        files = input_files(args)
        return (args.person, args.bake_strength, *(digest(files[name]) if name in files else None for name in _PERSON))

    def person(self, key: tuple) -> Identity | None:
        """Return the identity of a person who was fitted before, None if not in the cache."""
        return self._people.get(key)

    def keep_person(self, key: tuple, identity: Identity) -> None:
        """Add a fitted person to the cache and drop the oldest beyond `keep`."""
        self._people[key] = identity
        while len(self._people) > self.keep:
            del self._people[next(iter(self._people))]


def saved_person(path: str) -> Identity:
    """Read a person from an identity file without repeating the warnings of the fit. ValueError for NaN values."""
    with heard_warnings():
        identity = Identity.load(path)
    for field in fields(identity):
        value = getattr(identity, field.name)
        if isinstance(value, Tensor) and not bool(value.isfinite().all()):
            raise ValueError(f"{path}: its {field.name} holds values that are no numbers; fit the portrait again")
    return identity
