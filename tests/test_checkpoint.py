import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from stereotalker_core import checkpoint


class Small(nn.Module):
    @dataclass(frozen=True)
    class Config:
        width: int = 4
        sizes: tuple[int, ...] = (2, 3)

    def __init__(self, config: "Small.Config"):
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.width, config.sizes[0])
        self.register_buffer("steps", torch.tensor([7], dtype=torch.int64))


class Other(Small):
    pass


class Grown(Small):
    def __init__(self, config: Small.Config):
        super().__init__(config)
        self.extra = nn.Linear(2, 2)


def saved(folder: Path, **options) -> tuple[Small, Path]:
    torch.manual_seed(0)
    model = Small(Small.Config(width=5, sizes=(3, 1)))
    model.steps += 4
    path = folder / "deep" / "small.safetensors"
    checkpoint.save(model, path, **options)
    return model, path


def test_round_trip_keeps_weights_config_and_provenance(tmp_path: Path):
    model, path = saved(tmp_path, dtype=torch.float32, command="train small", seed=3, metrics={"loss": 0.5})
    found = checkpoint.load(Small, path)
    assert found.config == model.config and not found.training
    assert found.steps.item() == 11 and found.steps.dtype == torch.int64
    for name, value in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
    meta = checkpoint.load_tensors(path)[1]
    assert meta["model"] == "Small" and meta["command"] == "train small"
    assert json.loads(meta["seed"]) == 3 and json.loads(meta["metrics"]) == {"loss": 0.5}


def test_half_precision_is_the_default_and_loads_as_float32(tmp_path: Path):
    model, path = saved(tmp_path)
    assert checkpoint.load_tensors(path)[0]["linear.weight"].dtype == torch.float16
    found = checkpoint.load(Small, path)
    assert found.linear.weight.dtype == torch.float32
    assert torch.equal(found.linear.weight, model.linear.weight.half().float())


def test_a_file_of_another_model_is_refused(tmp_path: Path):
    path = saved(tmp_path)[1]
    with pytest.raises(ValueError, match="holds 'Small', not 'Other'"):
        checkpoint.load(Other, path)
    checkpoint.save_tensors({"x": torch.zeros(2)}, {}, tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match="no model name"):
        checkpoint.load(Small, tmp_path / "plain.safetensors")


def test_missing_and_unexpected_weights_are_refused(tmp_path: Path):
    tensors, meta = checkpoint.load_tensors(saved(tmp_path)[1])
    path = tmp_path / "changed.safetensors"
    checkpoint.save_tensors(tensors, meta | {"model": "Grown"}, path)
    with pytest.raises(ValueError, match="missing .*extra.weight"):
        checkpoint.load(Grown, path)
    checkpoint.save_tensors(tensors | {"stray": torch.zeros(1)}, meta, path)
    with pytest.raises(ValueError, match="unexpected .*stray"):
        checkpoint.load(Small, path)


@pytest.mark.parametrize("kept", [0, 5, 60, -1])
def test_a_truncated_file_is_refused_and_named(tmp_path: Path, kept: int):
    path = saved(tmp_path)[1]
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="small.safetensors is not a complete safetensors file"):
        checkpoint.load(Small, path)


def test_a_foreign_file_is_refused_without_unpickling(tmp_path: Path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    path = tmp_path / "model.safetensors"
    torch.save({"weights": Trap()}, path)
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        checkpoint.load_tensors(path)
    assert not (tmp_path / "executed").exists()


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="nowhere.safetensors"):
        checkpoint.load(Small, tmp_path / "nowhere.safetensors")


def test_a_failing_writer_leaves_the_old_file_and_no_part_of_a_new_one(tmp_path: Path):
    path = tmp_path / "kept.bin"
    path.write_bytes(b"old")

    def fail(name: str) -> None:
        Path(name).write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        checkpoint.write_atomically(path, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["kept.bin"] and path.read_bytes() == b"old"


def test_an_atomic_write_replaces_the_file_and_is_readable_by_others(tmp_path: Path):
    path = tmp_path / "new" / "file.bin"
    for content in (b"one", b"two"):
        checkpoint.write_atomically(path, lambda name, content=content: Path(name).write_bytes(content))
        assert path.read_bytes() == content
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]
    assert path.stat().st_mode & 0o777 == 0o644
