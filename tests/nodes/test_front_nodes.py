"""What the portrait's nodes show and take: quality and warnings, one of several people, canvases of any shape."""

import pytest
import torch
from graph import STOCK, load_pack

PACK = load_pack()
CLASSES = {**STOCK, **PACK.NODE_CLASS_MAPPINGS}


def core(name: str):
    from importlib import import_module

    return import_module(f"{PACK.__name__}.stereotalker_core.{name}")


def call(kind: str, **inputs) -> dict:
    node = CLASSES[kind]()
    result = getattr(node, CLASSES[kind].FUNCTION)(**inputs)
    return result if isinstance(result, dict) else {"ui": {}, "result": result}


@pytest.fixture(scope="module")
def portrait():
    """IMAGE and MASK of a synthetic person."""
    body = PACK.nodes.host.body()
    avatar = core("synthetic.people.avatar").make_avatar(body, 3)
    made = core("synthetic.people.portrait").reference_portrait(body, avatar, 3, 256)
    return PACK.nodes.host.image_out([made.image[None]]), PACK.nodes.host.mask_out([made.mask[None]])


def test_a_fit_shows_its_quality_and_that_the_mask_was_turned_round(portrait):
    """Load Image's mask is 1 where the picture is transparent."""
    image, mask = portrait
    done = call("StereoTalkerFitPortrait", image=image, mask=1 - mask)
    identity, seen, quality = done["result"]
    assert done["ui"]["text"][0] == f"fit quality {quality:.2f} (of 1)" and quality > 0.5
    assert [text for text in done["ui"]["text"][1:] if "inverse is used" in text]
    assert identity.warnings == tuple(done["ui"]["text"][1:])
    assert float((seen - mask).abs().max()) < 1e-4


def test_a_number_chooses_one_of_several_people(portrait, monkeypatch):
    image, mask = portrait
    two = torch.cat([image, image.flip(2)], 2)
    with pytest.raises(ValueError, match="person 3 does not exist; 2 found, 1 is the largest"):
        call("StereoTalkerFitPortrait", image=two, person=3)
    asked = []

    def fit(*given, person=None, **_):
        asked.append(person)
        raise ValueError("enough")

    monkeypatch.setattr(core("pipeline"), "fit_portrait", fit)
    for person in (0, 2):
        with pytest.raises(ValueError, match="enough"):
            call("StereoTalkerFitPortrait", image=two, person=person)
    assert asked == [None, 2]  # without a number the largest is taken, and said


def test_the_keypoints_of_several_people_follow_the_number(monkeypatch):
    asked = []
    monkeypatch.setattr(core("perception.keypoints"), "from_openpose", lambda *given: asked.append(given[-1]))
    for person in (0, 2):
        PACK.nodes.portrait.keypoints_in([{"people": [{}, {}]}], 64, 64, person)
    assert asked == [None, 2]


def test_a_mask_without_the_face_is_refused_in_words_of_the_node(portrait):
    image, mask = portrait
    trunk = mask.clone()
    trunk[:, :110] = 0
    with pytest.raises(ValueError, match="the mask leaves the face out: paint the whole person white, or leave"):
        call("StereoTalkerFitPortrait", image=image, mask=trunk)


def test_one_node_takes_every_input_of_the_front_door(portrait):
    image, mask = portrait
    sound = {"waveform": torch.rand(1, 1, 1600) - 0.5, "sample_rate": 16000}
    done = call(
        "StereoTalker", image=image, audio=sound, mask=mask, yaw=0.0, orbit=False, end_yaw=0.0, seed=0, steps=1,
        size=128, background="grey", person=1, yaw_origin="body", width=136,
    )  # fmt: skip
    images, masks, *_ = done["result"]
    assert images.shape == (3, 128, 136, 3) and masks.shape == (3, 128, 136)
    assert done["ui"]["text"][0].startswith("fit quality ")
    assert 0.1 < float(masks.mean()) < 0.9


