"""The recipe on tiny untrained networks: counts, determinism, every part matters, checks come first."""

import inspect
import logging
import threading
from dataclasses import replace

import pytest
import torch

from stereotalker_core.audio.load import load_audio
from stereotalker_core.image import load_mask, load_portrait
from stereotalker_core.motion.generation.sampling import MotionOptions
from stereotalker_core.perception.keypoints import load_keypoints
from stereotalker_core.pipeline import Look, Models, Scene, View, heard_warnings, prepare, render, talk

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


def test_the_front_door_names_its_arguments():
    """What `prepare` takes, and the look; nothing hides behind ** or *."""
    (*first,), (*second,) = (inspect.signature(door).parameters.values() for door in (talk, prepare))
    assert all(one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in (*first, *second))
    assert {one.name for one in first} == {one.name for one in second} | {"look"}


def test_distance_is_a_factor_on_what_the_frame_shows(tiny_models, scene):
    near, usual, far = (
        View(distance=distance, size=SIZE, framing="half_body").cameras(tiny_models.body, scene.identity, 1)
        for distance in (0.5, 1.0, 2.0)
    )
    places = [-c.world_to_camera[0, :3, :3].T @ c.world_to_camera[0, :3, 3] for c in (near, usual, far)]
    assert float((places[2] - places[1]).norm()) == pytest.approx(2 * float((places[1] - places[0]).norm()), rel=1e-3)
    assert float((places[2] - places[1]).norm()) > 1  # m
    assert torch.allclose(near.intrinsics, far.intrinsics)  # the frame shows as much more as the camera is further away
    with pytest.raises(ValueError, match="distance must be"):
        View(distance=9)


def test_a_given_motion_skips_stage_1(tiny_models, given, scene):
    settings = {k: v for k, v in given.items() if k not in ("audio", "options")}
    again = prepare(tiny_models, audio=None, motion=scene.motion, view=View(-20, 20, size=SIZE), **settings)
    assert again.motion is scene.motion
    assert torch.equal(frames_of(tiny_models, again), frames_of(tiny_models, scene))


def test_every_switch_changes_the_picture_and_zero_strength_is_the_base_model(tiny_models, scene):
    paper = {"mode": "diffusion"}
    full = frames_of(tiny_models, scene, **paper)
    without = {
        "view experts": frames_of(tiny_models.with_experts(view=0), scene, **paper),
        "mask experts": frames_of(tiny_models.with_experts(mask=0), scene, **paper),
        "mask predictor": frames_of(tiny_models, scene, **paper, predicted_mask=False),
        "seed": frames_of(tiny_models, scene, **paper, seed=1),
        "steps": frames_of(tiny_models, scene, **paper, steps=2),
        "background": frames_of(tiny_models, scene, **paper, background=(0.0, 1.0, 0.0)),
    }
    for name, other in without.items():
        assert not torch.equal(full, other), f"{name} does nothing"
    bare = replace(tiny_models, renderer=replace(tiny_models.renderer, view_experts=None, mask_experts=None))
    found = (frames_of(models, scene, **paper) for models in (tiny_models.with_experts(0, 0), bare))
    assert torch.equal(*found)


def test_playing_is_the_default_and_leaves_the_denoiser_out(tiny_models, scene):
    played = frames_of(tiny_models, scene)
    player = replace(tiny_models, renderer=replace(tiny_models.renderer, unet=None, reference=None))
    assert torch.equal(played, frames_of(player, scene, mode="play"))
    assert not torch.equal(played, frames_of(tiny_models, scene, mode="diffusion"))
    assert torch.equal(played, frames_of(tiny_models, scene, seed=1, steps=2))
    assert not torch.equal(played, frames_of(tiny_models, scene, predicted_mask=False))
    with pytest.raises(ValueError, match="mode 'fast' is unknown"):
        Look(mode="fast")


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
        ({"size": 100}, "size 100x100"),
        ({"size": 64}, "size 64"),
        ({"size": (576, 1032)}, "size 1032x576"),
        ({"size": 1024, "aspect": "9:16"}, "size 1024x1824"),
        ({"aspect": "3:2"}, "aspect '3:2' is unknown"),
        ({"size": (256, 256), "aspect": "1:1"}, "a size of one number"),
        ({"yaw_origin": "nose"}, "yaw_origin 'nose'"),
    ],
)
def test_bad_views(settings, message):
    with pytest.raises(ValueError, match=message):
        View(**settings)


