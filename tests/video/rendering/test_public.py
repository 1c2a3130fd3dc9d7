"""The full profile through the same `render_video`: random public files at a tenth of the width, the real body."""

from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKL
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from stereotalker_core import checkpoint
from stereotalker_core.convert.sets import load_set, save_set
from stereotalker_core.video.guides.maps import render_guides
from stereotalker_core.video.guides.skeleton_drawing import draw_skeleton
from stereotalker_core.video.networks.contexts import ContextWindows
from stereotalker_core.video.networks.mask import MaskConfig, MaskPredictor
from stereotalker_core.video.rendering.public import PublicRenderer
from stereotalker_core.video.rendering.render import render_video
from tests.convert.public_files import small
from tests.video.rendering.test_render import BODY, body, cameras, identity, motion  # noqa: F401
from tests.video.samples import randomise, unet

SET = ("denoising_unet", "reference_unet", "pose_guider", "motion_module")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    for i, name in enumerate(SET):
        torch.save(small(name, i), folder / f"{name}.pth")
    torch.manual_seed(0)
    AutoencoderKL(
        block_out_channels=(32, 32, 32, 32), layers_per_block=2, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    ).save_pretrained(folder / "vae")  # fmt: skip
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vision = CLIPVisionConfig(**sizes, patch_size=56, projection_dim=64)
    CLIPVisionModelWithProjection(vision).save_pretrained(folder / "image_encoder")
    predictor = MaskPredictor(MaskConfig((0, 2, 3) + (1,) * 16, widths=(8, 8, 8), groups=4))
    checkpoint.save(randomise(predictor), folder / "mask_predictor.safetensors")
    return folder


@pytest.fixture(scope="module")
def renderer(folder):
    return load_set(folder, guidance=2.0)[0]


def render(renderer, identity, frames, **options):  # noqa: F811
    chunks = list(render_video(BODY, renderer, identity, motion(frames), cameras(frames), **options))
    return torch.cat([c.frames for c in chunks]), torch.cat([c.masks for c in chunks])


def test_a_set_renders_every_frame_the_same_way_twice(renderer, identity):  # noqa: F811
    frames, masks = render(renderer, identity, 4, steps=1, window=4, overlap=1)
    assert frames.shape == (4, 3, 64, 64) and masks.shape == (4, 1, 64, 64)
    assert frames.isfinite().all() and frames.abs().max() <= 1
    assert torch.equal(frames, render(renderer, identity, 4, steps=1, window=4, overlap=1)[0])
    assert not torch.equal(frames, render(renderer, identity, 4, steps=1, window=4, overlap=1, seed=1)[0])
    plain = replace(renderer, guidance=1.0)
    assert not torch.equal(frames, render(plain, identity, 4, steps=1, window=4, overlap=1)[0])
    narrow = replace(renderer, windows=ContextWindows(3, 1))
    assert not torch.equal(frames, render(narrow, identity, 4, steps=1, window=4, overlap=1)[0])


def test_saved_sets_are_the_same_bitwise_and_render_the_same(renderer, folder, identity, tmp_path):  # noqa: F811
    written = save_set(renderer, tmp_path / "saved", {"source": "test"})
    assert [p.stem for p in written] == ["unet", "reference", "vae", "image_encoder"]
    (tmp_path / "saved" / "mask_predictor.safetensors").write_bytes(
        (folder / "mask_predictor.safetensors").read_bytes()
    )
    again, reports = load_set(tmp_path / "saved", guidance=2.0)
    assert len(reports) == 4
    for name in ("unet", "reference", "vae", "image_encoder"):
        before, after = getattr(renderer, name).state_dict(), getattr(again, name).state_dict()
        assert list(before) == list(after) and all(torch.equal(before[k], after[k]) for k in before)
    frames = render(renderer, identity, 2, steps=1, window=2, overlap=1)[0]
    assert (frames - render(again, identity, 2, steps=1, window=2, overlap=1)[0]).abs().max() < 1e-3


def test_the_pose_guider_gets_the_drawing_and_the_mask_predictor_its_maps(renderer, identity):  # noqa: F811
    view, moves = cameras(2), motion(2)
    guides = render_guides(BODY, identity, moves, view)
    rest = BODY.rest(identity.shape[None], identity.shell[None])
    guide = renderer.guide(BODY, rest, moves, view, guides)
    assert guide.shape == (2, 131 + 48, 16, 16)
    drawing = draw_skeleton(BODY, BODY.pose(rest, moves.rotations, moves.expression), view)
    torch.testing.assert_close(renderer.pose_input(guide), (drawing + 1) / 2)
    regions = renderer.predict_regions(guides, guide)
    assert regions.masks.shape[:2] == (2, 4)
    torch.testing.assert_close(renderer.alpha(guides, guide), regions.person.float())


def test_every_frame_has_its_own_noise_whatever_the_window(renderer):
    whole = renderer.noise((64, 64), 3, range(0, 6))
    assert torch.equal(whole[2:5], renderer.noise((64, 64), 3, range(2, 5)))
    assert not torch.equal(whole[0], whole[1]) and abs(float(whole.std()) - 1) < 0.1
    assert not torch.equal(whole, renderer.noise((64, 64), 4, range(0, 6)))


def test_half_precision_and_tiles_stay_close(renderer, folder):
    half = load_set(folder, dtype=torch.bfloat16)[0]
    assert half.dtype == torch.bfloat16 and isinstance(half, PublicRenderer)
    z = torch.randn(1, 4, 8, 8)
    exact, rough = renderer.decode(z, z), half.decode(z, z)
    assert rough.dtype == torch.float32 and (exact - rough).abs().mean() < 0.02
    portrait = torch.rand(1, 3, 64, 64) * 2 - 1
    assert half.encode_portrait(portrait).tokens.dtype == torch.bfloat16
    tiled = replace(renderer, tile=20).decode(torch.randn(1, 4, 32, 32), z)
    assert tiled.shape == (1, 3, 256, 256) and tiled.isfinite().all()


def test_sets_that_do_not_fit_are_refused(renderer, folder, tmp_path):
    with pytest.raises(ValueError, match="windows of 40"):
        replace(renderer, windows=ContextWindows(40, 4))
    with pytest.raises(ValueError, match="image encoder"):
        replace(renderer, image_encoder=None)
    with pytest.raises(ValueError, match="residual"):
        replace(renderer, unet=unet())
    with pytest.raises(FileNotFoundError, match="no folder"):
        load_set(tmp_path / "nowhere")
    for name in SET:
        (tmp_path / f"{name}.pth").write_bytes((folder / f"{name}.pth").read_bytes())
    with pytest.raises(FileNotFoundError, match="no autoencoder.*sd-vae-ft-mse"):
        load_set(tmp_path)
    assert isinstance(renderer, PublicRenderer)
