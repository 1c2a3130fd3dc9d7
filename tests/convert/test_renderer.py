"""Public renderer weights: the real key lists at full size, other layouts of the same weights, refusals."""

import collections

import pytest
import torch
from safetensors.torch import save_file

from stereotalker_core.convert.assemble import load_model, save_model, sinusoids
from stereotalker_core.convert.renderer import NO_MOTION, NO_POSE, load_animate_anyone, load_denoiser, load_reference
from stereotalker_core.video.networks.reference import ReferenceNet
from stereotalker_core.video.networks.unet import SD15, ClipGroupNorm, StereoTalkerUNet
from tests.convert.public_files import key_lists, small, sparse_file

SET = ("denoising_unet", "reference_unet", "pose_guider", "motion_module")


def clean(report):
    return not (report.missing or report.unexpected or report.wrong)


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    for i, name in enumerate(SET):
        torch.save(small(name, i), folder / f"{name}.pth")
    return folder


def test_full_size_animate_anyone_set_loads_completely(tmp_path):
    for name in SET:
        sparse_file(tmp_path / f"{name}.safetensors", key_lists()[name])
    unet, reference, reports = load_animate_anyone(tmp_path)
    assert unet.config == SD15 and all(clean(r) and not r.new and not r.ignored for r in reports)
    count = sum(p.numel() for p in unet.parameters())
    assert reports[0].loaded == 686 + 21 * 27 + 16 and 1.31e9 < count < 1.33e9  # both attentions share positions
    assert reports[1].loaded == 682 and {p.dtype for p in unet.parameters()} == {torch.float16}
    assert not any(p.is_meta for m in (unet, reference) for p in [*m.parameters(), *m.buffers()])
    layer = next(m for n, m in reference.unet.named_modules() if n.endswith("attn1"))
    assert layer.heads == 8


@pytest.mark.parametrize(
    ("file", "mid", "positions", "clip_norm"),
    [("mm_v1", False, 24, True), ("mm_v2", True, 32, False), ("mm_v3", False, 32, False)],
)
def test_full_size_sd15_checkpoint_with_animatediff(tmp_path, file, mid, positions, clip_norm):
    checkpoint = sparse_file(tmp_path / "sd15.safetensors", key_lists()["sd15"])
    motion = sparse_file(tmp_path / f"{file}.safetensors", key_lists()[file])
    model, report = load_denoiser(checkpoint, motion, prediction="epsilon")
    assert clean(report) and set(report.new) == {NO_POSE}
    assert sum(map(len, report.ignored.values())) == 248 + 197 + 12 + 2
    c = model.config
    assert (c.motion_mid, c.motion_length, c.clip_norm) == (mid, positions, clip_norm)
    assert any(isinstance(m, ClipGroupNorm) for m in model.modules()) == clip_norm
    assert model.pose.conv_out.weight.abs().sum() == 0 and model.pose.conv_in.weight.abs().sum() > 0


def test_full_size_reference_from_an_sd15_checkpoint(tmp_path):
    _, report = load_reference(sparse_file(tmp_path / "sd15.safetensors", key_lists()["sd15"]))
    assert clean(report) and report.loaded == 682
    assert sum(len(v) for k, v in report.ignored.items() if "head" in k) == 4


