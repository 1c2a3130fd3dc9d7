"""The recipe on tiny untrained networks: counts, determinism, every part matters, checks come first."""

import pytest
import torch

from stereotalker_core.audio.load import load_audio
from stereotalker_core.image import load_mask, load_portrait
from stereotalker_core.motion.sampling import MotionOptions
from stereotalker_core.perception.keypoints import load_keypoints
from stereotalker_core.pipeline import Look, Models, Scene, View, prepare, render, talk

SIZE = 128


@pytest.fixture(scope="module")
def given(inputs):
    portrait = load_portrait(inputs.portrait)
    return {
        "portrait": portrait.image,
        "audio": load_audio(inputs.audio),
        "mask": load_mask(inputs.mask, portrait.image.shape[-2:]),
        "keypoints": load_keypoints(inputs.keypoints),
        "options": MotionOptions(steps=2),
    }


@pytest.fixture(scope="module")
def scene(tiny_models, given) -> Scene:
    return prepare(tiny_models, view=View(-20, 20, size=SIZE), **given)


def frames_of(models: Models, scene: Scene, **look) -> torch.Tensor:
    return torch.cat([chunk.frames for chunk in render(models, scene, Look(**look))])


def test_scene_covers_the_recording(scene, given):
    assert len(scene.motion) == len(scene.cameras) == given["audio"].frame_count() == 13
    assert scene.cameras.yaw[0] == -20 and scene.cameras.yaw[-1] == 20 and scene.cameras.size == (SIZE, SIZE)


def test_talk_is_prepare_and_render(tiny_models, given, scene):
    stages = []
    whole = talk(
        tiny_models, view=View(-20, 20, size=SIZE), look=Look(seed=5), progress=lambda *row: stages.append(row), **given
    )
    frames = torch.cat([chunk.frames for chunk in whole])
    assert torch.equal(frames, frames_of(tiny_models, scene, seed=5))
    assert frames.shape == (13, 3, SIZE, SIZE) and float(frames.abs().max()) <= 1
    assert [s for s, done, total in stages if done == total] == ["fit", "motion", "render"]
    assert sorted(stages, key=lambda row: ("fit", "motion", "render").index(row[0])) == stages


def test_a_given_motion_skips_stage_1(tiny_models, given, scene):
    settings = {k: v for k, v in given.items() if k not in ("audio", "options")}
    again = prepare(tiny_models, audio=None, motion=scene.motion, view=View(-20, 20, size=SIZE), **settings)
    assert again.motion is scene.motion
    assert torch.equal(frames_of(tiny_models, again), frames_of(tiny_models, scene))


def test_every_switch_changes_the_picture_and_zero_strength_is_the_base_model(tiny_models, scene):
    full = frames_of(tiny_models, scene)
    without = {
        "view experts": frames_of(tiny_models.with_experts(view=0), scene),
        "mask experts": frames_of(tiny_models.with_experts(mask=0), scene),
        "mask predictor": frames_of(tiny_models, scene, predicted_mask=False),
        "seed": frames_of(tiny_models, scene, seed=1),
        "steps": frames_of(tiny_models, scene, steps=2),
        "background": frames_of(tiny_models, scene, background=(0.0, 1.0, 0.0)),
    }
    for name, other in without.items():
        assert not torch.equal(full, other), f"{name} does nothing"
    from dataclasses import replace

    bare = replace(tiny_models, renderer=replace(tiny_models.renderer, view_experts=None, mask_experts=None))
    assert torch.equal(frames_of(tiny_models.with_experts(0, 0), scene), frames_of(bare, scene))


def test_the_language_prior_changes_the_motion(tiny_models, given, scene):
    options = MotionOptions(steps=2, prior_strength=0)
    other = prepare(tiny_models, view=View(size=SIZE), **(given | {"options": options}))
    assert not torch.equal(other.motion.rotations, scene.motion.rotations)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"yaw": 181}, "yaw 181"),
        ({"until_yaw": -200.0}, "yaw -200"),
        ({"yaw": float("nan")}, "yaw nan"),
        ({"pitch": 70}, "pitch 70"),
        ({"framing": "close"}, "'close' is unknown"),
        ({"size": 200}, "size 200"),
        ({"size": 64}, "size 64"),
    ],
)
def test_bad_views(settings, message):
    with pytest.raises(ValueError, match=message):
        View(**settings)


@pytest.mark.parametrize("settings", [{"steps": 0}, {"seed": -1}, {"seed": 2**64}])
def test_bad_looks(settings):
    with pytest.raises(ValueError, match="must be"):
        Look(**settings)


def test_nothing_to_say(tiny_models, given):
    with pytest.raises(ValueError, match="recording or a motion"):
        prepare(tiny_models, **(given | {"audio": None}))
