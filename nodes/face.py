"""ProbTalk3D nodes: speech -> emotional faces, a different performance for each seed -> motions for the video."""

from __future__ import annotations

from ..stereotalker_core.checkpoint import NANO, load
from ..stereotalker_core.face.layout import Face, FaceStyle
from ..stereotalker_core.records import Motion
from . import host
from .options import SEED, combo, widget
from .speech import audio_in

CATEGORY = "Stereo-Talker/face"
NONE = "none"
_MAP_TIP = (
    "Leave at none for the embedded model. Only for released weights, whose faces are in FLAME's own expression basis: "
    "the file in models/stereotalker that python -m stereotalker_core.face.arkit_map fitted from clips known in both."
)
_SAMPLE = {"default": 0, "min": 0, "max": 15, "tooltip": "Which of the sampled performances; the first is 0."}


def _fit_map() -> tuple[list[str], dict[str, str]]:
    """Return (file names, settings), the widget of the optional input `fit_map`: the file of a `FaceMap`, or none."""
    return [NONE, *host.model_choices()[1:]], {"default": NONE, "tooltip": _MAP_TIP}


def _load_map(name: str):
    """Load the `FaceMap` that an entry of `_fit_map` names; None for "none". ValueError for a file that is no map."""
    from ..stereotalker_core.face.arkit_map import FaceMap

    return None if name == NONE else FaceMap.load(host.resolve_model(name, NANO))


class LoadProbTalk3D:
    DISPLAY_NAME = "Load ProbTalk3D (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "Speech to emotional face motion: the embedded model, or released weights after conversion."
    SEARCH_ALIASES = ["probtalk3d", "emotional face", "flame", "vq-vae", "talking face"]
    RETURN_TYPES = ("ST_FACE_MODEL",)
    RETURN_NAMES = ("face_model",)
    OUTPUT_TOOLTIPS = ("For Sample Emotional Face.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        tip = "ProbTalk3D file; python -m stereotalker_core.face.released makes one of a released .ckpt."
        return {"required": {"model_name": (host.model_choices(), {"tooltip": tip})}}

    def load(self, model_name: str):
        from ..stereotalker_core.audio.encoder import SpeechEncoder
        from ..stereotalker_core.face.model import ProbTalk3D

        model = load(ProbTalk3D, host.resolve_model(model_name, NANO / "probtalk3d.safetensors"))
        return (host.Managed(model, load(SpeechEncoder, NANO / "audio_encoder.safetensors")),)


class SampleEmotionalFace:
    DISPLAY_NAME = "Sample Emotional Face (ProbTalk3D)"
    CATEGORY = CATEGORY
    DESCRIPTION = "Draw performances of the speech in an emotion. Same lips, another face at each seed."
    SEARCH_ALIASES = ["probtalk3d", "emotion", "talking face", "lip sync", "facial animation"]
    RETURN_TYPES = ("ST_FACE", "INT")
    RETURN_NAMES = ("face", "frames")
    OUTPUT_TOOLTIPS = ("All performances, 25 frames per second.", "Frames: the seconds of speech x 25, rounded up.")
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls):
        from ..stereotalker_core.face.sampling import FaceOptions

        return {
            "required": {
                "face_model": ("ST_FACE_MODEL", {"tooltip": "From Load ProbTalk3D."}),
                "audio": ("AUDIO", {"tooltip": "One person speaking. At least 0.1 s."}),
                "identity": combo(FaceStyle, "identity"),
                "emotion": combo(FaceStyle, "emotion"),
                "intensity": combo(FaceStyle, "intensity"),
                "temperature": widget(FaceOptions, "temperature"),
                "k": widget(FaceOptions, "k"),
                "seed": widget(FaceOptions, "seed", **SEED),
                "samples": widget(FaceOptions, "samples"),
            },
            "optional": {"audio_encoder": ("ST_AUDIO_ENCODER", {"tooltip": "Instead of the embedded audio encoder."})},
        }

    def sample(
        self, face_model, audio: dict, identity: str, emotion: str, intensity: str, temperature: float, k: int,
        seed: int, samples: int, audio_encoder=None,
    ) -> tuple[Face, int]:  # fmt: skip
        from ..stereotalker_core.face.sampling import FaceModels, FaceOptions, sample_face

        sound, style = audio_in(audio), FaceStyle(identity, emotion, intensity)
        options = FaceOptions(temperature, k, seed % 2**63, samples)
        face_model.load()
        model, encoder = face_model.modules
        if audio_encoder is not None:
            audio_encoder.load()
            (encoder,) = audio_encoder.modules
        bar = host.Progress(sound.frame_count())
        with host.interruptible():
            face = sample_face(FaceModels(model, encoder), sound, style, options, lambda done, total: bar(done))
        return face, len(face)


class FaceToMotion:
    DISPLAY_NAME = "FLAME to ARKit (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "One performance as a motion with the body at rest, for preview, export and rendering."
    SEARCH_ALIASES = ["arkit", "blendshapes", "flame", "live link face"]
    RETURN_TYPES = ("ST_MOTION",)
    RETURN_NAMES = ("motion",)
    OUTPUT_TOOLTIPS = ("The face in ARKit coefficients.",)
    FUNCTION = "convert"

    @classmethod
    def INPUT_TYPES(cls):
        face = ("ST_FACE", {"tooltip": "From Sample Emotional Face."})
        return {"required": {"face": face, "sample": ("INT", _SAMPLE)}, "optional": {"fit_map": _fit_map()}}

    def convert(self, face: Face, sample: int, fit_map: str = NONE) -> tuple[Motion]:
        from ..stereotalker_core.face.arkit_map import face_to_motion

        return (face_to_motion(face, sample, _load_map(fit_map)),)


