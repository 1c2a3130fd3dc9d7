"""Public autoencoders and image encoders: full-size key lists, equality with the stock classes, tiles, refusals."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from stereotalker_core.convert.assemble import load_model, save_model
from stereotalker_core.convert.encoders import load_autoencoder, load_image_encoder
from stereotalker_core.video.networks.image_encoder import ImageEncoder, no_image
from stereotalker_core.video.networks.public_autoencoder import PublicAutoencoder, decode_tiled
from tests.convert.public_files import key_lists, sparse_file


def clean(report):
    return not (report.missing or report.unexpected or report.wrong or report.new)


@pytest.mark.parametrize("name", ["vae_ldm", "vae_diffusers", "sd15", "taesd_diffusers"])
def test_full_size_autoencoders_load_completely(tmp_path, name):
    model, report = load_autoencoder(sparse_file(tmp_path / f"{name}.safetensors", key_lists()[name]))
    assert clean(report) and report.loaded == (134 if "taesd" in name else 248)
    assert model.config.kind == ("tiny" if "taesd" in name else "kl")


def test_full_size_original_taesd_and_clip(tmp_path):
    for part in ("encoder", "decoder"):
        sparse_file(tmp_path / f"taesd_{part}.safetensors", key_lists()[f"taesd_{part}"])
    model, report = load_autoencoder(tmp_path / "taesd_decoder.safetensors")
    assert clean(report) and report.loaded == 134
    (tmp_path / "taesd_encoder.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="taesd_encoder"):
        load_autoencoder(tmp_path / "taesd_decoder.safetensors")
    old = key_lists()["clip_vision"] | {"vision_model.embeddings.position_ids": (1, 257)}
    encoder, report = load_image_encoder(sparse_file(tmp_path / "clip.safetensors", old))
    assert clean(report) and report.loaded == 392 and encoder.config == ImageEncoder.Config()
    assert encoder.model.vision_model.embeddings.position_ids.tolist() == [list(range(257))]


@pytest.fixture(scope="module")
def stock_vae():
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(32, 64, 128, 128), layers_per_block=2, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    ).eval()  # fmt: skip


def to_original(state):
    """diffusers' autoencoder keys -> the original ones (written from the original code)."""
    out = {}
    for key, value in state.items():
        key = key.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
        key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        for i in range(4):
            key = key.replace(f"encoder.down_blocks.{i}.resnets", f"encoder.down.{i}.block")
            key = key.replace(f"encoder.down_blocks.{i}.downsamplers.0", f"encoder.down.{i}.downsample")
            key = key.replace(f"decoder.up_blocks.{i}.resnets", f"decoder.up.{3 - i}.block")
            key = key.replace(f"decoder.up_blocks.{i}.upsamplers.0", f"decoder.up.{3 - i}.upsample")
        if "mid_block.attentions.0" in key:
            key = key.replace("mid_block.attentions.0", "mid.attn_1").replace("to_out.0", "proj_out")
            key = key.replace("group_norm", "norm")
            for letter in "qkv":
                key = key.replace(f"to_{letter}", letter)
            value = value[..., None, None] if key.endswith("weight") and "norm" not in key else value
        out[key] = value
    return out


@torch.no_grad()
def test_original_and_diffusers_autoencoders_equal_the_stock_class(tmp_path, stock_vae):
    image, z = torch.rand(1, 3, 32, 32) * 2 - 1, torch.randn(1, 4, 4, 4)
    original = to_original(stock_vae.state_dict())
    assert set(original) == set(key_lists()["vae_ldm"])
    save_file(original, tmp_path / "vae.safetensors")
    torch.save({"state_dict": original | {"loss.logvar": torch.zeros(())}}, tmp_path / "vae.ckpt")
    stock_vae.save_pretrained(tmp_path / "sd" / "vae")
    for path in ("vae.safetensors", "vae.ckpt", "sd", "sd/vae"):
        model, report = load_autoencoder(tmp_path / path)
        assert clean(report)
        torch.testing.assert_close(model.encode(image), stock_vae.encode(image).latent_dist.mean * 0.18215)
        torch.testing.assert_close(model.decode(z), stock_vae.decode(z / 0.18215).sample)
    save_model(model, tmp_path / "ours.safetensors")
    again = load_model(PublicAutoencoder, tmp_path / "ours.safetensors")
    assert torch.equal(again.decode(z), model.decode(z)) and load_autoencoder(tmp_path / "ours.safetensors")[1].loaded
    with pytest.raises(ValueError, match="divisible by 8"):
        model.encode(torch.zeros(1, 3, 30, 32))


