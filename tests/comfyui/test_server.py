"""The pack in a real ComfyUI: it loads under an awkward folder name, the graphs run to success, cancel is honoured.

COMFYUI_DIR names checkouts (several separated by ":"), else ~/comfy/ComfyUI; the interpreter is the checkout's own
.venv, else COMFYUI_PYTHON, else the running one. Without a checkout the tests are skipped and say so.
"""

import json
import math
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "nodes"))
from graph import ROOT, STOCK, flattened, load_pack, load_workflow, run, to_api, without_models  # noqa: E402
from stock_models import SHAPES as OTHERS  # noqa: E402
from test_graphs import (  # noqa: E402
    CLASSES,
    FRAMES,
    NAMES_OF_RESULTS,
    SECONDS,
    SHAPES,
    SIZE,
    read_file,
    saved_frames,
    small,
)  # fmt: skip
from workflow_graphs import GRAPHS  # noqa: E402
from workflow_mix import MIX  # noqa: E402

NAMED = [Path(p) for p in os.environ.get("COMFYUI_DIR", str(Path.home() / "comfy" / "ComfyUI")).split(":") if p]
CHECKOUTS = [path for path in NAMED if (path / "main.py").is_file()]
pytestmark = pytest.mark.skipif(not CHECKOUTS, reason=f"no ComfyUI at {NAMED}; set COMFYUI_DIR to a checkout")
START_SECONDS, RUN_SECONDS = 300, 900  # a shared core; the first run compiles loops
AWKWARD = "ComfyUI-StereoTalker-0.1"  # a folder name with hyphens and a dot, as downloads have


