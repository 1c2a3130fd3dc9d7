"""Somebody connects the wrong thing on a real server: a sentence that says what to do, never silent nonsense."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[1] / "nodes")]
from test_rows import camera, error_of, node, rendered, said, shown, stages, talk  # noqa: E402
from test_server import CHECKOUTS, NAMED, Server, pixels, succeeded  # noqa: E402

pytestmark = pytest.mark.skipif(not CHECKOUTS, reason=f"no ComfyUI at {NAMED}; set COMFYUI_DIR to a checkout")


def refused(server: Server, prompt: dict, *words: str) -> None:
    """The run must end with an error that says all of these words."""
    prompt = prompt | {"save": shown("last", 0)}
    message = error_of(server.run(prompt))
    assert all(word in message for word in words), message
    assert "Traceback" not in message and len(message) < 400


def shows(link: list) -> dict:
    """A node that makes a server run what leads to an AUDIO."""
    return {"sink": node("SaveAudio", audio=link, filename_prefix="sound")}


PICTURES = {
    "flat": (np.full((256, 256, 3), 90, np.uint8), "no person"),
    "noise": (np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8), "no person"),
    "tiny": (np.full((16, 16, 3), 90, np.uint8), "16x16 px; at least 64"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_of_nobody(server, name):
    picture, words = PICTURES[name]
    prompt = stages() | {"load": node("LoadImage", image=server.upload(picture, f"{name}.png"))}
    prompt["last"] = talk(image=["load", 0], mask=["load", 1])
    refused(server, prompt, words)


def test_the_mask_of_another_picture(server):
    wide = np.zeros((128, 512, 3), np.uint8)
    wide[:, 100:300] = 255
    prompt = stages() | {"load": node("LoadImage", image=server.upload(wide, "wide.png"))}
    prompt["other"] = node("ImageToMask", image=["load", 0], channel="red")
    prompt["last"] = talk(mask=["other", 0])
    refused(server, prompt, "512 x 128", "256 x 256", "mask")


def test_sounds_without_speech(server):
    """Silence is a recording in which nobody speaks, and the node says so; a click is refused."""
    prompt = stages() | {"sound": node("EmptyAudio", duration=0.4, sample_rate=16000, channels=1)}
    prompt["last"] = talk(audio=["sound", 0])
    entry = succeeded(server.run(prompt | {"save": shown("last", 0)}))
    assert "the recording is silent" in said(entry, "last")
    prompt["heard"] = node("StereoTalkerEncodeSpeech", audio_encoder=["ears", 0], audio=["sound", 0])
    entry = succeeded(server.run({key: prompt[key] for key in ("ears", "sound", "heard")} | shows(["heard", 1])))
    assert "the recording is silent" in said(entry, "heard")
    prompt["sound"] = node("TrimAudioDuration", audio=["in", 2], start_index=0.0, duration=0.03)
    refused(server, prompt, "lasts 0.030 s", "0.1 s are needed")


SETTINGS = {
    "keyframes": ({"keyframes": "left, then right"}, ("keyframe 'left' cannot be read", "0%: -40")),
    "small": ({"size": 8}, ("sides must be", "8")),
    "ribbon": ({"width": 1024, "height": 8}, ("sides must be",)),
    "first frame": ({"first_frame": 5000}, ("first_frame", "5000")),
    "person": ({"person": 9}, ("person 9",)),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_cannot_be(server, name):
    given, words = SETTINGS[name]
    refused(server, stages() | {"last": talk(**given)}, *words)


def test_cameras_of_another_motion(server):
    prompt = stages()
    prompt["longer"] = node("StereoTalkerConcatMotion", motion_a=["motion", 0], motion_b=["motion", 0], overlap=2)
    prompt["camera"]["inputs"]["motion"] = ["longer", 0]
    prompt["last"] = rendered("StereoTalkerRenderVideo")
    refused(server, prompt, "the motion has 15 frames but the cameras 28")


def test_latents_that_do_not_belong(server):
    """Another size than the guides', and another number of frames, into KSampler with our MODEL and conditioning."""
    for size, frames in ((256, 15), (128, 3)):
        prompt = stages()
        given = {"vae": ["nets", 1], "identity": ["fit", 0], "motion": ["motion", 0], "cameras": ["camera", 0]}
        prompt["told"] = node("StereoTalkerConditioning", background="portrait", freeze_background=False, **given)
        prompt["empty"] = node("EmptyLatentImage", width=size, height=size, batch_size=frames)
        sampling = {"seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
        links = {"model": ["nets", 0], "positive": ["told", 0], "negative": ["told", 1], "latent_image": ["empty", 0]}
        prompt["sampled"] = node("KSampler", **links, **sampling)
        prompt["last"] = node("VAEDecode", samples=["sampled", 0], vae=["told", 3])
        wanted = f"{frames} frames of {size} x {size} px", "15 frames of 128 x 128 px", "Stereo-Talker Conditioning"
        refused(server, prompt, *wanted)


def test_a_camera_inside_the_person(server):
    if "CreateCameraInfo" not in server.get("/object_info"):
        pytest.skip("this server has no Create Camera Info")
    told = {"mode": "look_at", "mode.position_x": 0.0, "mode.position_y": 0.4, "mode.position_z": 0.02}
    told |= {"target_x": 0.0, "target_y": 0.4, "target_z": 0.0, "roll": 0.0, "fov": 35.0, "zoom": 1.0}
    prompt = stages() | {"info": node("CreateCameraInfo", camera_type="perspective", **told)}
    prompt["camera"] = camera(camera_info=["info", 0], camera_use="place in metres")
    prompt["last"] = rendered("StereoTalkerRenderVideo")
    refused(server, prompt, "stands inside the person")


def test_a_rubbish_file(server):
    folder = Path(server.log).parent / "input"
    (folder / "rubbish.bvh").write_text("HIERARCHY\n")
    prompt = stages() | {"motion": node("StereoTalkerLoadMotion", motion_file="rubbish.bvh")}
    prompt["last"] = rendered("StereoTalkerRenderVideo")
    refused(server, prompt, "rubbish.bvh")


def test_a_portrait_upside_down_says_something(server):
    """Refused, or rendered with a warning: never a person on their head without a word."""
    entry = succeeded(server.run({"in": stages()["in"], "save": shown("in", 0)}))
    picture = (pixels(server, entry, "save")[0].numpy() * 255).astype(np.uint8)[::-1].copy()
    prompt = stages() | {"load": node("LoadImage", image=server.upload(picture, "down.png"))}
    prompt["last"] = talk(image=["load", 0], mask=["load", 1], frames=1)
    entry = server.run(prompt | {"save": shown("last", 0)})
    if entry["status"]["status_str"] == "success":
        assert "turned" in said(entry, "last")
    else:
        assert any(words in error_of(entry) for words in ("no person", "does not fit", "upside-down portrait"))