def plain_taesd(state, x, decoder):
    """TAESD as its authors' Sequential numbers it: kind of layer by what the keys hold."""
    if decoder:
        x = torch.tanh(x / 3) * 3
    last = max(int(key.split(".")[0]) for key in state)
    for i in range(last + 1):
        weight = state.get(f"{i}.weight")
        if weight is not None:
            narrowing = not decoder and f"{i}.bias" not in state
            x = F.conv2d(x, weight, state.get(f"{i}.bias"), 2 if narrowing else 1, 1)
        elif f"{i}.conv.0.weight" in state:
            h = x
            for j in (0, 2, 4):
                h = F.conv2d(
                    h if j == 0 else F.relu(h), state[f"{i}.conv.{j}.weight"], state[f"{i}.conv.{j}.bias"], 1, 1
                )
            x = F.relu(h + x)
        elif decoder and i == 2:
            x = F.relu(x)
        elif decoder and i > 2:
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return x


@torch.no_grad()
def test_original_taesd_equals_its_plain_description(tmp_path):
    generator = torch.Generator().manual_seed(0)
    states = {}
    for part in ("encoder", "decoder"):
        shapes = key_lists()[f"taesd_{part}"]
        states[part] = {k: torch.randn(s, generator=generator) * (0.5 / 9 / s[1] ** 0.5 if len(s) > 1 else 0.1)
                        for k, s in shapes.items()}  # fmt: skip
        torch.save(states[part], tmp_path / f"taesd_{part}.pth")
    model, _ = load_autoencoder(tmp_path / "taesd_encoder.pth")
    image, z = torch.rand(1, 3, 16, 16) * 2 - 1, torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(model.encode(image), plain_taesd(states["encoder"], (image + 1) / 2, False))
    torch.testing.assert_close(model.decode(z), plain_taesd(states["decoder"], z, True) * 2 - 1)


def test_tiles_equal_the_whole_for_a_local_network():
    kernel = torch.randn(3, 4, 3, 3) * 0.2

    def decode(z):
        return F.interpolate(F.conv2d(z, kernel, padding=1), scale_factor=8.0)

    z = torch.randn(2, 4, 40, 52)
    torch.testing.assert_close(decode_tiled(decode, z, 24), decode(z), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(decode_tiled(decode, z, 64), decode(z))
    with pytest.raises(ValueError, match="larger than 16"):
        decode_tiled(decode, z, 16)


@torch.no_grad()
def test_image_encoder_equals_transformers(tmp_path):
    from PIL import Image
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    stock = CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes, patch_size=56, projection_dim=24)).eval()
    stock.save_pretrained(tmp_path / "set" / "image_encoder")
    encoder, report = load_image_encoder(tmp_path / "set")
    assert clean(report) and encoder.config.heads == 4 and encoder.config.side == 224
    pixels = torch.randint(0, 256, (224, 224, 3), dtype=torch.uint8)
    processor = CLIPImageProcessor.from_dict({"do_center_crop": False, "size": {"height": 224, "width": 224}})
    inputs = processor(Image.fromarray(pixels.numpy()), return_tensors="pt", do_resize=False)
    ours = encoder(pixels.permute(2, 0, 1)[None] / 127.5 - 1)
    expected = stock(**inputs).image_embeds[:, None]
    assert ours.shape == (1, 1, 24) and (ours - expected).norm() / expected.norm() < 1e-5
    assert not no_image(encoder).any() and no_image(encoder).shape == (1, 1, 24)
    assert encoder(torch.rand(2, 3, 300, 200)).shape == (2, 1, 24)


def test_refusals(tmp_path):
    torch.save({"something.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="no Stable Diffusion autoencoder"):
        load_autoencoder(tmp_path / "other.pth")
    with pytest.raises(ValueError, match="no CLIP vision model.*clip_vision"):
        load_image_encoder(tmp_path / "other.pth")
    with pytest.raises(ValueError, match="'kl' or 'tiny'"):
        PublicAutoencoder(PublicAutoencoder.Config(kind="vq"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no weights in"):
        load_autoencoder(tmp_path / "empty")
