"""Motion nodes: edit, blend, join, save, export and view motions; none of them needs a network."""

from __future__ import annotations

import torch

from ..stereotalker_core.records import Cameras, Identity, Motion
from ..stereotalker_core.shapes import FPS, frame_count
from . import host

CATEGORY = "Stereo-Talker/motion"
SUFFIXES = (".safetensors", ".npz", ".csv", ".bvh")
PARTS = ("all", "body", "head", "hands", "face")
LENGTHS = ("cut to the shorter", "stretch b to a")
FORMATS = {"npz (exact)": ".npz", "Live Link Face CSV": ".csv", "BVH": ".bvh", "OpenPose JSON": ".json"}
VIEWS = ("fixed", "turntable")
FRAMINGS = ("body", "face")
MOTION = ("ST_MOTION", {"tooltip": "From Sample Motion, Load Motion or another motion node."})
FRAMES_TIP = "Number of frames."


def _strength(tip: str) -> tuple:
    return ("FLOAT", {"default": 1.0, "min": 0.0, "max": 3.0, "step": 0.05, "tooltip": tip})


def fps_input() -> tuple:
    """Return (type, settings), the widget of the frame rate."""
    tip = "Frames per second of the result; motions are made at 25 and interpolated."
    return ("FLOAT", {"default": FPS, "min": 8.0, "max": 60.0, "step": 0.01, "tooltip": tip})


class EditMotion:
    DISPLAY_NAME = "Edit Motion (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "Cut, speed up, mirror, strengthen or calm parts of a motion, and smooth it."
    SEARCH_ALIASES = ["motion strength", "trim motion", "mirror", "retime", "smooth"]
    RETURN_TYPES = ("ST_MOTION", "INT")
    RETURN_NAMES = ("motion", "frames")
    OUTPUT_TOOLTIPS = ("The edited motion.", FRAMES_TIP)
    FUNCTION = "edit"

    @classmethod
    def INPUT_TYPES(cls):
        def seconds(tip: str):
            return ("FLOAT", {"default": 0.0, "min": 0.0, "max": 36000.0, "step": 0.04, "tooltip": tip})

        speed = {"default": 1.0, "min": 0.1, "max": 10.0, "step": 0.05, "tooltip": "Not 1: lips leave the speech."}
        smoothing = {"default": 0.0, "min": 0.0, "max": 10.0, "step": 0.1, "tooltip": "Frames; not lips, blinks."}
        return {
            "required": {
                "motion": MOTION,
                "start": seconds("Seconds to cut off at the beginning."),
                "end": seconds("Second where the motion ends; 0 = its own end."),
                "speed": ("FLOAT", speed),
                "body_strength": _strength("How far spine and shoulders move; 1 = as they are, 0 = still."),
                "head_strength": _strength("How far neck and head move."),
                "hands_strength": _strength("How far arms, hands and fingers move."),
                "face_strength": _strength("Size of lip, brow and cheek movements; blinks stay."),
                "smoothing": ("FLOAT", smoothing),
                "mirror": ("BOOLEAN", {"default": False, "tooltip": "Swap left and right."}),
            },
            "optional": {"fps": fps_input()},
        }

    def edit(
        self,
        motion: Motion,
        start: float,
        end: float,
        speed: float,
        body_strength: float,
        head_strength: float,
        hands_strength: float,
        face_strength: float,
        smoothing: float,
        mirror: bool,
        fps: float = FPS,
    ) -> tuple[Motion, int]:
        from ..stereotalker_core.motion import edit

        changed = edit.trim(motion, start, end or None)
        changed = edit.retime(changed, speed) if speed != 1 else changed
        changed = edit.mirror(changed) if mirror else changed
        changed = edit.gain(changed, body_strength, head_strength, hands_strength, face_strength)
        changed = edit.smooth(changed, smoothing)
        if fps != changed.fps:
            changed = edit.at_rate(changed, fps, frame_count(len(changed) / changed.fps, fps))
        return changed, len(changed)


