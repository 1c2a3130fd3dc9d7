"""The rules of docs/architecture.md, checked on the source: import order, no ComfyUI in the core, sizes, habits."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "stereotalker_core"
FILES = sorted(CORE.rglob("*.py"))
ALL_FILES = [*FILES, *sorted((ROOT / "nodes").rglob("*.py")), *sorted((ROOT / "tools").rglob("*.py"))]
HEAVY = {"transformers", "diffusers", "librosa", "kornia", "av", "peft", "soxr", "scipy", "skimage", "anny"}
FORBIDDEN = {"comfy", "comfy_extras", "comfy_api", "folder_paths", "nodes", "torchvision", "torchaudio", "cv2"}
MAX_FILE, MAX_FUNCTION, MAX_LINE = 400, 60, 120

# A module may import modules of its own package and what these rows list. Longer prefixes win over shorter ones.
_VOCABULARY = ["shapes", "config", "precision", "checkpoint"]
_RECORDS = [*_VOCABULARY, "records", "body.skeleton", "body.rotations"]
_STAGE_1 = [*_RECORDS, "perception", "inpaint", "body", "camera", "audio"]
_ALL_STAGES = [*_STAGE_1, "motion", "face", "image", "video"]
ALLOWED = {
    "shapes": [],
    "config": [],
    "precision": [],
    "dilation": [],
    "convert.pickled": [],
    "checkpoint": ["config"],
    "body.skeleton": [],
    "body.rotations": ["shapes"],
    "body.model": ["shapes", "checkpoint", "body.rotations", "body.skeleton"],
    "records": ["shapes", "checkpoint", "body.rotations", "body.skeleton"],
    "inpaint_places": ["dilation"],
    "inpaint": ["shapes", "inpaint_places"],
    "perception": ["shapes", "checkpoint", "config", "dilation"],
    "image": _VOCABULARY,
    "body": [*_RECORDS, "camera", "dilation", "image", "inpaint", "inpaint_places", "perception"],
    "camera": [*_RECORDS, "body"],
    "audio": _RECORDS,
    "motion": [*_STAGE_1],
    "face": [*_STAGE_1, "motion", "convert.pickled"],
    "video": [*_STAGE_1, "motion", "face", "image"],
    "convert": _ALL_STAGES,
    "pipeline": _ALL_STAGES,
    "live": [*_ALL_STAGES, "pipeline"],
    "synthetic": [*_STAGE_1, "inpaint_places", "motion", "face", "video.guides", "image"],
    "training": [*_ALL_STAGES, "convert", "synthetic", "pipeline"],
    "evaluation": [*_ALL_STAGES, "synthetic", "pipeline", "training"],
    "commands": [*_ALL_STAGES, "convert", "pipeline", "live", "synthetic", "training", "evaluation", "cli"],
    "cli": ["commands"],
    "__main__": ["cli"],
}


def module_name(path: Path) -> str:
    parts = path.relative_to(CORE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def rule_of(module: str) -> str:
    matches = [row for row in ALLOWED if module == row or module.startswith(row + ".")]
    assert matches, f"{module} has no row in the import order of tests/test_architecture.py and docs/architecture.md"
    return max(matches, key=len)


def project_imports(path: Path) -> set[str]:
    """Modules of the core that a file imports, at any depth, relative to the core ("body.model")."""
    found = set()
    package = path.relative_to(CORE).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            target = [*base, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                full = CORE.joinpath(*target, alias.name)
                is_module = full.with_suffix(".py").is_file() or full.is_dir()
                found.add(".".join([*target, alias.name] if is_module else target))
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == CORE.name:
            raise AssertionError(f"{path}: use relative imports inside the package")
    return found - {""}


def external_imports(tree: ast.Module, nested: bool) -> set[str]:
    nodes = list(ast.walk(tree)) if nested else [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    names = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    names += [n.module for n in nodes if isinstance(n, ast.ImportFrom) and not n.level]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CORE)))
def test_import_order(path):
    module = module_name(path)
    if not module:
        assert not project_imports(path), "the package's __init__ imports nothing: importing it must be free"
        return
    rule = rule_of(module)
    own = rule.split(".")[0]
    for target in project_imports(path):
        inside = target.split(".")[0] == own and "." not in rule
        listed = any(target == allowed or target.startswith(allowed + ".") for allowed in ALLOWED[rule])
        assert inside or listed, f"{module} may not import {target}; it may import {ALLOWED[rule]}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CORE)))
def test_core_knows_no_host_and_imports_heavy_libraries_lazily(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not external_imports(tree, nested=True) & FORBIDDEN
    if "training" not in path.parts and "evaluation" not in path.parts:
        assert not external_imports(tree, nested=False) & HEAVY, "import it inside the function that needs it"


def test_importing_the_core_loads_no_heavy_library():
    code = (
        "import sys, stereotalker_core, stereotalker_core.pipeline, stereotalker_core.cli\n"
        f"print(*sorted(set(sys.modules) & {HEAVY | FORBIDDEN | {'numba'}!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("path", ALL_FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_sizes(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= MAX_FILE, f"{len(lines)} lines"
    assert max(map(len, lines), default=0) <= MAX_LINE
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = node.end_lineno - node.lineno + 1
            assert length <= MAX_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", ALL_FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_habits(path):
    """No broad except, no print in the core, no drawer modules, no stubs; every module says what it is."""
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.name != "__init__.py":
        assert ast.get_docstring(tree), "a module starts with one line that says what it is"
    may_print = path.is_relative_to(ROOT / "tools") or path.is_relative_to(CORE / "commands")
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            names = [n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)] if node.type else ["bare except"]
            assert not {"bare except", "Exception", "BaseException"} & set(names), f"line {node.lineno}: broad except"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not may_print:
            assert node.func.id != "print", f"line {node.lineno}: print"
        if isinstance(node, ast.Name):
            assert node.id != "NotImplementedError", f"line {node.lineno}: a stub"
