"""Every node that no example graph runs, and what nodes promise: files round-trip, wrong sockets are refused."""

import json
import math
from pathlib import Path

import pytest
import torch
from graph import STOCK, load_pack

PACK = load_pack()
CLASSES = {**STOCK, **PACK.NODE_CLASS_MAPPINGS}
NANO = "nano (embedded)"
FRAMES, SIZE = 20, 64  # two windows of the renderer


def call(kind: str, **inputs):
    """Run one node -> its outputs."""
    node = CLASSES[kind]()
    result = getattr(node, CLASSES[kind].FUNCTION)(**inputs)
    return result["result"] if isinstance(result, dict) else result


def core(name: str):
    from importlib import import_module

    return import_module(f"{PACK.__name__}.stereotalker_core.{name}")


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """Files go into a folder of the test; networks need no gradients."""
    monkeypatch.chdir(tmp_path)
    with torch.inference_mode():
        yield


def wave(seed: int, frames: int = FRAMES):
    """A smooth random motion."""
    rng = torch.Generator().manual_seed(seed)
    rotations = torch.randn(frames, 49, 3, generator=rng).cumsum(0) * 0.01
    return core("records").Motion(rotations, torch.rand(frames, 52, generator=rng) * 0.3)


@pytest.fixture(scope="module")
def identity():
    body = PACK.nodes.host.body()
    avatar = core("synthetic.people.avatar").make_avatar(body, 5)
    portrait = core("synthetic.people.portrait").reference_portrait(body, avatar, 5, 128)
    return core("synthetic.people.portrait").true_identity(body, avatar, portrait)


@pytest.fixture(scope="module")
def renderer():
    """(MODEL with both experts, VAE, mask predictor)."""
    model, vae = call("StereoTalkerLoadRenderer", unet_name=NANO, reference_name=NANO, vae_name=NANO)
    for kind in ("View", "Mask"):
        (model,) = call(f"StereoTalkerLoad{kind}MoE", model=model, experts_name=NANO, strength=1.0)
    return model, vae, call("StereoTalkerLoadMaskPredictor", model_name=NANO)[0]


def camera(identity, motion, **changes):
    settings = {
        "path": "orbit", "yaw": -30.0, "end_yaw": 30.0, "pitch": 0.0, "distance": 1.0, "framing": "auto", "size": SIZE
    }  # fmt: skip
    return call("StereoTalkerCameraTrajectory", identity=identity, motion=motion, **(settings | changes))[0]


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return -10 * math.log10(float((a - b).square().mean()) + 1e-12)


def test_edit_leaves_a_motion_alone_by_default_and_can_hold_parts_still():
    motion = wave(0)
    plain = {"start": 0.0, "end": 0.0, "speed": 1.0, "smoothing": 0.0, "mirror": False}
    ones = {f"{part}_strength": 1.0 for part in ("body", "head", "hands", "face")}
    same, frames = call("StereoTalkerEditMotion", motion=motion, **plain, **ones)
    assert frames == FRAMES and torch.equal(same.rotations, motion.rotations)
    still, _ = call("StereoTalkerEditMotion", motion=motion, **plain, **(ones | {"hands_strength": 0.0}))
    hands = list(core("motion.edit").PARTS["hands"])
    head = list(core("motion.edit").PARTS["head"])
    assert float(still.rotations[:, hands].diff(dim=0).abs().max()) < 1e-6
    assert torch.equal(still.rotations[:, head], motion.rotations[:, head])
    cut, frames = call("StereoTalkerEditMotion", motion=motion, **(plain | {"start": 0.2, "speed": 0.5}), **ones)
    assert frames == len(cut) == 2 * (FRAMES - 5)


