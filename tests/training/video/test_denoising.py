"""The scale trainer of stage 2: the same loss as the nano trainer, min-SNR, parts that learn, recomputation."""

from dataclasses import replace

import pytest
import torch

from stereotalker_core.synthetic.data.avatar_frames import AvatarData, find_shards
from stereotalker_core.training.distributed import Scale, fit_distributed
from stereotalker_core.training.loop import Schedule
from stereotalker_core.training.recompute import blocks_of, recompute
from stereotalker_core.training.video.denoising import DenoisingLoss, LossOptions, PictureBatches, _strengths, encode
from stereotalker_core.training.video.stage_two import PARTS, StageTwo, add_attention_lora, learns, part_of
from stereotalker_core.video.networks.reference import ReferenceNet
from stereotalker_core.video.networks.unet import SD15, StereoTalkerUNet
from tests.training.stage2_samples import PARTS as BODY_PARTS
from tests.training.tiny_tasks import autoencoder, denoiser, make, write_data
from tests.video.samples import CONFIG

FULL = replace(  # the layout of SD1.5 at a width that a test can afford; our guides, no tokens of its own
    SD15, latent_channels=4, widths=(8, 16, 16), layers=1, heads=(2, 2, 2), attention=(True, True, False), groups=4,
    cross_dim=8, motion_heads=(2, 2, 2), guides="maps", guide_channels=131, guide_kernel=1, guide_widths=(8, 8),
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def data(root):
    return AvatarData(find_shards(root / "frames"), BODY_PARTS)


def tokens(portrait):
    return portrait.mean((2, 3))[:, None, :1].expand(-1, 2, 8)


def full_model(parts, rank=2):
    model = denoiser(True, FULL)
    if "lora" in parts:
        add_attention_lora(model.unet, rank)
    return model


@pytest.mark.parametrize("clips", [False, True])
def test_loss_of_the_one_step_profile_from_its_definition(data, clips):
    """Clean latents and noise mixed by sigma, one noise a clip; squared errors and their change, weighted by place."""
    model, vae, frames = denoiser(), autoencoder(), 4 if clips else 2
    pictures = PictureBatches(data, 2, frames, clips, seed=3)(4)
    options = LossOptions(frames if clips else None, flicker=0.5 if clips else 0.0)
    torch.manual_seed(7)
    value, parts = DenoisingLoss(lambda image: encode(vae, image), options)(model, pictures)
    torch.manual_seed(7)
    count = 2 if clips else 4
    uniform, pure = torch.rand(count).clamp_min(0.02), torch.rand(count) < 0.5
    sigma = torch.where(pure, torch.ones(()), uniform)
    clean, lift, portrait = (encode(vae, pictures[name]) for name in ("rgb", "lift", "portrait"))
    noise = torch.randn_like(clean[::frames] if clips else clean)
    if clips:
        level, noise = (x.repeat_interleave(frames, 0) for x in (sigma, noise))
    level = (level if clips else sigma).view(-1, 1, 1, 1)
    batch = pictures | {"lift": lift, "portrait": portrait}
    error = model(batch, (1 - level) * clean + level * noise, sigma, frames if clips else None) - clean
    weight = pictures["weight"] / pictures["weight"].mean()
    expected = (error.square() * weight).mean()
    if clips:
        change = error.unflatten(0, (2, frames)).diff(dim=1).square() * weight.unflatten(0, (2, frames))[:, 1:]
        expected = expected + 0.5 * change.mean()
        assert parts["flicker"] == pytest.approx(float(change.mean().detach()), rel=1e-5)
    else:
        base = ((lift - clean).square() * weight).mean()
        assert parts["lift"] == pytest.approx(float(base), rel=1e-5)
        if pure.any():
            own = (error.square() * weight).mean((1, 2, 3))[pure].mean()
            assert parts["pure_over_lift"] == pytest.approx(float(own.detach() / base), rel=1e-4)
    torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-5)


def test_experts_are_left_out_as_the_options_say():
    torch.manual_seed(0)
    drawn = {
        name: {tuple(_strengths(2, LossOptions(expert_drop=0.5, **options))) for _ in range(60)}
        for name, options in (
            ("shared", {}), ("alone", {"skip_left_out": True}), ("bare", {"skip_left_out": True, "never_bare": False}),
        )
    }  # fmt: skip
    assert drawn["shared"] == {(1.0, 1.0), (0.0, 1.0), (1.0, 0.0)}
    assert drawn["alone"] == {(1.0, 1.0), (None, 1.0), (1.0, None)}
    assert drawn["bare"] == drawn["alone"] | {(None, None)}


def test_a_left_out_expert_is_one_of_strength_0(data):
    model, vae = denoiser(True), autoencoder()
    for module in model.experts:
        torch.nn.init.normal_(module.up[0], std=0.5)
    batch = PictureBatches(data, 1, 2, False, seed=0)(0)
    batch |= {"lift": encode(vae, batch["lift"]), "portrait": encode(vae, batch["portrait"])}
    x, sigma = torch.randn_like(batch["lift"]), torch.ones(2)
    found = {given: model(batch, x, sigma, strengths=given) for given in ((1.0, None), (1.0, 0.0), (1.0, 1.0))}
    torch.testing.assert_close(found[1.0, None], found[1.0, 0.0])
    assert not torch.allclose(found[1.0, None], found[1.0, 1.0])


