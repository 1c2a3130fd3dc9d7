"""Which source, commands and data a checkpoint was made from, and what that cost."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

from ..checkpoint import load_tensors


def commit() -> str:
    """The git commit of this source tree, wherever it is run from; "unknown" outside of its own repository.

    An installed copy may lie inside of another repository (an environment, ComfyUI's custom_nodes); the commit of that
    one would say nothing.
    """
    package = Path(__file__).resolve().parents[1]
    question = ["git", "rev-parse", "HEAD", "--show-toplevel"]
    try:
        done = subprocess.run(question, cwd=package, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    head, top = done.stdout.splitlines()
    return head if Path(top).resolve() == package.parent else "unknown"


def command() -> str:
    """The running command as anybody may repeat it: modules by name, not by where they lie on this machine."""
    program, package = Path(sys.argv[0]), Path(__file__).parents[1]
    if package in program.parents:
        dotted = ".".join(program.relative_to(package.parent).with_suffix("").parts).removesuffix(".__main__")
        return shlex.join(["python", "-m", dotted, *sys.argv[1:]])
    return shlex.join(["python", program.name, *sys.argv[1:]])


def after(start: Path | None, **told: str) -> dict[str, str]:
    """told (command, cost, data) behind what the checkpoint `start`, from which was gone on, says of the same."""
    before = {} if start is None else load_tensors(start)[1]
    return {key: "; ".join(text for text in (before.get(key), value) if text) for key, value in told.items()}


def cost(run: Path) -> str:
    """Steps and minutes of a run, from its log.jsonl."""
    rows = [json.loads(line) for line in (Path(run) / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [row["step"] for row in rows]
    done = [last - first for first, last in zip([0, *steps], steps, strict=False)]
    seconds = sum(count * row["seconds_per_step"] for count, row in zip(done, rows, strict=True))
    return f"{steps[-1] if steps else 0} steps in {seconds / 60:.0f} min"
