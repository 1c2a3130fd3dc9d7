"""Bad input of every kind: one line, status 2, nothing written, nothing overwritten, no network loaded for it."""

import json
import shutil
import struct
import zlib

import numpy as np
import pytest
import torch

from stereotalker_core import cli, pipeline
from stereotalker_core.image import save_image
from stereotalker_core.perception.keypoints import Keypoints, make_keypoints
from stereotalker_core.perception.matte import refine_matte
from stereotalker_core.records import Motion

NUMBERS = ("nan", "inf", "-inf", "1e9", "-1e9", "", "x", "1,5", "0x10")
LIMITED = (
    "--yaw", "--pitch", "--steps", "--face-scale", "--view-experts", "--mask-experts", "--seed",
    "--intensity", "--energy",
    "--blink-rate", "--motion-steps", "--prior-strength", "--person",
)  # fmt: skip
FINE = {("--seed", "1e9"), ("--face-scale", "1e9")}  # no such fault: 1e9 is no whole number, which is one
WORDS = [
    ("--orbit", w) for w in ("", ":", "1", "1:2:3", "a:b", "nan:3", "-200:0", "0:inf")
] + [("--size", w) for w in ("", "0", "-256", "255", "127", "1032", "256x", "x256", "256x2000", "1e3",
    "256.0", "9" * 30)] + [
    ("--aspect", w) for w in ("", "1", "16:10", "photo:1", "0:0")
] + [("--framing", w) for w in ("", "wide", "AUTO")] + [("--yaw-origin", w) for w in ("", "nose")] + [
    ("--background", w) for w in ("#", "#12345", "#1234567", "#gggggg", "", "red", "BAD/text.wav",
    "BAD/none.png", "BAD")
] + [("--style", w) for w in ("", "bored", "sad,happy")] + [("--device", w) for w in ("abacus", "cuda:99", "")] + [
    ("--frames", w) for w in ("", "5", "a:b", "5:3", "5:5", "13:", "100:200", "1:2:3", "-1:0")
] + [("--shard", w) for w in ("", "1", "0/3", "4/3", "1/0", "-1/3", "a/b", "1/2/3")] + [
    ("--quality", w) for w in ("", "ultra", "17")
]  # fmt: skip
FILES = [
    (option, f"BAD/{name}")
    for option, names in {
        "--portrait": ("none.png", "", "empty", "text.wav", "cut.png", "small.png", "clear.png", "bomb.png", "s.wav"),
        "--audio": ("none.wav", "", "empty", "text.wav", "small.png", "short.wav", "nan.wav", "m.npz"),
        "--mask": ("none.png", "", "empty", "text.wav", "black.png", "wide.png"),
        "--keypoints": (
            "none.json", "", "empty", "text.json", "nobody.json", "list.json", "number.json", "names.json", "nan.json",
            "far.json", "three.json", "binary.json", "words.json",
        ),
        "--motion": (
            "none.npz", "", "empty", "text.wav", "cut.safetensors", "other.safetensors", "nan.safetensors",
            "zero.safetensors",
            "keys.npz", "pickle.npz", "text.csv", "text.bvh", "text.npz",
        ),
        "--transcript": (),
        "--identity": ("none.safetensors",),
    }.items()
    for name in names
]  # fmt: skip
TARGETS = [
    ("--out", f"{w}") for w in ("BAD/v.avi", "BAD/v", "BAD", "BAD/file/v.mp4", "BAD/v.png", "BAD/%d%d.png", "")
] + [
    ("--json", w) for w in ("BAD/r.txt", "BAD/file/r.json", "BAD")
] + [("--save-motion", w) for w in ("BAD/m.mp4", "BAD/file/m.safetensors")] + [
    ("--save-identity", w) for w in ("BAD/p.npz", "BAD/file/p.safetensors")
] + [("--transcript", w) for w in ("@BAD/none.txt", "@BAD/binary.json", "@")]  # fmt: skip
CASES = [(o, w) for o in LIMITED for w in NUMBERS if (o, w) not in FINE] + WORDS + FILES + TARGETS
LINES = [
    ["talk"], ["talk", "--nonsense"], ["talk", "--yaw"], ["tolk"], [], ["join"], ["join", "BAD/none.mp4",
    "--out", "BAD/v.mp4"],
    ["join", "BAD/text.wav", "--out", "BAD/v.mp4"], ["join", "BAD/file.mp4", "--out", "BAD/v.mp4"], ["batch",
    "BAD/none.csv"],
    ["batch", "BAD/none.csv", "--out", "BAD/o"], ["batch", "BAD", "--out", "BAD/o"], ["motion", "--audio",
    "BAD/text.wav"],
]  # fmt: skip


