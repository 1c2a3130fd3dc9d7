import copy
import pickle
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stereotalker_core.video.networks import unet as networks
from stereotalker_core.video.networks.experts import MaskExperts, MoEFeedForward, ViewExperts, swap_class
from stereotalker_core.video.networks.reference import TemporalAttention, repeat_rows, split_heads
from stereotalker_core.video.networks.unet import SD15, FramewiseGroupNorm, StereoTalkerUNet, build_motion_unet, sample
from tests.video.samples import CONFIG, condition, randomise, reference, unet


@pytest.fixture(scope="module")
def model():
    return unet()


def experts(model):
    pair = (ViewExperts.for_unet(model, 2), MaskExperts.for_unet(model, 2))
    return tuple((randomise(module, seed), 1.0) for seed, module in enumerate(pair))


def test_framewise_norm_equals_a_loop_over_frames():
    norm = nn.GroupNorm(2, 4)
    x = torch.randn(2, 4, 3, 5, 5) * torch.arange(1, 4).view(1, 1, 3, 1, 1)
    plain = torch.stack([norm(x[:, :, i]) for i in range(3)], 2)
    keys = list(norm.state_dict())
    swap_class(norm, FramewiseGroupNorm)
    torch.testing.assert_close(norm(x), plain)
    assert list(norm.state_dict()) == keys


def test_swaps_keep_the_keys_of_diffusers(model):
    from diffusers import UNetMotionModel

    c = CONFIG
    stock = UNetMotionModel(
        in_channels=8, out_channels=4, block_out_channels=c.widths, layers_per_block=1,
        down_block_types=("DownBlockMotion", "CrossAttnDownBlockMotion"),
        up_block_types=("CrossAttnUpBlockMotion", "UpBlockMotion"),
        cross_attention_dim=8, norm_num_groups=4, num_attention_heads=c.heads, motion_num_attention_heads=(1, 2),
        motion_max_seq_length=16,
    )  # fmt: skip
    ours, theirs = model.unet.state_dict(), stock.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_sd15_config_has_the_public_layout():
    with torch.device("meta"):
        names = dict(build_motion_unet(SD15).named_parameters())
    flat = [k for k in names if "motion_modules" not in k]
    assert len(flat) == 686 and len(names) - len(flat) == 21 * 26
    assert names["conv_in.weight"].shape == (320, 4, 3, 3)


def test_reference_attention_equals_plain_concatenation(model):
    name = "mid_block.attentions.0.transformer_blocks.0.attn1"
    layer = dict(model.unet.named_modules())[name]
    x, portrait = torch.randn(4, 9, 16), torch.randn(2, 5, 16)
    cache = model.cache_reference({name: portrait})
    ours = layer(x, reference=cache)
    both = torch.cat([x, repeat_rows(portrait, 4)], 1)
    q, k, v = (split_heads(f(t), layer.heads) for f, t in ((layer.to_q, x), (layer.to_k, both), (layer.to_v, both)))
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    plain = layer.to_out[0]((weights @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("places", "frames"), [(12, 8), (9, 8), (6, 5), (4, 1), (3, 16), (2, 24)])
def test_places_that_share_a_row_attend_to_their_own_frames(places, frames):
    from diffusers.models.attention_processor import Attention

    torch.manual_seed(0)
    layer = Attention(16, heads=4, dim_head=4)
    x = torch.randn(places, frames, 16, requires_grad=True)
    heads = lambda f, t: split_heads(f(t), 4)  # noqa: E731
    q, k, v = (heads(f, x) for f in (layer.to_q, layer.to_k, layer.to_v))
    plain = layer.to_out[0](((q @ k.transpose(-1, -2) / 2).softmax(-1) @ v).transpose(1, 2).flatten(2))
    layer.set_processor(TemporalAttention())
    shared = layer(x)
    torch.testing.assert_close(shared, plain, rtol=1e-4, atol=1e-5)
    wanted, found = (torch.autograd.grad(out.square().sum(), x)[0] for out in (plain, shared))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("frames", [4, 2, 1])
@torch.no_grad()
def test_the_order_in_memory_of_a_motion_module_changes_nothing_else(model, frames):
    module = next(m for m in model.motion_modules if m.in_channels == 16)
    x = torch.randn(4, 16, 6, 5)
    module.enabled = True
    wanted = module(x, num_frames=frames)
    found = module(x.contiguous(memory_format=torch.channels_last), num_frames=frames)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, x) and found.is_contiguous(memory_format=torch.channels_last)


def test_a_feed_forward_in_pieces_is_the_whole(monkeypatch):
    monkeypatch.setattr(networks, "PIECE", 4)
    model = unet()
    x, cond = torch.randn(4, 4, 8, 8), condition(model, experts=experts(model), clip_length=4)
    whole = model(x, 1.0, cond).detach()
    with torch.no_grad():
        pieces = model(x, 1.0, cond)
    torch.testing.assert_close(pieces, whole, rtol=1e-4, atol=1e-5)


