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

MOST_MODULES = 14  # side by side in a folder

# Rooms of the core from the ground up: a folder (its own files, not its sub-folders) or a file beside the folders.
# A module may import modules of its own room and of the rooms in its row; rows name rooms that stand above them here.
_GROUND = ["shapes", "config", "options", "precision", "pickled", "checkpoint", "geometry", "records", "loops"]
_BODY = [*_GROUND, "pixels", "image", "body", "body.texture"]
_STAGE_1 = [*_BODY, "perception", "body.fitting", "camera", "audio", "audio.listening"]
_STAGE_1 += ["motion", "motion.networks", "motion.generation"]
_STAGE_1_AND_FILES = [*_STAGE_1, "motion.files", "face"]
_VIDEO = ["video.guides", "video.networks", "video.networks.quantised", "video.rendering", "video.writing"]
_ALL_STAGES = [*_STAGE_1_AND_FILES, *_VIDEO]
_ROOMS = ("sound", "speech", "movement", "people", "data")
_SYNTHETIC = [f"synthetic.{room}" for room in _ROOMS] + ["synthetic"]
_TRAINING = ["training", *(f"training.{room}" for room in ("speech", "motion", "face", "video", "clips"))]
_EVALUATION = ["evaluation", *(f"evaluation.{room}" for room in ("motion", "face", "video", "photos"))]
ALLOWED = {
    "shapes": [],
    "config": [],
    "options": [],
    "precision": [],
    "pickled": [],
    "checkpoint": ["config"],
    "geometry": ["shapes"],
    "records": ["shapes", "checkpoint", "geometry"],
    "loops": [],
    "pixels": ["shapes", "loops"],
    "image": ["shapes"],
    "perception": [*_GROUND, "pixels"],
    "body": _GROUND,
    "body.texture": [*_GROUND, "pixels", "image", "body"],
    "body.fitting": [*_BODY, "perception"],
    "camera": [*_GROUND, "body"],
    "audio": _GROUND,
    "audio.listening": [*_GROUND, "audio"],
    "motion": [*_GROUND, "body", "audio"],
    "motion.networks": [*_GROUND, "audio", "motion"],
    "motion.generation": [*_GROUND, "body", "audio", "audio.listening", "motion", "motion.networks"],
    "motion.files": [*_GROUND, "body", "camera", "motion"],
    "face": [*_GROUND, "body", "audio", "motion", "motion.files"],
    "video.guides": [*_BODY, "camera"],
    "video.networks": [*_BODY, "camera", "video.guides"],
    "video.networks.quantised": [*_GROUND, "video.networks"],
    "video.rendering": [*_BODY, "camera", "video.guides", "video.networks", "video.networks.quantised"],
    "video.writing": _GROUND,
    "convert": _ALL_STAGES,
    "pipeline": _ALL_STAGES,
    "live": [*_ALL_STAGES, "pipeline"],
    "synthetic": [],
    "synthetic.sound": _GROUND,
    "synthetic.speech": [*_GROUND, "audio", "audio.listening"],
    "synthetic.movement": [*_STAGE_1_AND_FILES, "synthetic.speech"],
    "synthetic.people": [*_STAGE_1_AND_FILES, "synthetic.movement"],
    "synthetic.data": [*_STAGE_1_AND_FILES, "video.guides", "synthetic.movement", "synthetic.people"],
    "training": [*_GROUND, "body", "video.networks"],
    "training.speech": [*_GROUND, "audio", "synthetic.sound", "synthetic.speech", "training"],
    "training.motion": [*_STAGE_1, "synthetic.speech", "synthetic.movement", "training"],
    "training.face": [*_STAGE_1_AND_FILES, "synthetic.speech", "synthetic.movement", "training"],
    "training.video": [*_ALL_STAGES, "pipeline", "synthetic.data", "training"],
    "training.clips": [*_ALL_STAGES, *_SYNTHETIC, "training", "training.motion", "training.video"],
    "evaluation": [],
    "evaluation.motion": [*_STAGE_1, *_SYNTHETIC, "evaluation"],
    "evaluation.face": [*_STAGE_1_AND_FILES, *_SYNTHETIC, "evaluation", "evaluation.motion"],
    "evaluation.video": [*_ALL_STAGES, "pipeline", *_SYNTHETIC, "evaluation"],
    "evaluation.photos": [*_ALL_STAGES, "pipeline", "evaluation", "evaluation.video"],
    "commands.talking": [*_ALL_STAGES, "pipeline"],
    "commands.batching": [*_ALL_STAGES, "pipeline", "commands.talking"],
    "commands": [
        *_ALL_STAGES, "convert", "pipeline", "live", *_SYNTHETIC, *_TRAINING, *_EVALUATION, "commands.talking",
        "commands.batching",
    ],
    "cli": ["commands", "commands.talking", "commands.batching"],
    "__main__": ["cli"],
}  # fmt: skip


