"""Help pages and translations: every node and every socket has its own, none is left of a node that is gone."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = json.loads((ROOT / "tests" / "nodes" / "inputs.json").read_text())
PAGES = ROOT / "js" / "docs"
LANGUAGES = ("en", "zh")


def translations(language: str) -> dict:
    return json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


def test_pages_and_english_texts_are_those_of_the_nodes():
    """tools/make_help.py writes them."""
    command = [sys.executable, str(ROOT / "tools" / "make_help.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_node_has_a_page_with_a_picture_and_all_its_sockets():
    assert {page.stem for page in PAGES.glob("*.md")} == set(GOLDEN)
    for name, node in GOLDEN.items():
        text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
        pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
        assert pictures and all((PAGES / picture).is_file() for picture in pictures), name
        described = re.findall(r"^\| (\w+) \|", text, re.M)
        sockets = [key for part in ("inputs", "outputs") for key, _ in node[part]]
        assert [key for key in described if key != "name"] == sockets, name


def test_every_node_has_a_chinese_page_where_comfyui_looks_for_it():
    assert {page.parent.name for page in PAGES.glob("*/zh.md")} == set(GOLDEN)
    for name, node in GOLDEN.items():
        text = (PAGES / name / "zh.md").read_text(encoding="utf-8")
        sockets = [key for part in ("inputs", "outputs") for key, _ in node[part]]
        assert re.findall(r"^\| [^|]*\((\w+)\) \|", text, re.M) == sockets, name
        rows = re.findall(r"^\|.*\| ([^|]+) \|$", text, re.M)
        assert all(re.search("[\u4e00-\u9fff]", meaning) for meaning in rows), name


def test_pictures_are_small():
    pictures = list((PAGES / "pictures").iterdir())
    assert pictures and all(picture.stat().st_size <= 60_000 for picture in pictures)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_socket_is_translated_and_no_other(language):
    table = translations(language)
    assert set(table) == set(GOLDEN)
    for name, node in GOLDEN.items():
        entry = table[name]
        assert entry["display_name"] and entry["description"], name
        assert list(entry["inputs"]) == [key for key, _ in node["inputs"]], name
        assert list(entry["outputs"]) == [str(i) for i in range(len(node["outputs"]))], name
        for socket in (*entry["inputs"].values(), *entry["outputs"].values()):
            assert socket["name"] and socket["tooltip"], name


def test_chinese_is_chinese_and_one_text_has_one_translation():
    english, chinese = translations("en"), translations("zh")
    known: dict[str, str] = {}
    for name, entry in chinese.items():
        texts = [(english[name]["description"], entry["description"])]
        for part in ("inputs", "outputs"):
            texts += [(english[name][part][key]["tooltip"], socket["tooltip"]) for key, socket in entry[part].items()]
        for source, translated in texts:
            assert re.search("[\u4e00-\u9fff]", translated), (name, translated)
            assert known.setdefault(source, translated) == translated, (name, source)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_holds_what_the_frontend_takes_for_a_placeholder(language):
    """Braces, pipes and at signs are syntax to vue-i18n: Nodes 2.0 of frontend 1.35 drops a node whose text fails."""
    for file in (ROOT / "locales" / language).glob("*.json"):
        texts = list(texts_of(json.loads(file.read_text(encoding="utf-8"))))
        assert texts and not [text for text in texts if set(text) & set("{}|@")], file.name


def texts_of(value):
    """All strings of a JSON value."""
    if isinstance(value, dict):
        for one in value.values():
            yield from texts_of(one)
    elif isinstance(value, str):
        yield value
