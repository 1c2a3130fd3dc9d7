"""Many clips: one process, shards and Ray make the same; bad jobs harm no other; reruns do nothing."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
import wave
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from stereotalker_core import cli, pipeline
from stereotalker_core.commands.batching import jobs as listing
from stereotalker_core.commands.batching.cluster import work_of
from stereotalker_core.records import Motion
from stereotalker_core.video.rendering.ranges import parse_frames

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tiny(monkeypatch, tiny_models):
    """Commands use the tiny networks; counts how often they were loaded and portraits fitted."""
    counts = {"loaded": 0, "fitted": 0}

    def load(cls, device="cpu", mode="play", later=False):
        counts["loaded"] += 1
        return tiny_models

    fit = pipeline.fit_person

    def counted(*args, **settings):
        counts["fitted"] += 1
        return fit(*args, **settings)

    monkeypatch.setattr(pipeline.Models, "load_nano", classmethod(load))
    monkeypatch.setattr(pipeline, "fit_person", counted)
    return counts


@pytest.fixture(scope="module")
def person(tmp_path_factory, tiny_models) -> Path:
    """A fitted person, and motions of a few frames, as files: what needs no fit is fast."""
    from stereotalker_core.synthetic.people.avatar import make_avatar
    from stereotalker_core.synthetic.people.portrait import reference_portrait, true_identity

    folder = tmp_path_factory.mktemp("person")
    avatar = make_avatar(tiny_models.body, 3)
    portrait = reference_portrait(tiny_models.body, avatar, 3, 128)
    true_identity(tiny_models.body, avatar, portrait).save(folder / "p.safetensors")
    generator = torch.Generator().manual_seed(0)
    for i, frames in enumerate((3, 4, 130)):
        rotations = 0.02 * torch.randn(frames, 49, 3, generator=generator)
        Motion(rotations, torch.zeros(frames, 52)).save(folder / f"m{i}.safetensors")
    return folder


def rows(person: Path, count: int = 4) -> list[dict]:
    return [
        {"identity": "p.safetensors", "motion": f"m{i % 2}.safetensors", "yaw": 10 * i, "size": 128, "out": f"{i}.mp4"}
        for i in range(count)
    ]


def write_list(path: Path, found: list[dict]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list({k: None for row in found for k in row}))
        writer.writeheader()
        writer.writerows(found)
    return path


def frames_of(path) -> np.ndarray:
    with av.open(str(path)) as file:
        return np.stack([f.to_ndarray(format="rgb24") for f in file.decode(video=0)])


def test_batch_shards_and_reruns(tiny, person, tmp_path, capsys):
    found = rows(person)
    found.insert(1, found[0] | {"motion": "nothing.safetensors", "out": "bad.mp4"})
    found.append(found[0] | {"yaw": 999, "out": "worse.mp4"})
    path = write_list(person / "jobs.csv", found)
    assert cli.main(["batch", str(path), "--out", str(tmp_path / "one"), "--quiet"]) == 1
    told = capsys.readouterr()
    assert "4 made, 0 done before, 2 failed" in told.out
    assert "job 2 (bad.mp4): no file at" in told.err and "job 6 (worse.mp4): argument --yaw: 999.0" in told.err
    assert len(told.err.splitlines()) == 2 == len((tmp_path / "one" / "failed.txt").read_text().splitlines())
    assert tiny["loaded"] == 1 and tiny["fitted"] == 0
    # three shards make the same files
    for i in (1, 2, 3):
        cli.main(["batch", str(path), "--out", str(tmp_path / "three"), "--quiet", "--shard", f"{i}/3"])
    for i in range(4):
        one, three = ((tmp_path / name / f"{i}.mp4").read_bytes() for name in ("one", "three"))
        assert one == three
    assert len(list((tmp_path / "three").glob("failed.*-of-3.txt"))) == 2
    # a rerun makes nothing, a changed job is made again
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "one").glob("*.mp4")}
    capsys.readouterr()
    assert cli.main(["batch", str(path), "--out", str(tmp_path / "one"), "--quiet"]) == 1
    assert "0 made, 4 done before, 2 failed" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "one").glob("*.mp4")}
    found[0]["yaw"] = 5
    write_list(path, [row for row in found if row["out"] not in ("bad.mp4", "worse.mp4")])
    assert cli.main(["batch", str(path), "--out", str(tmp_path / "one"), "--quiet"]) == 0
    assert "1 made, 3 done before, 0 failed" in capsys.readouterr().out
    assert not (tmp_path / "one" / "failed.txt").exists()


def test_a_portrait_is_fitted_once(tiny, inputs, person, tmp_path):
    """Both jobs name the same file, its mask and its points."""
    found = [
        {"portrait": str(inputs.portrait), "mask": str(inputs.mask), "keypoints": str(inputs.keypoints),
         "motion": str(person / "m0.safetensors"), "yaw": yaw}
        for yaw in (0, 20)
    ]  # fmt: skip
    path = tmp_path / "jobs.jsonl"
    path.write_text("\n".join(map(json.dumps, found)) + "\nnonsense\n", encoding="utf-8")
    assert cli.main(["batch", str(path), "--out", str(tmp_path / "o"), "--quiet", "--", "--size", "128"]) == 1
    assert tiny == {"loaded": 1, "fitted": 1}
    names = sorted(p.name for p in (tmp_path / "o").glob("*.mp4"))
    assert names == ["0001_portrait_m0.mp4", "0002_portrait_m0.mp4"]
    assert "line 3 is no JSON" in (tmp_path / "o" / "failed.txt").read_text()


def test_lists_that_are_refused(person, tmp_path, capsys):
    good = rows(person, 1)
    bad = {
        "no option of talk": write_list(tmp_path / "a.csv", [good[0] | {"colour": "red"}]),
        "holds no job": write_list(tmp_path / "b.csv", [{"portrait": ""}]),
        "no list of jobs": tmp_path / "nothing.csv",
        "must end in .csv or .jsonl": tmp_path / "c.txt",
    }
    (tmp_path / "c.txt").write_text("x")
    (tmp_path / "d.csv").write_bytes(b"portrait\n\xff\xfe\n")
    bad["no CSV in UTF-8"] = tmp_path / "d.csv"
    for message, path in bad.items():
        assert cli.main(["batch", str(path), "--out", str(tmp_path / "o")]) == 2
        error = capsys.readouterr().err
        assert message in error and len(error.strip().splitlines()) == 1 and not (tmp_path / "o").exists()
    path = str(write_list(tmp_path / "e.csv", good))
    for more in (["--shard", "3/2"], ["--shard", "0/2"], ["--workers", "2"], ["--ray", "auto", "--split", "1"]):
        assert cli.main(["batch", path, "--out", str(tmp_path / "o"), *more]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1 and not (tmp_path / "o").exists()
    assert cli.main(["batch", path, "--out", path]) == 2 and "is a file" in capsys.readouterr().err


def test_rows_that_are_refused_alone(person, tmp_path):
    good = rows(person, 1)[0]
    changes = [{"out": "../x.mp4"}, {"out": "/x.mp4"}, {"yaw": "left"}, {}, {"out": "0.MP4"}]
    path = write_list(tmp_path / "a.csv", [good | change for change in changes])
    with open(path, "a", encoding="utf-8") as file:
        file.write("a,b,c,d,e,f,g,h\n")
    found = listing.read_jobs(path, tmp_path / "o")
    faults = [job.fault for job in found]
    assert "inside of the folder" in faults[0] and "inside of the folder" in faults[1] and "invalid float" in faults[2]
    assert faults[3] == "" and "as job 4 does" in faults[4] and faults[5] == "more cells than columns"


def test_a_stopped_batch_says_how_far_it_came(person, tmp_path, capsys, monkeypatch):
    def make(args, workshop, progress):
        if args.out.endswith("2.mp4"):
            raise KeyboardInterrupt
        return {"frames": 3, "complete": True}

    monkeypatch.setattr("stereotalker_core.commands.talking.talk.make_clip", make)
    line = ["batch", str(write_list(person / "jobs.csv", rows(person))), "--out", str(tmp_path / "o"), "--quiet"]
    assert cli.main(line) == 130
    told = capsys.readouterr().err
    assert "2 of 4 clips" in told and "goes on" in told and "nothing" not in told


@pytest.mark.parametrize("option", ["emotions", "transcript"])
def test_a_file_named_by_at_is_relative_to_the_list_and_counts(person, tmp_path, option):
    """A clip is not taken for done, nor its pieces for usable, when such a file has changed."""
    told, texts = tmp_path / "told.json", ("happy", "sad")
    row = rows(person, 1)[0] | {option: "@told.json"}
    states = set()
    for text in texts:
        told.write_text(json.dumps([{"start": 0, "end": 1, "word": text, "emotion": text}]), encoding="utf-8")
        (job,) = listing.read_jobs(write_list(tmp_path / "a.csv", [row]), tmp_path / "o")
        assert getattr(job.line, option) == f"@{told}"
        states.add(listing.state_of(job))
    assert len(states) == len(texts)


def test_a_long_clip_in_shards_is_joined(tiny, person, tmp_path, capsys):
    words = ["talk", "--identity", str(person / "p.safetensors"), "--motion", str(person / "m2.safetensors")]
    words += ["--size", "128", "--quiet"]
    assert cli.main([*words, "--out", str(tmp_path / "w.mp4")]) == 0
    for i in (1, 2, 3):
        assert cli.main([*words, "--out", str(tmp_path / "v.mp4"), "--shard", f"{i}/3"]) == 0
    assert "nothing to do for shard 3/3" in capsys.readouterr().out
    parts = sorted(map(str, tmp_path.glob("v.part-*.mp4")))
    assert [Path(p).name for p in parts] == ["v.part-1-of-3.mp4", "v.part-2-of-3.mp4"]
    assert cli.main(["join", *parts, "--out", str(tmp_path / "v.mp4")]) == 0
    whole, joined = frames_of(tmp_path / "w.mp4"), frames_of(tmp_path / "v.mp4")
    assert whole.shape == joined.shape and np.abs(whole.astype(int) - joined).mean() < 0.5
    assert cli.main(["join", *parts, "--out", parts[0]]) == 2 and "one of the parts" in capsys.readouterr().err


def test_a_killed_talk_goes_on(person, tmp_path):
    """SIGKILL when the first piece of five seconds is there; --resume draws the rest alone."""
    words = ["talk", "--identity", str(person / "p.safetensors"), "--motion", str(person / "m2.safetensors")]
    words += ["--size", "128", "--quiet", "--out", str(tmp_path / "v.mp4")]
    command = [sys.executable, "-m", "stereotalker_core", *words]
    one = os.environ | {"OMP_NUM_THREADS": "1"}  # threads round differently, and x264 makes much of that
    process = subprocess.Popen(command, cwd=ROOT, env=one)
    piece = tmp_path / ".v.mp4.parts" / "0000000-0000125.mp4"
    while not piece.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if process.returncode == 0:
        pytest.skip("the clip was complete before it could be killed")
    assert piece.exists() and not (tmp_path / "v.mp4").exists()
    kept, seen = piece.stat().st_ino, set()
    again = subprocess.Popen([*command, "--resume", "--json", str(tmp_path / "r.json")], cwd=ROOT, env=one)
    while again.poll() is None:
        seen |= {found.st_ino for found in _status(piece)}
        time.sleep(0.01)
    assert again.returncode == 0 and seen == {kept}  # the finished piece is not made anew
    assert json.loads((tmp_path / "r.json").read_text())["frames"] == 130
    assert not piece.parent.exists()
    subprocess.run([*command[:-1], str(tmp_path / "whole.mp4")], cwd=ROOT, env=one, check=True)
    resumed, whole = frames_of(tmp_path / "v.mp4"), frames_of(tmp_path / "whole.mp4")
    assert len(resumed) == 130 and np.abs(resumed.astype(int) - whole).max() <= 2  # x264 may differ by a step


def _status(path: Path) -> list[os.stat_result]:
    try:
        return [path.stat()]
    except FileNotFoundError:
        return []


@pytest.mark.parametrize("fps, seconds, frames", [(50, 6.0, 300), (25, 12.0, 300), (24, 12.5, 300), (60, 8.0, 480)])
def test_pieces_for_workers_cover_a_clip_at_any_frame_rate(tmp_path, fps, seconds, frames):
    sound = np.random.default_rng(0).integers(-9000, 9000, round(16000 * seconds)).astype(np.int16)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(16000)
        file.writeframes(sound.tobytes())
    row = {"identity": "p.safetensors", "audio": "a.wav", "fps": fps, "out": "a.mp4"}
    (job,) = listing.read_jobs(write_list(tmp_path / "jobs.csv", [row]), tmp_path / "out")
    pieces = [parse_frames(work.args.frames) for work in work_of(job, 5.0)]
    assert len(pieces) > 1 and pieces[0][0] == 0 and pieces[-1][1] == frames
    assert all(a[1] == b[0] for a, b in zip(pieces, pieces[1:], strict=False))


def test_ray_makes_the_same_and_survives_a_killed_worker(person, tmp_path, capsys):
    """Two workers; one is killed while it works; the long clip is spread over both; bad jobs are named."""
    pytest.importorskip("ray")
    found = rows(person, 3)
    found.insert(1, found[0] | {"motion": "nothing.safetensors", "out": "bad.mp4"})
    found.append(found[0] | {"motion": "m2.safetensors", "out": "long.mp4"})
    path = write_list(person / "ray.csv", found)
    assert cli.main(["batch", str(path), "--out", str(tmp_path / "one"), "--quiet"]) == 1
    capsys.readouterr()
    killed = []

    def kill_one() -> None:
        end = time.monotonic() + 240
        while not killed and time.monotonic() < end:
            if list((tmp_path / "ray").glob(".*.parts")):
                for entry in Path("/proc").iterdir():
                    if entry.name.isdigit() and b"Worker.make" in _command_line(entry):
                        os.kill(int(entry.name), signal.SIGKILL)
                        killed.append(int(entry.name))
                        break
            time.sleep(0.02)

    watcher = threading.Thread(target=kill_one)
    watcher.start()
    line = ["batch", str(path), "--out", str(tmp_path / "ray"), "--ray", "local", "--workers", "2", "--split", "5"]
    assert cli.main([*line, "--quiet"]) == 1
    watcher.join()
    told = capsys.readouterr()
    assert killed and "4 made, 0 done before, 1 failed" in told.out and "job 2 (bad.mp4)" in told.err
    for name in ("0.mp4", "1.mp4", "2.mp4"):
        assert np.array_equal(frames_of(tmp_path / "one" / name), frames_of(tmp_path / "ray" / name))
    long, spread = frames_of(tmp_path / "one" / "long.mp4"), frames_of(tmp_path / "ray" / "long.mp4")
    assert long.shape == spread.shape and np.abs(long.astype(int) - spread).mean() < 0.5
    assert not list((tmp_path / "ray").glob(".*"))
    assert cli.main([*line, "--quiet"]) == 1 and "0 made, 4 done before" in capsys.readouterr().out


def _command_line(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""
