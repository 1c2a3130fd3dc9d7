"""What the registry and a first-time reader get: pictures, change log, and an archive with everything a graph needs."""

import fnmatch
import re
import subprocess
from pathlib import Path

import pytest
from PIL import Image

import stereotalker_core

ROOT = Path(__file__).resolve().parents[1]
FILES = ("__init__.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE", "NOTICE")
FOLDERS = ("nodes", "js", "locales", "workflows", "subgraphs", "stereotalker_core")


def ignored(path: str) -> bool:
    """Whether a line of .comfyignore leaves the path out."""
    lines = (ROOT / ".comfyignore").read_text().splitlines()
    for line in (line for line in lines if line and line[0] != "#"):
        folder = line.rstrip("/")
        parts = path.split("/")
        if path == folder or path.startswith(f"{folder}/") or any(fnmatch.fnmatch(part, folder) for part in parts):
            return True
    return False


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode or not done.stdout:
        pytest.skip("not a git checkout")
    return done.stdout.splitlines()


def test_the_archive_has_what_a_graph_needs_and_no_tests():
    kept = [path for path in tracked() if not ignored(path)]
    assert {path.split("/")[0] for path in kept} >= {*FILES, *FOLDERS}
    assert not [path for path in kept if path.startswith(("tests/", "benchmarks/", "tools/"))]
    weights = [path for path in tracked() if path.startswith("stereotalker_core/") and path.endswith(".safetensors")]
    assert weights and set(weights) <= set(kept)
    assert sum((ROOT / path).stat().st_size for path in kept) <= 95e6  # of which weights 85


@pytest.mark.parametrize(("key", "ratio", "widest"), [("Icon", 1, 400), ("Banner", 21 / 9, 1280)])
def test_icon_and_banner(key, ratio, widest):
    text = (ROOT / "pyproject.toml").read_text()
    path = re.search(rf'^{key} = "(?:https://.*/)?(docs/[^"]+)"', text, re.M).group(1)
    width, height = Image.open(ROOT / path).size
    assert width <= widest and abs(width / height - ratio) < 0.01


def test_readme_opens_with_a_moving_picture_of_at_most_two_megabytes():
    first = re.search(r"!\[[^]]+\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    path = ROOT / first.group(1)
    assert first.start() < 200 and path.stat().st_size <= 2_000_000
    with Image.open(path) as picture:
        assert picture.n_frames >= 50


def test_change_log_has_this_version():
    assert f"\n## {stereotalker_core.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()
