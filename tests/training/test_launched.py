"""The documented command on several machines: torchrun starts 2 and 4 processes (gloo), one is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stereotalker_core.body.model import HalfBody
from stereotalker_core.synthetic.people.template import Template
from stereotalker_core.training.clips.rows import ClipRows, prepare_rows
from stereotalker_core.training.clips.synthetic_clips import AvatarClips, export_avatars

ROOT = Path(__file__).resolve().parents[2]
STEPS = 6


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """(folder of clips of four people, their rows of 32 px)."""
    root = tmp_path_factory.mktemp("clips")
    export_avatars(root, AvatarClips(identities=4, clips=1, frames=3, size=32), template=Template(HalfBody(), 64))
    return root, prepare_rows(root, tmp_path_factory.mktemp("rows"), 32)


def line(clips, folder: Path, processes: int) -> list[str]:
    """As docs/training.md has it."""
    root, rows = clips
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    words += ["-m", "--", "stereotalker_core", "train", "mask", "--clips", str(root)]
    words += ["--prepared", str(rows), "--run", str(folder / "run"), "--out", str(folder / "out"), "--device", "cpu"]
    words += ["--size", "32", "--batch", "1", "--micro-batches", "4", "--by-identity", "--steps", str(STEPS)]
    return [*words, "--log-every", "1", "--save-every", "2", "--precision", "no"]


def environment() -> dict:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def curve(folder: Path) -> list[tuple[int, float]]:
    rows = [json.loads(row) for row in (folder / "run" / "log.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows]


@pytest.fixture(scope="module")
def two(clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    done = subprocess.run(line(clips, folder, 2), cwd=ROOT, env=environment(), capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return folder


def test_two_processes_write_one_model(two):
    assert [step for step, _ in curve(two)] == list(range(1, STEPS + 1))
    assert (two / "out" / "mask_predictor.safetensors").is_file()


def test_a_run_of_four_that_lost_a_process_goes_on_with_two(clips, two, tmp_path):
    """After the checkpoint of step 2 a process is killed: the others end, and the same command continues the curve."""
    with open(tmp_path / "told", "wb") as told:
        process = subprocess.Popen(line(clips, tmp_path, 4), cwd=ROOT, env=environment(), stderr=told)
        killed, status = killed_after_a_checkpoint(process, tmp_path / "run")
    assert status != 0 and str(killed) in (tmp_path / "told").read_text(errors="replace")
    done = subprocess.run(line(clips, tmp_path, 2), cwd=ROOT, env=environment(), capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert [step for step, _ in curve(tmp_path)] == list(range(1, STEPS + 1))
    assert [v for _, v in curve(tmp_path)] == pytest.approx([v for _, v in curve(two)], rel=1e-4, abs=1e-6)


def test_torchrun_restarts_by_itself(clips, two, tmp_path):
    """`--max-restarts`, with a store of its own for every start: one command, one killed process, the same curve."""
    words, own_store = line(clips, tmp_path, 2), {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    words[4:4] = ["--max-restarts", "1"]
    with open(tmp_path / "told", "wb") as told:
        process = subprocess.Popen(words, cwd=ROOT, env=environment() | own_store, stderr=told)
        killed, status = killed_after_a_checkpoint(process, tmp_path / "run")
    assert status == 0 and str(killed) in (tmp_path / "told").read_text(errors="replace")
    assert [v for _, v in curve(tmp_path)] == pytest.approx([v for _, v in curve(two)], rel=1e-4, abs=1e-6)


def killed_after_a_checkpoint(process: subprocess.Popen, run: Path) -> tuple[int, int]:
    """Kill one of the run's processes once a checkpoint lies there -> its number and the status of the run."""
    killed = None
    while process.poll() is None and killed is None:
        if list(run.glob("checkpoint-*.safetensors")):
            killed = kill_one_of(process.pid)
        time.sleep(0.01)
    status = process.wait(timeout=300)
    if killed is None:
        pytest.skip("the run was over before a process could be killed")
    return killed, status


def kill_one_of(launcher: int) -> int | None:
    """SIGKILL for the last child of a process -> its number."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text(encoding="utf-8").split()
    if not children:
        return None
    os.kill(int(children[-1]), signal.SIGKILL)
    return int(children[-1])


def test_a_process_reads_only_its_people(clips):
    data = ClipRows(clips[1], HalfBody().part_names)
    shares = [data.share(k, 2) for k in range(2)]
    rng = np.random.default_rng(0)
    seen = [{int(data.person[data.identity[row]]) for row in part.draw(rng, 2, 2)} for part in shares]
    seen = [people | {int(data.person[data.identity[r]]) for r in part.some(rng, 40)} for people, part in
            zip(seen, shares, strict=True)]  # fmt: skip
    assert seen == [{0, 2}, {1, 3}] and len(data.clips_of) == 4
    with pytest.raises(ValueError, match="4 people cannot be shared by 5"):
        data.share(0, 5)