@pytest.mark.parametrize("prediction", ["v", "epsilon"])
def test_weighted_loss_is_min_snr_on_what_is_predicted(data, prediction):
    """From the definitions: the network's own output against v or the noise, weighted frame by frame."""
    config = replace(FULL, prediction=prediction)
    model, vae, gamma = denoiser(False, config), autoencoder(), 5.0
    batch = PictureBatches(data, 1, 3, False, seed=1)(0)
    loss = DenoisingLoss(vae.encode, LossOptions(gamma=gamma, weighted=False), tokens)
    torch.manual_seed(11)
    got = loss(model, batch)[0]
    torch.manual_seed(11)
    step = torch.randint(1, 1000, (3,))
    clean, lift = vae.encode(torch.cat([batch["rgb"], batch["lift"]])).chunk(2)
    noise = torch.randn_like(clean)
    portrait = vae.encode(batch["portrait"])
    total = []
    for i in range(3):
        alpha, beta = model.unet.levels(float(step[i]) / 999)
        x = alpha * clean[i : i + 1] + beta * noise[i : i + 1]
        one = {k: v[i : i + 1] for k, v in batch.items() if k in ("guide", "yaw", "regions")}
        one |= {"lift": lift[i : i + 1], "portrait": portrait, "tokens": tokens(batch["portrait"])}
        denoised = model(one, x, step[i : i + 1] / 999, None, (), False)
        snr = alpha**2 / max(beta**2, 1e-12)
        if prediction == "v":
            error = (alpha * x - denoised) / beta - (alpha * noise[i] - beta * clean[i])
            weight = min(snr + 1, gamma) / (snr + 1)
        else:
            error, weight = (x - alpha * denoised) / beta - noise[i], min(snr, gamma) / snr
        total.append(weight * error.square().mean())
    torch.testing.assert_close(got, torch.stack(total).mean(), atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("parts", [("experts", "lora", "pose"), ("motion",), ("unet", "reference"), ("experts",)])
def test_only_the_chosen_parts_learn(data, tmp_path, parts):
    clips = parts == ("motion",)
    model = full_model(parts)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    loss = DenoisingLoss(autoencoder().encode, LossOptions(3 if clips else None, drop=0.2, offset=0.05), tokens)
    batches = PictureBatches(data, 1, 3, clips, seed=0)
    schedule = Schedule(3, lr=1e-2, warmup=1, ema=0.0, log_every=1)
    fit_distributed(model, batches, loss, schedule, Scale(), tmp_path, "cpu", learns(parts))
    moved = {part_of(k) for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == set(parts)


def test_a_fresh_upcycled_model_is_its_base(data):
    """New experts and adapters change nothing, bitwise."""
    batch = PictureBatches(data, 1, 2, False, seed=2)(0)
    loss = DenoisingLoss(autoencoder().encode, LossOptions(), tokens)
    values = []
    for parts in ((), ("experts", "lora")):
        model = full_model(parts) if parts else denoiser(False, FULL)
        torch.manual_seed(0)
        values.append(loss(model, batch)[0])
    assert torch.equal(*values)


def test_every_parameter_belongs_to_a_part():
    with torch.device("meta"):
        unet = StereoTalkerUNet(CONFIG)
        model = StageTwo(unet, ReferenceNet(CONFIG.reference()))
    assert {part_of(n) for n, _ in model.named_parameters()} == set(PARTS) - {"experts", "lora"}
    with pytest.raises(ValueError, match="'decoder' is unknown"):
        learns(["decoder"])
    assert not learns(["reference"], ["up_blocks.1"])("reference.unet.up_blocks.1.resnets.0.conv1.weight")


@pytest.mark.parametrize("name", ["image", "clips", "experts", "motion", "prior"])
def test_recomputation_changes_no_gradient(root, name):
    gradients = []
    for twice in (False, True):
        model, batch, loss, _ = make(name, root)
        model.train()
        if twice:
            assert recompute(model) == len(blocks_of(model)) > 0
        torch.manual_seed(0)
        value, _ = loss(model, batch(1))
        value.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 4
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][key], atol=1e-6, rtol=1e-5)


def test_recomputation_keeps_state_dict_keys_and_refuses_models_without_blocks(root):
    model = make("experts", root)[0]
    before = list(model.state_dict())
    recompute(model)
    assert list(model.state_dict()) == before
    with pytest.raises(ValueError, match="no block of"):
        recompute(torch.nn.Linear(2, 2))


def test_mixed_precision_is_near(root, tmp_path):
    curves = {}
    for precision in ("no", "bf16"):
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state()
        model, batch, loss, trainable = make("image", root)
        rows = []
        schedule = Schedule(3, lr=1e-3, warmup=1, log_every=1)
        fit_distributed(
            model, batch, loss, schedule, Scale(precision=precision), tmp_path / precision, "cpu", trainable,
            on_log=lambda _, row, rows=rows: rows.append(row["loss"]),
        )  # fmt: skip
        curves[precision] = rows
    AcceleratorState._reset_state()
    assert curves["bf16"] == pytest.approx(curves["no"], rel=0.05) and curves["bf16"] != curves["no"]
