"""`train MODEL --clips`: presets, and from clips to trained files for every model, on tiny networks."""

import json
from dataclasses import replace

import pytest
import torch

from stereotalker_core import checkpoint
from stereotalker_core.audio.encoder import SpeechEncoder
from stereotalker_core.commands.forwarded import run_words
from stereotalker_core.commands.train import SCALE
from stereotalker_core.motion.networks.denoiser import MotionDenoiser
from stereotalker_core.motion.networks.prior import LanguagePrior
from stereotalker_core.training.clips.clip import clip_folder, write_clip
from stereotalker_core.training.clips.presets import Stage, adjusted, load_preset, names
from stereotalker_core.training.clips.tasks import Files, make_task
from stereotalker_core.training.distributed import Scale
from stereotalker_core.training.loop import Schedule
from stereotalker_core.video.networks.experts import MaskExperts, ViewExperts
from stereotalker_core.video.networks.image_encoder import ImageEncoder
from stereotalker_core.video.networks.mask import MaskPredictor
from stereotalker_core.video.networks.public_autoencoder import PublicAutoencoder
from stereotalker_core.video.networks.reference import ReferenceNet
from stereotalker_core.video.networks.unet import SD15, StereoTalkerUNet
from tests.motion.samples import make_reader
from tests.training.clips.conftest import avatar_root, template  # noqa: F401
from tests.training.clips.samples import make_clip, make_root
from tests.training.speech.test_audio_encoder import TINY

# the layout of public weights, a hundredth of their width
SMALL = replace(
    SD15, widths=(8, 16, 16), layers=1, heads=(2, 2, 2), attention=(True, True, False), groups=4, cross_dim=8,
    motion_heads=(2, 2, 2), guide_widths=(4, 4, 8, 8),
)  # fmt: skip


@pytest.fixture(autouse=True)
def fresh_accelerate():
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


def test_all_presets_load_and_name_every_model():
    stages = {name: load_preset(name).stages for name in names()}
    assert set(stages) == {"nano", "animate_anyone", "stereo_talker"}
    assert {s.model for s in stages["stereo_talker"]} == {"renderer", "experts", "motion", "prior", "mask"}
    assert [s.name for s in stages["animate_anyone"]] == ["image", "motion"]
    image, motion = stages["animate_anyone"]
    assert (image.schedule.steps, image.size, motion.frames, motion.stride) == (30_000, 768, 24, 4)
    assert image.schedule.rate(5) == image.schedule.rate(29_000) == 1e-5  # constant, as published


def test_stages_are_found_and_changed():
    preset = load_preset("stereo_talker")
    with pytest.raises(ValueError, match="several stages for experts.*experts view, experts mask"):
        preset.stage("experts")
    stage = adjusted(preset.stage("experts", "view"), steps=7, micro_batches=2, size=64, lr=None)
    assert (stage.schedule.steps, stage.scale.micro_batches, stage.size) == (7, 2, 64)
    assert stage.schedule.lr == preset.stage("experts", "view").schedule.lr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "sound"}, "'sound' is not one of"), ({"parts": ("eyes",)}, "'eyes' is not one of"),
        ({"parts": ()}, "which parts learn"), ({"network": "xl"}, "'nano' or 'sd15'"),
        ({"in_a_row": True}, "at least 2 frames"), ({"batch": 0}, "at least 1"),
        ({"experts": ("hair",)}, "of view, mask"),
    ],
)  # fmt: skip
def test_impossible_stages_are_refused(changes, message):
    values = {"name": "x", "model": "renderer", "schedule": Schedule(1), "parts": ("motion",)} | changes
    with pytest.raises(ValueError, match=message):
        Stage(**values)


def test_unknown_and_own_presets(tmp_path):
    with pytest.raises(ValueError, match="animate_anyone, nano, stereo_talker"):
        load_preset("other")
    own = {"name": "own", "about": "", "stages": [{"name": "a", "model": "mask", "schedule": {"steps": 3}}]}
    (tmp_path / "own.json").write_text(json.dumps(own))
    assert load_preset(tmp_path / "own.json").stage("mask").schedule.steps == 3
    own["stages"][0]["colour"] = 1
    (tmp_path / "own.json").write_text(json.dumps(own))
    with pytest.raises(ValueError, match="no setting colour"):
        load_preset(tmp_path / "own.json")


