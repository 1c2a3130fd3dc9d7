"""Stereo-Talker in one node: portrait + speech + yaw -> video frames."""

from __future__ import annotations

from dataclasses import replace

from ..stereotalker_core.camera.keyframes import parse_keyframes
from ..stereotalker_core.camera.view import View
from ..stereotalker_core.motion.edit import at_rate
from ..stereotalker_core.records import Audio, Identity, Motion
from ..stereotalker_core.shapes import FPS, size_of
from ..stereotalker_core.synthetic.example import PEOPLE
from . import host
from .camera import KEYS, canvas_of, shown_to_widget, side_input, size_input
from .kept import Last, fingerprint
from .motion import fps_input
from .options import ANGLE, SEED, combo, widget
from .portrait import MASK, fit_report, keypoints_in, person_input
from .shares import advanced, alpha_input, first_input, frames_input, part_of, sound_of, with_alpha
from .speech import audio_in
from .video import BACKGROUNDS, COLOURS, HIDDEN, check_batch, mode_input

PLACED = ("person", "yaw_origin", "width", "height", "hands", "pitch")
PARTS = ("first_frame", "frames", "alpha")
PERSON: Last[Identity] = Last()
AVATAR = "avatar"  # what Example Inputs calls the people that have a number
MOTION: Last[tuple[Motion, tuple[str, ...]]] = Last()


class StereoTalker:
    DISPLAY_NAME = "Stereo-Talker"
    CATEGORY = "Stereo-Talker"
    DESCRIPTION = (
        "One portrait and one recording -> the person talking with face, head, arms and hands, seen from any yaw. "
        "Embedded nano models: no download, runs on a CPU."
    )
    SEARCH_ALIASES = ["talking head", "talking avatar", "lip sync", "speech to video", "portrait animation"]
    RETURN_TYPES = ("IMAGE", "MASK", "AUDIO", "FLOAT", "VIDEO")
    RETURN_NAMES = ("images", "mask", "audio", "fps", "video")
    OUTPUT_TOOLTIPS = (
        "The frames: seconds of speech x fps, rounded up.",
        "The person in every frame.",
        "The sound of these frames, for Create Video; unchanged where all are rendered.",
        "Frames per second, for Create Video.",
        "The frames with the sound, for Save Video.",
    )
    FUNCTION = "talk"

    @classmethod
    def INPUT_TYPES(cls):
        from ..stereotalker_core.motion.generation.sampling import MotionOptions
        from ..stereotalker_core.pipeline import Look

        inputs = {
            "required": {
                "image": ("IMAGE", {"tooltip": "One person from the front, half body, both shoulders visible."}),
                "audio": ("AUDIO", {"tooltip": "One person speaking; any rate, mono or stereo, at least 0.1 s."}),
                "yaw": widget(View, "yaw", **ANGLE),
                "orbit": ("BOOLEAN", {"default": False, "tooltip": "Move the camera from yaw to end_yaw."}),
                "end_yaw": widget(View, "until_yaw", **ANGLE),
                "seed": widget(MotionOptions, "seed", **SEED),
                "steps": widget(Look, "steps", "Denoising steps of mode diffusion; 1 is sharpest here."),
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
                "motion_strength": widget(MotionOptions, "motion_strength", "Size of the gestures."),
                "person": person_input(),
                "yaw_origin": combo(View, "yaw_origin"),
                "width": side_input(),
                "height": side_input(),
                "mode": mode_input(),
                "hands": combo(View, "hands"),
                "pitch": widget(View, "pitch"),
                "keyframes": ("STRING", {"default": "", "tooltip": f"In place of yaw and orbit: {KEYS}"}),
                "fps": fps_input(),
                "first_frame": first_input(),
                "frames": frames_input(),
                "alpha": alpha_input(),
            },
            "hidden": HIDDEN,
        }
        return advanced(inputs, "steps", "motion_strength", "mode", "fps", *PLACED, *PARTS)

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
        yaw_origin: str = View.yaw_origin,
        width: int = 0,
        height: int = 0,
        mode: str = "play",
        hands: str = "auto",
        pitch: float = 0.0,
        keyframes: str = "",
        fps: float = FPS,
        first_frame: int = 0,
        frames: int = 0,
        alpha: bool = False,
        extra_pnginfo=None,
    ):
        from ..stereotalker_core.pipeline import Look, heard_warnings, prepare
        from ..stereotalker_core.video.writing.provenance import provenance

        with heard_warnings() as listened:
            sound, portrait = audio_in(audio), host.image_in(image)
        canvas = canvas_of(size, width, height, size_of(portrait))
        count = sound.frame_count(fps)
        keys = tuple(parse_keyframes(keyframes, count, fps, pitch)) if keyframes.strip() else ()
        end = end_yaw if orbit else None
        view = View(yaw, end, pitch, size=canvas, yaw_origin=yaw_origin, hands=hands, keys=keys)
        part = part_of(first_frame, frames, count)
        check_batch(part[1] - part[0] if part else count, canvas)
        behind = COLOURS["black"] if alpha else background if background == "portrait" else COLOURS[background]
        models, managed = host.nano_models(mode)
        managed.load(16 * canvas[0] * canvas[1] * 1200)
        progress = Stages()
        with host.interruptible(), heard_warnings() as heard:
            identity = person_of(models, portrait, mask, pose_keypoint, person, progress)
            motion, said = motion_of(models, sound, transcript.strip(), seed, motion_strength, progress)
            motion = motion if fps == motion.fps else at_rate(motion, fps, count)
            scene = prepare(models, None, sound, view, identity=identity, motion=motion)
            images, masks = drawn(models, scene, Look(steps, seed, behind, mode=mode), part, alpha, progress)
        host.stamp(extra_pnginfo, provenance(host.EMBEDDED, seed))
        heading = identity.trunk_yaw if yaw_origin == "body" else 0.0
        shown = shown_to_widget(identity, scene.motion, pitch, heading)
        shown |= fit_report(identity, list(dict.fromkeys((*identity.warnings, *listened, *said, *heard))))
        heard_part = sound_of(audio, part, fps)
        video = host.video_out(images, heard_part, fps)
        return {"ui": shown, "result": (images, masks, heard_part, fps, video)}