class MotionToFace:
    DISPLAY_NAME = "ARKit to FLAME (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "The face of a motion in the 53 numbers of a FLAME frame: 50 of expression, 3 of the jaw."
    SEARCH_ALIASES = ["arkit", "flame", "expression"]
    RETURN_TYPES = ("ST_FACE",)
    RETURN_NAMES = ("face",)
    OUTPUT_TOOLTIPS = ("One performance.",)
    FUNCTION = "convert"

    @classmethod
    def INPUT_TYPES(cls):
        motion = ("ST_MOTION", {"tooltip": "Any motion; only its face is used."})
        return {"required": {"motion": motion}, "optional": {"fit_map": _fit_map()}}

    def convert(self, motion: Motion, fit_map: str = NONE) -> tuple[Face]:
        from ..stereotalker_core.face.arkit_map import motion_to_face

        return (motion_to_face(motion, _load_map(fit_map)),)


class MergeFace:
    DISPLAY_NAME = "Merge Face into Motion (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "Give a moving body the sampled face, frame by frame: the lips stay in sync, the video gets emotion."
    SEARCH_ALIASES = ["replace face", "emotion", "probtalk3d"]
    RETURN_TYPES = ("ST_MOTION",)
    RETURN_NAMES = ("motion",)
    OUTPUT_TOOLTIPS = ("Body, head and gaze of the motion with the new face.",)
    FUNCTION = "merge"

    @classmethod
    def INPUT_TYPES(cls):
        strength = {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.05, "tooltip": "0 = the motion's own face."}
        return {
            "required": {
                "motion": ("ST_MOTION", {"tooltip": "From Sample Motion, of the same recording."}),
                "face": ("ST_FACE", {"tooltip": "From Sample Emotional Face, of the same recording."}),
                "sample": ("INT", _SAMPLE),
                "strength": ("FLOAT", strength),
                "keep_blinks": ("BOOLEAN", {"default": True, "tooltip": "Blink as the motion does."}),
            },
            "optional": {"fit_map": _fit_map()},
        }

    def merge(
        self, motion: Motion, face: Face, sample: int, strength: float, keep_blinks: bool, fit_map: str = NONE
    ) -> tuple[Motion]:
        from ..stereotalker_core.face.merge import merge_face

        return (merge_face(motion, face, sample, strength, keep_blinks, _load_map(fit_map)),)


class RenderFaceMesh:
    DISPLAY_NAME = "Render FLAME Mesh (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "A plain shaded FLAME head that performs the face. Needs your own (licensed) FLAME model file."
    SEARCH_ALIASES = ["flame", "mesh", "3d head", "face preview", "probtalk3d"]
    RETURN_TYPES = ("IMAGE", "FLOAT")
    RETURN_NAMES = ("images", "fps")
    OUTPUT_TOOLTIPS = ("The frames.", "Frames per second, for Create Video (connect the speech there).")
    FUNCTION = "render"

    @classmethod
    def INPUT_TYPES(cls):
        flame = (
            "FLAME 2020, converted once: python -m stereotalker_core.face.flame generic_model.pkl flame.safetensors; "
            "put flame.safetensors into models/stereotalker."
        )
        yaw = {"default": 0.0, "min": -180.0, "max": 180.0, "step": 0.5, "tooltip": "Degrees; 0 = front."}
        size = {"default": 320, "min": 64, "max": 1024, "step": 32, "tooltip": "Pixels of the square picture."}
        return {
            "required": {
                "face": ("ST_FACE", {"tooltip": "From Sample Emotional Face; the embedded model's needs fit_map too."}),
                "flame_model": ([NONE, *host.model_choices()[1:]], {"tooltip": flame}),
                "sample": ("INT", _SAMPLE),
                "yaw": ("FLOAT", yaw),
                "size": ("INT", size),
            },
            "optional": {
                "fit_map": (
                    _fit_map()[0],
                    {
                        "default": NONE,
                        "tooltip": "Needed for faces of the embedded model, which are in ARKit coefficients; not for "
                        "released weights. python -m stereotalker_core.face.arkit_map makes it.",
                    },
                )
            },
        }

    def render(self, face: Face, flame_model: str, sample: int, yaw: float, size: int, fit_map: str = NONE):
        from ..stereotalker_core.face.flame import Flame
        from ..stereotalker_core.face.mesh_preview import flame_parameters, mesh_frames

        if flame_model == NONE:
            raise ValueError("no FLAME model is chosen: convert yours (see the tooltip) and choose it as flame_model")
        host.check_memory(len(face), (size, size), 24, "render a shorter recording or a smaller size")
        parameters = flame_parameters(face, sample, _load_map(fit_map))[None]
        flame = Flame.load(host.resolve_model(flame_model, NANO))
        progress, chunks, done = host.Progress(len(face)), [], 0
        with host.interruptible():
            for chunk in mesh_frames(flame, parameters, size, yaw):
                chunks.append(chunk)
                done += len(chunk)
                progress(done, chunk[-1])
        return host.image_out(chunks), face.fps


NODES = {
    "StereoTalkerLoadProbTalk3D": LoadProbTalk3D,
    "StereoTalkerSampleEmotionalFace": SampleEmotionalFace,
    "StereoTalkerFaceToMotion": FaceToMotion,
    "StereoTalkerMotionToFace": MotionToFace,
    "StereoTalkerMergeFace": MergeFace,
    "StereoTalkerRenderFaceMesh": RenderFaceMesh,
}
