"""The pack in a real ComfyUI: it loads under an awkward folder name, the graphs run to success, cancel is honoured.

COMFYUI_DIR names checkouts (several separated by ":"), else ~/comfy/ComfyUI; the interpreter is the checkout's own
.venv, else COMFYUI_PYTHON, else the running one. Without a checkout the tests are skipped and say so.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "nodes"))
from graph import ROOT, STOCK, load_pack, load_workflow, to_api  # noqa: E402
from test_graphs import FRAMES, SIZE, inputs, small  # noqa: E402, F401

CLASSES = {**STOCK, **load_pack().NODE_CLASS_MAPPINGS}
NAMED = [Path(p) for p in os.environ.get("COMFYUI_DIR", str(Path.home() / "comfy" / "ComfyUI")).split(":") if p]
CHECKOUTS = [path for path in NAMED if (path / "main.py").is_file()]
pytestmark = pytest.mark.skipif(not CHECKOUTS, reason=f"no ComfyUI at {NAMED}; set COMFYUI_DIR to a checkout")
START_SECONDS, RUN_SECONDS = 180, 400


class Server:
    """One ComfyUI process on a free port with its own base directory."""

    def __init__(self, checkout: Path, base: Path, picture: Path, speech: Path):
        for folder in ("custom_nodes", "input", "output", "models", "user", "temp"):
            (base / folder).mkdir(parents=True)
        (base / "custom_nodes" / "ComfyUI-StereoTalker-0.1").symlink_to(ROOT)
        (base / "input" / "portrait.png").write_bytes(picture.read_bytes())
        (base / "input" / "speech.wav").write_bytes(speech.read_bytes())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        own = checkout / ".venv" / "bin" / "python"
        python = str(own) if own.exists() else os.environ.get("COMFYUI_PYTHON", sys.executable)
        self.log = base / "server.log"
        command = [python, "main.py", "--cpu", "--port", str(self.port), "--base-directory", str(base)]
        with self.log.open("w") as out:
            self.process = subprocess.Popen(command, cwd=checkout, stdout=out, stderr=subprocess.STDOUT)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.5)
        raise TimeoutError(self.log.read_text()[-3000:])

    def get(self, path: str) -> dict:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict) -> dict:
        data = json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def run(self, prompt: dict) -> dict:
        """Queue a prompt and wait for its history entry."""
        return self.wait(self.post("/prompt", {"prompt": prompt})["prompt_id"])

    def wait(self, key: str) -> dict:
        deadline = time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline:
            history = self.get(f"/history/{key}")
            if key in history:
                return history[key]
            time.sleep(0.3)
        raise TimeoutError(self.log.read_text()[-3000:])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module", params=CHECKOUTS, ids=lambda path: path.name)
def server(request, tmp_path_factory, inputs):  # noqa: F811
    running = Server(request.param, tmp_path_factory.mktemp("comfyui"), inputs / "portrait.png", inputs / "speech.wav")
    yield running
    running.stop()


def prompt_of(name: str) -> dict:
    prompt = small(to_api(load_workflow(name), CLASSES), Path("."))
    for node in prompt.values():  # names inside ComfyUI's input folder
        for key in ("image", "audio"):
            if isinstance(node["inputs"].get(key), str):
                node["inputs"][key] = Path(node["inputs"][key]).name
    return prompt


def executed(entry: dict) -> set[str]:
    """Ids of the nodes that were not taken from the cache."""
    messages = dict((m[0], m[1]) for m in entry["status"]["messages"])
    return set(messages.get("execution_cached", {}).get("nodes", []))


def test_every_node_is_served(server):
    info = server.get("/object_info")
    for name, cls in load_pack().NODE_CLASS_MAPPINGS.items():
        assert info[name]["display_name"] == cls.DISPLAY_NAME
        assert info[name]["output"] == list(cls.RETURN_TYPES)
    assert "nano (embedded)" in info["StereoTalkerLoadRenderer"]["input"]["required"]["unet_name"][0]


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "workflows").glob("*.json")))
def test_graph_succeeds(server, name):
    entry = server.run(prompt_of(name))
    assert entry["status"]["status_str"] == "success", json.dumps(entry["status"])[-2000:]
    saved = [
        item for out in entry["outputs"].values() for items in out.values() for item in items if "filename" in str(item)
    ]
    assert any(str(item["filename"]).endswith(".mp4") for item in saved)


def test_another_yaw_renders_again_but_keeps_the_motion(server):
    first, second = prompt_of("stereotalker_expert"), prompt_of("stereotalker_expert")
    server.run(first)
    camera = next(n for n in second.values() if n["class_type"] == "StereoTalkerCameraTrajectory")
    camera["inputs"]["yaw"] = 15.0
    entry = server.run(second)
    assert entry["status"]["status_str"] == "success"
    cached = executed(entry)
    kinds = {key: node["class_type"] for key, node in second.items()}
    for key, kind in kinds.items():
        again = kind in ("StereoTalkerCameraTrajectory", "StereoTalkerRenderGuides", "StereoTalkerRenderVideo")
        if again:
            assert key not in cached, kind
        if kind in ("StereoTalkerSampleMotion", "StereoTalkerFitPortrait", "StereoTalkerEncodeSpeech"):
            assert key in cached, kind


def test_interrupt_leaves_a_healthy_server(server):
    long = prompt_of("stereotalker_simple")
    for node in long.values():
        if node["class_type"] == "StereoTalker":
            node["inputs"].update(size=512, steps=8, seed=5)
    key = server.post("/prompt", {"prompt": long})["prompt_id"]
    time.sleep(2)
    server.post("/interrupt", {})
    entry = server.wait(key)
    assert entry["status"]["status_str"] == "error"
    assert any(m[0] == "execution_interrupted" for m in entry["status"]["messages"])
    assert server.run(prompt_of("stereotalker_simple"))["status"]["status_str"] == "success"
