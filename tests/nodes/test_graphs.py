"""Every example graph of workflows/ runs to its end on a small canvas and a short sentence; frames are checked."""

import json
import math
import sys

import pytest
import torch
from graph import ROOT, STOCK, flattened, load_pack, load_workflow, run, to_api, without_models
from stock_models import SHAPES as OTHERS

sys.path.insert(0, str(ROOT / "tools"))
from make_workflows import ALL, draw, files  # noqa: E402
from workflow_graphs import GRAPHS  # noqa: E402
from workflow_mix import MIX  # noqa: E402
from workflow_routes import crossings  # noqa: E402

CLASSES = {**STOCK, **load_pack().NODE_CLASS_MAPPINGS}
SECONDS, SIZE = 0.6, 128
FRAMES = math.ceil(SECONDS * 25)
SHAPES = {  # height and width of the saved video, where it is not SIZE x SIZE
    "stereotalker_02_expert": (SIZE, 3 * SIZE),
    "stereotalker_05_yaw_sweep": (2 * SIZE, 2 * SIZE),
    "stereotalker_06_stereo_pair": (SIZE, 2 * SIZE),
    "stereotalker_08_guides": (2 * SIZE, 2 * SIZE),
    "stereotalker_09_upscale": (2 * SIZE, 2 * SIZE),
    "stereotalker_13_emotional_face": (2 * SIZE, 2 * SIZE),
}


def small(prompt: dict) -> dict:
    """The same graph with a short sentence and a small canvas."""
    for node in prompt.values():
        inputs = node["inputs"]
        if node["class_type"] == "StereoTalkerExampleInputs":
            inputs.update(seconds=SECONDS, size=256)
        elif node["class_type"] == "ImageCrop":
            inputs.update({key: 2 * round(inputs[key] * SIZE / 768) for key in ("width", "height", "x", "y")})
        elif "size" in inputs:
            inputs["size"] = SIZE
    return prompt


def saved_frames(done: dict):
    """(frames (T, H, W, 3), fps, samples of sound) that the graph saved: by Save Video, or in a file."""
    for instance, outputs in done.values():
        if "video" in getattr(instance, "received", {}):
            video = instance.received["video"]
            return video["images"], video["fps"], video["audio"]["waveform"].shape[-1], video["audio"]["sample_rate"]
        if type(instance).__name__ == "RenderToFile":
            return read_file(outputs[0])
    raise AssertionError("an example graph must save a video")


