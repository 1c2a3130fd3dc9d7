"""One server a checkout for all modules of this folder."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / name) for name in ("comfyui", "nodes")]
from test_server import CHECKOUTS, Server  # noqa: E402


@pytest.fixture(scope="session", params=CHECKOUTS, ids=lambda path: path.name)
def server(request, tmp_path_factory):
    running = Server(request.param, tmp_path_factory.mktemp("comfyui"), [TESTS / "comfyui" / "glb_pack"])
    yield running
    running.stop()
