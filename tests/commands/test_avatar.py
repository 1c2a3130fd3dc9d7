"""`avatar`: a portrait or a saved person becomes a GLB file; what it refuses."""

import json

import torch

from stereotalker_core import cli
from stereotalker_core.body.model import HalfBody
from stereotalker_core.records import Motion
from stereotalker_core.synthetic.people.avatar import make_avatar
from stereotalker_core.synthetic.people.portrait import reference_portrait, true_identity


def document(path) -> dict:
    raw = path.read_bytes()
    return json.loads(raw[20 : 20 + int.from_bytes(raw[12:16], "little")])


def test_a_portrait_and_a_motion_become_a_file(inputs, tmp_path, capsys):
    out, motion = tmp_path / "new" / "a.glb", tmp_path / "m.safetensors"
    Motion(0.1 * torch.randn(5, 49, 3), torch.rand(5, 52)).save(motion)
    line = ["avatar", "--portrait", str(inputs.portrait), "--mask", str(inputs.mask), "--out", str(out)]
    assert cli.main([*line, "--keypoints", str(inputs.keypoints), "--motion", str(motion)]) == 0
    told = capsys.readouterr()
    assert told.out.strip() == str(out) and "fit quality" in told.err
    made = document(out)
    (last,) = made["accessors"][made["animations"][0]["samplers"][0]["input"]]["max"]
    assert abs(last - 0.16) < 1e-6  # 5 frames, 25 a second
    assert len(made["meshes"][0]["extras"]["targetNames"]) == 52
    assert "Synthetic media" in made["asset"]["extras"]["notice"]


def test_a_saved_person_needs_no_portrait(tmp_path, capsys):
    body = HalfBody()
    avatar = make_avatar(body, 5)
    saved, out = tmp_path / "i.safetensors", tmp_path / "a.glb"
    true_identity(body, avatar, reference_portrait(body, avatar, 5, 128)).save(saved)
    assert cli.main(["avatar", "--identity", str(saved), "--out", str(out)]) == 0
    assert "animations" not in document(out)
    assert cli.main(["avatar", "--identity", str(saved), "--out", str(tmp_path / "a.obj")]) == 2
    assert "must end in one of .glb" in capsys.readouterr().err
    assert cli.main(["avatar", "--identity", str(tmp_path / "none"), "--out", str(out)]) == 2
    capsys.readouterr()
    assert cli.main(["avatar", "--identity", str(saved), "--out", str(out), "--mask", str(saved)]) == 2
    assert "fitted already" in capsys.readouterr().err
