"""Portrait nodes: fit the body to the picture once; every camera and every speech reuses it, also from a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..stereotalker_core.records import Identity, Motion
from . import host

CATEGORY = "Stereo-Talker/portrait"


MASK = (
    "Optional mask of the person: white (1) = person. Load Image's mask is the other way round (1 = transparent); that "
    "is recognised, inverted and said."
)


def person_input() -> tuple:
    """Return (type, settings), the widget that chooses one of several people."""
    tip = "Which of several people, 1 = the largest face; 0 = the largest, with a warning where there are more."
    return ("INT", {"default": 0, "min": 0, "max": 16, "tooltip": tip})


def fit_report(identity: Identity, warnings: Sequence[str]) -> dict[str, list[str]]:
    """Return {"text": [lines]} that the node shows about a fit: its quality in 0..1, then every warning."""
    return {"text": [f"fit quality {identity.quality:.2f} (of 1)", *warnings]}


def keypoints_in(pose_keypoint, columns: int, rows: int, person: int = 0):
    """Read POSE_KEYPOINT of one picture -> Keypoints; None stays None; ValueError for several pictures.

    columns, rows: px of the portrait; person: which of several, 1 = the largest, 0 = the largest with a warning."""
    from ..stereotalker_core.perception.keypoints import from_openpose

    if pose_keypoint is None:
        return None
    if isinstance(pose_keypoint, list):
        host.only_one(pose_keypoint, "pictures' keypoints", "give the keypoints of this portrait alone")
    return from_openpose(pose_keypoint, columns, rows, person or None)


class FitPortrait:
    DISPLAY_NAME = "Fit Portrait (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "Find the person's shape, clothes, hair volume, pose and texture in the portrait (a few seconds)."
    SEARCH_ALIASES = ["portrait", "identity", "reference image", "avatar", "character"]
    RETURN_TYPES = ("ST_IDENTITY", "MASK", "FLOAT")
    RETURN_NAMES = ("identity", "mask", "quality")
    OUTPUT_TOOLTIPS = (
        "The fitted person.",
        "The person in the portrait.",
        "0..1: how well the body fits the picture. Below 0.5 give keypoints or a mask; below 0.25 the fit is refused.",
    )
    FUNCTION = "fit"

    @classmethod
    def INPUT_TYPES(cls):
        keypoints = "Optional POSE_KEYPOINT of a DWPose / OpenPose node; otherwise embedded networks find the person."
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "One person from the front, half body, both shoulders visible."})
            },
            "optional": {
                "pose_keypoint": ("POSE_KEYPOINT", {"tooltip": keypoints}),
                "mask": ("MASK", {"tooltip": MASK}),
                "person": person_input(),
            },
        }

    def fit(self, image, pose_keypoint=None, mask=None, person: int = 0):
        from ..stereotalker_core.pipeline import fit_person, heard_warnings

        portrait = host.image_in(image)
        rows, columns = portrait.shape[-2:]
        with host.interruptible(), heard_warnings() as heard:
            points = keypoints_in(pose_keypoint, columns, rows, person)
            seen = host.mask_in(mask, (rows, columns))
            identity = fit_person(host.body(), portrait, points, seen, person=person or None)
        identity = replace(identity, warnings=tuple(heard))
        result = (identity, host.mask_out([identity.mask[None]]), float(identity.quality))
        return {"ui": fit_report(identity, heard), "result": result}


class SaveIdentity:
    DISPLAY_NAME = "Save Identity (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "Keep a fitted person in a file of the output folder, for Load Identity: fit once, use everywhere."
    SEARCH_ALIASES = ["save avatar", "save character", "export identity"]
    RETURN_TYPES = ("ST_IDENTITY", "STRING")
    RETURN_NAMES = ("identity", "filename")
    OUTPUT_TOOLTIPS = ("The identity, unchanged.", "The file that was written.")
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        prefix = {"default": "stereotalker/identity", "tooltip": "File name, with folders, in the output folder."}
        return {
            "required": {
                "identity": ("ST_IDENTITY", {"tooltip": "From Fit Portrait."}),
                "filename_prefix": ("STRING", prefix),
            }
        }

    def save(self, identity: Identity, filename_prefix: str) -> tuple[Identity, str]:
        path, _ = host.save_path(filename_prefix, ".safetensors")
        identity.save(path)
        return identity, str(path)


class LoadIdentity:
    DISPLAY_NAME = "Load Identity (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "A fitted person from a file that Save Identity wrote (input folder, or output/stereotalker)."
    SEARCH_ALIASES = ["load avatar", "load character"]
    RETURN_TYPES = ("ST_IDENTITY", "IMAGE", "MASK")
    RETURN_NAMES = ("identity", "portrait", "mask")
    OUTPUT_TOOLTIPS = ("The fitted person.", "The portrait it was fitted to.", "The person in the portrait.")
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        tip = "File in the input folder, or in output/stereotalker (marked [output])."
        return {"required": {"identity_file": (host.file_choices((".safetensors",)), {"tooltip": tip})}}

    @classmethod
    def VALIDATE_INPUTS(cls, identity_file: str) -> bool | str:
        return host.problem_with_file(identity_file)

    @classmethod
    def IS_CHANGED(cls, identity_file: str) -> float:
        return host.resolve_file(identity_file).stat().st_mtime

    def load(self, identity_file: str) -> tuple[Identity, object, object]:
        identity = Identity.load(host.resolve_file(identity_file))
        return identity, host.image_out([identity.portrait[None]]), host.mask_out([identity.mask[None]])


class SaveAvatar:
    DISPLAY_NAME = "Save Avatar GLB (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "The fitted person as a GLB file of the output folder: skeleton, 52 ARKit morph targets, texture, and the "
        "motion as an animation. Opens in Preview 3D, Blender and Unreal."
    )
    SEARCH_ALIASES = ["glb", "gltf", "export avatar", "3d model", "blender", "unreal", "preview 3d"]
    RETURN_TYPES = ("STRING", "STRING")
    RETURN_NAMES = ("model_file", "filename")
    OUTPUT_TOOLTIPS = ("For Preview 3D: the file below the output folder.", "The file that was written.")
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        prefix = {"default": "3d/StereoTalker", "tooltip": "File name, with folders, in the output folder."}
        tip = "What the person does, as an animation; without it they stand still in the A pose."
        return {
            "required": {
                "identity": ("ST_IDENTITY", {"tooltip": "From Fit Portrait or Load Identity."}),
                "filename_prefix": ("STRING", prefix),
            },
            "optional": {"motion": ("ST_MOTION", {"tooltip": tip})},
        }

    def save(self, identity: Identity, filename_prefix: str, motion: Motion | None = None):
        from ..stereotalker_core.motion.files.glb import save_glb
        from ..stereotalker_core.video.writing.provenance import NOTICE, SOURCE_TYPE

        path, entry = host.save_path(filename_prefix, ".glb")
        about = {"notice": NOTICE, "digital_source_type": SOURCE_TYPE}
        with host.interruptible():
            save_glb(identity, host.body(), path, motion, about)
        model_file = "/".join(part for part in (entry["subfolder"], entry["filename"]) if part)
        return {"ui": {"3d": [entry]}, "result": (model_file, str(path))}


# the input for the size of a turntable's pictures
VIEW_SIZE = (
    "INT", {"default": 192, "min": 64, "max": 512, "step": 64, "tooltip": "Pixels of one square view."}
)  # fmt: skip


def turntable(
    identity: Identity,
    views: int,
    first_yaw: float,
    last_yaw: float,
    pitch: float,
    size: int,
    pose: Motion | None = None,
):
    """Draw guides of a person from many sides -> IMAGE (views, size, size, 3).

    identity: the person.
    views: number of pictures.
    first_yaw, last_yaw, pitch: degrees.
    size: px of a square picture.
    pose: a motion of one frame that is held; None for the portrait's own pose."""
    from ..stereotalker_core.camera.trajectories import framing_for, orbit
    from ..stereotalker_core.video.guides.maps import render_guides

    who = identity.literal() if pose is None else identity
    if pose is None:
        pose = Motion(identity.rotations[None], identity.expression[None])
    held = Motion(pose.rotations.expand(views, -1, -1), pose.expression.expand(views, -1), pose.fps)
    cameras = orbit(framing_for(host.body(), identity), views, first_yaw, last_yaw, pitch, (size, size))
    with host.interruptible():
        return host.image_out([render_guides(host.body(), who, held, cameras).lift])