def test_reference_net_fills_every_spatial_layer_and_reaches_the_output(model):
    z = torch.randn(1, 4, 8, 8)
    cache = model.cache_reference(reference()(z, model.portrait_tokens(z)))
    spatial = [n for n, _ in model.unet.named_modules() if n.endswith("attn1") and "motion" not in n]
    assert sorted(cache) == sorted(spatial)
    x = torch.randn(4, 4, 8, 8)
    assert not torch.equal(model(x, 1.0, condition(model)), model(x, 1.0, condition(model, reference=cache)))


def test_new_network_starts_at_the_lift_and_without_motion():
    fresh = StereoTalkerUNet(CONFIG)
    cond, x = condition(fresh), torch.randn(4, 4, 8, 8)
    torch.testing.assert_close(fresh(x, 1.0, cond), cond.lift)
    again = condition(fresh, clip_length=4)
    nn.init.normal_(fresh.unet.conv_out.weight)
    torch.testing.assert_close(fresh(x, 1.0, cond), fresh(x, 1.0, again))


def test_motion_modules_see_the_clip_and_only_the_clip(model):
    x = torch.randn(4, 4, 8, 8)
    cond = condition(model, clip_length=2)
    out = model(x, 1.0, cond)
    changed = x.clone()
    changed[3] += 1
    other = model(changed, 1.0, cond)
    torch.testing.assert_close(out[:2], other[:2])
    assert (out[2] - other[2]).abs().max() > 1e-4
    with pytest.raises(ValueError, match="clips"):
        model(x, 1.0, condition(model, clip_length=3))


def test_a_failed_pass_leaves_nothing_behind(model):
    """An exception inside the network: the next pass, with or without guides, is that of an untouched network."""
    x, cond = torch.randn(4, 4, 8, 8), condition(model, experts=experts(model))
    expected = model(x, 1.0, cond)
    hook = model.unet.conv_norm_out.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(x, 1.0, cond)
    hook.remove()
    assert model.unet.conv_in.features is None and not model.context.experts
    with pytest.raises(ValueError, match="mask experts need regions"):
        model(x, 1.0, replace(cond, regions=None))
    assert model.unet.conv_in.features is None and not model.context.experts
    assert torch.equal(model(x, 1.0, cond), expected)


def test_the_network_can_be_pickled_and_copied(model):
    x, cond = torch.randn(4, 4, 8, 8), condition(model, experts=experts(model))
    expected = model(x, 1.0, cond)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert list(other.state_dict()) == list(model.state_dict())
        assert [type(m) for m in other.modules()] == [type(m) for m in model.modules()]
        assert torch.equal(other(x, 1.0, cond), expected)
        feed_forward = next(m for m in other.modules() if isinstance(m, MoEFeedForward))
        assert feed_forward.context is other.context is not model.context


def test_guides_reach_the_output(model):
    cond = condition(model)
    x = torch.randn(4, 4, 8, 8)
    other = condition(model, guide=cond.guide + 1)
    assert not torch.allclose(model(x, 1.0, cond), model(x, 1.0, other))
    assert model.unet.conv_in.features is None


def test_sampler_one_step_is_the_denoiser_and_more_steps_follow_euler(model):
    cond, noise = condition(model), torch.randn(1, 4, 8, 8).expand(4, -1, -1, -1)
    torch.testing.assert_close(sample(model, noise, cond, 1), model(noise, 1.0, cond))
    clean = model(noise, 1.0, cond)
    middle = noise + (0.5 - 1.0) * (noise - clean)
    torch.testing.assert_close(sample(model, noise, cond, 2), model(middle, 0.5, cond))
    with pytest.raises(ValueError, match="steps"):
        sample(model, noise, cond, 0)


@torch.no_grad()
def test_translated_by_torch_compile_it_is_the_same_function():
    model = unet()
    kinds = (ViewExperts, MaskExperts)
    experts = [randomise(kind.for_unet(model, rank=2), i) for i, kind in enumerate(kinds)]
    bank = reference()(torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8))
    plain = condition(model, reference=model.cache_reference(bank))
    conditions = [plain.with_experts(*((e, share) for e in experts)) for share in (1.0, 0.3)] + [plain]
    x = torch.randn(4, 4, 8, 8)
    expected = [model(x, 0.5, cond) for cond in conditions]
    assert not torch.equal(expected[0], expected[1]) and not torch.equal(expected[0], expected[2])
    model.unet.compile(backend="eager")  # traced and guarded as with any backend; no compiler needed
    for cond, wanted in zip(conditions, expected, strict=True):
        torch.testing.assert_close(model(x, 0.5, cond), wanted)


def test_v_prediction_levels():
    model = StereoTalkerUNet.__new__(StereoTalkerUNet)
    nn.Module.__init__(model)
    model.config = SD15
    assert model.levels(1.0) == (0.0, 1.0) and model.levels(0.0) == (1.0, 0.0)
    alpha, beta = model.levels(0.5)
    assert abs(alpha**2 + beta**2 - 1) < 1e-9 and 0 < alpha < 1
    clean, noise = torch.randn(2, 4, 2, 2), torch.randn(2, 4, 2, 2)
    v = alpha * noise - beta * clean
    out = model._clean(alpha * clean + beta * noise, v, torch.full((2,), 0.5))
    torch.testing.assert_close(out, clean, rtol=1e-4, atol=1e-5)
    assert F.mse_loss(out, clean) < 1e-9
