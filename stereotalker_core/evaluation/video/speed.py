"""Compute time per second of video: a synthetic person, demo speech, an orbiting camera, nothing cached."""

import time
from dataclasses import replace

import torch
from torch import Tensor

from ...body.model import HalfBody
from ...motion.generation.sampling import sample_motion
from ...pipeline import Models, Scene, View, render
from ...records import Audio
from ...synthetic.people.avatar import make_avatar
from ...synthetic.people.portrait import reference_portrait, true_identity
from ...video.networks.unet import Condition
from ...video.rendering.nano import NanoRenderer
from ..bootstrap import bootstrap

PERSON = 11


def evaluate_speed(models: Models, audio: Audio, quick: bool = False, size: int = 256) -> dict[str, dict[str, float]]:
    """Return seconds_per_second {"value", "low", "high"}: stage 1 + stage 2, over 3 (quick: 2) runs after a warm-up.

    models: to measure; audio: the recording; quick: only its first second; size: px of a side of the video.

    The fit is not counted, because it is done once per portrait."""
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


def expert_cost(renderer: NanoRenderer, frames: int = 8, repeats: int = 31) -> dict[str, dict[str, float]]:
    """Return expert_cost_ratio: the time of the U-Net in float32 with both kinds of experts, divided by that without.

    It is the median, with quartiles, of the ratios of consecutive runs, so that other load on the machine cancels."""
    (unet, network), device = renderer.denoiser, renderer.device
    config = unet.config
    latents = torch.zeros(frames, config.latent_channels, 32, 32, device=device)
    guide = torch.zeros(frames, config.guide_channels, 64, 64, device=device)
    tokens = unet.portrait_tokens(latents[:1]).detach()
    yaw, regions = torch.zeros(frames, device=device), torch.full((frames, 4, 256, 256), 0.25, device=device)
    reference = unet.cache_reference(network(latents[:1], tokens))
    bare = Condition(guide, tokens, yaw, latents, reference, regions, clip_length=frames)
    full = replace(bare, experts=renderer.experts())
    _measure_seconds(unet, latents, full)
    pairs = torch.tensor([[_measure_seconds(unet, latents, cond) for cond in (full, bare)] for _ in range(repeats)])
    low, value, high = torch.quantile(pairs[:, 0] / pairs[:, 1], torch.tensor([0.25, 0.5, 0.75])).tolist()
    return {"expert_cost_ratio": {"value": value, "low": low, "high": high}}


@torch.no_grad()
def _measure_seconds(unet: torch.nn.Module, latents: Tensor, cond: Condition) -> float:
    start = time.perf_counter()
    unet(latents, 1.0, cond)
    if latents.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start
