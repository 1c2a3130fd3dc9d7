"""Write the help pages (js/docs/<node id>.md, zh.md in a folder), their pictures and the English locale from the nodes.

python tools/make_help.py [--check]    with --check nothing is written: exit status 1 names what is out of date.
"""

import argparse
import importlib.util
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "js" / "docs"
LOCALE = ROOT / "locales" / "en" / "nodeDefs.json"
CHINESE = ROOT / "locales" / "zh" / "nodeDefs.json"
WIDTH = 480  # pixels of a help picture
PACK = "stereotalker_pack_for_help"
NOTES_FILE = Path(__file__).with_name("help_notes.md")


def read_notes() -> dict[str, tuple[str, str]]:
    """Return {node id: (picture, note in Markdown)}, read from help_notes.md."""
    sections = re.split(r"^## (\w+): (\w+)\n", NOTES_FILE.read_text(encoding="utf-8"), flags=re.M)[1:]
    return {name: (picture, note.strip()) for name, picture, note in zip(*[iter(sections)] * 3, strict=True)}


NOTES = read_notes()


def node_classes() -> dict[str, type]:
    """Return {node id: class} of the pack, imported as ComfyUI imports it."""
    if PACK not in sys.modules:
        file = ROOT / "__init__.py"
        spec = importlib.util.spec_from_file_location(PACK, file, submodule_search_locations=[str(ROOT)])
        sys.modules[PACK] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[PACK].NODE_CLASS_MAPPINGS


def inputs_of(cls: type) -> dict[str, tuple]:
    """Return {name: (type, options)} of a node's inputs, required ones first."""
    kinds = cls.INPUT_TYPES()
    return {**kinds.get("required", {}), **kinds.get("optional", {})}


def limits(spec: tuple) -> str:
    """Return the type and range of an input of a node in a few words; spec: (type, options) as the node declares it."""
    kind, options = spec[0], spec[1]
    if isinstance(kind, (list, tuple)):
        return "choice"
    if kind in ("INT", "FLOAT") and options.get("max", 2**64) < 2**32:
        return f"{kind}, {options['min']:g} to {options['max']:g}"
    return kind


def page(name: str, cls: type) -> str:
    """Return the help page of a node, in Markdown."""
    picture, note = NOTES[name]
    title = cls.DISPLAY_NAME
    lines = [f"# {title}", "", cls.DESCRIPTION, "", f"![{title}](pictures/{picture}.jpg)", "", note]
    lines += ["", "## Inputs", "| name | kind | meaning |", "|---|---|---|"]
    optional = cls.INPUT_TYPES().get("optional", {})
    for key, spec in inputs_of(cls).items():
        kind = f"{limits(spec)}, optional" if key in optional else limits(spec)
        lines.append(f"| {key} | {kind} | {spec[1]['tooltip']} |")
    lines += ["", "## Outputs", "| name | kind | meaning |", "|---|---|---|"]
    for key, kind, tip in zip(cls.RETURN_NAMES, cls.RETURN_TYPES, cls.OUTPUT_TOOLTIPS, strict=True):
        lines.append(f"| {key} | {kind} | {tip} |")
    return "\n".join(lines) + "\n"


def chinese_page(name: str, cls: type, texts: dict) -> str:
    """Return the Chinese help page of a node, in Markdown, with the texts of locales/zh."""
    picture, title = NOTES[name][0], texts["display_name"]
    lines = [f"# {title}", "", texts["description"], "", f"![{title}](pictures/{picture}.jpg)"]
    lines += ["", "## 输入", "| 名称 | 类型 | 含义 |", "|---|---|---|"]
    optional = cls.INPUT_TYPES().get("optional", {})
    for key, spec in inputs_of(cls).items():
        kind = limits(spec).replace("choice", "选项").replace(" to ", " 至 ")
        kind += ",可选" if key in optional else ""
        known = texts["inputs"].get(key, {"name": key, "tooltip": spec[1]["tooltip"]})
        lines.append(f"| {known['name']} ({key}) | {kind} | {known['tooltip']} |")
    lines += ["", "## 输出", "| 名称 | 类型 | 含义 |", "|---|---|---|"]
    for i, (key, kind, tip) in enumerate(zip(cls.RETURN_NAMES, cls.RETURN_TYPES, cls.OUTPUT_TOOLTIPS, strict=True)):
        known = texts["outputs"].get(str(i), {"name": key, "tooltip": tip})
        lines.append(f"| {known['name']} ({key}) | {kind} | {known['tooltip']} |")
    return "\n".join(lines) + "\n"


def english(classes: dict[str, type]) -> str:
    """Return the text of locales/en/nodeDefs.json, from the nodes' own names and tooltips."""
    table = {}
    for name, cls in classes.items():
        inputs = {k: {"name": k, "tooltip": spec[1]["tooltip"]} for k, spec in inputs_of(cls).items()}
        outputs = zip(cls.RETURN_NAMES, cls.OUTPUT_TOOLTIPS, strict=True)
        table[name] = {
            "display_name": cls.DISPLAY_NAME,
            "description": cls.DESCRIPTION,
            "inputs": inputs,
            "outputs": {str(i): {"name": key, "tooltip": tip} for i, (key, tip) in enumerate(outputs)},
        }
    return json.dumps(table, indent=2, ensure_ascii=False) + "\n"


def wanted() -> dict[Path, str]:
    """Return {file: text} of everything that this tool generates."""
    classes = node_classes()
    if set(classes) != set(NOTES):
        raise SystemExit(f"tools/help_notes.md and the nodes differ in {sorted(set(classes) ^ set(NOTES))}")
    chinese = json.loads(CHINESE.read_text(encoding="utf-8"))
    files = {PAGES / f"{name}.md": page(name, cls) for name, cls in classes.items()} | {LOCALE: english(classes)}
    for name, cls in classes.items():
        if name in chinese:  # locales/zh is written by hand; a test says what it lacks
            files[PAGES / name / "zh.md"] = chinese_page(name, cls, chinese[name])
    return files


def make_pictures() -> None:
    """Write small copies of the example graphs' thumbnails, which show results of the pack."""
    from PIL import Image

    (PAGES / "pictures").mkdir(parents=True, exist_ok=True)
    for name in {picture for picture, _ in NOTES.values()}:
        for source in (ROOT / "workflows").glob(f"stereotalker_[0-9][0-9]_{name}.jpg"):
            picture = Image.open(source).convert("RGB")
            picture.thumbnail((WIDTH, WIDTH))
            picture.save(PAGES / "pictures" / f"{name}.jpg", quality=82)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    files = wanted()
    stale = [path for path in PAGES.rglob("*.md") if path not in files]
    old = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if check:
        for path in [*stale, *old]:
            print(f"out of date: {path.relative_to(ROOT)}; run python tools/make_help.py")
        return int(bool(stale or old))
    for path in stale:
        path.unlink()
    for path in old:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")
    make_pictures()
    return 0


if __name__ == "__main__":
    sys.exit(main())