def drawn(models, scene, look, part: tuple[int, int] | None, alpha: bool, progress: Stages):
    """Render a scene, or a part of it -> IMAGE (T, H, W, 3, or 4 with alpha) and MASK (T, H, W) of the person.

    models, scene, look: see `pipeline.render`; part: (first, stop) frames, None for all; alpha: transparent pictures;
    progress: `Stages`."""
    from ..stereotalker_core.pipeline import render

    frames, masks = [], []
    for chunk in render(models, scene, look, progress, frames=part):
        host.check_finite(chunk.frames, "the renderer")
        frames.append(chunk.frames.cpu())
        masks.append(chunk.masks.cpu())
        progress.picture = frames[-1][-1]
    return with_alpha(frames, masks) if alpha else host.image_out(frames), host.mask_out(masks)


def person_of(models, portrait, mask, pose_keypoint, person: int, progress) -> Identity:
    """Return the person of a portrait (3, H, W): fitted and baked now, or the last one if all inputs are the same.

    models, progress: as in `drawn`; mask, pose_keypoint, person: the node's inputs, None or 0 where not given."""
    from ..stereotalker_core.pipeline import baked, fit_person, heard_warnings

    rows, columns = portrait.shape[-2:]
    key = fingerprint(portrait, mask, pose_keypoint, person)
    identity = PERSON.get(key)
    if identity is None:
        progress("fit", 0, 1)
        with heard_warnings() as said:
            points, seen = keypoints_in(pose_keypoint, columns, rows, person), host.mask_in(mask, (rows, columns))
            given = {"networks": models.perception, "person": person or None}
            identity = baked(models, fit_person(host.body(), portrait, points, seen, **given))
        identity = replace(identity, warnings=tuple(said))
        PERSON.keep(key, identity)
    progress("fit", 1, 1)
    return identity


