"""Crafted bad checkpoints: every one a clear error that names the file, nothing run, nothing written."""

import os
import random
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from stereotalker_core.cli import main
from stereotalker_core.convert.encoders import load_autoencoder, load_image_encoder
from stereotalker_core.convert.language import load_language_model
from stereotalker_core.convert.renderer import load_animate_anyone, load_denoiser, load_reference
from stereotalker_core.convert.speech import load_speech_model
from stereotalker_core.convert.weights import read_weights

LOADERS = [load_denoiser, load_reference, load_autoencoder, load_image_encoder, load_speech_model]
TENSORS = {"conv_in.weight": torch.ones(4, 4, 3, 3), "conv_in.bias": torch.zeros(4)}


class Touch:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def bad_files(folder: Path) -> dict[str, str]:
    """File name -> words of its error."""
    whole = save(TENSORS)
    (folder / "truncated.safetensors").write_bytes(whole[:-10])
    (folder / "tiny.safetensors").write_bytes(b"abc")
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "header.safetensors").write_bytes(struct.pack("<Q", 10 * 2**30) + whole[8:])
    (folder / "text.safetensors").write_bytes(b"<html>404</html>" * 9)
    (folder / "gguf.gguf").write_bytes(b"GGUF" + b"\0" * 64)
    save_file({"conv_in.weight": torch.ones(4, 4).to(torch.float8_e4m3fn)}, folder / "fp8.safetensors")
    torch.save(TENSORS | {"x": Touch(folder / "marker")}, folder / "code.ckpt")
    torch.save({"epoch": 3, "text": "no weights"}, folder / "plain.pth")
    torch.save(TENSORS, folder / "cut.pth")
    (folder / "cut.pth").write_bytes((folder / "cut.pth").read_bytes()[:-200])
    save_file({"other.weight": torch.ones(3)}, folder / "wrong.safetensors")
    return {
        "truncated.safetensors": "not a complete safetensors file.*download it again",
        "tiny.safetensors": "not a complete safetensors file",
        "empty.safetensors": "not a complete safetensors file",
        "header.safetensors": "header of 10737418240 bytes.*download it again",
        "text.safetensors": "not a complete safetensors file",
        "gguf.gguf": "no weight file this can read",
        "fp8.safetensors": "float8.*get the fp16",
        "code.ckpt": "system, which is code.*safetensors",
        "plain.pth": "holds no named weights",
        "cut.pth": "damaged.*download it again",
        "wrong.safetensors": "other.weight",
        "missing.safetensors": "no file at",
    }


@pytest.mark.parametrize("loader", LOADERS, ids=lambda f: f.__name__)
def test_every_loader_refuses_every_bad_file(tmp_path, loader):
    files = bad_files(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    for name, words in files.items():
        with pytest.raises((ValueError, FileNotFoundError), match=words) as error:
            loader(tmp_path / name)
        assert name in str(error.value)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == before  # no marker, nothing written


def test_folders_that_are_no_models(tmp_path):
    with pytest.raises(FileNotFoundError, match="no denoising_unet"):
        load_animate_anyone(tmp_path)
    with pytest.raises(ValueError, match="no config.json"):
        load_language_model(tmp_path)
    with pytest.raises(FileNotFoundError, match="no file"):
        load_language_model(tmp_path / "nowhere.gguf")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "../outside.safetensors"}}')
    with pytest.raises(ValueError, match="outside of its folder"):
        read_weights(tmp_path)
    index.write_text('{"weight_map": {"a": "part1.safetensors", "b": "part2.safetensors"}}')
    save_file({"a": torch.ones(1)}, tmp_path / "part1.safetensors")
    with pytest.raises(FileNotFoundError, match="part2"):
        read_weights(tmp_path)
    save_file({"b": torch.ones(1)}, tmp_path / "part2.safetensors")
    assert set(read_weights(tmp_path)) == {"a", "b"}


def test_the_command_line_refuses_before_it_writes(tmp_path, capsys):
    bad_files(tmp_path)
    out = tmp_path / "out" / "denoiser.safetensors"
    assert main(["convert", "denoiser", str(tmp_path / "code.ckpt"), "--out", str(out)]) == 2
    assert "which is code" in capsys.readouterr().err and not out.exists()
    assert not (tmp_path / "marker").exists()
    assert main(["convert", "denoiser", str(tmp_path / "wrong.safetensors"), "--out", str(tmp_path / "x.pth")]) == 2
    assert ".safetensors" in capsys.readouterr().err


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pickled"])
def test_one_hundred_mutations_each_load_or_are_refused(tmp_path, pickled):
    rng = random.Random(5)
    path = tmp_path / ("file.pth" if pickled else "file.safetensors")
    torch.save(TENSORS, path) if pickled else save_file(TENSORS, path)
    original, refused = path.read_bytes(), 0
    for _ in range(100):
        data = bytearray(original)
        for _ in range(rng.choice((1, 2, 8))):
            data[rng.randrange(len(data) if rng.random() < 0.3 else 200)] = rng.randrange(256)
        if rng.random() < 0.25:
            del data[rng.randrange(len(data)) :]
        path.write_bytes(data)
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            load_denoiser(path)  # no mutation makes a U-Net of two tensors
        refused += str(path) in str(error.value)
    assert refused == 100