def test_cameras_of_any_shape_and_who_films_them(portrait):
    body = PACK.nodes.host.body()
    avatar = core("synthetic.people.avatar").make_avatar(body, 3)
    made = core("synthetic.people.portrait").reference_portrait(body, avatar, 3, 128)
    identity = core("synthetic.people.portrait").true_identity(body, avatar, made)
    motion = core("records").Motion(torch.zeros(2, 49, 3), torch.zeros(2, 52))
    shown = {"path": "fixed", "yaw": 0.0, "end_yaw": 0.0, "pitch": 0.0, "distance": 1.0, "framing": "auto", "size": 64}
    cameras, _ = call("StereoTalkerCameraTrajectory", identity=identity, motion=motion, **shown, height=104)["result"]
    assert cameras.size == (104, 64)
    nano = "nano (embedded)"
    with torch.inference_mode():
        model, vae = call("StereoTalkerLoadRenderer", unet_name=nano, reference_name=nano, vae_name=nano)["result"]
        scene = {"identity": identity, "motion": motion, "cameras": cameras, "background": "grey", "vae": vae}
        images, *_ = call("StereoTalkerRenderVideo", model=model, seed=0, steps=1, **scene)["result"]
        assert images.shape == (2, 104, 64, 3)
        with pytest.raises(ValueError, match="multiples of 64, got 64x104"):
            call("StereoTalkerConditioning", freeze_background=False, **scene)


def test_another_yaw_in_the_one_node_graph_only_renders(portrait, monkeypatch):
    """The person is fitted and the motion sampled once; what a fit or a motion depends on starts them again."""
    pipeline, sampling = core("pipeline"), core("motion.generation.sampling")
    counts = {"fit": 0, "motion": 0}

    def counted(name: str, function):
        def run(*given, **more):
            counts[name] += 1
            return function(*given, **more)

        return run

    monkeypatch.setattr(pipeline, "fit_portrait", counted("fit", pipeline.fit_portrait))
    monkeypatch.setattr(sampling, "sample_motion", counted("motion", sampling.sample_motion))
    monkeypatch.setattr(PACK.nodes.simple, "PERSON", PACK.nodes.simple.Last())
    monkeypatch.setattr(PACK.nodes.simple, "MOTION", PACK.nodes.simple.Last())
    image, mask = portrait
    sound = {"waveform": torch.rand(1, 1, 1600) - 0.5, "sample_rate": 16000}
    given = {"image": image, "mask": mask, "audio": sound, "yaw": 0.0, "orbit": False, "end_yaw": 0.0, "seed": 0}
    given |= {"steps": 1, "size": 128, "background": "grey"}

    def run(**changes):
        done = call("StereoTalker", **given | changes)
        return done["result"][0], done["ui"]["text"]

    first, said = run()
    assert counts == {"fit": 1, "motion": 1}
    again, repeated = run(image=image.clone(), mask=mask.clone())  # the same contents in other tensors
    assert counts == {"fit": 1, "motion": 1} and float((again - first).abs().max()) < 1e-4 and repeated == said
    turned, _ = run(yaw=40.0, background="green", size=192)
    assert counts == {"fit": 1, "motion": 1} and turned.shape[1] == 192
    run(seed=1)
    assert counts == {"fit": 1, "motion": 2}
    run(transcript="hello", seed=1)
    assert counts == {"fit": 1, "motion": 3}
    run(mask=1 - mask, transcript="hello", seed=1)
    assert counts == {"fit": 2, "motion": 3}
    run()  # the first person and motion are no longer held: only one of each
    assert counts == {"fit": 3, "motion": 4}


def test_contents_are_told_apart():
    from graph import PACK as name

    fingerprint = __import__(f"{name}.nodes.kept", fromlist=["fingerprint"]).fingerprint
    a = torch.arange(6.0)
    assert fingerprint(a, None) == fingerprint(a.clone(), None)
    different = [(a,), (a.view(2, 3),), (a.double(),), (a + 1,), (a[:3], a[3:]), ("1",), (1,), (["a", "b"],), (["ab"],)]
    different += [({"people": [1]},), ({"people": [2]},), (None,), ([a], [[]]), ([a, []],)]
    assert len({fingerprint(*parts) for parts in different}) == len(different)