def motion_of(
    models, sound: Audio, transcript: str, seed: int, strength: float, progress
) -> tuple[Motion, tuple[str, ...]]:
    """Return the motion for a recording and the warnings about it: sampled now, or the last one if its inputs are the
    same.

    sound: the recording.
    transcript: the words, "" for none.
    seed: determines the motion.
    strength: size of the movements, 1 = as sampled.
    models, progress: as in `drawn`."""
    from ..stereotalker_core.motion.generation.sampling import MotionOptions, sample_motion
    from ..stereotalker_core.pipeline import heard_warnings

    key = fingerprint(sound.original, sound.original_rate, transcript, seed, strength)
    kept = MOTION.get(key)
    if kept is None:
        with heard_warnings() as said:
            motion = sample_motion(
                models.motion,
                sound.to(models.renderer.device),
                transcript=transcript or None,
                options=MotionOptions(seed=seed, motion_strength=strength),
                callback=lambda step, steps, denoised: progress("motion", step + 1, steps),
            )
        kept = motion.to("cpu"), tuple(said)
        MOTION.keep(key, kept)
    progress("motion", 1, 1)
    return kept


class Stages:
    """Show the pipeline's progress on a single bar when called with (stage, done, total): fit 5 %, motion 15 %, then
    render."""

    SHARES = {"fit": (0, 5), "motion": (5, 20), "render": (20, 100)}

    def __init__(self) -> None:
        self.bar, self.picture = host.Progress(100), None

    def __call__(self, stage: str, done: int, total: int) -> None:
        start, end = self.SHARES[stage]
        self.bar(start + round((end - start) * done / max(1, total)), self.picture)


def avatar_portrait(seed: int, size: int):
    """Draw the avatar of a seed -> its portrait (3, size, size) in [-1, 1], and its mask (1, size, size)."""
    from ..stereotalker_core.synthetic.people.avatar import make_avatar
    from ..stereotalker_core.synthetic.people.portrait import reference_portrait

    body = host.body()
    portrait = reference_portrait(body, make_avatar(body, seed), seed, size)
    return portrait.image, portrait.mask


class ExampleInputs:
    DISPLAY_NAME = "Example Inputs (Stereo-Talker)"
    CATEGORY = "Stereo-Talker"
    DESCRIPTION = (
        "The portrait of somebody who does not exist, with its mask, and a synthesised sentence, so that a graph runs "
        "at once. Replace it by Load Image and Load Audio."
    )
    SEARCH_ALIASES = ["demo", "sample portrait", "test speech"]
    RETURN_TYPES = ("IMAGE", "MASK", "AUDIO", "STRING")
    RETURN_NAMES = ("image", "mask", "audio", "transcript")
    OUTPUT_TOOLTIPS = ("The portrait.", "The person in it.", "The speech.", "The words spoken.")
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        person = {"default": 11, "min": 0, "max": 9999, "tooltip": "Of example avatar: another number, another person."}
        seconds = {"default": 0.0, "min": 0.0, "max": 60.0, "step": 0.04, "tooltip": "Of speech; 0 = all of it."}
        size = {"default": 512, "min": 128, "max": 1024, "step": 64, "tooltip": "Pixels of the portrait."}
        tip = "Like a photograph; avatar: a drawn person of the number above, as the networks learnt from."
        example = ([*PEOPLE, AVATAR], {"default": PEOPLE[0], "tooltip": tip})
        return {
            "required": {"person": ("INT", person), "seconds": ("FLOAT", seconds), "size": ("INT", size)},
            "optional": {"example": example},
        }

    def make(self, person: int, seconds: float, size: int, example: str = AVATAR):
        from ..stereotalker_core.audio.load import load_audio
        from ..stereotalker_core.synthetic.example import SPEECH, TRANSCRIPT, example_portrait

        with host.interruptible():
            image, mask = avatar_portrait(person, size) if example == AVATAR else example_portrait(example, size)
        sound = load_audio(SPEECH)
        samples = round(seconds * sound.original_rate) or sound.original.shape[-1]
        audio = {"waveform": sound.original[None, :, :samples], "sample_rate": sound.original_rate}
        words = TRANSCRIPT.read_text(encoding="utf-8").strip()
        return host.image_out([image[None]]), host.mask_out([mask[None]]), audio, words


NODES = {"StereoTalker": StereoTalker, "StereoTalkerExampleInputs": ExampleInputs}
