"""Which source a checkpoint was made from."""

import subprocess
from pathlib import Path


def commit() -> str:
    """The git commit of this source tree, "unknown" outside a repository."""
    folder = Path(__file__).parent
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