class Turntable:
    DISPLAY_NAME = "Turntable (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "The fitted person from many sides at once, drawn without the renderer: to judge a fit in a second."
    SEARCH_ALIASES = ["multi view", "orbit strip", "character sheet", "preview identity"]
    RETURN_TYPES = ("IMAGE", "IMAGE")
    RETURN_NAMES = ("images", "strip")
    OUTPUT_TOOLTIPS = ("One picture a view.", "All views side by side in one picture.")
    FUNCTION = "turn"

    @classmethod
    def INPUT_TYPES(cls):
        def angle(default: float, low: float, high: float, tip: str):
            return ("FLOAT", {"default": default, "min": low, "max": high, "step": 0.5, "tooltip": tip})

        frame = {"default": 0, "min": 0, "max": 1_000_000, "tooltip": "Frame of the motion that is shown."}
        return {
            "required": {
                "identity": ("ST_IDENTITY", {"tooltip": "From Fit Portrait or Load Identity."}),
                "views": ("INT", {"default": 9, "min": 1, "max": 73, "tooltip": "Number of views."}),
                "first_yaw": angle(-90.0, -180.0, 180.0, "Degrees of the first view; negative = their left side."),
                "last_yaw": angle(90.0, -180.0, 180.0, "Degrees of the last view."),
                "pitch": angle(0.0, -45.0, 45.0, "Degrees; positive = the camera is above."),
                "size": VIEW_SIZE,
            },
            "optional": {
                "motion": ("ST_MOTION", {"tooltip": "Show a frame of this motion; otherwise the portrait's own pose."}),
                "frame": ("INT", frame),
            },
        }

    def turn(
        self,
        identity: Identity,
        views: int,
        first_yaw: float,
        last_yaw: float,
        pitch: float,
        size: int,
        motion: Motion | None = None,
        frame: int = 0,
    ):
        pose = None if motion is None else motion[min(frame, len(motion) - 1) :][:1]
        images = turntable(identity, views, first_yaw, last_yaw, pitch, size, pose)
        return images, host.strip_of(images)


NODES = {
    "StereoTalkerFitPortrait": FitPortrait,
    "StereoTalkerSaveIdentity": SaveIdentity,
    "StereoTalkerLoadIdentity": LoadIdentity,
    "StereoTalkerTurntable": Turntable,
    "StereoTalkerSaveAvatar": SaveAvatar,
}
