"""Stage 1 nodes: speech -> features -> motion."""

from __future__ import annotations

import base64
import binascii
import tempfile
from pathlib import Path

from ..stereotalker_core.audio.load import make_audio
from . import host
from .options import SEED, combo, widget
from .shares import advanced

CATEGORY = "Stereo-Talker/motion"
_LONGEST = 200_000_000  # letters of base64


def audio_in(audio: dict):
    """Convert AUDIO {"waveform" (1, C, S), "sample_rate"} to Audio; ValueError for several recordings, or invalid
    samples."""
    host.only_one(audio["waveform"], "recordings", "run the graph once for each recording")
    return make_audio(audio["waveform"][0].float().cpu(), int(audio["sample_rate"]))


def audio_out(audio) -> dict:
    """Convert a recording to AUDIO {"waveform" (1, C, S), "sample_rate"} with the original sound, unchanged."""
    return {"waveform": audio.original[None], "sample_rate": audio.original_rate}


class EncodeSpeech:
    DISPLAY_NAME = "Encode Speech (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "Listen to the speech: features and phones, 25 per second. Any sampling rate, mono or stereo."
    SEARCH_ALIASES = ["audio embeds", "wav2vec encode", "speech features"]
    RETURN_TYPES = ("ST_SPEECH", "AUDIO")
    RETURN_NAMES = ("speech", "audio")
    OUTPUT_TOOLTIPS = ("For Sample Motion.", "The sound, unchanged, for the video.")
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "audio_encoder": ("ST_AUDIO_ENCODER", {"tooltip": "From Load Audio Encoder."}),
                "audio": ("AUDIO", {"tooltip": "One person speaking. At least 0.1 s."}),
            }
        }

    def encode(self, audio_encoder, audio: dict):
        from ..stereotalker_core.pipeline import heard_warnings

        (network,) = audio_encoder.modules
        device = audio_encoder.load()
        with host.interruptible(), heard_warnings() as heard:
            sound = audio_in(audio)
            features = network.encode(sound.to(device)).to("cpu")
        return {"ui": {"text": list(dict.fromkeys(heard))}, "result": ((sound, features, audio_encoder), audio)}


class SampleMotion:
    DISPLAY_NAME = "Sample Motion (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Diffuse the motion of lips, face, head, arms and hands from the speech. Another seed, other gestures."
    )
    SEARCH_ALIASES = ["gesture generation", "speech to motion", "talking", "lip sync"]
    RETURN_TYPES = ("ST_MOTION", "INT")
    RETURN_NAMES = ("motion", "frames")
    OUTPUT_TOOLTIPS = ("Motion at 25 frames per second.", "Number of frames: the seconds of speech x 25, rounded up.")
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls):
        from ..stereotalker_core.motion.conditioning import Style
        from ..stereotalker_core.motion.generation.sampling import MotionOptions

        transcript = {"default": "", "multiline": True, "tooltip": "Optional: the words spoken, for clearer gestures."}
        timed = "Optional, instead of one emotion: a JSON list of start, emotion, intensity; the help has an example."
        emotions = {"default": "", "multiline": True, "tooltip": timed}
        inputs = {
            "required": {
                "motion_model": ("ST_MOTION_MODEL", {"tooltip": "From Load Motion Model."}),
                "speech": ("ST_SPEECH", {"tooltip": "From Encode Speech."}),
                "seed": widget(MotionOptions, "seed", **SEED),
                "steps": widget(MotionOptions, "steps"),
                "prior_strength": widget(MotionOptions, "prior_strength"),
                "motion_strength": widget(MotionOptions, "motion_strength"),
                "face_strength": widget(MotionOptions, "face_strength"),
                "emotion": combo(Style, "emotion"),
                "smoothing": widget(MotionOptions, "smoothing"),
            },
            "optional": {
                "transcript": ("STRING", transcript),
                "energy": widget(Style, "energy"),
                "liveliness": widget(MotionOptions, "liveliness"),
                "hands": combo(MotionOptions, "hands"),
                "emotions": ("STRING", emotions),
                "loop": ("BOOLEAN", {"default": False, "tooltip": "The end leads into the beginning."}),
            },
        }
        return advanced(inputs, "steps", "prior_strength", "smoothing", "emotions", "loop")

    def sample(
        self,
        motion_model,
        speech,
        seed: int,
        steps: int,
        prior_strength: float,
        motion_strength: float,
        face_strength: float,
        emotion: str,
        smoothing: float,
        transcript: str = "",
        energy: float = 1.0,
        liveliness: float = 1.0,
        hands: str = "on",
        emotions: str = "",
        loop: bool = False,
    ):
        from ..stereotalker_core.motion.conditioning import Style
        from ..stereotalker_core.motion.emotions import parse_emotions
        from ..stereotalker_core.motion.generation.sampling import MotionModels, sample_motion
        from ..stereotalker_core.pipeline import heard_warnings

        prior, denoiser = motion_model.modules
        sound, features, encoder = speech
        device = host.load_all([motion_model, encoder])
        progress: list[host.Progress] = []

        def report(step: int, total: int, denoised) -> None:
            if not progress:
                progress.append(host.Progress(total))
            progress[0](step + 1)

        models = MotionModels(encoder.modules[0], prior, denoiser)
        with host.interruptible(), heard_warnings() as heard:
            motion = sample_motion(
                models,
                sound.to(device),
                speech=features.to(device),
                transcript=transcript.strip() or None,
                callback=report,
                seed=seed,
                steps=steps,
                style=Style(emotion, energy=energy),
                liveliness=liveliness,
                hands=hands,
                emotions=parse_emotions(emotions),
                loop=loop,
                prior_strength=prior_strength,
                motion_strength=motion_strength,
                face_strength=face_strength,
                smoothing=smoothing,
            ).to("cpu")
        return {"ui": {"text": list(dict.fromkeys(heard))}, "result": (motion, len(motion))}