class BlendMotion:
    DISPLAY_NAME = "Blend Motion (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "Mix two motions, or take one part (face, head, hands, body) of the second into the first."
    SEARCH_ALIASES = ["mix motion", "combine motion", "layer motion"]
    RETURN_TYPES = ("ST_MOTION", "INT")
    RETURN_NAMES = ("motion", "frames")
    OUTPUT_TOOLTIPS = ("The mixed motion.", FRAMES_TIP)
    FUNCTION = "blend"

    @classmethod
    def INPUT_TYPES(cls):
        weight = {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01, "tooltip": "0 = motion_a, 1 = motion_b."}
        return {
            "required": {
                "motion_a": MOTION,
                "motion_b": MOTION,
                "weight": ("FLOAT", weight),
                "part": (PARTS, {"tooltip": "What is mixed; everything else stays motion_a."}),
                "lengths": (LENGTHS, {"tooltip": "What happens where the motions differ in length."}),
            }
        }

    def blend(self, motion_a: Motion, motion_b: Motion, weight: float, part: str, lengths: str) -> tuple[Motion, int]:
        from ..stereotalker_core.motion import edit

        if lengths == LENGTHS[0]:
            frames = min(len(motion_a), len(motion_b))
            motion_a, motion_b = motion_a[:frames], motion_b[:frames]
        else:
            motion_b = edit.resample(motion_b, len(motion_a))
        mixed = edit.blend(motion_a, motion_b, weight)
        if part == "face":
            mixed = Motion(motion_a.rotations, mixed.expression, motion_a.fps)
        elif part != "all":
            joints = list(edit.PARTS["spine" if part == "body" else part])
            rotations = motion_a.rotations.clone()
            rotations[:, joints] = mixed.rotations[:, joints]
            mixed = Motion(rotations, motion_a.expression, motion_a.fps)
        return mixed, len(mixed)


class ConcatMotion:
    DISPLAY_NAME = "Concat Motion (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "One motion after the other, with a cross-fade, so that there is no jump."
    SEARCH_ALIASES = ["join motion", "append motion", "sequence"]
    RETURN_TYPES = ("ST_MOTION", "INT")
    RETURN_NAMES = ("motion", "frames")
    OUTPUT_TOOLTIPS = ("The joined motion.", FRAMES_TIP)
    FUNCTION = "join"

    @classmethod
    def INPUT_TYPES(cls):
        tip = "Frames in which the end of motion_a fades into the start of motion_b; the result is that much shorter."
        overlap = {"default": 5, "min": 0, "max": 250, "tooltip": tip}
        return {"required": {"motion_a": MOTION, "motion_b": MOTION, "overlap": ("INT", overlap)}}

    def join(self, motion_a: Motion, motion_b: Motion, overlap: int) -> tuple[Motion, int]:
        from ..stereotalker_core.motion.edit import concat

        joined = concat([motion_a, motion_b], overlap)
        return joined, len(joined)


class SaveMotion:
    DISPLAY_NAME = "Save Motion (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "Keep a motion in a file of the output folder, for Load Motion or `python -m stereotalker_core talk`."
    SEARCH_ALIASES = ["store motion", "write motion"]
    RETURN_TYPES = ("ST_MOTION", "STRING")
    RETURN_NAMES = ("motion", "filename")
    OUTPUT_TOOLTIPS = ("The motion, unchanged.", "The file that was written.")
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        prefix = {"default": "stereotalker/motion", "tooltip": "File name, with folders, inside of the output folder."}
        return {"required": {"motion": MOTION, "filename_prefix": ("STRING", prefix)}}

    def save(self, motion: Motion, filename_prefix: str) -> tuple[Motion, str]:
        path, _ = host.save_path(filename_prefix, ".safetensors")
        motion.save(path)
        return motion, str(path)


class LoadMotion:
    DISPLAY_NAME = "Load Motion (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "A motion from a file: saved by this pack (.safetensors, .npz, .bvh) or a Live Link Face recording (.csv)."
    )
    SEARCH_ALIASES = ["open motion", "import motion", "live link face", "arkit"]
    RETURN_TYPES = ("ST_MOTION", "INT")
    RETURN_NAMES = ("motion", "frames")
    OUTPUT_TOOLTIPS = ("The motion.", FRAMES_TIP)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        tip = "File in the input folder, or in output/stereotalker (marked [output])."
        return {"required": {"motion_file": (host.file_choices(SUFFIXES), {"tooltip": tip})}}

    @classmethod
    def VALIDATE_INPUTS(cls, motion_file: str) -> bool | str:
        return host.problem_with_file(motion_file)

    @classmethod
    def IS_CHANGED(cls, motion_file: str) -> float:
        return host.resolve_file(motion_file).stat().st_mtime

    def load(self, motion_file: str) -> tuple[Motion, int]:
        from ..stereotalker_core.motion.files.io import load_motion

        motion = load_motion(host.resolve_file(motion_file))
        return motion, len(motion)