def run(model, clips, tmp_path, *options):
    words = ["--clips", str(clips), "--run", str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--device"]
    words = [*words, "cpu", "--steps", "2", "--log-every", "1", *map(str, options)]
    return run_words(SCALE, f"train {model}", words, model=model)


def test_faults_stop_before_anything_is_written(tmp_path):
    root = make_root(tmp_path / "clips")
    (clip_folder(root, "clip0") / "motion.safetensors").unlink()
    for model, *stage in (("renderer", "--stage", "image"), ("motion",)):
        with pytest.raises(ValueError, match="clip0: motion is missing"):
            run(model, root, tmp_path, *stage)
    assert not (tmp_path / "run").exists() and not (tmp_path / "out").exists()


def test_mask_predictor_from_clips(avatar_root, tmp_path):  # noqa: F811
    written = run("mask", avatar_root, tmp_path, "--size", 64, "--batch", 2, "--micro-batches", 2)
    assert isinstance(checkpoint.load(MaskPredictor, written[0]), MaskPredictor)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [1, 2] and "mask_iou" in rows[0]
    again = run("mask", avatar_root, tmp_path, "--size", 64, "--batch", 2, "--micro-batches", 2)
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 2 and again == written  # it was finished


def test_experts_of_the_shipped_denoiser_from_clips(avatar_root, tmp_path):  # noqa: F811
    written = run("experts", avatar_root, tmp_path, "--size", 64, "--batch", 1, "--frames", 2, "--rank", 2)
    assert [p.name for p in written] == ["view_experts.safetensors", "mask_experts.safetensors"]
    assert any(p.any() for p in checkpoint.load(ViewExperts, written[0]).up)


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    """The files that `convert` writes of public weights, in small."""
    folder = tmp_path_factory.mktemp("public")
    torch.manual_seed(0)
    vae = PublicAutoencoder(PublicAutoencoder.Config(widths=(4, 4, 4, 4), layers=1, groups=2))
    clip = ImageEncoder(ImageEncoder.Config(8, 1, 2, 8, 8, 16, 8))
    unet, reference = StereoTalkerUNet(SMALL), ReferenceNet(SMALL.reference())
    for name, model in {"unet": unet, "reference": reference, "vae": vae, "clip": clip}.items():
        checkpoint.save(model, folder / f"{name}.safetensors")
    return folder


def test_upcycling_public_weights_from_clips(avatar_root, public, tmp_path):  # noqa: F811
    files = ("--base", public, "--vae", public / "vae.safetensors", "--image-encoder", public / "clip.safetensors")
    options = ("--preset", "stereo_talker", "--stage", "upcycle", "--size", 64, "--batch", 1, "--rank", 2)
    small = ("--precision", "no", "--micro-batches", 2, "--warmup", 1, "--lr", "1e-2", "--ema", 0)
    written = {p.name for p in run("experts", avatar_root, tmp_path, *files, *options, *small)}
    assert written == {
        "lora.safetensors", "unet.safetensors", "reference.safetensors", "view_experts.safetensors",
        "mask_experts.safetensors",
    }  # fmt: skip
    before = checkpoint.load(StereoTalkerUNet, public / "unet.safetensors").state_dict()
    after = checkpoint.load(StereoTalkerUNet, tmp_path / "out" / "unet.safetensors").state_dict()
    changed = {k.split(".")[0] for k in before if not torch.equal(before[k], after[k])}
    assert changed == {"pose"}  # the base stays, in the file too
    adapters, meta = checkpoint.load_tensors(tmp_path / "out" / "lora.safetensors")
    assert any("lora_B" in k and v.any() for k, v in adapters.items()) and json.loads(meta["config"])["rank"] == 2


def test_stages_of_public_weights_need_their_files(public, tmp_path):
    stage = load_preset("stereo_talker").stage("renderer", "image")
    for files, message in (
        (Files(), "give the folder with --base"), (Files(fresh=True), "not trained from scratch"),
        (Files(base=public), "give the file with --vae"),
        (Files(base=public, vae=public / "vae.safetensors"), "--image-encoder"),
        (Files(base=checkpoint.NANO), "predicts residual"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            make_task(stage, tmp_path, files)


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """Clips with sound, words and motion but no picture, a tiny encoder and a tiny prior that reads."""
    root = tmp_path_factory.mktemp("talk")
    for i in range(2):
        write_clip(make_clip(f"talk{i}", 60, i, frames=None, regions=None, cameras=None, keypoints=None), root)
    torch.manual_seed(0)
    checkpoint.save(SpeechEncoder(TINY), root / "encoder.safetensors")
    checkpoint.save(make_reader(), root / "prior.safetensors")
    return root


@pytest.mark.parametrize(("model", "kind"), [("motion", MotionDenoiser), ("prior", LanguagePrior)])
def test_stage_1_from_clips(talk, tmp_path, model, kind):
    files = ("--encoder", talk / "encoder.safetensors", "--prior", talk / "prior.safetensors")
    written = run(model, talk, tmp_path, *files, "--batch", 2)
    assert isinstance(checkpoint.load(kind, written[0]), kind)


def test_parts_of_experts_that_stay(public):
    stage = load_preset("stereo_talker").stage("experts", "mask")
    from stereotalker_core.training.clips.tasks import open_experts

    unet = checkpoint.load(StereoTalkerUNet, public / "unet.safetensors")
    assert [type(m) for m in open_experts(stage, unet, Files())[0]] == [MaskExperts]
    checkpoint.save(ViewExperts.for_unet(unet, 2), public / "view_experts.safetensors")
    modules, fixed = open_experts(stage, unet, Files(experts=public))
    assert [type(m) for m in modules] == [ViewExperts, MaskExperts] and fixed == ["experts.0."]
    assert stage.scale == Scale(8, "bf16", recompute=True, prefetch=2)
