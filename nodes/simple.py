"""Stereo-Talker in one node: portrait + speech + yaw -> video frames."""

from __future__ import annotations

from ..stereotalker_core.camera.trajectories import ORIGINS
from ..stereotalker_core.shapes import FPS
from . import host
from .camera import YAW, canvas_of, hands_input, shown_to_widget, side_input, size_input
from .portrait import MASK, fit_report, keypoints_in, person_input
from .speech import audio_in
from .video import BACKGROUNDS, COLOURS, HIDDEN, check_batch, mode_input


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
        strength = {"default": 1.0, "min": 0.0, "max": 3.0, "step": 0.05, "tooltip": "Size of the gestures."}
        steps = {"default": 1, "min": 1, "max": 50, "tooltip": "Denoising steps of mode diffusion; 1 is sharpest here."}
        origin = "photo: yaw 0 is the portrait's own view; body: yaw 0 sees the front of a body that was turned."
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "One person from the front, half body, both shoulders visible."}),
                "audio": ("AUDIO", {"tooltip": "One person speaking; any rate, mono or stereo, at least 0.1 s."}),
                "yaw": angle(YAW),
                "orbit": ("BOOLEAN", {"default": False, "tooltip": "Move the camera from yaw to end_yaw."}),
                "end_yaw": angle("Yaw of the last frame when orbiting."),
                "seed": ("INT", seed),
                "steps": ("INT", steps),
                "size": size_input(),
                "background": (BACKGROUNDS, {"tooltip": "portrait keeps the background behind the person."}),
            },
            "optional": {
                "mask": ("MASK", {"tooltip": MASK}),
                "pose_keypoint": ("POSE_KEYPOINT", {"tooltip": "Optional keypoints of a DWPose / OpenPose node."}),
                "transcript": (
                    "STRING",
                    {"default": "", "multiline": True, "tooltip": "Optional: the words spoken, for clearer gestures."},
                ),
                "motion_strength": ("FLOAT", strength),
                "person": person_input(),
                "yaw_origin": (ORIGINS, {"default": ORIGINS[0], "tooltip": origin}),
                "width": side_input(),
                "height": side_input(),
                "mode": mode_input(),
                "hands": hands_input(),
            },
            "hidden": HIDDEN,
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
        motion_strength: float = 1.0,
        person: int = 0,
        yaw_origin: str = ORIGINS[0],
        width: int = 0,
        height: int = 0,
        mode: str = "play",
        hands: str = "auto",
        extra_pnginfo=None,
    ):
        from ..stereotalker_core.motion.sampling import MotionOptions
        from ..stereotalker_core.pipeline import Look, View, heard_warnings, prepare, render
        from ..stereotalker_core.video.provenance import provenance

        sound, portrait = audio_in(audio), host.image_in(image)
        rows, columns = portrait.shape[-2:]
        canvas = canvas_of(size, width, height, (rows, columns))
        view = View(yaw, end_yaw if orbit else None, size=canvas, yaw_origin=yaw_origin, hands=hands)
        check_batch(sound.frame_count(), canvas)
        models, managed = host.nano_models(mode)
        managed.load(16 * canvas[0] * canvas[1] * 1200)
        progress = Stages()
        frames, masks = [], []
        with host.interruptible(), heard_warnings() as heard:
            scene = prepare(
                models,
                portrait,
                sound,
                view,
                mask=host.mask_in(mask, (rows, columns)),
                keypoints=keypoints_in(pose_keypoint, columns, rows, person),
                person=person or None,
                transcript=transcript.strip() or None,
                options=MotionOptions(seed=seed, motion_strength=motion_strength),
                progress=progress,
            )
            behind = background if background == "portrait" else COLOURS[background]
            for chunk in render(models, scene, Look(steps, seed, behind, mode=mode), progress):
                host.check_finite(chunk.frames, "the renderer")
                frames.append(chunk.frames.cpu())
                masks.append(chunk.masks.cpu())
                progress.picture = frames[-1][-1]
        host.stamp(extra_pnginfo, provenance(host.EMBEDDED, seed))
        heading = scene.identity.trunk_yaw if yaw_origin == "body" else 0.0
        shown = shown_to_widget(scene.identity, scene.motion, 0.0, heading)
        shown |= fit_report(scene.identity, heard)
        return {"ui": shown, "result": (host.image_out(frames), host.mask_out(masks), audio, FPS)}


class Stages:
    """The pipeline's (stage, done, total) on one progress bar: fit 5 %, motion 15 %, render the rest."""

    SHARES = {"fit": (0, 5), "motion": (5, 20), "render": (20, 100)}

    def __init__(self) -> None:
        self.bar, self.picture = host.Progress(100), None

    def __call__(self, stage: str, done: int, total: int) -> None:
        start, end = self.SHARES[stage]
        self.bar(start + round((end - start) * done / max(1, total)), self.picture)


class ExampleInputs:
    DISPLAY_NAME = "Example Inputs (Stereo-Talker)"
    CATEGORY = "Stereo-Talker"
    DESCRIPTION = (
        "A synthetic person's portrait with its mask, and a synthesised sentence, so that a graph runs at once. "
        "Replace it by Load Image and Load Audio."
    )
    SEARCH_ALIASES = ["demo", "sample portrait", "test speech"]
    RETURN_TYPES = ("IMAGE", "MASK", "AUDIO", "STRING")
    RETURN_NAMES = ("image", "mask", "audio", "transcript")
    OUTPUT_TOOLTIPS = ("The portrait.", "The person in it.", "The speech.", "The words spoken.")
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        person = {"default": 11, "min": 0, "max": 9999, "tooltip": "Another number, another person."}
        seconds = {"default": 0.0, "min": 0.0, "max": 60.0, "step": 0.04, "tooltip": "Of speech; 0 = all of it."}
        size = {"default": 512, "min": 128, "max": 1024, "step": 64, "tooltip": "Pixels of the portrait."}
        return {"required": {"person": ("INT", person), "seconds": ("FLOAT", seconds), "size": ("INT", size)}}

    def make(self, person: int, seconds: float, size: int):
        from ..stereotalker_core.audio.load import load_audio
        from ..stereotalker_core.commands.demo import SPEECH, TRANSCRIPT
        from ..stereotalker_core.synthetic.avatar import make_avatar
        from ..stereotalker_core.synthetic.portrait import reference_portrait

        body = host.body()
        with host.interruptible():
            portrait = reference_portrait(body, make_avatar(body, person), person, size)
        sound = load_audio(SPEECH)
        samples = round(seconds * sound.original_rate) or sound.original.shape[-1]
        audio = {"waveform": sound.original[None, :, :samples], "sample_rate": sound.original_rate}
        words = TRANSCRIPT.read_text(encoding="utf-8").strip()
        return host.image_out([portrait.image[None]]), host.mask_out([portrait.mask[None]]), audio, words


NODES = {"StereoTalker": StereoTalker, "StereoTalkerExampleInputs": ExampleInputs}
