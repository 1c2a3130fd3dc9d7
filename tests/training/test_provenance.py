"""What a checkpoint says about how it was made."""

import re
import sys
from pathlib import Path

import stereotalker_core
from stereotalker_core.training.provenance import command, commit

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
