"""Camera nodes: the view of the video, one camera per frame."""

from __future__ import annotations

import hashlib

import torch

from ..stereotalker_core.camera import gestures, trajectories
from ..stereotalker_core.camera.keyframes import parse_keyframes
from ..stereotalker_core.camera.view import LARGEST, SIZE_STEP, SIZES, View
from ..stereotalker_core.camera.viewer import DIRECTION, USES, filmed, tilted, view_of, viewer_cameras
from ..stereotalker_core.records import Cameras, Identity, Motion
from ..stereotalker_core.shapes import size_of
from . import host
from .options import ANGLE, combo, widget
from .shares import advanced

PATHS = ("fixed", "orbit", "orbit (ease in and out)", "keyframes")
STRIP = {"yaw_max": 90.0, "count": 25, "size": 128}  # the camera widget's pictures of the person
KEYS = '"0%: -40, 50%: 20, 100%: -10", or in seconds "1.5s: 20"; each: yaw [pitch [distance]].'
SIZE = f"Pixels of a square, or of a side that is 0 below; 0 = the portrait's own shape, up to {LARGEST} pixels."
_SIDE = {"default": 0, "min": 0, "max": SIZES[1], "step": SIZE_STEP}


def side_input() -> tuple:
    """Return the widget of one side of a canvas that need not be square."""
    tip = f"Pixels, a multiple of {SIZE_STEP}; 0 = size. The person fits into the narrower side."
    return ("INT", _SIDE | {"tooltip": tip})


def size_input() -> tuple:
    """Return the widget of a canvas's size."""
    return ("INT", _SIDE | {"tooltip": SIZE})


def canvas_of(size: int, width: int, height: int, portrait: tuple[int, int]) -> tuple[int, int]:
    """Return (rows, columns) of the canvas requested by the widgets, for a portrait of (H, W) px."""
    own = View().canvas(portrait)
    if width and height:
        asked = height, width
    elif size:
        asked = height or size, width or size
    else:  # one side, or none, of the portrait's shape
        factor = height / own[0] if height else width / own[1] if width else 1.0
        asked = height or 8 * round(own[0] * factor / 8), width or 8 * round(own[1] * factor / 8)
    return asked


class CameraTrajectory:
    DISPLAY_NAME = "Camera Trajectory (Stereo-Talker)"
    CATEGORY = "Stereo-Talker/camera"
    DESCRIPTION = "A camera for every frame of a motion: standing still at a yaw, or orbiting from one yaw to another."
    SEARCH_ALIASES = ["orbit", "yaw", "viewpoint", "camera angle", "turntable"]
    RETURN_TYPES = ("ST_CAMERAS", "LOAD3D_CAMERA")
    RETURN_NAMES = ("cameras", "camera_info")
    OUTPUT_TOOLTIPS = (
        "One camera per frame, for Render Guides and Render Video.",
        "The same for core's 3D nodes, in metres: one camera where it stands still, else a list, one per frame.",
    )
    FUNCTION = "build"

    @classmethod
    def INPUT_TYPES(cls):
        path = "fixed uses yaw only; an orbit goes yaw -> end_yaw; keyframes follow the keyframes text."
        info = "Optional camera of a core 3D or camera node, or a list of them: a path, resampled to the motion."
        use = f"{USES[0]}: yaw, pitch, roll and zoom of camera_info; {USES[1]}: also its position, target and fov."
        inputs = {
            "required": {
                "identity": ("ST_IDENTITY", {"tooltip": "The fitted person, to frame them."}),
                "motion": ("ST_MOTION", {"tooltip": "The motion to film; it gives the number of frames."}),
                "path": (PATHS, {"default": PATHS[0], "tooltip": path}),
                "yaw": widget(View, "yaw", **ANGLE),
                "end_yaw": widget(View, "until_yaw", **ANGLE),
                "pitch": widget(View, "pitch", **ANGLE),
                "distance": widget(View, "distance"),
                "framing": combo(View, "framing"),
                "size": size_input(),
            },
            "optional": {
                "keyframes": ("STRING", {"default": "", "tooltip": KEYS}),
                "camera_info": ("LOAD3D_CAMERA", {"tooltip": info}),
                "camera_use": (USES, {"default": DIRECTION, "tooltip": use}),
                "width": side_input(),
                "height": side_input(),
            },
        }
        return advanced(inputs, "camera_use", "width", "height")

    def build(
        self,
        identity: Identity,
        motion: Motion,
        path: str,
        yaw: float,
        end_yaw: float,
        pitch: float,
        distance: float,
        framing: str,
        size: int,
        keyframes: str = "",
        camera_info: dict | list[dict] | None = None,
        camera_use: str = DIRECTION,
        width: int = 0,
        height: int = 0,
    ):
        shown = trajectories.framing_for(host.body(), identity, framing)
        if framing == "auto":
            shown = gestures.widened(shown, host.body(), identity, motion)
        shown = shown.zoomed(distance)
        frames, canvas = len(motion), canvas_of(size, width, height, size_of(identity.portrait))
        camera_info = camera_info[0] if isinstance(camera_info, list) and len(camera_info) == 1 else camera_info
        told = camera_info is not None
        if told and (isinstance(camera_info, list) or camera_use != DIRECTION or path == "fixed"):
            cameras = filmed(camera_info, shown, frames, canvas, camera_use)  # the whole path
        else:
            roll, zoom = 0.0, 1.0
            if told:  # where the path begins
                yaw, pitch, roll, zoom = view_of(camera_info)
            if path == "fixed":
                cameras = trajectories.fixed(shown, frames, yaw, pitch, canvas)
            elif path == "keyframes":
                keys = parse_keyframes(keyframes, frames, motion.fps, pitch)
                cameras = trajectories.keyframes(shown, frames, keys, canvas)
            else:
                cameras = trajectories.orbit(shown, frames, yaw, end_yaw, pitch, canvas, ease=path != PATHS[1])
            cameras = tilted(cameras, roll, zoom)
        still = float((cameras.world_to_camera - cameras.world_to_camera[:1]).abs().max()) < 1e-5  # m
        given = viewer_cameras(cameras[:1] if still else cameras, shown.target)
        return {"ui": shown_to_widget(identity, motion, pitch), "result": (cameras, given[0] if still else given)}