def png(width: int, height: int) -> bytes:
    """The head of a picture of any size, with hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def wav(samples: np.ndarray, kind: int = 1) -> bytes:
    """A mono RIFF file at 16 kHz: kind 1 int16, 3 float32."""
    data, bits = samples.tobytes(), samples.itemsize * 8
    form = struct.pack("<HHIIHH", kind, 1, 16000, 16000 * bits // 8, bits // 8, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.fixture(scope="module")
def bad(inputs, tmp_path_factory):
    """A folder of files that cannot be used."""
    f = tmp_path_factory.mktemp("bad")
    for name in ("text.wav", "text.csv", "text.bvh", "text.npz", "file.mp4"):
        (f / name).write_text("no such thing")
    for name in ("empty", "file"):
        (f / name).write_bytes(b"")
    (f / "binary.json").write_bytes(b"\xff\xfe\x00{")
    eyes = {"left_eye": [150, 100], "right_eye": [100, 100], "nose": [125, 120]}
    texts = {
        "text": "{", "nobody": '{"people": []}', "list": "[1, 2]", "number": "5", "nan": "",
        "names": '{"tail": [1, 2]}',
        "three": '{"left_eye": [1]}', "words": '{"left_eye": "here"}',
    }  # fmt: skip
    for name, text in texts.items():
        (f / f"{name}.json").write_text(text)
    (f / "nan.json").write_text(json.dumps(eyes | {"nose": [float("nan"), 1]}))
    (f / "far.json").write_text(json.dumps({k: [1e9 * x, 1e9 * y] for k, (x, y) in eyes.items()}))
    save_image(torch.zeros(3, 60, 60), f / "small.png")
    save_image(torch.ones(3, 100, 256), f / "wide.png")
    save_image(-torch.ones(3, 256, 256), f / "black.png")
    from PIL import Image

    Image.fromarray(np.zeros((200, 200, 4), np.uint8)).save(f / "clear.png")
    (f / "cut.png").write_bytes(inputs.portrait.read_bytes()[:5000])
    (f / "bomb.png").write_bytes(png(60000, 60000))
    shutil.copy(inputs.audio, f / "s.wav")
    (f / "short.wav").write_bytes(wav(np.full(100, 9000, np.int16)))
    (f / "nan.wav").write_bytes(wav(np.full(16000, np.nan, np.float32), 3))
    Motion(torch.zeros(4, 49, 3), torch.zeros(4, 52)).save(f / "m.safetensors")
    (f / "cut.safetensors").write_bytes((f / "m.safetensors").read_bytes()[:-200])
    Motion(torch.full((4, 49, 3), torch.nan), torch.zeros(4, 52)).save(f / "nan.safetensors")
    Motion(torch.zeros(0, 49, 3), torch.zeros(0, 52)).save(f / "zero.safetensors")
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, f / "other.safetensors")
    np.savez(f / "keys.npz", x=np.zeros(3))
    np.savez(f / "pickle.npz", rotations=np.array([{}]), expression=np.zeros(1), fps=25)
    np.savez(f / "m.npz", x=np.zeros(3))
    return f


@pytest.fixture
def refused(bad, tmp_path, capsys, monkeypatch):
    """Run a line -> its one line of error; networks must not be loaded, files must stay."""

    def loaded(*_, **__):
        raise AssertionError("networks were loaded before the input was checked")

    monkeypatch.setattr(pipeline.Models, "load_nano", classmethod(loaded))
    monkeypatch.chdir(tmp_path)

    def run(line: list[str]) -> str:
        before = {p: p.read_bytes() for p in bad.rglob("*") if p.is_file()}
        line = [w.replace("BAD", str(bad)) for w in line]
        try:
            status = cli.main(line)
        except SystemExit as error:
            status = error.code
        told = capsys.readouterr()
        assert status == 2 and told.out == "", (status, told)
        assert told.err.startswith("error: ") and len(told.err.strip().splitlines()) == 1, told.err
        assert len(told.err) < 600 and not list(tmp_path.iterdir())
        assert before == {p: p.read_bytes() for p in bad.rglob("*") if p.is_file()}
        return told.err

    return run


@pytest.mark.parametrize("option, word", CASES, ids=[f"{o} {w}"[:40] for o, w in CASES])
def test_bad_words_and_files(inputs, bad, tmp_path, refused, option, word):
    line = ["talk", "--portrait", str(inputs.portrait), "--audio", str(inputs.audio), "--out", str(tmp_path / "v.mp4")]
    line += ["--size", "128", "--device", "cpu", "--quiet", f"{option}={word}"]
    if option in ("--aspect",):
        line[line.index("--size") + 1] = "256"
    if option == "--identity":
        del line[1:3]
    refused(line)


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_bad_lines(refused, line):
    refused(line)


@pytest.mark.parametrize("change", ["same", "symlink", "hardlink", "dots", "folder link"])
@pytest.mark.parametrize(
    "option, name", [("--audio", "talk.mp4"), ("--motion", "m.safetensors"), ("--portrait", "p.png")]
)
def test_an_input_is_never_the_output(inputs, bad, refused, tmp_path_factory, option, name, change):
    """The user's own video, under whatever name it is called."""
    folder = tmp_path_factory.mktemp("own")
    source = folder / name
    shutil.copy(
        {"--audio": inputs.audio, "--motion": bad / "m.safetensors", "--portrait": inputs.portrait}[option], source
    )
    target = {"same": source, "dots": folder / "x" / ".." / name}.get(change, folder / f"other{source.suffix}")
    (folder / "x").mkdir()
    if change == "symlink":
        target.symlink_to(source)
    elif change == "hardlink":
        target.hardlink_to(source)
    elif change == "folder link":
        (folder / "y").symlink_to(folder)
        target = folder / "y" / name
    before = source.read_bytes()
    result = {".mp4": "--out", ".safetensors": "--save-motion", ".png": "--out"}[source.suffix]
    given = {"--portrait": str(inputs.portrait), "--audio": str(inputs.audio), "--out": str(folder / "new.mp4")}
    given |= {option: str(source)} | {result: str(target)}
    error = refused(["talk", *(word for pair in given.items() for word in pair)])
    assert "is the file of" in error or "number in its name" in error
    assert source.read_bytes() == before and not (folder / "new.mp4").exists()


