"""Upcycling: new experts change nothing, merged experts equal themselves, files are small."""

import pytest
import torch
from diffusers.models.attention import FeedForward

from stereotalker_core import checkpoint
from stereotalker_core.convert.assemble import load_model, save_model
from stereotalker_core.convert.renderer import load_denoiser
from stereotalker_core.convert.upcycle import RANK, fits, new_experts, save_experts, save_merged
from stereotalker_core.video.networks.experts import MoEFeedForward, ViewExperts
from stereotalker_core.video.networks.merge import merge_view_experts
from stereotalker_core.video.networks.unet import (
    SD15,
    Condition,
    FeedForwardInPieces,
    StereoTalkerUNet,
    build_motion_unet,
)
from tests.convert.public_files import small
from tests.video.samples import randomise
from tests.video.samples import unet as nano_unet


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("unet") / "denoising_unet.pth"
    torch.save(small("denoising_unet"), path)
    return path


@pytest.fixture(scope="module")
def unet(source):
    return load_denoiser(source)[0]


def condition(yaw=25.0, frames=2):
    g = torch.Generator().manual_seed(1)
    return Condition(
        guide=torch.rand(frames, 3, 64, 64, generator=g), tokens=torch.randn(1, 1, 64, generator=g),
        yaw=torch.full((frames,), yaw), regions=torch.randn(frames, 4, 32, 32, generator=g).softmax(1),
    )  # fmt: skip


def run(model, cond):
    with torch.no_grad():
        return model(torch.ones(2, 4, 8, 8), 1.0, cond)


def test_new_experts_are_the_identity_and_small(unet):
    view, mask = new_experts(unet, 4)
    cond = condition()
    assert torch.equal(run(unet, cond), run(unet, cond.with_experts((view, 1.0), (mask, 1.0))))
    assert len(view.config.layers) == 16 and view.config.count == 6 and mask.config.count == 4
    fits(unet, view)
    with pytest.raises(ValueError, match="another renderer"):
        fits(unet, ViewExperts.for_unet(nano_unet(), 2))
    with pytest.raises(ValueError, match="rank"):
        new_experts(unet, 0)


def test_full_size_experts_have_eight_million_parameters():
    from stereotalker_core.video.networks.experts import install_experts

    with torch.device("meta"):
        base = build_motion_unet(SD15)
        install_experts(base)
        experts = new_experts(base)
    count = sum(p.numel() for module in experts for p in module.parameters())
    assert RANK == 32 and 7.5e6 < count < 8.5e6  # 16 MB in fp16


def test_merged_at_a_camera_equals_the_experts(unet, tmp_path):
    strength = 0.4
    view, mask = (randomise(module, i) for i, module in enumerate(new_experts(unet, 4)))
    cond = condition()
    expected = run(unet, cond.with_experts((view, strength)))
    merged = merge_view_experts(unet, view, 25.0, strength)
    assert float((run(merged, cond) - expected).norm() / expected.norm()) < 1e-5
    assert float((run(unet, cond) - expected).norm() / expected.norm()) > 1e-3
    elsewhere = run(unet, condition(-60.0).with_experts((view, strength)))
    assert float((run(merged, cond) - elsewhere).norm() / elsewhere.norm()) > 1e-3
    both = run(unet, cond.with_experts((view, strength), (mask, 1.0)))
    assert float((run(merged, cond.with_experts((mask, 1.0))) - both).norm() / both.norm()) < 1e-5
    parts = {getattr(type(m), "swapped", ()) for m in merged.modules() if isinstance(m, MoEFeedForward)}
    assert parts == {(MoEFeedForward, FeedForwardInPieces, FeedForward)}  # each once
    save_model(merged, tmp_path / "merged.safetensors")
    again = load_model(StereoTalkerUNet, tmp_path / "merged.safetensors")
    assert again.config.merged == 24 and torch.equal(run(again, cond), run(merged, cond))


def test_files(source, unet, tmp_path):
    written = save_experts(source, tmp_path / "experts", rank=2)
    assert [p.name for p in written] == ["view_experts.safetensors", "mask_experts.safetensors"]
    view = randomise(checkpoint.load(ViewExperts, written[0]))
    checkpoint.save(view, written[0], torch.float32)
    save_merged(source, written[0], tmp_path / "merged.safetensors", 25.0)
    merged, report = load_denoiser(tmp_path / "merged.safetensors")
    assert report.loaded and merged.config.merged == 12
    expected = run(unet, condition().with_experts((view, 1.0)))
    assert float((run(merged, condition()) - expected).norm() / expected.norm()) < 1e-5
    with pytest.raises(ValueError, match="another renderer"):
        merge_view_experts(nano_unet(), view, 0.0)
