"""Every example graph of workflows/ runs to its end on a small portrait and a short recording; frames are checked."""

import math
import shutil

import pytest
import torch
from graph import ROOT, STOCK, load_pack, load_workflow, run, to_api

CLASSES = {**STOCK, **load_pack().NODE_CLASS_MAPPINGS}
GRAPHS = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
SECONDS, SIZE = 0.6, 128
FRAMES = math.ceil(SECONDS * 25)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A synthetic portrait (PNG) and the first 0.6 s of the demo speech (WAV)."""
    import av
    from PIL import Image

    from stereotalker_core.audio.load import load_audio
    from stereotalker_core.body.model import HalfBody
    from stereotalker_core.synthetic.avatar import make_avatar
    from stereotalker_core.synthetic.portrait import reference_portrait

    folder = tmp_path_factory.mktemp("graph_inputs")
    body = HalfBody()
    with torch.inference_mode():
        picture = reference_portrait(body, make_avatar(body, 7), 3, size=256).image
    pixels = ((picture + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(folder / "portrait.png")
    speech = next((ROOT / "stereotalker_core" / "synthetic" / "assets").glob("demo_speech.flac"))
    waveform = load_audio(speech).waveform[: int(SECONDS * 16000)]
    with av.open(str(folder / "speech.wav"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=16000, layout="mono")
        samples = (waveform.clamp(-1, 1) * 32767).short()[None].numpy()
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    yield folder
    shutil.rmtree(folder)


def small(prompt: dict, inputs) -> dict:
    """The same graph on the test's files and a small canvas."""
    for node in prompt.values():
        if node["class_type"] == "LoadImage":
            node["inputs"]["image"] = str(inputs / "portrait.png")
        if node["class_type"] == "LoadAudio":
            node["inputs"]["audio"] = str(inputs / "speech.wav")
        if "size" in node["inputs"]:
            node["inputs"]["size"] = SIZE
    return prompt


def test_there_are_example_graphs():
    assert {"stereotalker_simple", "stereotalker_expert"} <= set(GRAPHS)


@pytest.mark.parametrize("name", GRAPHS)
def test_graph_runs_to_its_end(name, inputs):
    prompt = small(to_api(load_workflow(name), CLASSES), inputs)
    with torch.inference_mode():
        done = run(prompt, CLASSES)
    videos = [instance.received["video"] for instance, _ in done.values() if type(instance).__name__ == "SaveVideo"]
    assert videos, "an example graph must save a video"
    for video in videos:
        images, audio = video["images"], video["audio"]
        assert images.shape == (FRAMES, SIZE, SIZE, 3) and images.dtype == torch.float32
        assert float(images.min()) >= 0 and float(images.max()) <= 1 and bool(torch.isfinite(images).all())
        assert float(images.std(dim=(1, 2)).mean()) > 0.02, "constant pictures"
        assert float(images.diff(dim=0).abs().mean()) > 1e-4, "nothing moves"
        assert video["fps"] == 25.0 and audio["waveform"].shape[-1] == round(SECONDS * 16000)
    masks = [o for _, outputs in done.values() for o in outputs if isinstance(o, torch.Tensor) and o.ndim == 3]
    masks = [m for m in masks if m.shape == (FRAMES, SIZE, SIZE)]
    assert all(float(m.min()) >= 0 and float(m.max()) <= 1 and float(m.mean()) < 0.9 for m in masks)
    assert max(float(m.mean()) for m in masks) > 0.05, "no mask holds a person (regions such as hands may be small)"