class Server:
    """One ComfyUI process on a free port with its own base directory; `packs`: folders of further nodes."""

    def __init__(self, checkout: Path, base: Path, packs: Sequence[Path] = ()):
        for folder in ("custom_nodes", "input", "output", "models", "user", "temp"):
            (base / folder).mkdir(parents=True)
        (base / "custom_nodes" / AWKWARD).symlink_to(ROOT)
        for pack in packs:
            (base / "custom_nodes" / pack.name).symlink_to(pack)
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

    def upload(self, picture: np.ndarray, name: str) -> str:
        """Bring a picture (H, W, 3 or 4), 0..255, into the input folder, as the button of Load Image does."""
        from PIL import Image

        data = BytesIO()
        Image.fromarray(picture).save(data, "PNG")
        lines = [
            b"--limit", f'Content-Disposition: form-data; name="image"; filename="{name}"'.encode(),
            b"Content-Type: image/png", b"", data.getvalue(), b"--limit--", b"",
        ]  # fmt: skip
        kind = {"Content-Type": "multipart/form-data; boundary=limit"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/upload/image", b"\r\n".join(lines), kind)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["name"]

    def fetch(self, item: dict) -> bytes:
        """A file of the outputs that a history entry names."""
        keys = {key: item[key] for key in ("filename", "subfolder", "type")}
        url = f"http://127.0.0.1:{self.port}/view?{urllib.parse.urlencode(keys)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.read()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """name -> frames of a graph by the runner without ComfyUI, all graphs sharing one cache."""
    cache: dict = {}

    def frames(name: str) -> torch.Tensor:
        folder = Path.cwd()
        os.chdir(tmp_path_factory.mktemp("runner"))
        try:
            with torch.inference_mode():
                return saved_frames(run(prompt_of(name), CLASSES, cache))[0]
        finally:
            os.chdir(folder)

    return frames


def prompt_of(name: str) -> dict:
    return small(to_api(load_workflow(name), CLASSES))


def node(prompt: dict, kind: str) -> dict:
    """The only node of a class in a prompt."""
    (found,) = [entry for entry in prompt.values() if entry["class_type"] == kind]
    return found


def key_of(prompt: dict, kind: str) -> str:
    return next(key for key, entry in prompt.items() if entry["class_type"] == kind)


def cached(entry: dict) -> set[str]:
    """Ids of the nodes that were taken from the cache."""
    messages = dict((m[0], m[1]) for m in entry["status"]["messages"])
    return set(messages.get("execution_cached", {}).get("nodes", []))


def succeeded(entry: dict) -> dict:
    assert entry["status"]["status_str"] == "success", json.dumps(entry["status"])[-2000:]
    return entry


def files_of(entry: dict, suffix: str, key: str | None = None) -> list[dict]:
    outputs = entry["outputs"].values() if key is None else [entry["outputs"][key]]
    found = [item for out in outputs for items in out.values() if isinstance(items, list) for item in items]
    return [item for item in found if isinstance(item, dict) and str(item.get("filename")).endswith(suffix)]


def pixels(server: Server, entry: dict, key: str) -> torch.Tensor:
    """The PNG files that a Save Image node wrote, as (T, H, W, 3) in 0..1."""
    from PIL import Image

    images = [Image.open(BytesIO(server.fetch(item))) for item in files_of(entry, ".png", key)]
    return torch.from_numpy(np.stack([np.asarray(image.convert("RGB")) for image in images])).float() / 255


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return -10 * math.log10(float((a - b).square().mean()) + 1e-12)


def test_every_node_is_served(server):
    info = server.get("/object_info")
    golden = json.loads((ROOT / "tests" / "nodes" / "inputs.json").read_text())
    for name, cls in load_pack().NODE_CLASS_MAPPINGS.items():
        assert info[name]["display_name"] == cls.DISPLAY_NAME
        assert info[name]["output"] == list(cls.RETURN_TYPES)
        order = info[name]["input_order"]
        assert [*order["required"], *order.get("optional", [])] == [row[0] for row in golden[name]["inputs"]]
    assert "nano (embedded)" in info["StereoTalkerLoadRenderer"]["input"]["required"]["unet_name"][0]


def test_stock_nodes_are_as_the_runner_has_them(server):
    info = server.get("/object_info")
    for name, cls in (STOCK | OTHERS).items():
        types = cls.INPUT_TYPES()
        wanted = [*types["required"], *types.get("optional", {})]
        order = info[name]["input_order"]
        assert [*order["required"], *order.get("optional", [])][: len(wanted)] == wanted, name


def test_templates_and_blueprints_are_served(server):
    found = server.get("/workflow_templates")
    assert set(GRAPHS) | set(MIX) <= set(found[AWKWARD])


def test_import_is_quick(server):
    log = re.sub(r"\x1b\[[0-9;]*m", "", server.log.read_text())  # newer servers colour their lines
    (seconds,) = re.findall(rf"([0-9.]+) seconds[^\n]*{re.escape(AWKWARD)}", log)
    assert float(seconds) <= 3.0, seconds  # 0.2 s on a free core; tests share theirs


@pytest.mark.parametrize("name", GRAPHS)
def test_graph_succeeds_and_shows_what_the_runner_shows(server, expected, name, tmp_path):
    entry = succeeded(server.run(prompt_of(name)))
    (item,) = files_of(entry, ".mp4")
    path = tmp_path / "fetched.mp4"
    path.write_bytes(server.fetch(item))
    frames = decoded(path)
    assert frames.shape == (FRAMES, *(side + side % 2 for side in SHAPES.get(name, (SIZE, SIZE))), 3)
    wanted = expected(name)
    assert psnr(frames[:, : wanted.shape[1], : wanted.shape[2]], wanted) > 26  # the video is compressed


def decoded(path: Path) -> torch.Tensor:
    """(T, H, W, 3) in 0..1 of a video file."""
    import av

    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack(frames)).float() / 255


def test_streamed_file_carries_its_tags(server, tmp_path):
    prompt = prompt_of("stereotalker_12_long_video")
    node(prompt, "StereoTalkerRenderToFile")["inputs"]["seed"] = 9  # not from the cache, which shows no files
    entry = succeeded(server.run(prompt))
    path = tmp_path / "fetched.mp4"
    (item,) = files_of(entry, ".mp4")
    path.write_bytes(server.fetch(item))
    frames, fps, samples, rate = read_file(path)
    assert len(frames) == FRAMES and fps == 25 and samples / rate == pytest.approx(SECONDS, abs=0.05)


@pytest.mark.parametrize("name", MIX)
def test_graphs_for_other_models_lack_only_their_files(server, name):
    """/prompt complains of nothing but files that are not there; what needs none of them runs."""
    whole = small(to_api(load_workflow(name), {**OTHERS, **CLASSES}))
    for entry in whole.values():
        if entry["class_type"] == "StereoTalkerCameraTrajectory":
            entry["inputs"].update({"width": 0, "height": 0})
    answer = server.post("/prompt", {"prompt": whole})
    errors = [error for node in answer["node_errors"].values() for error in node["errors"]]
    assert errors and {error["type"] for error in errors} == {"value_not_in_list"}, errors
    assert {error["extra_info"]["input_name"] for error in errors} <= {
        "unet_name", "clip_name", "vae_name", "ckpt_name"
    }  # fmt: skip
    entry = succeeded(server.wait(answer["prompt_id"]))
    key = next(iter(key for key, node in without_models(whole, OTHERS).items() if node["class_type"] == "SaveVideo"))
    (item,) = files_of(entry, ".mp4", key)
    assert len(server.fetch(item)) > 1000


@pytest.mark.parametrize("name", NAMES_OF_RESULTS)
def test_blueprint_succeeds(server, name):
    data = json.loads((ROOT / "subgraphs" / f"{name}.json").read_text())
    given = {"image": ["0", 0], "mask": ["0", 1], "audio": ["0", 2], "transcript": ["0", 3], "path": "fixed"}
    given |= {"yaw": 30.0, "end_yaw": 0.0, "seed": 2, "size": SIZE, "background": "portrait"}
    prompt = small(flattened(data, given, CLASSES))
    prompt["0"] = {"class_type": "StereoTalkerExampleInputs", "inputs": {"person": 11, "seconds": SECONDS, "size": 256}}
    shown = {"images": [key_of(prompt, NAMES_OF_RESULTS[name]), 0], "filename_prefix": "blueprint"}
    prompt["save"] = {"class_type": "SaveImage", "inputs": shown}
    frames = pixels(server, succeeded(server.run(prompt)), "save")
    assert frames.shape == (FRAMES, SIZE, SIZE, 3) and float(frames.diff(dim=0).abs().mean()) > 1e-4


def sampler_prompt() -> tuple[dict, list[str]]:
    """Render Video beside KSampler with three samplers on the same seed -> (prompt, ids of the Save Image nodes)."""
    prompt = prompt_of("stereotalker_11_ksampler")
    sampler, decode = key_of(prompt, "KSampler"), key_of(prompt, "VAEDecode")
    told = prompt[key_of(prompt, "StereoTalkerConditioning")]["inputs"]
    steps, seed = prompt[sampler]["inputs"]["steps"], prompt[sampler]["inputs"]["seed"]
    shared = {key: told[key] for key in ("vae", "identity", "motion", "cameras", "background", "mask_predictor")}
    direct = shared | {"model": prompt[sampler]["inputs"]["model"], "seed": seed, "steps": steps}
    direct["mode"] = "diffusion"
    prompt["direct"] = {"class_type": "StereoTalkerRenderVideo", "inputs": direct}
    shown = {"direct": "direct", "euler": decode}
    for name in ("dpmpp_2m", "lcm"):
        prompt[name] = {"class_type": "KSampler", "inputs": prompt[sampler]["inputs"] | {"sampler_name": name}}
        decoder = {"samples": [name, 0], "vae": prompt[decode]["inputs"]["vae"]}
        prompt[f"{name}_decode"] = {"class_type": "VAEDecode", "inputs": decoder}
        shown[name] = f"{name}_decode"
    for name, source in shown.items():
        inputs = {"images": [source, 0], "filename_prefix": name}
        prompt[f"save_{name}"] = {"class_type": "SaveImage", "inputs": inputs}
    for key in (key_of(prompt, "SaveVideo"), key_of(prompt, "CreateVideo")):
        del prompt[key]
    return prompt, [f"save_{name}" for name in shown]


def test_stock_samplers_agree_with_render_video_also_after_free(server):
    from PIL import Image

    prompt, saves = sampler_prompt()
    body = {"prompt": prompt, "extra_data": {"extra_pnginfo": {"workflow": {}}}}
    entry = succeeded(server.wait(server.post("/prompt", body)["prompt_id"]))
    first = {name: pixels(server, entry, name) for name in saves}
    assert psnr(first["save_euler"], first["save_direct"]) >= 40
    for name in ("save_dpmpp_2m", "save_lcm"):
        assert 20 < psnr(first[name], first["save_direct"]) < 100, name
    picture = Image.open(BytesIO(server.fetch(files_of(entry, ".png", "save_direct")[0])))
    assert "did not say" in json.loads(picture.info["synthetic_media"])["notice"]
    server.post("/free", {"unload_models": True, "free_memory": True})
    time.sleep(2)
    again = succeeded(server.run(prompt))
    assert not cached(again), "free_memory empties the cache"
    for name in saves:
        assert torch.equal(pixels(server, again, name), first[name]), f"{name} changed after unloading"


def test_another_yaw_renders_again_but_keeps_the_motion(server):
    first, second = prompt_of("stereotalker_02_expert"), prompt_of("stereotalker_02_expert")
    succeeded(server.run(first))
    node(second, "StereoTalkerCameraTrajectory")["inputs"]["yaw"] = 15.0
    entry = succeeded(server.run(second))
    again = {kind["class_type"] for key, kind in second.items() if key not in cached(entry)}
    camera_and_after = {"CameraTrajectory", "RenderGuides", "PredictMasks", "RenderVideo"}
    assert again == {f"StereoTalker{name}" for name in camera_and_after} | {
        "MaskToImage", "ImageStitch", "CreateVideo", "SaveVideo"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["stereotalker_01_simple", "stereotalker_03_orbit"])
def test_the_camera_picture_gets_its_strip(server, name):
    from PIL import Image

    prompt = prompt_of(name)
    node(prompt, "StereoTalkerExampleInputs")["inputs"]["person"] = 21  # ComfyUI sends nothing of cached nodes
    entry = succeeded(server.run(prompt))
    (strip,) = (
        out["stereotalker_turntable"][0] for out in entry["outputs"].values() if "stereotalker_turntable" in out
    )
    width, height = Image.open(BytesIO(server.fetch(strip))).size
    assert width == strip["count"] * height and strip["frames"] == FRAMES


STAGES = {
    "fit": "StereoTalkerFitPortrait",
    "motion": "StereoTalkerSampleMotion",
    "guides": "StereoTalkerRenderGuides",
    "render": "StereoTalkerRenderVideo",
    "conditioning": "StereoTalkerConditioning",
    "ksampler": "KSampler",
}


def long_prompt(stage: str) -> tuple[dict, str]:
    """A prompt in which one node takes very long -> (prompt, its key)."""
    sampled = stage in ("conditioning", "ksampler")
    prompt = prompt_of("stereotalker_11_ksampler" if sampled else "stereotalker_02_expert")
    key = key_of(prompt, STAGES[stage])
    node(prompt, "StereoTalkerExampleInputs")["inputs"].update({"size": 1024, "person": 77} if stage == "fit" else {})
    if stage == "motion":
        prompt[key]["inputs"]["steps"] = 100
        node(prompt, "StereoTalkerExampleInputs")["inputs"]["seconds"] = 0.0  # all of it, 16 times
        speech = node(prompt, "StereoTalkerEncodeSpeech")["inputs"]
        for name in ("twice", "four", "eight", "sixteen"):
            twice = {"audio1": speech["audio"], "audio2": speech["audio"], "direction": "after"}
            prompt[name], speech["audio"] = {"class_type": "AudioConcat", "inputs": twice}, [name, 0]
    elif stage != "fit":
        sampler = stage == "ksampler"  # what comes before it must not take long, too
        node(prompt, "StereoTalkerExampleInputs")["inputs"]["seconds"] = SECONDS if sampler else 0.0
        node(prompt, "StereoTalkerCameraTrajectory")["inputs"]["size"] = 256 if sampler else 1024
        prompt[key]["inputs"].update({"steps": 100} if sampler else {})
    return prompt, key


def leading_to(prompt: dict, links: list[list]) -> dict:
    """Only what these outputs need, with a stock output node on each of them."""
    wanted, waiting = {}, [link[0] for link in links]
    while waiting:
        name = waiting.pop()
        wanted[name] = prompt[name]
        waiting += [value[0] for value in prompt[name]["inputs"].values() if isinstance(value, list)]
    shown = {f"show{i}": {"class_type": "PreviewAny", "inputs": {"source": link}} for i, link in enumerate(links)}
    return wanted | shown


@pytest.mark.parametrize("stage", STAGES)
def test_interrupt_is_quick_and_leaves_a_healthy_server(server, stage):
    prompt, key = long_prompt(stage)
    given = [value for value in prompt[key]["inputs"].values() if isinstance(value, list)]
    succeeded(server.run(leading_to(prompt, given)))  # then all of it is cached, and the node runs at once
    queued = server.post("/prompt", {"prompt": leading_to(prompt, [[key, 0]])})["prompt_id"]
    while not server.get("/queue")["queue_running"]:
        time.sleep(0.02)
    time.sleep(0.4)  # every one of these takes seconds on the fastest machine
    started = time.monotonic()
    server.post("/interrupt", {})
    entry = server.wait(queued)
    seconds = time.monotonic() - started
    messages = entry["status"]["messages"]
    interrupted = [told for kind, told in messages if kind == "execution_interrupted"]
    assert interrupted, [(kind, told.get("node_type"), told.get("exception_message")) for kind, told in messages]
    assert interrupted[0]["node_type"] == STAGES[stage]
    print(f"{stage}: interrupted after {seconds:.2f} s")
    assert seconds < 5.0  # within 1 s on a free core; tests share theirs
    if stage == "ksampler":
        succeeded(server.run(prompt_of("stereotalker_01_simple")))