@pytest.mark.parametrize(
    "settings, canvas",
    [
        ({"size": 256}, (256, 256)),
        ({"size": (224, 128)}, (224, 128)),
        ({"size": 512, "aspect": "9:16"}, (912, 512)),
        ({"size": 576, "aspect": "16:9"}, (576, 1024)),
        ({"size": 320, "aspect": "4:5"}, (400, 320)),
        ({"size": 512, "aspect": "photo"}, (768, 512)),  # of a photograph 900 high, 600 wide
        ({"size": 200, "aspect": "1:1"}, (200, 200)),
        ({}, (512, 344)),  # the shape of the photograph, up to 512 px
        ({"aspect": "9:16"}, (512, 288)),
    ],
)
def test_canvases(settings, canvas):
    assert View(**settings).canvas((900, 600)) == canvas
    assert View(size=1024, aspect="photo").canvas((300, 900)) == (1024, 1024)


@pytest.mark.parametrize("size", [(224, 128), (256, 448)])
def test_every_size_is_drawn(tiny_models, scene, size):
    """Also those that the networks cannot halve: a larger canvas is drawn and cut."""
    view = View(-20, 20, size=size)
    few = Scene(scene.identity, scene.motion[:2], view.cameras(tiny_models.body, scene.identity, 2))
    frames = frames_of(tiny_models, few)
    assert frames.shape == (2, 3, *size) and bool(torch.isfinite(frames).all())
    assert few.cameras.size == size
    green = frames_of(tiny_models, few, background=(0.0, 1.0, 0.0))
    corner = torch.tensor([-1.0, 1.0, -1.0]).view(3, 1)
    assert torch.allclose(green[:, :, 0, :8], corner.expand(3, 8), atol=1e-3)  # the head lies below: nobody here


def test_the_fit_is_told_with_its_warnings(tiny_models, given, scene, caplog):
    told = []
    settings = given | {"mask": 1 - given["mask"], "keypoints": None, "audio": None, "motion": scene.motion[:1]}
    again = prepare(tiny_models, view=View(size=SIZE), fitted=told.append, **settings)
    (identity,) = told
    assert again.identity is identity and identity.quality > 0.5
    assert any("inverse" in text for text in identity.warnings) and "inverse" in caplog.text
    assert float((identity.mask - given["mask"]).abs().max()) < 1e-6
    assert scene.identity.warnings == ()


def test_a_fit_that_shows_somebody_else_is_refused(tiny_models, given, monkeypatch):
    from stereotalker_core import pipeline

    poor = replace(
        pipeline.fit_person(tiny_models.body, given["portrait"], given["keypoints"], given["mask"]), quality=0.2
    )
    monkeypatch.setattr(pipeline, "fit_portrait", lambda *_, **__: poor)
    with pytest.raises(ValueError, match=r"does not fit the portrait \(quality 0.20.*white = person.*pose_keypoint"):
        prepare(tiny_models, **given)


def test_warnings_of_other_threads_are_theirs():
    log = logging.getLogger("stereotalker_core.body.fitting.fit")
    with heard_warnings() as heard:
        log.warning("here")
        thread = threading.Thread(target=log.warning, args=("there",))
        thread.start()
        thread.join()
        log.warning("here")
        log.info("nothing")
    log.warning("after")
    assert heard == ["here"]


@pytest.mark.parametrize("settings", [{"steps": 0}, {"seed": -1}, {"seed": 2**64}])
def test_bad_looks(settings):
    with pytest.raises(ValueError, match="must be"):
        Look(**settings)


def test_nothing_to_say(tiny_models, given):
    with pytest.raises(ValueError, match="recording or a motion"):
        prepare(tiny_models, **(given | {"audio": None}))
