"""`batch --ray HOST:PORT`: a Ray cluster that somebody else has started, with a token and without one being given."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from stereotalker_core.records import Motion

pytest.importorskip("ray")
ROOT = Path(__file__).resolve().parents[2]
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef"}
SETTINGS = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def told_by(folder: str) -> str:
    return (Path(folder) / "started.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster in processes of its own, which asks for a token."""
    ray = Path(sys.executable).parent / "ray"
    if not ray.exists():
        pytest.skip("no command `ray` beside this Python")
    folder, port = tempfile.mkdtemp(prefix="ray"), free_port()  # sockets lie there: the path must be short
    line = [str(ray), "start", "--head", "--block", "--num-cpus", "1", "--include-dashboard", "false"]
    line += ["--port", str(port), "--temp-dir", folder]
    with open(Path(folder) / "started.txt", "w", encoding="utf-8") as told:
        head = subprocess.Popen(line, env=os.environ | SETTINGS | TOKEN, stdout=told, stderr=told)
    try:
        end = time.monotonic() + 90
        while "runtime started" not in told_by(folder):
            assert head.poll() is None and time.monotonic() < end, told_by(folder)
            time.sleep(0.3)
        yield f"127.0.0.1:{port}"
    finally:
        head.send_signal(signal.SIGTERM)  # it ends what it has started
        head.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory, tiny_models) -> Path:
    """A list of two clips of two frames."""
    from stereotalker_core.synthetic.people.avatar import make_avatar
    from stereotalker_core.synthetic.people.portrait import reference_portrait, true_identity

    folder = tmp_path_factory.mktemp("jobs")
    avatar = make_avatar(tiny_models.body, 3)
    portrait = reference_portrait(tiny_models.body, avatar, 3, 128)
    true_identity(tiny_models.body, avatar, portrait).save(folder / "p.safetensors")
    Motion(torch.zeros(2, 49, 3), torch.zeros(2, 52)).save(folder / "m.safetensors")
    row = {"identity": "p.safetensors", "motion": "m.safetensors", "size": 128}
    rows = [row | {"yaw": yaw, "out": f"{yaw}.mp4"} for yaw in (0, 20)]
    (folder / "jobs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder / "jobs.jsonl"


def batch(jobs: Path, out: Path, address: str, **settings: str) -> subprocess.CompletedProcess:
    """Run the command as a user does, from another folder than the project's."""
    line = [sys.executable, "-m", "stereotalker_core", "batch", str(jobs), "--out", str(out), "--quiet"]
    given = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | SETTINGS | settings
    return subprocess.run(
        [*line, "--ray", address], env=given, cwd=jobs.parent, capture_output=True, text=True, timeout=240
    )


def test_a_cluster_that_was_started_before_is_joined_by_its_address(cluster, jobs, tmp_path):
    done = batch(jobs, tmp_path / "clips", cluster, **TOKEN)
    assert done.returncode == 0, done.stderr
    assert "2 made, 0 done before, 0 failed" in done.stdout
    assert all((tmp_path / "clips" / name).stat().st_size > 1000 for name in ("0.mp4", "20.mp4"))
    assert "0 made, 2 done before" in batch(jobs, tmp_path / "clips", cluster, **TOKEN).stdout


def test_without_its_token_the_fault_says_what_to_set(cluster, jobs, tmp_path):
    done = batch(jobs, tmp_path / "clips", cluster)
    if done.returncode == 0:
        pytest.skip("this version of Ray asks for no token")
    assert done.returncode == 2 and "RAY_AUTH_MODE=token" in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "clips").glob("*.mp4"))


def test_a_token_that_this_machine_does_not_have_is_one_line(jobs, tmp_path):
    settings = {"RAY_AUTH_MODE": "token", "HOME": str(tmp_path)}
    done = batch(jobs, tmp_path / "clips", f"127.0.0.1:{free_port()}", **settings)
    assert done.returncode == 2 and "no Ray cluster at" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
