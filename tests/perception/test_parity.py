"""Every converted network gives what the original runtime gives, and the file says where it comes from."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from stereotalker_core.checkpoint import NANO, load_tensors
from stereotalker_core.perception.networks import NETWORKS, load_perception
from tests.perception.formula_inputs import COUNT, RANGES, network_input

# written by tools/perception/record_perception.py
RECORDED = np.load(Path(__file__).parents[1] / "data" / "perception" / "litert.npz")


@pytest.fixture(scope="module")
def perception():
    return load_perception()


def outputs_of(network, name: str) -> dict[str, np.ndarray]:
    """NETWORK.INPUT.OUTPUT -> the whole output, channels last as it was recorded."""
    shape = network.graph.input_shape
    last = (1, *shape[1:], shape[0]) if len(shape) == 3 else (1, *shape)
    found = {}
    for number in range(COUNT):
        value = torch.from_numpy(network_input(name, number, last))
        with torch.inference_mode():
            outputs = network(value.permute(0, 3, 1, 2) if value.dim() == 4 else value)
        for k, out in enumerate(outputs):
            found[f"{name}.{number}.{k}"] = (out.permute(0, 2, 3, 1) if out.dim() == 4 else out).numpy()
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_network_equals_the_original_runtime(perception, name):
    found = outputs_of(perception.get_submodule(name), name)
    assert found.keys() == {k for k in RECORDED if k.startswith(f"{name}.") and k.count(".") == 2}
    for key, out in found.items():
        wanted, step = RECORDED[key], int(RECORDED[f"{key}.step"])
        spread = float(RECORDED[f"{key}.range"])
        tolerance = 1e-3 * (spread if out.size > 1 else max(1.0, abs(float(wanted[0]))))
        assert np.abs(out.reshape(-1)[::step] - wanted).max() <= tolerance, key


def test_the_formula_knows_every_network_and_its_range():
    assert {name: span for name, (span, _) in NETWORKS.items()} == RANGES


def test_file_is_small_and_tells_its_origin():
    path = NANO / "perception.safetensors"
    tensors, meta = load_tensors(path)
    assert path.stat().st_size <= 28e6
    for name, value in tensors.items():  # the sources' own precision
        assert value.dtype == (torch.float32 if name.startswith("hand_recrop.") else torch.float16), name
    assert {name.split(".")[0] for name in tensors} == set(NETWORKS)
    assert "Apache-2.0" in meta["licence"] and "convert_perception" in meta["command"]
    sources = json.loads(meta["source"])
    assert all(len(sources[name]["sha256"]) == 64 and sources[name]["package"] for name in NETWORKS)
