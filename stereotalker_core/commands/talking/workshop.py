"""What many clips share: networks loaded once a device, every portrait fitted once."""

import argparse
from dataclasses import fields

from torch import Tensor

from ...pipeline import Models, heard_warnings
from ...records import Identity
from .outputs import digest, input_files

_PERSON = ("portrait", "mask", "keypoints", "identity")


class Workshop:
    """Keep networks, and the `keep` most recently fitted people, for one clip after another."""

    def __init__(self, keep: int = 8):
        self.keep = keep
        self._models: dict[tuple[str, str], Models] = {}
        self._people: dict[tuple, Identity] = {}

    def models(self, device: str, mode: str = "play") -> Models:
        """The networks that ship with the package, on this device; those of `mode` and of stage 1 when first used."""
        key = device, mode
        if key not in self._models:
            self._models[key] = Models.load_nano(device, mode, later=True)
        return self._models[key]

    def key(self, args: argparse.Namespace) -> tuple:
        """Return what a fit depends on: the contents of the files, and which person."""
        files = input_files(args)
        return (args.person, *(digest(files[name]) if name in files else None for name in _PERSON))

    def person(self, key: tuple) -> Identity | None:
        """Return the identity of somebody who was fitted before."""
        return self._people.get(key)

    def keep_person(self, key: tuple, identity: Identity) -> None:
        """Remember a fitted person; the oldest one makes room."""
        self._people[key] = identity
        while len(self._people) > self.keep:
            del self._people[next(iter(self._people))]


def saved_person(path: str) -> Identity:
    """Read the person of an identity file; its warnings were shown when they were fitted. ValueError for NaN."""
    with heard_warnings():
        identity = Identity.load(path)
    for field in fields(identity):
        value = getattr(identity, field.name)
        if isinstance(value, Tensor) and not bool(value.isfinite().all()):
            raise ValueError(f"{path}: its {field.name} holds values that are no numbers; fit the portrait again")
    return identity
