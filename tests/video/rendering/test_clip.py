"""A clip sampled from outside gives the frames of `render_video`: the same windows, masks, experts and composite."""

from dataclasses import replace

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.camera.trajectories import framing_for, orbit
from stereotalker_core.records import Motion
from stereotalker_core.synthetic.people.avatar import make_avatar
from stereotalker_core.synthetic.people.portrait import reference_portrait, true_identity
from stereotalker_core.video.networks.mask import MaskPredictor
from stereotalker_core.video.rendering.clip import (
    decode_clip,
    denoise_clip,
    prepare_clip,
    read_portrait,
    without_portrait,
)
from stereotalker_core.video.rendering.composite import resolve_background
from stereotalker_core.video.rendering.render import render_video
from tests.video import samples

FRAMES, SIZE = 30, 64  # three windows


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """float32 everywhere, so that only the order of the work can differ."""
    monkeypatch.setattr("stereotalker_core.precision.cpu_has_bf16", lambda: False)


@pytest.fixture(scope="module")
def scene():
    body = HalfBody()
    avatar = make_avatar(body, 3)
    with torch.no_grad():
        identity = true_identity(body, avatar, reference_portrait(body, avatar, 3, 128))
    rng = torch.Generator().manual_seed(0)
    motion = Motion(torch.randn(FRAMES, 49, 3, generator=rng).cumsum(0) * 0.01, torch.rand(FRAMES, 52, generator=rng))
    return body, identity, motion, orbit(framing_for(body, identity), FRAMES, -40, 40, 0, (SIZE, SIZE))


@pytest.mark.parametrize("background", [(0.2, 0.5, 0.9), "portrait"])
@pytest.mark.parametrize("predicted", [True, False])
def test_one_step_equals_the_stream(scene, predicted, background):
    body, identity, motion, cameras = scene
    renderer = samples.renderer()
    if not predicted:  # the body's own silhouette, with the parts' real regions
        renderer = replace(renderer, mask_predictor=MaskPredictor.for_parts(body.part_names))
    chunks = list(
        render_video(
            body, renderer, identity, motion, cameras, steps=1, seed=4, background=background,
            use_predicted_mask=predicted, mode="diffusion",
        )
    )  # fmt: skip
    frames, masks = torch.cat([c.frames for c in chunks]), torch.cat([c.masks for c in chunks])
    seen = []
    clip = prepare_clip(body, renderer, identity, motion, cameras, lambda n, _: seen.append(n), predicted)
    assert len(clip) == FRAMES and seen[-1] == FRAMES
    portrait = read_portrait(renderer, clip)
    noise = renderer.noise(cameras.size, 4).expand(FRAMES, -1, -1, -1)
    clean = denoise_clip(renderer, renderer.experts(), clip, portrait, noise, 1.0, seen.append)
    plate = resolve_background(background, identity, cameras)
    decoded = list(decode_clip(renderer, clip, clean, plate, drawn=background == "portrait"))
    found, alpha = torch.cat([c.frames for c in decoded]), torch.cat([c.masks for c in decoded])
    assert float((alpha - masks).abs().max()) < 1e-2  # the clip's lift, which says what stands still, is in float16
    assert float((found - frames).square().mean()) < 4 * 10 ** (-40 / 10), "less than 40 dB"


def test_the_unconditional_side_sees_no_portrait(scene):
    body, identity, motion, cameras = scene
    renderer = samples.renderer()
    few = slice(0, 3)
    clip = prepare_clip(body, renderer, identity, motion[few], cameras[few])
    portrait = read_portrait(renderer, clip)
    bare = without_portrait(portrait)
    assert not bare.reference and not bare.tokens.any() and portrait.tokens.any()
    x = torch.zeros_like(clip.lift)
    told, blind = (denoise_clip(renderer, (), clip, p, x, 1.0) for p in (portrait, bare))
    assert float((told - blind).abs().max()) > 1e-4


def test_lengths_and_sizes_are_checked(scene):
    body, identity, motion, cameras = scene
    renderer = samples.renderer()
    with pytest.raises(ValueError, match="must agree"):
        prepare_clip(body, renderer, identity, motion, cameras[:3])
    clip = prepare_clip(body, renderer, identity, motion[:3], cameras[:3])
    portrait = read_portrait(renderer, clip)
    with pytest.raises(ValueError, match="4 latents for a clip of 3"):
        denoise_clip(renderer, (), clip, portrait, torch.zeros(4, 4, 8, 8), 1.0)
    with pytest.raises(ValueError, match="keep them together"):
        next(decode_clip(renderer, clip, torch.zeros(4, 4, 8, 8), torch.zeros(1, 3, SIZE, SIZE)))
