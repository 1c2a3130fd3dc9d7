"""`talk --bake-model`: unseen sides are drawn once, the saved person keeps them, strength 0 takes them away again."""

import json

import pytest
import torch

from stereotalker_core import checkpoint, cli, pipeline
from stereotalker_core.records import Identity, Motion
from stereotalker_core.video.networks.bake_network import BakeConfig, BakeNetwork


@pytest.fixture
def network(tmp_path):
    torch.manual_seed(0)
    model = BakeNetwork(BakeConfig(widths=(8, 16, 16), rank=2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    checkpoint.save(model, tmp_path / "bake.safetensors")
    return tmp_path / "bake.safetensors"


def test_a_bake_is_kept_reused_and_taken_away(tiny_models, inputs, network, tmp_path, monkeypatch):
    models = classmethod(lambda cls, device="cpu", *kind, **more: tiny_models)
    monkeypatch.setattr(pipeline.Models, "load_nano", models)
    motion, report = tmp_path / "m.safetensors", tmp_path / "r.json"
    Motion(torch.zeros(2, 49, 3), torch.zeros(2, 52)).save(motion)
    calls = []
    drawn = pipeline.bake
    monkeypatch.setattr(pipeline, "bake", lambda *given: calls.append(given[3]) or drawn(*given))

    def talk(out: str, *more: str) -> bytes:
        line = ["talk", "--motion", str(motion), "--size", "128", "--yaw", "180", "--json", str(report), "--quiet"]
        assert cli.main([*line, "--out", str(tmp_path / f"{out}.mp4"), *more]) == 0
        return (tmp_path / f"{out}.mp4").read_bytes()

    who = ["--portrait", str(inputs.portrait), "--mask", str(inputs.mask), "--keypoints", str(inputs.keypoints)]
    files = {name: tmp_path / f"{name}.safetensors" for name in ("plain", "baked", "back")}
    plain = talk("plain", *who, "--save-identity", str(files["plain"]))
    assert json.loads(report.read_text())["baked"] == 0
    given = ["--bake-model", str(network), "--bake-strength", "0.7"]
    baked = talk("baked", *who, *given, "--save-identity", str(files["baked"]))
    told = json.loads(report.read_text())
    assert told["baked"] == pytest.approx(0.7) and told["stage_seconds"]["bake"] > 0 and baked != plain
    # the saved person shows it without the network; strength 0 gives back the fill
    assert talk("again", "--identity", str(files["baked"])) == baked
    back = ["--identity", str(files["baked"]), "--bake-strength", "0", "--save-identity", str(files["back"])]
    assert talk("back", *back) == plain
    assert len(calls) == 1 and calls[0].strength == 0.7
    before, after = (Identity.load(files[name]).atlas for name in ("plain", "back"))
    assert torch.equal(before, after)
    assert not torch.equal(before, Identity.load(files["baked"]).atlas)