def read_file(path):
    """Frames, fps, samples of sound and their rate of an MP4, whose tags must say what it is."""
    import av
    import numpy as np

    with av.open(str(path)) as container:
        assert container.metadata["comment"].startswith("Synthetic media"), container.metadata
        fps, rate = float(container.streams.video[0].average_rate), container.streams.audio[0].rate
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    with av.open(str(path)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    return torch.from_numpy(frames).float() / 255, fps, samples, rate


@pytest.fixture(scope="module")
def cache():
    return {}


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """Outputs go into a folder of the test."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", GRAPHS)
def test_graph_runs_to_its_end(name, cache):
    with torch.inference_mode():
        done = run(small(to_api(load_workflow(name), CLASSES)), CLASSES, cache)
    images, fps, samples, rate = saved_frames(done)
    assert images.shape == (FRAMES, *SHAPES.get(name, (SIZE, SIZE)), 3) and images.dtype == torch.float32
    assert float(images.min()) >= 0 and float(images.max()) <= 1 and bool(torch.isfinite(images).all())
    assert float(images.std(dim=(1, 2)).mean()) > 0.02, "constant pictures"
    assert float(images.diff(dim=0).abs().mean()) > 1e-4, "nothing moves"
    assert fps == 25.0 and samples / rate == pytest.approx(SECONDS, abs=0.05)
    for instance, outputs in done.values():
        if type(instance).__name__ in ("RenderVideo", "StereoTalker"):
            check_mask(outputs[0], outputs[1])


def check_mask(images, mask):
    """A person of a plausible size; where no frame's mask has them, the background stands still."""
    assert mask.shape == images.shape[:3] and float(mask.min()) >= 0 and float(mask.max()) <= 1
    assert 0.05 < float(mask.mean()) < 0.9, "no person, or nothing but one"
    outside = mask.amax(0) < 1e-3
    assert float(outside.float().mean()) > 0.1
    assert float((images - images[:1])[:, outside].abs().max()) < 0.01


def test_new_background_is_where_the_mask_is_not(cache):
    prompt = small(to_api(load_workflow("stereotalker_10_new_background"), CLASSES))
    with torch.inference_mode():
        done = run(prompt, CLASSES, cache)
    results = {type(instance).__name__: outputs for instance, outputs in done.values()}
    outside = results["RenderVideo"][1] < 1e-3
    colour = torch.tensor([0x2D, 0x5F, 0x8B]) / 255
    assert torch.allclose(results["ImageCompositeMasked"][0][outside], colour, atol=1e-2)


NAMES_OF_RESULTS = {  # blueprint -> the node that shows what it made
    "stereotalker_talk": "StereoTalkerRenderVideo",
    "stereotalker_speech_to_motion": "StereoTalkerPreviewMotion",
}


@pytest.mark.parametrize("name", NAMES_OF_RESULTS)
def test_blueprint_runs_to_its_end(name, cache):
    given = {"image": ["0", 0], "mask": ["0", 1], "audio": ["0", 2], "yaw": 30.0, "seed": 2}
    given |= {"path": "orbit", "end_yaw": -30.0, "size": SIZE, "background": "green", "transcript": "hello"}
    prompt = flattened(json.loads((ROOT / "subgraphs" / f"{name}.json").read_text()), given, CLASSES)
    prompt["0"] = {"class_type": "StereoTalkerExampleInputs", "inputs": {"person": 11, "seconds": SECONDS, "size": 256}}
    with torch.inference_mode():
        done = run(small(prompt), CLASSES, cache)
    wanted = CLASSES[NAMES_OF_RESULTS[name]]
    (pictures,) = (outputs[0] for instance, outputs in done.values() if isinstance(instance, wanted))
    assert pictures.shape == (FRAMES, SIZE, SIZE, 3)
    assert float(pictures.diff(dim=0).abs().mean()) > 1e-4


def test_files_are_up_to_date_and_complete():
    """`python tools/make_workflows.py --thumbnails` writes them all."""
    for path, text in files({**OTHERS, **CLASSES}).items():
        assert path.read_text() == text, f"{path.name}: run tools/make_workflows.py"
        data = json.loads(text)
        ours = [node for node in data["nodes"] if node["type"].startswith("StereoTalker")]
        assert all(node["properties"]["cnr_id"] == "stereotalker" for node in ours)
        if path.parent.name == "workflows":
            assert path.with_suffix(".jpg").stat().st_size <= 60_000
    assert {p.stem for p in (ROOT / "workflows").glob("*.json")} == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_no_link_runs_under_a_node(name):
    """Between the reroute points that the file has; lines there are nearly straight."""
    _, links, _, places = draw(ALL[name](), {**OTHERS, **CLASSES})
    extra = load_workflow(name)["extra"]
    assert crossings(links, places, extra) == []
    plain = crossings(links, places, {})
    assert plain or len(places) < 6, "without the points they would"
    passed = {link for point in extra["reroutes"] for link in point["linkIds"]}
    assert passed == {row["id"] for row in extra["linkExtensions"]} <= {link[0] for link in links}


@pytest.mark.parametrize("name", MIX)
def test_graphs_for_other_models_run_as_far_as_ours_go(name, cache, tmp_path):
    prompt = without_models(small(to_api(load_workflow(name), {**OTHERS, **CLASSES})), OTHERS)
    for node in prompt.values():
        if node["class_type"] == "StereoTalkerCameraTrajectory":
            node["inputs"].update({"width": 0, "height": 0})
    with torch.inference_mode():
        frames, fps, samples, rate = saved_frames(run(prompt, CLASSES, cache))
    assert fps == (25 if "refine" in name else 16) and len(frames) == math.ceil(SECONDS * fps)
    assert float(frames.diff(dim=0).abs().mean()) > 1e-4 and samples / rate == pytest.approx(SECONDS, abs=0.05)
