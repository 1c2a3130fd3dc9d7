"""Stereo-Talker in one node: portrait + speech + yaw -> video frames."""

from __future__ import annotations

from ..stereotalker_core.shapes import FPS
from . import host
from .camera import YAW
from .speech import audio_in
from .video import BACKGROUNDS, COLOURS, check_memory


class StereoTalker:
    DISPLAY_NAME = "Stereo-Talker"
    CATEGORY = "Stereo-Talker"
    DESCRIPTION = (
        "One portrait and one recording -> the person talking with face, head, arms and hands, seen from any yaw. "
        "Embedded nano models: no download, runs on a CPU."
    )
    SEARCH_ALIASES = ["talking head", "talking avatar", "lip sync", "speech to video", "portrait animation"]
    RETURN_TYPES = ("IMAGE", "MASK", "AUDIO", "FLOAT")
    RETURN_NAMES = ("images", "mask", "audio", "fps")
    OUTPUT_TOOLTIPS = (
        "The frames: seconds of speech x 25, rounded up.",
        "The person in every frame.",
        "The sound, unchanged, for Create Video.",
        "Frames a second, for Create Video.",
    )
    FUNCTION = "talk"

    @classmethod
    def INPUT_TYPES(cls):
        def angle(tip):
            options = {"default": 0.0, "min": -180.0, "max": 180.0, "step": 0.5, "display": "slider", "tooltip": tip}
            return ("FLOAT", options)

        seed = {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True, "tooltip": "The performance."}
        size = {"default": 256, "min": 128, "max": 1024, "step": 64, "tooltip": "Pixels of the square video."}
        steps = {"default": 1, "min": 1, "max": 50, "tooltip": "Denoising steps of the renderer; 1 is sharpest here."}
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "One person from the front, half body, both shoulders visible."}),
                "audio": ("AUDIO", {"tooltip": "One person speaking; any rate, mono or stereo, at least 0.1 s."}),
                "yaw": angle(YAW),
                "orbit": ("BOOLEAN", {"default": False, "tooltip": "Move the camera from yaw to end_yaw."}),
                "end_yaw": angle("Yaw of the last frame when orbiting."),
                "seed": ("INT", seed),
                "steps": ("INT", steps),
                "size": ("INT", size),
                "background": (BACKGROUNDS, {"tooltip": "portrait keeps the background behind the person."}),
            },
            "optional": {
                "mask": ("MASK", {"tooltip": "Optional mask of the person in the portrait."}),
                "pose_keypoint": ("POSE_KEYPOINT", {"tooltip": "Optional keypoints of a DWPose / OpenPose node."}),
                "transcript": (
                    "STRING",
                    {"default": "", "multiline": True, "tooltip": "Optional: the words spoken, for clearer gestures."},
                ),
            },
        }

    def talk(
        self,
        image,
        audio: dict,
        yaw: float,
        orbit: bool,
        end_yaw: float,
        seed: int,
        steps: int,
        size: int,
        background: str,
        mask=None,
        pose_keypoint=None,
        transcript: str = "",
    ):
        from ..stereotalker_core.body.keypoints import from_openpose
        from ..stereotalker_core.motion.sampling import MotionOptions
        from ..stereotalker_core.pipeline import Look, View, prepare, render

        sound, portrait = audio_in(audio), host.image_in(image)
        rows, columns = portrait.shape[-2:]
        view = View(yaw, end_yaw if orbit else None, size=size)
        models = host.nano_models()
        progress = Stages()
        scene = prepare(
            models,
            portrait,
            sound,
            view,
            mask=host.mask_in(mask, (rows, columns)),
            keypoints=None if pose_keypoint is None else from_openpose(pose_keypoint, columns, rows),
            transcript=transcript.strip() or None,
            options=MotionOptions(seed=seed),
            progress=progress,
        )
        check_memory(len(scene.motion), scene.cameras)
        behind = background if background == "portrait" else COLOURS[background]
        frames, masks = [], []
        for chunk in render(models, scene, Look(steps, seed, behind), progress):
            frames.append(chunk.frames.cpu())
            masks.append(chunk.masks.cpu())
            progress.picture = frames[-1][-1]
        return host.image_out(frames), host.mask_out(masks), audio, FPS


class Stages:
    """The pipeline's (stage, done, total) on one progress bar: fit 5 %, motion 15 %, render the rest."""

    SHARES = {"fit": (0, 5), "motion": (5, 20), "render": (20, 100)}

    def __init__(self) -> None:
        self.bar, self.picture = host.Progress(100), None

    def __call__(self, stage: str, done: int, total: int) -> None:
        start, end = self.SHARES[stage]
        self.bar(start + round((end - start) * done / max(1, total)), self.picture)


NODES = {"StereoTalker": StereoTalker}
