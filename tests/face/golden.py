"""Numeric fixtures of the reference modules with random weights: arrays, weights and key lists."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stereotalker_core.face.released import build

FOLDER = Path(__file__).resolve().parents[1] / "data" / "probtalk3d"


def arrays(name: str) -> dict[str, torch.Tensor]:
    """All arrays of a fixture file."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}


def mini(stage: int):
    """The small model of a stage with the fixture's weights."""
    state = {k: v.float() for k, v in load_file(FOLDER / f"mini_stage{stage}.safetensors").items()}
    return build(state, heads=4, hubert_heads=2)


def key_shapes(name: str) -> dict[str, list[int]]:
    """Keys and shapes of a checkpoint: stage1, stage2, mini_stage1, mini_stage2."""
    return json.loads((FOLDER / "keys.json").read_text())[name]


def large_fixture(name: str) -> Path:
    """A fixture too large for the repository; the test is skipped where STEREOTALKER_GOLDEN names no folder of them."""
    folder = os.environ.get("STEREOTALKER_GOLDEN")
    if not folder or not (Path(folder) / name).is_file():
        pytest.skip(f"set STEREOTALKER_GOLDEN to a folder with {name}")
    return Path(folder) / name