def test_blend_takes_one_part_and_matches_lengths():
    a, b = wave(0), wave(1, FRAMES - 5)
    face, frames = call(
        "StereoTalkerBlendMotion", motion_a=a, motion_b=b, weight=1.0, part="face", lengths="cut to the shorter"
    )
    assert frames == len(b) and torch.allclose(face.expression, b.expression, atol=1e-6)
    assert torch.equal(face.rotations, a.rotations[: len(b)])
    hands, frames = call(
        "StereoTalkerBlendMotion", motion_a=a, motion_b=b, weight=0.5, part="hands", lengths="stretch b to a"
    )
    joints = list(core("motion.edit").PARTS["hands"])
    others = [j for j in range(49) if j not in joints]
    assert frames == FRAMES and torch.equal(hands.rotations[:, others], a.rotations[:, others])
    assert not torch.allclose(hands.rotations[:, joints], a.rotations[:, joints])


def test_a_person_is_baked_by_a_trained_file_and_given_back(identity):
    networks = core("video.networks.bake_network")
    torch.manual_seed(0)
    network = networks.BakeNetwork(networks.BakeConfig(widths=(8, 16, 16), rank=2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    Path("models/stereotalker").mkdir(parents=True)
    core("checkpoint").save(network, "models/stereotalker/mine.safetensors")
    names = CLASSES["StereoTalkerLoadBakeModel"].INPUT_TYPES()["required"]["model_name"][0]
    assert names == [NANO, "mine.safetensors"]
    (model,) = call("StereoTalkerLoadBakeModel", model_name=names[1])
    settings = {"identity": identity, "seed": 1, "steps": 1, "size": 64}
    baked, images, strip = call("StereoTalkerBakeAvatar", **settings, strength=1.0, bake_model=model)
    assert images.shape == (8, 64, 64, 3) and strip.shape == (1, 64, 512, 3)
    seen = (identity.visibility > 0.99).expand(3, -1, -1)
    assert torch.equal(baked.atlas[seen], identity.atlas[seen]) and not torch.equal(baked.atlas, identity.atlas)
    _, path = call("StereoTalkerSaveIdentity", identity=baked, filename_prefix="stereotalker/baked")
    loaded = core("records").Identity.load(path)
    assert loaded.baked == 1 and torch.equal(loaded.atlas, baked.atlas)
    back, fill, _ = call("StereoTalkerBakeAvatar", **(settings | {"identity": loaded}), strength=0.0)
    assert torch.equal(back.atlas, identity.atlas) and not torch.equal(fill, images)
    own, _, _ = call("StereoTalkerBakeAvatar", **settings, strength=1.0)  # the embedded network
    assert torch.equal(own.atlas[seen], identity.atlas[seen]) and not torch.equal(own.atlas, baked.atlas)


def test_concat_cross_fades():
    joined, frames = call("StereoTalkerConcatMotion", motion_a=wave(0), motion_b=wave(1), overlap=5)
    assert frames == len(joined) == 2 * FRAMES - 5


def test_motion_files_round_trip_and_are_numbered():
    motion = wave(3)
    for number in (1, 2):
        _, path = call("StereoTalkerSaveMotion", motion=motion, filename_prefix="stereotalker/my motion")
        assert path.endswith(f"my motion_{number:05}_.safetensors")
    (npz,) = call("StereoTalkerExportMotion", motion=motion, format="npz (exact)", filename_prefix="stereotalker/m")
    files = PACK.nodes.host.file_choices((".safetensors", ".npz"))
    assert files == [
        "stereotalker/m_00001_.npz [output]",
        *(f"stereotalker/my motion_0000{n}_.safetensors [output]" for n in (1, 2)),
    ]
    for name in files:
        assert CLASSES["StereoTalkerLoadMotion"].VALIDATE_INPUTS(name) is True
        loaded, frames = call("StereoTalkerLoadMotion", motion_file=name)
        assert frames == FRAMES and torch.equal(loaded.rotations, motion.rotations)
        assert CLASSES["StereoTalkerLoadMotion"].IS_CHANGED(name) > 0
    assert npz.endswith(".npz")


@pytest.mark.parametrize("name", ["../secret.safetensors", "absent.npz", "../../x [output]"])
def test_files_outside_of_their_folder_are_refused(name):
    assert isinstance(CLASSES["StereoTalkerLoadMotion"].VALIDATE_INPUTS(name), str)
    with pytest.raises(ValueError, match="folder"):
        PACK.nodes.host.resolve_file(name)


@pytest.mark.parametrize("prefix", ["../escape", "/absolute/path", "", "folder/.."])
def test_prefixes_that_leave_the_output_folder_are_refused(prefix):
    with pytest.raises(ValueError, match="filename_prefix"):
        PACK.nodes.host.save_path(prefix, ".mp4")


def test_exports(identity):
    motion = wave(4)
    (bvh,) = call("StereoTalkerExportMotion", motion=motion, format="BVH", filename_prefix="a/b", identity=identity)
    text = Path(bvh).read_text(encoding="utf-8")
    assert text.startswith("HIERARCHY") and f"Frames: {FRAMES}" in text
    (table,) = call("StereoTalkerExportMotion", motion=motion, format="Live Link Face CSV", filename_prefix="a/b")
    assert len(Path(table).read_text(encoding="utf-8").splitlines()) == FRAMES + 1
    with pytest.raises(ValueError, match="cameras"):
        call("StereoTalkerExportMotion", motion=motion, format="OpenPose JSON", filename_prefix="a/b")
    (points,) = call(
        "StereoTalkerExportMotion", motion=motion, format="OpenPose JSON", filename_prefix="a/b",
        identity=identity, cameras=camera(identity, motion),
    )  # fmt: skip
    assert len(json.loads(Path(points).read_text(encoding="utf-8"))) == FRAMES


def test_preview_turns_around_the_body():
    images, strip, fps = call("StereoTalkerPreviewMotion", motion=wave(5, 7), view="turntable", yaw=0.0, size=SIZE)
    assert images.shape == (7, SIZE, SIZE, 3) and strip.shape == (1, SIZE, 6 * SIZE, 3) and fps == 25.0
    assert float((images[0] - images[-1]).abs().mean()) > 0.01


def test_identity_files_and_turntable(identity):
    _, path = call("StereoTalkerSaveIdentity", identity=identity, filename_prefix="stereotalker/person")
    (name,) = PACK.nodes.host.file_choices((".safetensors",))
    again, portrait, mask = call("StereoTalkerLoadIdentity", identity_file=name)
    assert (
        torch.equal(again.atlas, identity.atlas) and portrait.shape == (1, 128, 128, 3) and mask.shape == (1, 128, 128)
    )
    turn = {"views": 3, "first_yaw": -60.0, "last_yaw": 60.0, "pitch": 0.0, "size": SIZE}
    images, strip = call("StereoTalkerTurntable", identity=again, **turn)
    assert images.shape == (3, SIZE, SIZE, 3) and strip.shape == (1, SIZE, 3 * SIZE, 3)
    posed, _ = call("StereoTalkerTurntable", identity=again, **turn, motion=wave(0), frame=999)
    assert float((posed - images).abs().mean()) > 1e-3
    assert path.endswith(".safetensors")


def test_an_avatar_is_written_for_preview_3d(identity):
    node = CLASSES["StereoTalkerSaveAvatar"]()
    done = node.save(identity, "3d/Somebody", wave(1, 4))
    model_file, filename = done["result"]
    assert model_file == "3d/Somebody_00001_.glb" and Path(filename) == Path("output").resolve() / model_file
    assert done["ui"]["3d"] == [{"filename": "Somebody_00001_.glb", "subfolder": "3d", "type": "output"}]
    raw = Path(filename).read_bytes()
    document = json.loads(raw[20 : 20 + int.from_bytes(raw[12:16], "little")])
    assert document["accessors"][document["animations"][0]["samplers"][0]["input"]]["count"] == 4
    assert "Synthetic media" in document["asset"]["extras"]["notice"]


def test_cameras_by_keyframes_and_by_a_core_camera(identity):
    motion = wave(6)
    moving = camera(identity, motion, path="keyframes", keyframes="0%: -40, 100%: 20 5 1.2")
    assert float(moving.yaw[0]) == pytest.approx(-40) and float(moving.yaw[-1]) == pytest.approx(20)
    info = {"position": {"x": 1.0, "y": 0.0, "z": 1.0}, "target": {"x": 0.0, "y": 0.0, "z": 0.0}}
    assert camera(identity, motion, path="fixed", camera_info=info).yaw.tolist() == pytest.approx([-45.0] * FRAMES)
    from_there = camera(identity, motion, end_yaw=30.0, camera_info=info | {"zoom": 2.0})
    assert (float(from_there.yaw[0]), float(from_there.yaw[-1])) == pytest.approx((-45, 30), abs=1e-4)
    plain = camera(identity, motion)
    assert float(from_there.intrinsics[0, 0]) == pytest.approx(2 * float(plain.intrinsics[0, 0]))
    other = info | {"position": {"x": -1.0, "y": 0.0, "z": 1.0}}
    assert camera(identity, motion, camera_info=[info, other]).yaw.tolist() == pytest.approx(
        torch.linspace(-45, 45, FRAMES).tolist(), abs=1e-3
    )


def test_the_cameras_of_the_3d_nodes_come_back_as_they_went(identity):
    motion = wave(6)
    path = {"path": "orbit", "yaw": -30.0, "end_yaw": 30.0, "pitch": 5.0, "distance": 1.2, "framing": "auto"}
    node = {"identity": identity, "motion": motion, "size": SIZE, **path}
    cameras, given = call("StereoTalkerCameraTrajectory", **node)
    assert len(given) == FRAMES and given[0]["position"]["x"] > 0 > given[-1]["position"]["x"]  # left side first
    again, _ = call("StereoTalkerCameraTrajectory", **node, camera_info=given, camera_use="place in metres")
    torch.testing.assert_close(again.world_to_camera, cameras.world_to_camera, atol=1e-4, rtol=0)
    _, still = call("StereoTalkerCameraTrajectory", **node | {"path": "fixed"})
    assert isinstance(still, dict) and still["cameraType"] == "perspective"
    with pytest.raises(ValueError, match="stands inside"):
        behind = still | {"position": {"x": 0, "y": 0.4, "z": -9}}
        camera(identity, motion, camera_info=behind, camera_use="place in metres")


def test_a_keyframed_camera_needs_keyframes(identity):
    motion = wave(6)
    with pytest.raises(ValueError, match="keyframe"):
        camera(identity, motion, path="keyframes")


def conditioned(identity, motion, cameras, renderer, **changes):
    settings = {"background": "portrait", "freeze_background": False} | changes
    return call(
        "StereoTalkerConditioning", vae=renderer[1], identity=identity, motion=motion, cameras=cameras,
        mask_predictor=renderer[2], **settings,
    )  # fmt: skip


def sampled(model, told, steps: int = 2, seed: int = 3, cfg: float = 1.0, denoise: float = 1.0):
    positive, negative, latent, vae, _, _ = told
    (latents,) = call(
        "KSampler", model=model, seed=seed, steps=steps, cfg=cfg, sampler_name="euler", scheduler="simple",
        positive=positive, negative=negative, latent_image=latent, denoise=denoise,
    )  # fmt: skip
    return call("VAEDecode", samples=latents, vae=vae)[0]


def test_ksampler_and_render_video_agree(identity, renderer):
    motion = wave(7)
    cameras = camera(identity, motion)
    told = conditioned(identity, motion, cameras, renderer)
    rendered = {"seed": 3, "steps": 2, "background": "portrait", "mask_predictor": renderer[2], "mode": "diffusion"}
    direct, mask, fps, _ = call(
        "StereoTalkerRenderVideo", model=renderer[0], vae=renderer[1], identity=identity, motion=motion,
        cameras=cameras, **rendered,
    )  # fmt: skip
    frames = sampled(renderer[0], told)
    assert psnr(frames, direct) >= 40 and told[5] == fps
    assert float((told[4] - mask).abs().max()) < 2e-2  # the video's mask is steadied over time
    assert psnr(sampled(renderer[0], told, seed=4), direct) < psnr(frames, direct)
    assert bool(torch.isfinite(sampled(renderer[0], told, cfg=2.0)).all())
    frozen = conditioned(identity, motion, cameras, renderer, freeze_background=True)
    assert frozen[2]["noise_mask"].shape == (FRAMES, SIZE, SIZE)
    assert psnr(sampled(renderer[0], frozen), direct) > 25
    with pytest.raises(ValueError, match="15 latents for a clip of 20"):
        told[3].decode(told[2]["samples"][:15])


def test_experts_at_strength_zero_are_the_base_model(identity, renderer):
    motion = wave(8, 4)
    told = conditioned(identity, motion, camera(identity, motion), renderer)
    base, _ = call("StereoTalkerLoadRenderer", unet_name=NANO, reference_name=NANO, vae_name=NANO)
    plain = sampled(base, told, 1)
    for kind in ("View", "Mask"):
        (off,) = call(f"StereoTalkerLoad{kind}MoE", model=base, experts_name=NANO, strength=0.0)
        (full,) = call(f"StereoTalkerLoad{kind}MoE", model=base, experts_name=NANO, strength=2.0)
        assert torch.equal(sampled(off, told, 1), plain)
        assert not torch.equal(sampled(full, told, 1), plain)
    assert torch.equal(sampled(base, told, 1), plain), "patching a clone changed the base model"


def test_models_of_other_packs_are_refused(identity, renderer):
    motion = wave(0, 3)
    sockets = {"identity": identity, "motion": motion, "cameras": camera(identity, motion), "background": "grey"}
    with pytest.raises(ValueError, match="MODEL of Load Renderer"):
        call("StereoTalkerRenderVideo", model=object(), vae=renderer[1], seed=0, steps=1, **sockets)
    with pytest.raises(ValueError, match="VAE of Load Renderer"):
        call("StereoTalkerRenderVideo", model=renderer[0], vae=object(), seed=0, steps=1, **sockets)
    with pytest.raises(ValueError, match="MODEL of Load Renderer"):
        call("StereoTalkerLoadViewMoE", model=object(), experts_name=NANO, strength=1.0)
    with pytest.raises(ValueError, match="Stereo-Talker Conditioning"):
        renderer[0].model(torch.zeros(1, 8, 8, 8), torch.tensor([1000.0]))


def test_vae_encodes_and_decodes_pictures(identity, renderer):
    image = PACK.nodes.host.image_out([identity.portrait[None]])
    latents = renderer[1].encode(image)
    assert latents.shape == (1, 8, 16, 16)
    assert psnr(renderer[1].decode(latents), image) > 15
    with pytest.raises(ValueError, match="lacks the guides.*`vae` output of Stereo-Talker Conditioning"):
        call("VAEDecode", samples={"samples": latents.expand(3, -1, -1, -1)}, vae=renderer[1])


def test_the_nodes_refuse_batches(identity):
    image = PACK.nodes.host.image_out([identity.portrait[None]]).expand(2, -1, -1, -1)
    with pytest.raises(ValueError, match="2 pictures came in one batch"):
        call("StereoTalkerFitPortrait", image=image)
    sound = {"waveform": torch.rand(2, 1, 16000), "sample_rate": 16000}
    simple = {"yaw": 0.0, "orbit": False, "end_yaw": 0.0, "seed": 0, "steps": 1, "size": 128, "background": "grey"}
    with pytest.raises(ValueError, match="2 recordings came in one batch"):
        call("StereoTalker", image=image[:1], audio=sound, **simple)
    with pytest.raises(ValueError, match="2 pictures came in one batch"):
        call("StereoTalker", image=image, audio={**sound, "waveform": sound["waveform"][:1]}, **simple)


def test_numbers_that_are_none_are_an_error():
    with pytest.raises(ValueError, match="no numbers"):
        PACK.nodes.host.check_finite(torch.tensor([1.0, float("nan")]), "the renderer")


def test_label_and_metadata():
    images = torch.full((2, 64, 96, 3), 0.5)
    stamped = {"workflow": {}}
    (out,) = call(
        "StereoTalkerLabel", images=images, text="Synthetic media", position="top right", opacity=1.0,
        extra_pnginfo=stamped,
    )  # fmt: skip
    assert out.shape == images.shape and float(out[:, :6, 60:].max()) > 0.6, "no letters"
    assert torch.equal(out[:, 32:], images[:, 32:])
    assert stamped["synthetic_media"]["digital_source_type"] == "trainedAlgorithmicMedia"
