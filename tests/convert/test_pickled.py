"""The tensors-only reader: equal to torch.load on honest files, no code run from crafted ones, clear on damage."""

import argparse
import collections
import os
import pickle
import random
import zipfile

import pytest
import torch
from torch import nn

from stereotalker_core.pickled import TRAINING_STATE, Inert, load_pickled

STATE = {
    "epoch": 3,
    "state_dict": collections.OrderedDict(
        weight=torch.randn(4, 3, generator=torch.Generator().manual_seed(0)),
        half=torch.arange(6, dtype=torch.float16).view(2, 3).t(),
        bfloat=torch.ones(2, dtype=torch.bfloat16),
        step=torch.tensor(7),
        flags=torch.tensor([True, False]),
        empty=torch.zeros(0, 5),
        parameter=nn.Parameter(torch.full((2,), 0.5)),
    ),
    "notes": ["text", None, 1.5, (1, 2)],
    "dtype": torch.float16,
}
STATE["state_dict"]["shared"] = STATE["state_dict"]["weight"][1:, 1]


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def honest(request, tmp_path):
    path = tmp_path / "weights.ckpt"
    torch.save(STATE, path, _use_new_zipfile_serialization=request.param)
    return path


def test_equals_torch_load(honest):
    ours, theirs = load_pickled(honest), torch.load(honest, weights_only=True)
    assert ours["epoch"] == 3 and ours["notes"] == theirs["notes"] and ours["dtype"] is torch.float16
    assert list(ours["state_dict"]) == list(theirs["state_dict"])
    for name, tensor in theirs["state_dict"].items():
        mine = ours["state_dict"][name]
        assert mine.dtype == tensor.dtype and torch.equal(mine, tensor), name


def test_the_file_is_never_written(honest):
    before = honest.read_bytes()
    load_pickled(honest)["state_dict"]["weight"].zero_()
    assert honest.read_bytes() == before


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("function", [os.system, exec, getattr, torch.load, pickle.loads, os.mkdir])
def test_code_is_refused_and_not_run(tmp_path, function, new):
    marker, path = tmp_path / "marker", tmp_path / "bad.pth"
    argument = {os.system: f"touch {marker}", exec: f"open({str(marker)!r}, 'w')"}.get(function, str(marker))
    torch.save({"a": torch.ones(2), "b": Attack(function, argument)}, path, _use_new_zipfile_serialization=new)
    for inert in ((), TRAINING_STATE):
        with pytest.raises(ValueError, match="code and no weight.*safetensors"):
            load_pickled(path, inert)
    assert not marker.exists()


def test_bare_pickle_with_code_is_refused(tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps(Attack(os.system, f"touch {marker}")))
    with pytest.raises(ValueError, match="no weight"):
        load_pickled(path)
    assert not marker.exists()


def test_training_state_becomes_inert(tmp_path):
    path = tmp_path / "lightning.ckpt"
    torch.save({"state_dict": {"w": torch.ones(2)}, "settings": argparse.Namespace(path="x")}, path)
    with pytest.raises(ValueError, match="argparse.Namespace"):
        load_pickled(path)
    content = load_pickled(path, TRAINING_STATE)
    assert isinstance(content["settings"], Inert) and torch.equal(content["state_dict"]["w"], torch.ones(2))


def test_tensors_outside_of_their_storage_are_refused(tmp_path):
    class Wide:
        def __init__(self, *arguments):
            self.arguments = arguments

        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, self.arguments

    store = torch.ones(4).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=store, dtype=torch.float32, _internal=True)
    for offset, size, stride in ((0, (5,), (1,)), (3, (2,), (1,)), (0, (2, 2), (1, 4)), (-1, (2,), (1,))):
        torch.save(Wide(typed, offset, size, stride, False, collections.OrderedDict()), tmp_path / "wide.pth")
        with pytest.raises(ValueError, match="storage|impossible"):
            load_pickled(tmp_path / "wide.pth")


def test_other_files_are_named(tmp_path):
    for name, content, words in (
        ("page.ckpt", b"<html>not found</html>", "no PyTorch file"),
        ("empty.ckpt", b"", "0 bytes"),
        ("plain.ckpt", pickle.dumps({"a": 1, "text": "0123456789"}), "no set of weights"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=words):
            load_pickled(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "zip.ckpt", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(ValueError, match="without weights"):
        load_pickled(tmp_path / "zip.ckpt")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_pickled(tmp_path / "nowhere.ckpt")


def test_two_hundred_mutations_give_tensors_or_a_clear_error(honest):
    rng, original = random.Random(1), honest.read_bytes()
    refused = 0
    for _ in range(100):
        data = bytearray(original)
        for _ in range(rng.choice((1, 1, 4, 16))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        honest.write_bytes(data)
        try:
            load_pickled(honest, TRAINING_STATE)
        except ValueError as error:
            refused += str(honest) in str(error)
    assert refused > 20
