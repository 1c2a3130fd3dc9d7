"""The documents keep their word: links lead somewhere, commands exist, examples run, README stays a front page."""

import contextlib
import io
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from stereotalker_core import cli
from stereotalker_core.commands import train
from stereotalker_core.commands.forwarded import parser_of, split_words

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAM = "python -m stereotalker_core"


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", head).lower()).strip().replace(" ", "-") for head in heads}


def commands(text: str) -> list[str]:
    """The command lines of this program in the code blocks of a page, without comments and with lines joined."""
    blocks = re.findall(r"^```(?:\w*)\n(.*?)^```", text, re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [line.strip().partition(PROGRAM)[2] for line in lines if PROGRAM in line]
    plain = [re.sub(r"\$\(\(.*?\)\)|\$\w+", "1", line).partition('"]')[0] for line in found]  # shell arithmetic, YAML
    return [re.split(r"\s+#\s|[|>&;]", line)[0].strip() for line in plain]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        path = (page.parent / name) if name else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist_with_these_options(page, capsys):
    for line in commands(page.read_text(encoding="utf-8")):
        line = line.partition(" -- ")[0].strip()  # `batch` hands the rest to `talk`, whose options other lines show
        words, rest = split_words(cli.join_pairs(shlex.split(line)), cli.FORWARDED)
        try:
            args = cli.build_parser().parse_args(words)
        except SystemExit as stop:
            assert stop.code == 0, f"{page.name}: {line}: {capsys.readouterr().err}"
            continue
        if rest:
            module = train.SCALE if train.on_clips(args.name, rest) else args.module
            told = options_of(module, [word for word in rest[:1] if not word.startswith("--")])
            unknown = [word for word in rest if word.startswith("--") and word.partition("=")[0] not in told]
            assert not unknown, f"{page.name}: {line}: {unknown}"


def options_of(module: str, kind: list[str]) -> str:
    """What the --help of a trainer or generator prints; kind: its own sub-command, where the line has one."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit):
        parser_of(module, "train").parse_args([*kind, "--help"])
    return shown.getvalue()


def test_the_training_page_names_every_trainer():
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    rows = page[page.index("| `train NAME` | makes |") :].partition("\n\n")[0].splitlines()[2:]
    named = [name for row in rows for name in row.split("|")[1].replace(" ", "").split(",")]
    assert sorted(named) == sorted(train.TRAINERS)


def test_readme_is_a_front_page():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 140
    heads = [line[3:] for line in lines if line.startswith("## ")]
    order = ["Install", "The first graph in 60 seconds", "Gallery", "Library", "In numbers", "Limits"]
    assert [head for head in heads if head in order] == order


def test_gallery_shows_every_graph():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for graph in (ROOT / "workflows").glob("*.json"):
        assert f"](workflows/{graph.name})" in text and f"](workflows/{graph.stem}.jpg)" in text


def test_the_library_example_of_readme_names_what_exists():
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S).group(1)
    for module, names in re.findall(r"^from (\S+) import (.+)$", block, re.M):
        assert all(hasattr(import_module(module), name.strip()) for name in names.split(","))


def test_headline_numbers_are_eight():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text[text.index("<!-- headlines -->") : text.index("<!-- /headlines -->")]
    assert sum(line.startswith("| ") for line in table.splitlines()) - 1 == 8
