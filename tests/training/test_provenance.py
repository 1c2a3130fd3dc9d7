"""What a checkpoint says about how it was made."""

import json
import re
import sys
from pathlib import Path

import torch

import stereotalker_core
from stereotalker_core.checkpoint import save_tensors
from stereotalker_core.training.provenance import after, command, commit, cost

PACKAGE = Path(stereotalker_core.__file__).parent


def test_commands_name_modules_not_places(monkeypatch):
    for program, told in (
        (PACKAGE / "training" / "mask.py", "python -m stereotalker_core.training.mask"),
        (PACKAGE / "__main__.py", "python -m stereotalker_core"),
        (Path("/anywhere/script.py"), "python script.py"),
    ):
        monkeypatch.setattr(sys, "argv", [str(program), "--steps", "5", "--out", "a file"])
        assert command() == f"{told} --steps 5 --out 'a file'"


def test_commit_is_a_hash_or_unknown():
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", commit())


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
