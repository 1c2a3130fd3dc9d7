"""The camera picture of the ComfyUI node: its logic under Node's runner, its paths those of the cameras."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from stereotalker_core.camera import trajectories
from stereotalker_core.camera.keyframes import parse_keyframes

HERE = Path(__file__).parent
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="Node.js (the program `node`) is not installed")
FRAMING = trajectories.canonical_framing(0.6)
SCRIPT = """
import { parseKeys, yawAt } from "%s";
const { camera, text, frames, fps } = JSON.parse(process.argv[1]);
const duration = (frames - 1) / fps;
const full = { ...camera, keys: parseKeys(text, duration).keys };
const yaws = Array.from({ length: frames }, (_, i) => yawAt(full, i / fps, duration));
console.log(JSON.stringify(yaws));
"""


def yaws_in_javascript(camera: dict, text: str, frames: int) -> torch.Tensor:
    script = SCRIPT % (HERE.parents[1] / "js" / "keyframes.mjs").as_uri()
    task = json.dumps({"camera": camera, "text": text, "frames": frames, "fps": 25})
    done = subprocess.run([NODE, "--input-type=module", "-e", script, task], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return torch.tensor(json.loads(done.stdout))


def test_under_node():
    files = [str(file) for file in sorted(HERE.glob("*.test.mjs"))]
    done = subprocess.run([NODE, "--test", *files], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "\n# pass 0" not in done.stdout and len(files) >= 3


def test_keyframes_are_drawn_where_the_camera_will_be():
    text = "0.2s: -40, 1s: 10 4; 50%: 35\n100%: -20"
    drawn = yaws_in_javascript({"mode": "keyframes", "yaw": 0, "endYaw": 0}, text, 75)
    filmed = trajectories.keyframes(FRAMING, 75, parse_keyframes(text, 75, 25.0))
    torch.testing.assert_close(drawn, filmed.yaw, atol=1e-3, rtol=0)


@pytest.mark.parametrize("ease", [False, True])
def test_orbits_are_drawn_where_the_camera_will_be(ease):
    drawn = yaws_in_javascript({"mode": "orbit", "ease": ease, "yaw": -50, "endYaw": 30}, "", 60)
    filmed = trajectories.orbit(FRAMING, 60, -50, 30, ease=ease)
    torch.testing.assert_close(drawn, filmed.yaw, atol=1e-3, rtol=0)
