"""A server a checkout, a tab of the browser and the two renderers, for all modules of this folder."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / name) for name in ("browser", "comfyui", "nodes")]
from browser import CHROMIUM, ComfyPage  # noqa: E402
from test_server import CHECKOUTS, Server  # noqa: E402


@pytest.fixture(scope="session", params=CHECKOUTS, ids=lambda path: path.name)
def server(request, tmp_path_factory):
    running = Server(request.param, tmp_path_factory.mktemp("browser"))
    running.post("/settings", {"Comfy.TutorialCompleted": True})  # a first visit would load a tutorial
    yield running
    running.stop()


@pytest.fixture(scope="session")
def play():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def tab(server, play):
    browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
    page = ComfyPage(browser, server.port, touch=True)
    yield page
    page.close()
    browser.close()


@pytest.fixture(params=["classic", "nodes2"])
def renderer(request, tab):
    """The tab in one of the two renderers; its errors are its own."""
    if request.param == "nodes2" and not tab.nodes2_shows_elements():
        pytest.skip(f"the Nodes 2.0 preview of frontend {tab.version()} shows no elements of any extension")
    tab.set_renderer(request.param == "nodes2")
    tab.page.keyboard.press("Escape")  # a dialog that a failed test has left open
    tab.errors.clear()
    return request.param
