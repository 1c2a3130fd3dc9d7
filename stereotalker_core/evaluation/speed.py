"""Compute per second of video of the main job: a synthetic person, demo speech, an orbiting camera, nothing cached."""

import time

import torch

from ..body.model import HalfBody
from ..motion.sampling import sample_motion
from ..pipeline import Models, Scene, View, render
from ..records import Audio
from ..synthetic.avatar import make_avatar
from ..synthetic.portrait import reference_portrait, true_identity
from .bootstrap import bootstrap

PERSON = 11


def evaluate_speed(models: Models, audio: Audio, quick: bool = False, size: int = 256) -> dict[str, dict[str, float]]:
    """seconds_per_second {"value", "low", "high"}: stage 1 + stage 2 over 3 (quick: 2) runs after a warm-up.

    quick measures one second of the recording, else all of it. The fit, done once a portrait, is not counted.
    """
    body = HalfBody()
    avatar = make_avatar(body, PERSON)
    identity = true_identity(body, avatar, reference_portrait(body, avatar, PERSON, 512)).to(models.renderer.device)
    samples = 16_000 if quick else audio.waveform.shape[0]
    audio = Audio(audio.waveform[:samples], audio.original, audio.original_rate)
    found = []
    for _ in range(3 if quick else 4):
        start = time.perf_counter()
        motion = sample_motion(models.motion, audio)
        scene = Scene(identity, motion, View(-40, 40, size=size).cameras(models.body, identity, len(motion)))
        frames = sum(len(chunk.frames) for chunk in render(models, scene))
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        found.append((time.perf_counter() - start) / (frames / motion.fps))
    return {"seconds_per_second": bootstrap(found[1:])}
