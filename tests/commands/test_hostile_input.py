"""Input that nobody means well with: devices, pipes, bombs, nests, lies in headers. One line, status 2, at once.

Those of tests/commands/test_bad_input.py are mistakes; these would hang a command, fill its memory or end it with a
traceback.
"""

import io
import json
import os
import shutil
import signal
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stereotalker_core import cli
from stereotalker_core.body.model import HalfBody
from stereotalker_core.motion.arkit import ARKIT
from stereotalker_core.records import Motion
from stereotalker_core.synthetic.people.avatar import make_avatar
from stereotalker_core.synthetic.people.portrait import reference_portrait, true_identity
from stereotalker_core.video.writing.containers import format_for
from stereotalker_core.video.writing.join import Part
from stereotalker_core.video.writing.parts import ClipWriter
from tests.commands.test_bad_input import bad, png, refused, wav  # noqa: F401

LONGEST = 30  # seconds that a refusal may take
DEEP = "[" * 200_000
FILES = [
    (option, name)
    for option, names in {
        "--portrait": ("fifo.png", "zero.png", "random.png", "crc.png", "half.jpg", "line.png", "page.svg", "loop.png",
                       "folder.png", "wide_bomb.png", "huge.tif", "clear.png", "dot.png"),
        "--audio": ("fifo.wav", "zero.wav", "random.wav", "lies.wav", "no_channel.wav", "no_rate.wav", "no_data.wav",
                    "inf.wav", "mute.mp4", "cut.mp4", "folder.wav", "loop.wav", "loud.wav", "channels.wav", "slow.wav",
                    "fast.wav"),
        "--mask": ("fifo.png", "zero.png", "crc.png", "folder.png"),
        "--keypoints": ("fifo.json", "zero.json", "deep.json", "giant.json", "folder.json", "numbers.json",
                        "nulls.json", "twice.json", "long.json"),
        "--motion": ("fifo.npz", "zero.csv", "zero.bvh", "header.safetensors", "deep.safetensors", "liar.safetensors",
                     "shapes.safetensors", "claims.npz", "endless.bvh", "folder.npz", "words.csv", "nested.bvh",
                     "cut.glb", "bomb.npz", "nan.csv", "inf.csv", "far.npz"),
        "--transcript": ("@fifo.txt", "@zero.txt", "@deep.json", "@folder.txt", "@latin.srt", "@back.srt",
                         "@nulls.json", "@liar.TextGrid"),
        "--background": ("fifo.png", "zero.png", "crc.png", "folder.png", "wide_bomb.png"),
        "--identity": ("fifo.safetensors", "zero.safetensors", "header.safetensors", "deep.safetensors",
                       "liar.safetensors", "shapes.safetensors", "folder.safetensors", "motion.safetensors",
                       "nan.safetensors"),
    }.items()
    for name in names
]  # fmt: skip
WORDS = [
    ("--out", "/proc/v.mp4"), ("--out", "/dev/null/v.mp4"), ("--out", "a" * 300 + ".mp4"), ("--out", "a\0b.mp4"),
    ("--out", "HERE/folder.mp4"), ("--out", "HERE/fifo.mp4"), ("--out", "HERE/loop.mp4"), ("--out", "HERE/%s.png"),
    ("--out", "HERE/%9999999d.png"), ("--json", "HERE/loop.json"), ("--json", "/proc/r.json"),
    ("--save-motion", "HERE/folder.safetensors"), ("--save-identity", "a\0.safetensors"),
    ("--seed", "9" * 40), ("--seed", "-1e3"), ("--size", "256x256x256"), ("--size", "-8x256"),
    ("--frames", "9" * 30 + ":"), ("--shard", "1/99999999"),
    ("--orbit", "-inf:inf"), ("--yaw", "1e400"), ("--pitch", "--yaw"), ("--steps", "1" * 30),
    ("--portrait", "a\0.png"), ("--audio", "\0"), ("--audio", "http://127.0.0.1:9/a.wav"), ("--audio", "concat:a|b"),
    ("--audio", "pipe:0"), ("--portrait", "~"), ("--background", "#" + "\u00e9" * 6), ("--style", "\n"),
    ("--emotions", "DEEP"), ("--device", "cuda:-1"), ("--device", "meta"), ("--transcript", "@\0"),
]  # fmt: skip
TOGETHER = [
    ["--yaw", "1", "--orbit=0:1"], ["--frames", "0:2", "--shard", "1/2"], ["--identity", "HERE/header.safetensors"],
    ["--json", "HERE/x.json", "--save-identity", "HERE/x.json"], ["--resume", "--out", "HERE/v.gif"],
    ["--background", "transparent"], ["--size", "256x256", "--aspect", "9:16"],
    ["--save-motion", "HERE/s.safetensors", "--save-identity", "HERE/s.safetensors"],
]  # fmt: skip
JOINS = [
    ["a.mp4", "a.mp4"], ["a.mp4", "c.mp4"], ["a.mp4", "b.mp4", "other.mp4"], ["a.mp4", "small.mp4"],
    ["a.mp4", "mute.mp4"], ["a.mp4", "cut.mp4"], ["a.mp4", "folder.mp4"], ["a.mp4", "fifo.mp4"], ["zero.mp4"],
    ["a.mp4", "overlap.mp4"], ["a.mp4", "none.mp4"],
]  # fmt: skip
LISTS = {
    "option.csv": "--portrait;rm\nx\n", "empty.jsonl": "\n\n",
    "many.csv": ",".join(f"c{i}" for i in range(20_000)) + "\n", "twice.csv": "portrait,portrait\na,b\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def here(inputs, tmp_path_factory) -> Path:
    """A folder of hostile files."""
    f = tmp_path_factory.mktemp("hostile")
    _special_files(f)
    good = inputs.portrait.read_bytes()
    (f / "crc.png").write_bytes(good[:40] + bytes([good[40] ^ 255]) + good[41:])
    (f / "line.png").write_bytes(png(1, 5000))
    (f / "wide_bomb.png").write_bytes(png(2_000_000_000, 2))
    (f / "page.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")
    (f / "huge.tif").write_bytes(b"II*\0\x08\0\0\0" + b"\xff" * 200)
    from PIL import Image

    Image.new("RGBA", (256, 256), (9, 9, 9, 0)).save(f / "clear.png")
    Image.new("RGB", (1, 1)).save(f / "dot.png")
    whole = io.BytesIO()
    Image.open(inputs.portrait).convert("RGB").save(whole, "JPEG")
    (f / "half.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 3])
    _sounds(f, inputs)
    _numbers(f)
    _tensors(f)
    _parts(f)
    for name, text in LISTS.items():
        (f / name).write_text(text)
    return f


def _special_files(f: Path) -> None:
    for suffix in ("png", "wav", "json", "npz", "txt", "safetensors", "mp4"):
        os.mkfifo(f / f"fifo.{suffix}")
        (f / f"folder.{suffix}").mkdir()
        (f / f"loop.{suffix}").symlink_to(f / f"loop.{suffix}")
    for suffix in ("png", "wav", "json", "csv", "bvh", "txt", "safetensors", "mp4"):
        (f / f"zero.{suffix}").symlink_to("/dev/zero")
    for suffix in ("png", "wav"):
        (f / f"random.{suffix}").symlink_to("/dev/urandom")


def _sounds(f: Path, inputs) -> None:
    plain = bytearray(wav(np.full(16000, 900, np.int16)))
    lies = [("lies", 40, "<I", 2**32 - 2), ("no_channel", 22, "<H", 0), ("no_rate", 24, "<I", 0)]
    lies += [("channels", 22, "<H", 65535), ("slow", 24, "<I", 1), ("fast", 24, "<I", 2**32 - 1)]
    for name, at, form, value in lies:
        changed = bytearray(plain[:100] if name == "lies" else plain)
        struct.pack_into(form, changed, at, value)
        (f / f"{name}.wav").write_bytes(changed)
    (f / "no_data.wav").write_bytes(wav(np.zeros(0, np.int16)))
    for name, value in (("inf", np.inf), ("loud", 1e38)):
        (f / f"{name}.wav").write_bytes(wav(np.full(16000, value, np.float32), 3))


def _numbers(f: Path) -> None:
    eyes = {"left_eye": [150, 100], "right_eye": [100, 100], "nose": [125, 120]}
    (f / "deep.json").write_text(DEEP)
    (f / "giant.json").write_text(json.dumps(eyes | {"nose": [10**400, 1]}))
    (f / "numbers.json").write_text('{"left_eye": [1e999, -1e999], "right_eye": [1, 2], "nose": [3, 4]}')
    (f / "nulls.json").write_text('[null, {"word": null, "start": null}]')
    (f / "twice.json").write_text('{"nose": [[1, 2], [3, 4]]}')
    (f / "long.json").write_text(json.dumps({"people": [{"pose_keypoints_2d": [1, 2]}]}))
    (f / "latin.srt").write_bytes(b"1\n00:00:00,000 --> 00:00:01,000\n\xff\xfe\n")
    (f / "back.srt").write_text("1\n00:00:05,000 --> 00:00:01,000\nhello\n")
    (f / "liar.TextGrid").write_text('File type = "ooTextFile"\nObject class = "TextGrid"\nsize = 99999999\n')
    (f / "words.csv").write_text("Timecode,BlendshapeCount,JawOpen\n00:00:00:00.000,52,wide\n")
    columns = ",".join(name[0].upper() + name[1:] for name in ARKIT)
    for value in ("nan", "inf"):
        row = f"00:00:00:00.000,52,{','.join([value] * 52)}\n"
        (f / f"{value}.csv").write_text(f"Timecode,BlendshapeCount,{columns}\n{row}")
    (f / "endless.bvh").write_text("HIERARCHY\nROOT a\n{\n}\nMOTION\nFrames: 99999999999\nFrame Time: 0\n")
    (f / "nested.bvh").write_text("HIERARCHY\n" + "JOINT a\n{\n" * 100_000)
    (f / "cut.glb").write_bytes(b"glTF\x02\0\0\0")
    head = b"\x93NUMPY\x01\0"
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000000, 49, 3)}".ljust(117) + b"\n"
    with zipfile.ZipFile(f / "claims.npz", "w") as file:
        file.writestr("rotations.npy", head + struct.pack("<H", len(text)) + text + b"\0" * 64)
    with zipfile.ZipFile(f / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("rotations.npy", b"\0" * 50_000_000)


def _tensors(f: Path) -> None:
    (f / "header.safetensors").write_bytes(b"\xff" * 8 + b"{}")
    (f / "deep.safetensors").write_bytes(struct.pack("<Q", len(DEEP)) + DEEP.encode())
    liar = json.dumps({"rotations": {"dtype": "F32", "shape": [10**12, 49, 3], "data_offsets": [0, 8]}}).encode()
    (f / "liar.safetensors").write_bytes(struct.pack("<Q", len(liar)) + liar + b"\0" * 8)
    save_file({"rotations": torch.zeros(3), "expression": torch.zeros(2, 2)}, f / "shapes.safetensors")
    Motion(torch.zeros(4, 49, 3), torch.zeros(4, 52)).save(f / "motion.safetensors")
    np.savez(f / "far.npz", rotations=np.full((4, 49, 3), 1e30, np.float32), expression=np.zeros((4, 52), np.float32))
    body = HalfBody()
    avatar = make_avatar(body, 3)
    person = true_identity(body, avatar, reference_portrait(body, avatar, 3, 128))
    replace(person, atlas=torch.full_like(person.atlas, torch.nan)).save(f / "nan.safetensors")


def _parts(f: Path) -> None:
    """Parts of a clip of 20 frames, and what is none of it."""

    def part(name: str, first: int, stop: int, count: int = 20, size=(64, 64)) -> None:
        form = format_for(f / name, "draft", False)
        with ClipWriter(f / name, size, 25.0, form, Part(first, stop, count)) as writer:
            writer.write(torch.zeros(stop - first, 3, *size))

    part("a.mp4", 0, 10)
    part("b.mp4", 10, 15)
    part("c.mp4", 15, 20)
    part("overlap.mp4", 5, 20)
    part("other.mp4", 15, 30, 30)
    part("small.mp4", 10, 20, size=(32, 32))
    part("mute.mp4", 0, 20)
    (f / "cut.mp4").write_bytes((f / "mute.mp4").read_bytes()[:-300])


@pytest.fixture
def soon():
    """Raises where a command takes longer than it may."""

    def late(*_):
        raise AssertionError(f"longer than {LONGEST} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LONGEST)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def talk(inputs, here, tmp_path, refused, soon):  # noqa: F811
    """Run `talk` with good input and these words -> its line of error; the hostile folder stays as it is."""

    def run(words: list[str]) -> str:
        line = ["--portrait", str(inputs.portrait), "--audio", str(inputs.audio), "--out", str(tmp_path / "v.mp4")]
        if any(word.startswith("--identity") for word in words):
            line = line[2:]
        before = sorted((p.name, p.lstat().st_mtime_ns) for p in here.iterdir())
        words = [w.replace("HERE", str(here)).replace("DEEP", DEEP[:5000]) for w in words]
        told = refused(["talk", *line, "--device", "cpu", "--quiet", *words])
        assert before == sorted((p.name, p.lstat().st_mtime_ns) for p in here.iterdir())
        return told

    return run


@pytest.mark.parametrize("option, name", FILES, ids=[f"{o} {n}" for o, n in FILES])
def test_files(talk, here, option, name):
    path = f"@{here / name[1:]}" if name.startswith("@") else str(here / name)
    talk([f"{option}={path}"])


@pytest.mark.parametrize("option, word", WORDS, ids=[f"{o} {w!r}"[:40] for o, w in WORDS])
def test_words(talk, option, word):
    talk([f"{option}={word}"])


@pytest.mark.parametrize("words", TOGETHER, ids=" ".join)
def test_options_that_contradict_each_other(talk, words):
    talk(words)


@pytest.mark.parametrize("names", JOINS, ids=" ".join)
def test_joins(here, refused, soon, names, tmp_path):  # noqa: F811
    refused(["join", *(str(here / name) for name in names), "--out", str(tmp_path / "v.mp4")])


@pytest.mark.parametrize("link", ["same", "symlink", "hardlink"])
def test_a_part_is_never_the_result(here, refused, soon, tmp_path_factory, link):  # noqa: F811
    folder = tmp_path_factory.mktemp("join")
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(here / name, folder / name)
    target = folder / ("a.mp4" if link == "same" else "v.mp4")
    if link != "same":
        {"symlink": target.symlink_to, "hardlink": target.hardlink_to}[link](folder / "a.mp4")
    before = (folder / "a.mp4").read_bytes()
    assert "one of the parts" in refused(["join", str(folder / "a.mp4"), str(folder / "b.mp4"), "--out", str(target)])
    assert (folder / "a.mp4").read_bytes() == before


@pytest.mark.parametrize("name", [*LISTS, "fifo.csv", "folder.json", "zero.csv"])
def test_lists(here, refused, soon, tmp_path, name):  # noqa: F811
    if name == "fifo.csv" and not (here / name).exists():
        os.mkfifo(here / name)
    refused(["batch", str(here / name), "--out", str(tmp_path / "o"), "--quiet"])


@pytest.mark.parametrize("row", [DEEP, '{"portrait": "\\u0000", "audio": "\\u0000"}', '{"portrait": "zero.png"}'])
def test_rows_fail_alone(here, soon, tmp_path, capsys, row):
    """A hostile row is named in one line; nothing is made of it."""
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text(row.replace("zero.png", str(here / "zero.png")) + "\n")
    assert cli.main(["batch", str(jobs), "--out", str(tmp_path / "o"), "--quiet"]) == 1
    told = capsys.readouterr()
    assert "1 failed" in told.out and len(told.err.strip().splitlines()) == 1
    assert [p.name for p in (tmp_path / "o").iterdir()] == ["failed.txt"]


@pytest.mark.parametrize("name", ["fifo", "zero", "header", "liar", "folder", "motion"])
@pytest.mark.parametrize("command", ["serve", "motion"])
def test_other_commands(here, refused, soon, tmp_path, command, name):  # noqa: F811
    line = {
        "serve": ["serve", "--identity", str(here / f"{name}.safetensors")],
        "motion": ["motion", "--audio", str(here / f"{name}.safetensors"), "--out", str(tmp_path / "m.npz")],
    }[command]
    refused(line)


def test_names_in_other_scripts_are_no_fault(inputs, here, tmp_path, capsys):
    """What is unusual is not refused for that: the refusal comes of the frames alone."""
    for name in ("\u05d0\u05d1 \U0001f600.mp4", "-v.mp4", "a b'\"$(x).mp4"):
        line = ["talk", "--portrait", str(inputs.portrait), "--audio", str(inputs.audio), "--frames", "999:"]
        assert cli.main([*line, f"--out={tmp_path / name}"]) == 2 and "--frames 999: holds" in capsys.readouterr().err