def module_name(path: Path) -> str:
    parts = path.relative_to(CORE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """"body.texture.lift" -> "body.texture", "records" -> "records"."""
    room = module if module in ALLOWED and "." not in module else module.rpartition(".")[0] or module
    assert room in ALLOWED, f"{module} has no room in the import order of test_architecture.py and docs/architecture.md"
    return room


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


def test_rooms_stand_on_each_other():
    """No arrow back up: what a row allows stands above it."""
    rooms = list(ALLOWED)
    for row, room in enumerate(rooms):
        wrong = [target for target in ALLOWED[room] if target not in rooms[:row]]
        assert not wrong, f"{room} stands below {wrong}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CORE)))
def test_import_order(path):
    module = module_name(path)
    if path.name == "__init__.py":
        assert not project_imports(path), "a package's __init__ imports nothing: importing it must be free"
        return
    room = room_of(module)
    for target in project_imports(path):
        other = room_of(target)
        assert other in (room, *ALLOWED[room]), f"{module} may not import {target}; it may import {ALLOWED[room]}"


def test_no_module_imports_itself_by_way_of_others():
    """0 circles, imports inside of functions and for types included."""
    imports = {module_name(path): project_imports(path) for path in FILES if path.name != "__init__.py"}
    circles = [part for part in strongly_connected(imports) if len(part) > 1]
    assert not circles, f"modules that import each other: {circles}"


def strongly_connected(graph: dict[str, set[str]]) -> list[list[str]]:
    """Tarjan's strongly connected components (SIAM J. Comput. 1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    open_: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        open_.append(node)
        for target in graph.get(node, ()):
            if target not in order:
                visit(target)
            if target in open_:
                low[node] = min(low[node], low[target])
        if low[node] == order[node]:
            at = open_.index(node)
            found.append(open_[at:])
            del open_[at:]

    for node in graph:
        if node not in order:
            visit(node)
    return found


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert sorted(map(sorted, strongly_connected(graph))) == [["a"], ["b", "c"], ["d"]]


def test_folders_are_small():
    """At most 14 modules side by side, wherever Python lies."""
    for root in ("stereotalker_core", "nodes", "tests", "tools", "benchmarks"):
        for folder in {path.parent for path in (ROOT / root).rglob("*.py")}:
            count = len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
            assert count <= MOST_MODULES, f"{folder.relative_to(ROOT)} has {count} modules; sort them into rooms"


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


# with these a docstring leaves out what it does: "(T, 52): blinks", "Of two masks", "Where each pixel is copied from"
NO_BEGINNING = """
    A An One What How Where Which Who When Whether All Both Each Every Everything Some Several Any None Two Half Our
    Their Of As In From For With By On At To Per Through Around Within This That These Those There Its ValueError
"""


@pytest.mark.parametrize("path", ALL_FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_docstrings_start_with_a_verb_or_the(path):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        text = ast.get_docstring(node) if isinstance(node, kinds) else None
        if text:
            word = text.split()[0].strip(".,:;")
            assert text[0].isupper() and word not in NO_BEGINNING.split(), f"{node.name}: {text.splitlines()[0]}"