def test_layouts_of_the_same_weights_agree(tmp_path, small_set):
    """Single file, pickled single file, diffusers folder (sharded or not), and the .pth: the same tensors."""
    plain = small("denoising_unet", 0)
    expected = load_denoiser(small_set / "denoising_unet.pth")[0].state_dict()
    ldm = to_single_file(plain)
    save_file(ldm, tmp_path / "sd.safetensors")
    torch.save({"state_dict": ldm, "global_step": 7}, tmp_path / "sd.ckpt")
    (tmp_path / "folder" / "unet").mkdir(parents=True)
    save_file(plain, tmp_path / "folder" / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    for path in ("sd.safetensors", "sd.ckpt", "folder", "folder/unet"):
        model, report = load_denoiser(tmp_path / path)
        assert clean(report) and set(report.new) == {NO_MOTION, NO_POSE}, path
        state = model.state_dict()
        assert all(torch.equal(state[k], v) for k, v in expected.items() if "pose" not in k and "motion" not in k), path


def to_single_file(plain):
    """diffusers' names -> the original ones, written from the original code's module order."""
    names = {
        "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
    }  # fmt: skip
    fixed = {
        "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
        "mid_block.attentions.0": "middle_block.1",
    }  # fmt: skip
    out = collections.OrderedDict()
    for key, value in plain.items():
        p = key.split(".")
        head = next((old for new, old in fixed.items() if key.startswith(new + ".")), None)
        if head:
            new = next(n for n in fixed if key.startswith(n + "."))
            name = head + key[len(new) :]
        elif p[0] == "mid_block":
            name = f"middle_block.{2 * int(p[2])}.{names[p[3]]}.{p[4]}"
        else:
            down, level, i = p[0] == "down_blocks", int(p[1]), int(p[3])
            index = 3 * level + i + 1 if down else 3 * level + i
            stem = f"input_blocks.{index}" if down else f"output_blocks.{index}"
            if p[2] == "resnets":
                name = f"{stem}.0.{names[p[4]]}.{p[5]}"
            elif p[2] == "attentions":
                name = f"{stem}.1.{'.'.join(p[4:])}"
            elif p[2] == "downsamplers":
                name = f"input_blocks.{3 * level + 3}.0.op.{p[5]}"
            else:
                name = f"output_blocks.{3 * level + 2}.{1 if level == 0 else 2}.conv.{p[5]}"
        out["model.diffusion_model." + name] = value
    return out


def test_the_key_list_of_the_single_file_is_the_same_mapping():
    shapes = {k: torch.empty(s, device="meta") for k, s in key_lists()["denoising_unet"].items()}
    ours = {k: v.shape for k, v in to_single_file(shapes).items()}
    public = {k: torch.Size(s) for k, s in key_lists()["sd15"].items() if k.startswith("model.diffusion_model.")}
    assert ours == public


def test_round_trip_is_bitwise(tmp_path, small_set):
    unet, reference, _ = load_animate_anyone(small_set, dtype=torch.float16)
    for model, cls in ((unet, StereoTalkerUNet), (reference, ReferenceNet)):
        save_model(model, tmp_path / "model.safetensors", command="test")
        again = load_model(cls, tmp_path / "model.safetensors")
        assert again.config == model.config
        before, after = model.state_dict(), again.state_dict()
        assert list(before) == list(after) and all(torch.equal(before[k], after[k]) for k in before)
        assert {p.dtype for p in again.parameters()} == {torch.float16}
    assert load_reference(tmp_path / "model.safetensors")[1].loaded == 682
    with pytest.raises(ValueError, match="ReferenceNet"):
        load_model(StereoTalkerUNet, tmp_path / "model.safetensors")


def test_new_parts_do_nothing_and_positions_are_the_public_ones(small_set):
    model, report = load_denoiser(small_set / "denoising_unet.pth")
    assert report.loaded == 686 and not any(p.is_meta for p in [*model.parameters(), *model.buffers()])
    motion = model.unet.down_blocks[0].motion_modules[0]
    assert not motion.proj_out.weight.any() and motion.proj_in.weight.any()
    assert torch.equal(motion.transformer_blocks[0].pos_embed.pe, sinusoids(32, 32))
    assert (sinusoids(32, 32) - small("motion_module")[
        "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.pos_encoder.pe"
    ]).abs().max() < 1e-5  # fmt: skip


def test_wrong_files_are_refused_by_name(tmp_path, small_set):
    plain, pose = small("denoising_unet"), small("pose_guider")
    cases = {
        "inpainting": (plain | {"conv_in.weight": torch.zeros(32, 9, 3, 3)}, "conv_out.weight is"),
        "lacking": ({k: v for k, v in plain.items() if "mid_block.resnets.0.conv1" not in k}, "2 missing: unet.mid"),
        "extra": (plain | {"lora_up.weight": torch.zeros(1)}, "1 unexpected: unet.lora_up.weight"),
        "linear": ({k: v.flatten(1) if "proj_in.weight" in k else v for k, v in plain.items()}, "proj_in.weight is"),
        "pose": (pose, "no Stable Diffusion U-Net: it lacks conv_in.weight|lacks down_blocks"),
    }
    for name, (state, words) in cases.items():
        torch.save(state, tmp_path / f"{name}.pth")
        with pytest.raises(ValueError, match=words):
            load_denoiser(tmp_path / f"{name}.pth")
    with pytest.raises(ValueError, match="no motion modules"):
        load_denoiser(small_set / "denoising_unet.pth", small_set / "pose_guider.pth")
    with pytest.raises(ValueError, match="unexpected: pose.down_blocks"):
        load_denoiser(small_set / "denoising_unet.pth", pose=small_set / "motion_module.pth")
    with pytest.raises(FileNotFoundError, match="no denoising_unet.pth"):
        load_animate_anyone(tmp_path)
