"""What a checkpoint says about how it was made."""

import argparse
import json
import re
import subprocess
from pathlib import Path

import torch

import stereotalker_core
from stereotalker_core.checkpoint import save_tensors
from stereotalker_core.training.provenance import after, commit, cost, made

PACKAGE = Path(stereotalker_core.__file__).parent


def test_metadata_tells_the_line_the_seed_and_the_commit():
    options = argparse.Namespace(line="python -m stereotalker_core train mask --seed 3", seed=3)
    told = made(options, frames=5)
    assert told == {"command": options.line, "seed": "3", "commit": commit(), "metrics": {"frames": 5}}
    assert made(argparse.Namespace(line="x"))["seed"] == "0"


def test_commit_is_a_hash_or_unknown():
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", commit())


def repository(folder: Path) -> str:
    """A repository with one commit -> its hash."""
    folder.mkdir(parents=True, exist_ok=True)
    git = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@b.c"]
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--allow-empty", "--message", "one"]):
        subprocess.run([*git, *words], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def test_commit_is_that_of_the_source_and_of_no_other_repository(tmp_path, monkeypatch):
    from stereotalker_core.training import provenance

    before = commit()
    other = repository(tmp_path)
    monkeypatch.chdir(tmp_path)  # run from another repository
    assert commit() == before != other
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))  # as in a hook of that repository
    assert commit() == before
    source = tmp_path / "pack" / "stereotalker_core" / "training" / "provenance.py"
    source.parent.mkdir(parents=True)
    source.touch()
    monkeypatch.setattr(provenance, "__file__", str(source))
    assert commit() == "unknown"  # a copy inside of another repository
    monkeypatch.delenv("GIT_DIR")
    assert repository(tmp_path / "pack") == commit()


def test_nobody_else_asks_for_a_commit():
    """Trainers, generators and tools write what `commit` says, and no second way of finding it."""
    for path in (*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "tools").rglob("*.py")):
        assert path.name == "provenance.py" or "rev-parse" not in path.read_text(encoding="utf-8"), path


def test_what_was_gone_on_from_is_told_first(tmp_path):
    start = tmp_path / "first.safetensors"
    save_tensors({"x": torch.zeros(1)}, {"command": "train a", "data": "A"}, start)
    told = after(start, command="train b", data="B", cost="5 steps in 1 min")
    assert told == {"command": "train a; train b", "data": "A; B", "cost": "5 steps in 1 min"}
    assert after(None, command="train b") == {"command": "train b"}


def test_cost_adds_the_logged_steps_up(tmp_path):
    rows = [{"step": 50, "seconds_per_step": 2.0}, {"step": 80, "seconds_per_step": 8.0}]
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert cost(tmp_path) == f"80 steps in {round((100 + 240) / 60)} min"
