"""`convert` end to end on random public files at a tenth of the width."""

import pytest
import torch
from safetensors import safe_open

from stereotalker_core.cli import main
from stereotalker_core.convert.assemble import load_model
from stereotalker_core.video.networks.unet import StereoTalkerUNet
from tests.convert.public_files import small


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights")
    for i, name in enumerate(("denoising_unet", "reference_unet", "pose_guider", "motion_module")):
        torch.save(small(name, i), path / f"{name}.pth")
    return path


def test_check_convert_upcycle_and_merge(folder, tmp_path, capsys):
    source = [str(folder / "denoising_unet.pth"), "--motion", str(folder / "motion_module.pth")]
    assert main(["convert", "denoiser", *source]) == 0
    text = capsys.readouterr().out
    assert "1253 loaded, 0 missing, 0 unexpected" in text and "16 new: pose guider" in text and "nothing saved" in text

    out = tmp_path / "unet.safetensors"
    command = ["convert", "denoiser", *source, "--pose", str(folder / "pose_guider.pth"), "--dtype", "fp16"]
    assert main([*command, "--out", str(out)]) == 0
    model = load_model(StereoTalkerUNet, out)
    assert model.config.guides == "openpose" and model.unet.conv_in.weight.dtype == torch.float16
    with safe_open(out, "pt") as file:
        assert file.metadata()["source"] == "denoising_unet.pth"  # no machine's paths in files that are shared

    assert main(["convert", "experts", str(out), "--rank", "2", "--out", str(tmp_path / "experts")]) == 0
    merged = tmp_path / "merged.safetensors"
    view = tmp_path / "experts" / "view_experts.safetensors"
    before = view.read_bytes()
    assert main(["convert", "experts", str(out), "--rank", "3", "--out", str(tmp_path / "experts")]) == 2
    assert "choose another folder" in capsys.readouterr().err and view.read_bytes() == before
    assert main(["convert", "merge", str(out), "--experts", str(view), "--yaw", "-30", "--out", str(merged)]) == 0
    assert load_model(StereoTalkerUNet, merged).config.merged == 12


def test_reference_and_refusals(folder, tmp_path, capsys):
    out = tmp_path / "reference.safetensors"
    assert main(["convert", "reference", str(folder / "reference_unet.pth"), "--out", str(out)]) == 0
    assert out.is_file() and "682 loaded" in capsys.readouterr().out
    for words, message in (
        (["reference", str(folder / "pose_guider.pth")], "no Stable Diffusion U-Net"),
        (["set", str(folder)], "no autoencoder"),
        (["experts", str(out)], "give --out FOLDER"),
        (["speech", str(out), "--out", str(tmp_path / "x.safetensors")], "leave --out away"),
        (["autoencoder", str(tmp_path / "nowhere.safetensors")], "no file at"),
    ):
        assert main(["convert", *words]) == 2
        assert message in capsys.readouterr().err
