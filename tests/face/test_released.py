"""Released checkpoints: sizes from shapes, strict keys, both weight-norm names, nothing in the file is run."""

import os
import pickle
import re
import zipfile

import pytest
import torch
from golden import FOLDER, arrays, key_shapes, large_fixture, mini
from safetensors.torch import load_file

from stereotalker_core.checkpoint import load
from stereotalker_core.face import released
from stereotalker_core.face.layers import position_table
from stereotalker_core.face.layout import FaceStyle
from stereotalker_core.face.model import ProbTalk3D
from stereotalker_core.face.prior import MotionPrior


def meta_state(name):
    return {key: torch.empty(shape, device="meta") for key, shape in key_shapes(name).items()}


def test_full_size_stage_one_fits_with_nothing_missing_or_left_over():
    state = meta_state("stage1")
    config = released.prior_config(state)
    assert config == MotionPrior.Config()
    with torch.device("meta"):
        model = MotionPrior(config)
    released.load_state(model, state)
    assert sum(p.numel() for p in model.parameters()) == 6_375_680
    assert {k for k in state if not k.startswith("_losses.") and not k.endswith(".pe")} == set(model.state_dict())


@pytest.mark.parametrize("new_names", [False, True])
def test_full_size_stage_two_fits_with_old_and_new_weight_norm_names(new_names):
    state = meta_state("stage2")
    if new_names:
        state = {k.replace("conv.weight_g", "conv.parametrizations.weight.original0"): v for k, v in state.items()}
        state = {k.replace("conv.weight_v", "conv.parametrizations.weight.original1"): v for k, v in state.items()}
    config = released.model_config(state)
    assert config == ProbTalk3D.Config()
    with torch.device("meta"):
        model = ProbTalk3D(config)
    released.load_state(model, state)
    assert sum(p.numel() for p in model.feature_predictor.parameters()) == 6_326_272
    assert sum(p.numel() for p in model.feature_extractor.parameters()) == 94_371_712
    model.feature_extractor.freeze()
    assert sum(p.numel() for p in model.feature_extractor.parameters() if p.requires_grad) == 75_600_512


@pytest.mark.parametrize("layers", [1, 5, 11])
def test_an_odd_number_of_hubert_layers_is_counted(layers):
    state = meta_state("stage2")
    pattern = re.compile(r"feature_extractor\.audiomodel\.encoder\.layers\.(\d+)\.")
    state = {k: v for k, v in state.items() if not (found := pattern.match(k)) or int(found[1]) < layers}
    config = released.model_config(state)
    assert config.hubert.layers == layers and config.layers == ProbTalk3D.Config().layers
    with torch.device("meta"):
        model = ProbTalk3D(config)
    released.load_state(model, state)


def test_missing_foreign_and_altered_keys_are_errors():
    state = {k: v.float() for k, v in load_file(FOLDER / "mini_stage1.safetensors").items()}
    with pytest.raises(ValueError, match="missing"):
        released.build({k: v for k, v in state.items() if "expander" not in k}, heads=4)
    with pytest.raises(ValueError, match="unexpected"):
        released.build(state | {"other.weight": torch.zeros(2)}, heads=4)
    with pytest.raises(ValueError, match="no ProbTalk3D motion prior"):
        released.build({"weight": torch.zeros(2)})
    with pytest.raises(ValueError, match="stage-2"):
        released.model_config(state)
    table = {"motion_encoder.encoder_pos_embedding.pe": position_table(32) + 0.1}
    with pytest.raises(ValueError, match="position table"):
        released.build(state | table, heads=4)


class _Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


def lightning_file(path, **more):
    """A checkpoint as Lightning writes them: the mini stage 1, loss counters and tables in it, and `more`."""
    state = {k: v.float() for k, v in load_file(FOLDER / "mini_stage1.safetensors").items()}
    state["_losses.losses_train.total"] = torch.tensor(3.0)
    state["motion_encoder.encoder_pos_embedding.pe"] = position_table(32)
    torch.save({"epoch": 3, "state_dict": state, "callbacks": {}, **more}, path)
    return path


def test_a_checkpoint_becomes_one_safetensors_file(tmp_path):
    out = tmp_path / "prior.safetensors"
    released.main([str(lightning_file(tmp_path / "last.ckpt")), str(out), "--heads", "4"])
    g, model = arrays("mini_stage1_T21"), load(MotionPrior, out)
    torch.testing.assert_close(model(g["motion"])[0], g["motion_rec"], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="safetensors"):
        released.main([str(tmp_path / "last.ckpt"), str(tmp_path / "out.bin")])


def test_a_checkpoint_with_code_is_refused_and_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, payload in (("hooks", _Attack()), ("state_dict", {"a": _Attack()})):
        path = lightning_file(tmp_path / "evil.ckpt", **{name: payload})
        with pytest.raises(ValueError, match="system"):
            released.read_checkpoint(path)
    (tmp_path / "raw.ckpt").write_bytes(pickle.dumps({"state_dict": _Attack()}))
    with pytest.raises(ValueError):
        released.read_checkpoint(tmp_path / "raw.ckpt")
    assert not (tmp_path / "attacked").exists()


def test_truncated_and_foreign_files_are_clear_errors(tmp_path):
    whole = lightning_file(tmp_path / "last.ckpt").read_bytes()
    for name, content in (("cut", whole[: len(whole) // 2]), ("text", b"no checkpoint at all, just text")):
        (tmp_path / f"{name}.ckpt").write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}.ckpt"):
            released.read_checkpoint(tmp_path / f"{name}.ckpt")
    with zipfile.ZipFile(tmp_path / "other.ckpt", "w") as file:
        file.writestr("readme.txt", "x")
    with pytest.raises(ValueError, match="other.ckpt"):
        released.read_checkpoint(tmp_path / "other.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(ValueError, match="state_dict"):
        released.read_checkpoint(tmp_path / "list.ckpt")
    with pytest.raises(FileNotFoundError, match="absent"):
        released.read_checkpoint(tmp_path / "absent.ckpt")


@pytest.mark.parametrize("stage", [1, 2])
def test_real_lightning_files_hold_the_fixture_weights(stage):
    path = large_fixture(f"mini_stage{stage}.ckpt")
    state = released.read_checkpoint(path)
    assert {k: list(v.shape) for k, v in state.items()} == key_shapes(f"mini_stage{stage}")
    model = released.build(state, heads=4, hubert_heads=2)
    for key, value in mini(stage).state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key


def test_style_vector():
    vector = FaceStyle("W011", "disgusted", "medium").vector()
    assert torch.equal(vector.nonzero()[:, 0], torch.tensor([19, 37, 41]))
    assert torch.equal(FaceStyle("M003", "neutral", "high").vector(), FaceStyle("M003").vector())
    assert FaceStyle.of_clip("W011_012_5_1") == FaceStyle("W011", "disgusted", "medium")
    for wrong in ({"identity": "M999"}, {"emotion": "bored"}, {"intensity": "huge"}):
        with pytest.raises(ValueError, match=next(iter(wrong.values()))):
            FaceStyle(**wrong)
    for name in ("W011_012_8_1", "W011_012_1", "W011_1_1_3"):
        with pytest.raises(ValueError, match="M003_012_5_1"):
            FaceStyle.of_clip(name)