class SpeechSource:
    DISPLAY_NAME = "Speech from Text (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "A recording for workers without a browser: the name of a file of the input folder, or the sound itself as "
        "data:audio/wav;base64,... Nothing is fetched from the network."
    )
    SEARCH_ALIASES = ["base64 audio", "load audio path", "headless", "api"]
    RETURN_TYPES = ("AUDIO",)
    RETURN_NAMES = ("audio",)
    OUTPUT_TOOLTIPS = ("The speech, as loud and as long as it came in.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        tip = "A file of the input folder (folders with /), one of the output folder marked [output], or a data: URL."
        return {"required": {"source": ("STRING", {"default": "", "multiline": True, "tooltip": tip})}}

    @classmethod
    def IS_CHANGED(cls, source: str) -> float:
        source = source.strip()
        return 0.0 if source[:5].lower() == "data:" else host.resolve_file(_local(source)).stat().st_mtime

    def load(self, source: str) -> tuple[dict]:
        from ..stereotalker_core.audio.load import load_audio

        source = source.strip()
        if source[:5].lower() != "data:":
            return (audio_out(load_audio(host.resolve_file(_local(source)))),)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech"
            path.write_bytes(_decoded(source))
            return (audio_out(load_audio(path)),)


def _local(source: str) -> str:
    """Return the name of a local file unchanged; ValueError for an empty one, and for a network address."""
    if not source:
        raise ValueError("source is empty: name a file of the input folder, or give data:audio/wav;base64,...")
    if "://" in source:
        raise ValueError(f"{source[:40]!r} is an address: this node fetches nothing; send the sound as data:...;base64")
    return source


def _decoded(source: str) -> bytes:
    """Decode a sound given as text -> the bytes of the sound file.

    source: a data: URL, "data:audio/wav;base64,...".

    ValueError where it is no such URL, its base64 is damaged, or it is longer than `_LONGEST` characters."""
    head, _, text = source.partition(",")
    if not head.lower().endswith(";base64") or not text:
        raise ValueError(f"a sound as text must look like data:audio/wav;base64,UklGR..., got {source[:40]!r}")
    if len(text) > _LONGEST:
        raise ValueError(f"the sound has {len(text) / 1e6:.0f} MB of text; above {_LONGEST / 1e6:.0f} MB send a file")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(f"the base64 text of the sound is damaged ({error}); send it again, whole") from error


NODES = {
    "StereoTalkerEncodeSpeech": EncodeSpeech,
    "StereoTalkerSampleMotion": SampleMotion,
    "StereoTalkerSpeechSource": SpeechSource,
}