@pytest.mark.parametrize(
    "line",
    [
        ["motion", "--audio", "OWN/talk.mp4", "--out", "OWN/m.npz", "--preview", "OWN/talk.mp4"],
        ["motion", "--audio", "OWN/talk.mp4", "--out", "OWN/p.npz", "--preview", "OWN/x/../talk.mp4"],
        ["face", "--audio", "OWN/talk.mp4", "--out", "OWN/f.npy", "--preview", "OWN/talk.mp4"],
        ["face", "--audio", "OWN/talk.mp4", "--out", "OWN/m.safetensors", "--map", "OWN/m.safetensors"],
        ["convert", "autoencoder", "OWN/m.safetensors", "--out", "OWN/m.safetensors"],
        ["convert", "merge", "OWN/n.safetensors", "--experts", "OWN/m.safetensors", "--out", "OWN/m.safetensors"],
        ["avatar", "--identity", "OWN/i.glb", "--out", "OWN/i.glb"],
    ],
    ids=" ".join,
)
def test_no_command_writes_over_its_input(inputs, bad, refused, tmp_path_factory, line):
    own = tmp_path_factory.mktemp("own")
    (own / "x").mkdir()
    shutil.copy(inputs.audio, own / "talk.mp4")  # what is in a file decides, not its name
    for name in ("m.safetensors", "n.safetensors", "i.glb"):
        shutil.copy(bad / "m.safetensors", own / name)
    before = {p: p.read_bytes() for p in own.iterdir() if p.is_file()}
    assert "is the file of" in refused([word.replace("OWN", str(own)) for word in line])
    assert before == {p: p.read_bytes() for p in own.iterdir() if p.is_file()}


def test_there_are_enough_kinds():
    assert len(CASES) + len(LINES) + 15 >= 142


@pytest.mark.parametrize("scale", [1e4, 1e9, 1e30, -1e9])
def test_far_away_points_are_refused_at_once(scale):
    points = make_keypoints({"left_eye": (150 * scale, 100), "right_eye": (100, 100 * scale), "nose": (125, 120)})
    with pytest.raises(ValueError, match="far outside"):
        points.check_inside(256, 256)
    hips = Keypoints(("body.left_hip",), torch.tensor([[128.0, 500.0]]), torch.ones(1))
    hips.check_inside(256, 256)


def test_a_matte_is_bounded():
    """Growth by a face that is larger than the picture ends with the picture."""
    mask = torch.zeros(1, 64, 64)
    mask[:, 20:44, 20:44] = 1
    assert refine_matte(torch.rand(3, 64, 64) * 2 - 1, mask, 1e12).shape == mask.shape
