"""Provenance of a checkpoint: the source, commands and data it was made from, and the cost."""

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from ..checkpoint import load_tensors


def commit() -> str:
    """Return the git commit of this source tree, from any working directory; "unknown" outside its own repository.

    An installed copy may lie inside another repository (an environment, ComfyUI's custom_nodes), whose commit would be
    meaningless."""
    package = Path(__file__).resolve().parents[1]
    question = ["git", "rev-parse", "HEAD", "--show-toplevel"]
    bare = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}  # hooks name their own repository there
    try:
        done = subprocess.run(question, cwd=package, env=bare, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    head, top = done.stdout.splitlines()
    return head if Path(top).resolve() == package.parent else "unknown"


def made(options: argparse.Namespace, **metrics: Any) -> dict[str, Any]:
    """Return {"command", "seed", "commit", "metrics"}, the metadata of a checkpoint that `train` writes.

    options: the trainer's; options.line is the full command, options.seed may be missing (then 0).
    metrics: measured values, {name: value}."""
    seed = getattr(options, "seed", 0)
    return {"command": options.line, "seed": str(seed), "commit": commit(), "metrics": metrics}


def after(start: Path | None, **told: str) -> dict[str, Any]:
    """Return {key: text}: each value of this training behind that of the checkpoint that it continued from, joined by
    "; ".

    start: path of that checkpoint, None for a new training; told: the values of this training, texts such as command,
        cost and data."""
    before = {} if start is None else load_tensors(start)[1]
    return {key: "; ".join(text for text in (before.get(key), value) if text) for key, value in told.items()}


def cost(run: Path) -> str:
    """Return the steps and minutes of a run as text, from its log.jsonl."""
    rows = [json.loads(line) for line in (Path(run) / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [row["step"] for row in rows]
    done = [last - first for first, last in zip([0, *steps], steps, strict=False)]
    seconds = sum(count * row["seconds_per_step"] for count, row in zip(done, rows, strict=True))
    return f"{steps[-1] if steps else 0} steps in {seconds / 60:.0f} min"
