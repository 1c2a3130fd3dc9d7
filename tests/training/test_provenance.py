"""What a checkpoint says about how it was made."""

import json
import re
import subprocess
import sys
from pathlib import Path

import torch

import stereotalker_core
from stereotalker_core.checkpoint import save_tensors
from stereotalker_core.training.provenance import after, command, commit, cost

PACKAGE = Path(stereotalker_core.__file__).parent


def test_commands_name_modules_not_places(monkeypatch):
    for program, told in (
        (PACKAGE / "training" / "video" / "mask.py", "python -m stereotalker_core.training.video.mask"),
        (PACKAGE / "__main__.py", "python -m stereotalker_core"),
        (Path("/anywhere/script.py"), "python script.py"),
    ):
        monkeypatch.setattr(sys, "argv", [str(program), "--steps", "5", "--out", "a file"])
        assert command() == f"{told} --steps 5 --out 'a file'"


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
    from stereotalker_core.training.motion import denoiser as motion
    from stereotalker_core.training.speech import audio_encoder

    assert audio_encoder.commit is motion.commit is commit
    before = commit()
    other = repository(tmp_path)
    monkeypatch.chdir(tmp_path)  # run from another repository
    assert commit() == before != other
    source = tmp_path / "pack" / "stereotalker_core" / "training" / "provenance.py"
    source.parent.mkdir(parents=True)
    source.touch()
    monkeypatch.setattr(provenance, "__file__", str(source))
    assert commit() == "unknown"  # a copy inside of another repository
    assert repository(tmp_path / "pack") == commit()


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
