"""The repository's own promises: metadata, requirements, README, the files users and ComfyUI rely on."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import stereotalker_core

ROOT = Path(__file__).resolve().parents[1]


def pyproject() -> str:
    return (ROOT / "pyproject.toml").read_text()


def requirement_lines() -> list[str]:
    return [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]


def listed(name: str) -> list[str]:
    """The strings of a TOML list; tomllib is missing in Python 3.10."""
    block = re.search(rf"^{name} = \[(.*?)\]", pyproject(), re.M | re.S).group(1)
    return re.findall(r'"([^"]+)"', block)


def test_requirements_are_the_same_in_both_files_and_are_lower_bounds():
    lines = requirement_lines()
    assert sorted(lines) == sorted(listed("dependencies"))
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+>=[0-9.]+", line) for line in lines)
    names = {line.split(">=")[0] for line in lines}
    assert not names & {"torchvision", "torchaudio", "mediapipe", "insightface", "opencv-python", "onnxruntime"}


def test_every_requirement_is_imported_and_every_import_is_required():
    distribution = {"PIL": "pillow", "dlib": "dlib_bin"}
    imported: set[str] = set()
    for path in (p for folder in ("stereotalker_core", "nodes") for p in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition(".")[0])
    imported = {distribution.get(name, name) for name in imported} - set(sys.stdlib_module_names)
    required = {line.split(">=")[0].replace("-", "_") for line in requirement_lines()}
    assert required <= imported
    assert not any(name.startswith("comfy") for name in required)  # pip would replace what a user's ComfyUI pins
    extras = ("dev", "train", "evaluation", "ray", "serve")
    optional = {re.split(r"[><=\[]", item)[0].replace("-", "_") for name in extras for item in listed(name)}
    host = {"comfy", "comfy_api", "folder_paths", "comfy_extras", "comfy_execution", "server"}
    bundled = {"tokenizers", "huggingface_hub", "scipy", "numba"}  # by transformers; by librosa
    allowed = required | {name.replace("scikit_image", "skimage") for name in optional} | host | bundled
    assert imported - allowed - {"stereotalker_core"} == set()


def test_version_is_stated_once_the_same():
    assert f'\nversion = "{stereotalker_core.__version__}"\n' in pyproject()


def test_comfy_registry_metadata():
    text = pyproject()
    assert '\nname = "stereotalker"\n' in text and 'requires-comfyui = ">=0.3.64"' in text
    assert "[tool.comfy]" in text and 'PublisherId = "stereotalker"' in text and "DisplayName" in text


def test_licence_and_notice():
    licence = (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence and "END OF TERMS AND CONDITIONS" in licence
    notice = (ROOT / "NOTICE").read_text()
    assert all(word in notice for word in ("CC0", "Anny", "SmolLM2", "Kokoro", "espeak", "flite", "MediaPipe"))


def test_ci_script_runs_the_tests():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111 and "set -euo pipefail" in script.read_text()
    assert "make lint" in script.read_text() and "make test" in script.read_text()


def test_readme_tree_and_tables_are_up_to_date():
    """tools/readme_tables.py writes them from the docstrings and the checkpoints; `make readme` renews them."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "readme_tables.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_shipped_models_are_small_and_tell_their_origin():
    files = sorted((ROOT / "stereotalker_core" / "checkpoints" / "nano").glob("*.safetensors"))
    assert sum(f.stat().st_size for f in files) <= 85e6
    from stereotalker_core.commands.info import describe

    for file in files:
        row = describe(file)
        assert "error" not in row, row
        assert row["model"] and row["command"] and row["commit"] and row["seed"], f"{file.name} lacks its origin"
        assert not re.search(r"(^|\s)/", row["command"]), f"{file.name} was made by a command with a machine's paths"


def test_the_registry_archive_and_a_shallow_clone_are_small():
    """What the registry packs is what git knows but .comfyignore names; a clone of depth 1 fetches all of it once."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not in a git checkout")
    ignored = [line for line in (ROOT / ".comfyignore").read_text(encoding="utf-8").split() if line[0] != "#"]
    sizes = {name: (ROOT / name).stat().st_size for name in done.stdout.split("\0") if name and (ROOT / name).is_file()}
    assert sum(sizes.values()) < 100e6  # before compression
    assert sum(size for name, size in sizes.items() if not name.startswith(tuple(ignored))) < 95e6


def test_no_machine_paths_in_the_sources():
    for path in [*ROOT.glob("*.*"), *(p for d in ("stereotalker_core", "nodes", "docs", "tools", "js", "benchmarks")
                                      for p in (ROOT / d).rglob("*"))]:  # fmt: skip
        if path.suffix in {".py", ".md", ".toml", ".txt", ".js", ".mjs", ".json"}:
            assert not re.search(r"/work/|/root/|/home/\w", path.read_text(encoding="utf-8")), path