def shown_to_widget(identity: Identity, motion: Motion, pitch: float, heading: float = 0.0) -> dict[str, list]:
    """Return the picture for the camera widget, a turntable strip made once per person; {} outside ComfyUI.

    identity: the person.
    motion: its first frame is the pose.
    pitch: degrees.
    heading: degrees of the view that the widget calls yaw 0."""
    if not host.INSIDE:
        return {}
    from ..stereotalker_core.video.guides.turntable import turntable_strip

    identity = identity.to("cpu")
    digest = hashlib.sha1(identity.atlas.numpy().tobytes())
    digest.update(repr((identity.shape.tolist(), round(pitch, 1), round(heading, 1), STRIP)).encode())
    path, entry = host.temporary_file(f"stereotalker_turntable_{digest.hexdigest()[:16]}.jpg")
    if not path.exists():
        yaws = torch.linspace(-STRIP["yaw_max"], STRIP["yaw_max"], STRIP["count"]) + heading
        yaws = ((yaws + 180) % 360 - 180).tolist()
        with host.interruptible():
            strip = turntable_strip(host.body(), identity, yaws, pitch=pitch, size=STRIP["size"])
        host.to_pil(strip).save(path, quality=85)
    row = entry | {"yaw_min": -STRIP["yaw_max"], "yaw_max": STRIP["yaw_max"], "count": STRIP["count"]}
    return {"stereotalker_turntable": [row | {"frames": len(motion), "fps": motion.fps}]}


class StereoCameraPair:
    DISPLAY_NAME = "Stereo Camera Pair (Stereo-Talker)"
    CATEGORY = "Stereo-Talker/camera"
    DESCRIPTION = "The left and the right eye of a camera trajectory, parallel, for side-by-side stereo."
    SEARCH_ALIASES = ["stereo", "3d", "vr", "parallax", "left right eye"]
    RETURN_TYPES = ("ST_CAMERAS", "ST_CAMERAS")
    RETURN_NAMES = ("left", "right")
    OUTPUT_TOOLTIPS = ("Cameras of the left eye.", "Cameras of the right eye.")
    FUNCTION = "build"

    @classmethod
    def INPUT_TYPES(cls):
        tip = "Distance of the eyes in metres; 0.063 is a human's."
        return {
            "required": {
                "cameras": ("ST_CAMERAS", {"tooltip": "The trajectory between the eyes."}),
                "baseline": ("FLOAT", {"default": 0.063, "min": 0.0, "max": 0.5, "step": 0.001, "tooltip": tip}),
            }
        }

    def build(self, cameras: Cameras, baseline: float) -> tuple[Cameras, Cameras]:
        return trajectories.stereo_pair(cameras, baseline)


NODES = {"StereoTalkerCameraTrajectory": CameraTrajectory, "StereoTalkerStereoCameraPair": StereoCameraPair}
