"""Which source a checkpoint was made from."""

import shlex
import subprocess
import sys
from pathlib import Path


def commit() -> str:
    """The git commit of this source tree, "unknown" outside a repository."""
    folder = Path(__file__).parent
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def command() -> str:
    """The running command as anybody may repeat it: modules by name, not by where they lie on this machine."""
    program, package = Path(sys.argv[0]), Path(__file__).parents[1]
    if package in program.parents:
        dotted = ".".join(program.relative_to(package.parent).with_suffix("").parts).removesuffix(".__main__")
        return shlex.join(["python", "-m", dotted, *sys.argv[1:]])
    return shlex.join(["python", program.name, *sys.argv[1:]])