class ExportMotion:
    DISPLAY_NAME = "Export Motion (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "Write a motion for other programs: NumPy, Live Link Face, BVH skeleton, OpenPose keypoints."
    SEARCH_ALIASES = ["bvh", "arkit", "openpose json", "blender", "unreal"]
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("filename",)
    OUTPUT_TOOLTIPS = ("The file that was written.",)
    FUNCTION = "export"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        prefix = {"default": "stereotalker/motion", "tooltip": "File name, with folders, inside of the output folder."}
        return {
            "required": {
                "motion": MOTION,
                "format": (list(FORMATS), {"tooltip": "CSV holds face and head; BVH the body; JSON needs cameras."}),
                "filename_prefix": ("STRING", prefix),
            },
            "optional": {
                "identity": ("ST_IDENTITY", {"tooltip": "Bone lengths of this person (BVH, OpenPose)."}),
                "cameras": ("ST_CAMERAS", {"tooltip": "Where OpenPose keypoints are seen from."}),
            },
        }

    def export(
        self,
        motion: Motion,
        format: str,
        filename_prefix: str,
        identity: Identity | None = None,
        cameras: Cameras | None = None,
    ) -> tuple[str]:
        from ..stereotalker_core.motion.files import bvh, io, openpose

        shape = None if identity is None else identity.shape
        if FORMATS[format] == ".json" and cameras is None:
            raise ValueError("OpenPose keypoints are pixels: connect cameras (Camera Trajectory) to Export Motion")
        path, _ = host.save_path(filename_prefix, FORMATS[format])
        with host.interruptible():
            if path.suffix == ".npz":
                io.save_npz(motion, path)
            elif path.suffix == ".csv":
                io.save_live_link_csv(motion, path)
            elif path.suffix == ".bvh":
                bvh.save_bvh(motion, host.body(), path, shape)
            elif cameras is not None:
                openpose.save_openpose(openpose.openpose_frames(motion, host.body(), cameras, shape), path)
        return (str(path),)


class PreviewMotion:
    DISPLAY_NAME = "Preview Motion (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "A plain shaded body that performs the motion: judge it before rendering. Needs no renderer."
    SEARCH_ALIASES = ["turntable", "motion preview", "skeleton video"]
    RETURN_TYPES = ("IMAGE", "IMAGE", "FLOAT")
    RETURN_NAMES = ("images", "strip", "fps")
    OUTPUT_TOOLTIPS = (
        "The frames.",
        "Six moments side by side in one picture.",
        "Frames per second, for Create Video.",
    )
    FUNCTION = "preview"

    @classmethod
    def INPUT_TYPES(cls):
        yaw = {"default": 0.0, "min": -180.0, "max": 180.0, "step": 0.5, "tooltip": "Degrees; 0 = front."}
        size = {"default": 256, "min": 64, "max": 512, "step": 64, "tooltip": "Pixels of the square picture."}
        return {
            "required": {
                "motion": MOTION,
                "view": (VIEWS, {"tooltip": "fixed stays at yaw; turntable goes 60 degrees to both sides of it."}),
                "yaw": ("FLOAT", yaw),
                "size": ("INT", size),
            },
            "optional": {
                "identity": ("ST_IDENTITY", {"tooltip": "Proportions of this person; else an average one."}),
                "framing": (list(FRAMINGS), {"default": FRAMINGS[0], "tooltip": "The half body, or the face alone."}),
            },
        }

    def preview(
        self, motion: Motion, view: str, yaw: float, size: int, identity: Identity | None = None,
        framing: str = FRAMINGS[0],
    ):  # fmt: skip
        from ..stereotalker_core.motion.files.preview import preview_frames, turntable

        host.check_memory(len(motion), (size, size), 24, "preview a shorter piece (Edit Motion) or a smaller size")
        angles = turntable(len(motion), yaw - 60, yaw + 60) if view == VIEWS[1] else yaw
        shape = None if identity is None else identity.shape
        progress, chunks, done = host.Progress(len(motion)), [], 0
        with host.interruptible():
            for chunk in preview_frames(motion, host.body(), angles, size, shape, framing):
                chunks.append(chunk)
                done += len(chunk)
                progress(done, chunk[-1])
        images = host.image_out(chunks)
        moments = torch.linspace(0, len(images) - 1, min(6, len(images))).round().long()
        return images, host.strip_of(images[moments]), motion.fps


NODES = {
    "StereoTalkerEditMotion": EditMotion,
    "StereoTalkerBlendMotion": BlendMotion,
    "StereoTalkerConcatMotion": ConcatMotion,
    "StereoTalkerSaveMotion": SaveMotion,
    "StereoTalkerLoadMotion": LoadMotion,
    "StereoTalkerExportMotion": ExportMotion,
    "StereoTalkerPreviewMotion": PreviewMotion,
}
