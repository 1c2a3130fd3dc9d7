"""Parts of a clip, other frame rates, alpha and VIDEO of the nodes that render; sound that comes as text."""

import base64
import io
import wave as wav
from pathlib import Path

import pytest
import torch
from graph import STOCK, load_pack

PACK = load_pack()
CLASSES = {**STOCK, **PACK.NODE_CLASS_MAPPINGS}
NANO = "nano (embedded)"
SOUND = {"waveform": 0.3 * torch.sin(torch.arange(8000) * 0.06)[None, None], "sample_rate": 16000}  # 0.5 s


def call(kind: str, **inputs):
    result = getattr(CLASSES[kind](), CLASSES[kind].FUNCTION)(**inputs)
    return result["result"] if isinstance(result, dict) else result


def core(name: str):
    from importlib import import_module

    return import_module(f"{PACK.__name__}.stereotalker_core.{name}")


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def scene():
    """Sockets of Render Video: 13 frames at 128 px."""
    body = PACK.nodes.host.body()
    avatar = core("synthetic.people.avatar").make_avatar(body, 5)
    portrait = core("synthetic.people.portrait").reference_portrait(body, avatar, 5, 128)
    identity = core("synthetic.people.portrait").true_identity(body, avatar, portrait)
    rng = torch.Generator().manual_seed(1)
    turns = torch.randn(13, 49, 3, generator=rng).cumsum(0) * 0.01
    motion = core("records").Motion(turns, torch.rand(13, 52, generator=rng) * 0.3)
    shown = {"path": "fixed", "yaw": 10.0, "end_yaw": 0.0, "pitch": 0.0, "distance": 1.0, "framing": "auto"}
    shown["size"] = 128
    cameras, _ = call("StereoTalkerCameraTrajectory", identity=identity, motion=motion, **shown)
    model, vae = call("StereoTalkerLoadRenderer", unet_name=NANO, reference_name=NANO, vae_name=NANO)
    return {
        "model": model, "vae": vae, "identity": identity, "motion": motion, "cameras": cameras, "seed": 0, "steps": 1,
        "background": "portrait", "mask_predictor": call("StereoTalkerLoadMaskPredictor", model_name=NANO)[0],
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole(scene):
    with torch.inference_mode():
        return call("StereoTalkerRenderVideo", **scene, audio=SOUND)


def test_parts_of_two_machines_are_the_whole_clip(scene, whole):
    images, mask, fps, video = whole
    first = call("StereoTalkerRenderVideo", **scene, frames=5, audio=SOUND)
    second = call("StereoTalkerRenderVideo", **scene, first_frame=5, audio=SOUND)
    assert len(first[0]) == 5 and len(second[0]) == 8
    assert float((torch.cat([first[0], second[0]]) - images).abs().max()) < 2e-2
    assert float((torch.cat([first[1], second[1]]) - mask).abs().max()) < 2e-2
    sound = torch.cat([first[3].audio["waveform"], second[3].audio["waveform"]], -1)
    assert torch.equal(sound, SOUND["waveform"])  # every sample once, none moved
    assert video.audio is SOUND and video.frame_rate == 25 and torch.equal(video.images, images) and fps == 25
    assert len(call("StereoTalkerRenderVideo", **scene, first_frame=12, frames=99)[0]) == 1
    with pytest.raises(ValueError, match="first_frame 13 is behind the clip, which has 13 frames"):
        call("StereoTalkerRenderVideo", **scene, first_frame=13)


def test_alpha_shows_the_person_alone_over_any_colour(scene, whole):
    images, mask, _, video = call("StereoTalkerRenderVideo", **scene, alpha=True)
    assert images.shape == (13, 128, 128, 4) and bool((images[..., 3] >= mask.clamp_max(0.999))[mask > 0.5].all())
    assert video.images.shape[-1] == 3  # core's VIDEO has none
    green = torch.tensor([0.0, 0.69, 0.25])
    expected = call("StereoTalkerRenderVideo", **{**scene, "background": "green"})[0]
    composed = images[..., :3] * images[..., 3:] + green * (1 - images[..., 3:])
    assert float((composed - expected).abs().mean()) < 0.01
    inside = mask > 0.98
    assert float((images[..., :3] - whole[0])[inside].abs().mean()) < 0.03


def test_a_part_of_a_file_has_its_own_sound(scene):
    import av

    more = {"filename_prefix": "video/part", "label": False, "audio": SOUND}
    path, count = call("StereoTalkerRenderToFile", **scene, **more, first_frame=5, frames=5)
    assert count == 5
    with av.open(path) as file:
        assert sum(1 for _ in file.decode(video=0)) == 5
    with av.open(path) as file:
        seconds = sum(frame.samples for frame in file.decode(audio=0)) / file.streams.audio[0].rate
    assert seconds == pytest.approx(0.2, abs=0.07)  # AAC comes in blocks


@pytest.mark.parametrize(("kind", "suffix", "codec"), [("webm", ".webm", "libvpx-vp9"), ("mov", ".mov", "prores")])
def test_files_with_alpha_hold_the_person_alone(scene, kind, suffix, codec):
    import av
    import numpy as np

    name = next(name for name in PACK.nodes.shares.FILES if name.startswith(kind))
    more = {"filename_prefix": "video/clear", "label": False, "audio": SOUND, "file_format": name}
    path, count = call("StereoTalkerRenderToFile", **scene, **more, frames=4)
    assert count == 4 and path.endswith(suffix)
    assert [file.name for file in Path("output/video").iterdir()] == [Path(path).name]  # no pieces are left
    images = call("StereoTalkerRenderVideo", **scene, alpha=True, frames=4)[0]
    with av.open(path) as file:
        assert "Synthetic media" in file.metadata.get("comment", file.metadata.get("COMMENT", ""))
        stream = file.streams.video[0]
        if codec == "libvpx-vp9":  # the alpha of VP9 is a second stream that only this decoder reads
            context = av.CodecContext.create(codec, "r")
            frames = [f for packet in file.demux(stream) if packet.size for f in context.decode(packet)]
        else:
            frames = list(file.decode(stream))
        shown = [f.to_ndarray(format="rgba") for f in frames]
    alpha = torch.from_numpy(np.stack(shown)[..., 3]).float() / 255
    assert alpha.shape == (4, 128, 128) and float((alpha - images[..., 3]).abs().mean()) < 0.02
    with pytest.raises(ValueError, match="label needs a picture behind it"):
        call("StereoTalkerRenderToFile", **scene, **{**more, "label": True})


def test_another_frame_rate_keeps_the_length_in_seconds(scene):
    motion = scene["motion"]
    settings = {"start": 0.0, "end": 0.0, "speed": 1.0, "smoothing": 0.0, "mirror": False}
    settings |= {f"{part}_strength": 1.0 for part in ("body", "head", "hands", "face")}
    changed, count = call("StereoTalkerEditMotion", motion=motion, **settings, fps=50.0)
    assert count == len(changed) == 26 and changed.fps == 50
    pairs = changed.expression.view(13, 2, -1).mean(1)  # two frames around each moment
    assert float((pairs - motion.expression)[1:-1].abs().max()) < 0.1
    assert float((pairs[2] - motion.expression[2]).abs().mean()) < float((pairs[2] - motion.expression[6]).abs().mean())
    same, _ = call("StereoTalkerEditMotion", motion=motion, **settings)
    assert torch.allclose(same.expression, motion.expression) and same.fps == 25


def test_one_node_takes_keyframes_pitch_rate_and_part(scene, monkeypatch):
    monkeypatch.setattr(PACK.nodes.simple, "person_of", lambda *given: scene["identity"])
    monkeypatch.setattr(PACK.nodes.simple, "motion_of", lambda *given: (scene["motion"], ()))
    seen = []
    pipeline = core("pipeline")
    monkeypatch.setattr(pipeline, "render", lambda m, s, *given, **more: seen.append(s) or iter(rendered(s, **more)))

    def rendered(told, frames):
        first, stop = frames or (0, len(told.motion))
        chunk = core("video.rendering.render").RenderedChunk(
            torch.zeros(stop - first, 3, 128, 128), torch.ones(stop - first, 1, 128, 128)
        )
        return [chunk]

    given = {
        "image": torch.rand(1, 64, 64, 3), "audio": SOUND, "yaw": 30.0, "orbit": False, "end_yaw": 0.0, "seed": 0,
        "steps": 1, "size": 128, "background": "grey",
    }  # fmt: skip
    images, mask, sound, fps, video = call("StereoTalker", **given, fps=30.0, first_frame=3, frames=6, alpha=True)
    assert images.shape == (6, 128, 128, 4) and fps == 30 and video.frame_rate == 30 and len(seen[0].motion) == 15
    assert sound["waveform"].shape[-1] == round(9 * 16000 / 30) - round(3 * 16000 / 30)
    call("StereoTalker", **given, keyframes="0%: -40, 0.25s: 20 5, 100%: 0", pitch=3.0)
    assert [round(float(seen[1].cameras.yaw[i])) for i in (0, 6, 12)] == [-40, 20, 0]
    call("StereoTalker", **given, pitch=5.0)
    down = seen[2].cameras.world_to_camera[0, 2, 2]  # the view's direction falls
    assert float(down) == pytest.approx(-0.0872, abs=1e-3)
    with pytest.raises(ValueError, match="cannot read|keyframe"):
        call("StereoTalker", **given, keyframes="soon: 3")


def test_sound_comes_as_text_or_from_the_folders_only(tmp_path):
    file = io.BytesIO()
    with wav.open(file, "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes((SOUND["waveform"][0, 0] * 32767).short().numpy().tobytes())
    text = "data:audio/wav;base64," + base64.b64encode(file.getvalue()).decode()
    (audio,) = call("StereoTalkerSpeechSource", source=text)
    assert audio["sample_rate"] == 16000 and float((audio["waveform"] - SOUND["waveform"]).abs().max()) < 1e-3
    Path("input/talks").mkdir(parents=True)
    Path("input/talks/a.wav").write_bytes(file.getvalue())
    (same,) = call("StereoTalkerSpeechSource", source=" talks/a.wav\n")
    assert torch.equal(same["waveform"], audio["waveform"])
    Path("secret.wav").write_bytes(file.getvalue())
    for source, words in {
        "../secret.wav": "outside of the input folder",
        str(tmp_path / "secret.wav"): "outside of the input folder",
        "http://127.0.0.1/a.wav": "fetches nothing",
        "file:///etc/passwd": "fetches nothing",
        "none.wav": "no file 'none.wav'",
        "": "source is empty",
        "data:audio/wav,abc": "must look like data:audio/wav;base64",
        "data:audio/wav;base64,@@@": "damaged",
    }.items():
        with pytest.raises(ValueError, match=words):
            call("StereoTalkerSpeechSource", source=source)
