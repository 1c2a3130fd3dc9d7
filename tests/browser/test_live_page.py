"""The page of `serve` in chromium with a fake microphone: the person is shown, the slider turns them, latency is said.

Runs where playwright, FastAPI and chromium are. The pictures go to BROWSER_ARTIFACTS, to be looked at.
"""

import io
import socket
import subprocess
import sys
import time
import wave

import numpy as np
import pytest
from PIL import Image

from stereotalker_core.audio.load import load_audio
from tests.browser.browser import ARTIFACTS, CHROMIUM, ROOT

SPEECH = ROOT / "stereotalker_core" / "synthetic" / "assets" / "demo_speech.flac"
PATIENCE = 120  # seconds, on a shared core


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server of a synthetic person."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    from stereotalker_core.body.model import HalfBody
    from stereotalker_core.synthetic.people.avatar import make_avatar
    from stereotalker_core.synthetic.people.portrait import reference_portrait, true_identity

    body, folder = HalfBody(), tmp_path_factory.mktemp("live")
    avatar = make_avatar(body, 3)
    true_identity(body, avatar, reference_portrait(body, avatar, 3, 256)).save(folder / "me.safetensors")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [sys.executable, "-W", "ignore", "-m", "stereotalker_core", "serve", "--identity"]
    process = subprocess.Popen([*line, str(folder / "me.safetensors"), "--port", str(port)], cwd=ROOT)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.2)
    yield f"http://127.0.0.1:{port}/"
    process.terminate()
    process.wait()


@pytest.fixture(scope="module")
def page(address, play, tmp_path_factory):
    """The page, in a browser whose microphone says the demo sentence."""
    if not CHROMIUM:
        pytest.skip("no chromium")
    recording = tmp_path_factory.mktemp("voice") / "voice.wav"
    samples = (load_audio(SPEECH).waveform.numpy() * 32767).astype("<i2")
    with wave.open(str(recording), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())
    given = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", "--no-sandbox"]
    flags = [*given, f"--use-file-for-fake-audio-capture={recording}"]
    browser = play.chromium.launch(executable_path=CHROMIUM, args=flags)
    tab = browser.new_context(permissions=["microphone"]).new_page()
    tab.set_default_timeout(1000 * PATIENCE)
    tab.faults = []
    tab.on("pageerror", lambda error: tab.faults.append(str(error)))
    tab.goto(address)
    yield tab
    browser.close()


def frames(page) -> int:
    return int(page.evaluate("() => document.querySelector('#person').dataset.frames || 0"))


def picture(page, name: str) -> np.ndarray:
    """What the canvas shows, and the whole page as a file to look at."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(ARTIFACTS / f"live_{name}.png"))
    shown = Image.open(io.BytesIO(page.locator("#person").screenshot())).convert("RGB").resize((128, 128))
    return np.asarray(shown).astype(np.float32)


def wait_for(page, more: int) -> None:
    start = frames(page)
    page.wait_for_function(f"() => Number(document.querySelector('#person').dataset.frames || 0) >= {start + more}")


def test_a_person_idles(page):
    wait_for(page, 10)
    shown = picture(page, "idle")
    assert shown.std() > 20  # neither black nor one colour


def test_the_slider_turns_them(page):
    before = picture(page, "front")
    page.evaluate(
        "() => { const s = document.querySelector('#yaw'); s.value = 50; s.dispatchEvent(new Event('input')) }"
    )
    wait_for(page, 15)
    turned = picture(page, "turned")
    assert page.inner_text("#angle") == "50\u00b0" and np.abs(turned - before).mean() > 4


def test_the_microphone_is_heard_and_latency_is_shown(page):
    page.click("#microphone")
    page.wait_for_function(
        "() => /^speaking, -?\\d+ ms behind the sound$/.test(document.querySelector('#state').innerText)"
    )
    wait_for(page, 10)
    said = page.inner_text("#state")
    picture(page, "speaking")
    assert said.startswith("speaking, ") and int(said.split()[1]) > 0
    assert page.faults == []


def test_an_interruption_and_a_file(page):
    page.set_input_files("#file", str(SPEECH))
    wait_for(page, 10)
    page.click("#stop")
    wait_for(page, 10)
    assert page.faults == []
