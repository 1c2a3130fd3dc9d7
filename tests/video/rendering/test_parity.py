"""The full profile's denoiser and sampler against plain twins that share no code with them."""

from functools import partial

import pytest
import torch

from stereotalker_core.convert.renderer import load_animate_anyone, load_denoiser
from stereotalker_core.video.networks.contexts import ContextWindows, averaged_over_windows
from stereotalker_core.video.networks.guidance import guided, sample_guided, trailing_timesteps, unconditional
from stereotalker_core.video.networks.unet import Condition
from tests.convert.public_files import small
from tests.video.networks import plain_denoiser as plain

SET = ("denoising_unet", "reference_unet", "pose_guider", "motion_module")
FRAMES = 8


@pytest.fixture(scope="module")
def files():
    return {name: small(name, i) for i, name in enumerate(SET)}


@pytest.fixture(scope="module")
def networks(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    for name, state in files.items():
        torch.save(state, folder / f"{name}.pth")
    return load_animate_anyone(folder)[:2]


@pytest.fixture(scope="module")
def inputs():
    g = torch.Generator().manual_seed(5)
    return {
        "x": torch.randn(FRAMES, 4, 8, 8, generator=g),
        "portrait": torch.randn(1, 4, 8, 8, generator=g),
        "tokens": torch.randn(1, 1, 64, generator=g),
        "drawing": torch.rand(FRAMES, 3, 64, 64, generator=g),
    }


def condition(networks, inputs, **changes):
    unet, reference = networks
    with torch.no_grad():
        cache = unet.cache_reference(reference(inputs["portrait"], inputs["tokens"]))
    yaw = torch.zeros(FRAMES)
    values = {"guide": inputs["drawing"], "tokens": inputs["tokens"], "yaw": yaw, "reference": cache}
    return Condition(**{**values, "clip_length": FRAMES, **changes})


def relative(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


@torch.no_grad()
@pytest.mark.parametrize("timestep", [999, 500])
def test_guided_denoiser_equals_the_plain_one(files, networks, inputs, timestep):
    """Reference attention, pose guider, motion modules, guidance: <= 1e-5 relative in v."""
    expected = plain.denoise(files, inputs["x"], timestep, inputs["portrait"], inputs["tokens"], inputs["drawing"], 3.5)
    unet = networks[0]
    clean = guided(unet, inputs["x"], timestep / 999, condition(networks, inputs), 3.5)
    alpha, beta = unet.levels(timestep / 999)
    v = (alpha * inputs["x"] - clean) / beta
    assert relative(v, expected) < 1e-5
    without = guided(unet, inputs["x"], timestep / 999, condition(networks, inputs), 1.0)
    assert relative((alpha * inputs["x"] - without) / beta, expected) > 1e-2  # guidance does something


@torch.no_grad()
def test_every_part_is_in_the_comparison(networks, inputs):
    """Without the reference, the pose, the motion or the embedding the output is another one."""
    unet, full = networks[0], condition(networks, inputs)
    whole = unet(inputs["x"], 1.0, full)
    for changes in (
        {"reference": None}, {"guide": torch.zeros_like(inputs["drawing"])}, {"clip_length": None},
        {"tokens": torch.zeros_like(inputs["tokens"])},
    ):  # fmt: skip
        assert relative(unet(inputs["x"], 1.0, condition(networks, inputs, **changes)), whole) > 1e-3, changes
    free = unconditional(full)
    assert free.reference is None and not free.tokens.any() and free.guide is full.guide


@torch.no_grad()
def test_motion_norm_takes_statistics_of_each_frame(files, networks):
    """AnimateDiff's per-frame GroupNorm; the stock class mixes frames, which this would see."""
    x = torch.randn(FRAMES, 32, 4, 4) * torch.arange(1, FRAMES + 1).view(-1, 1, 1, 1)
    name = "down_blocks.0.motion_modules.0"
    module = dict(networks[0].unet.named_modules())[name]
    module.enabled = True
    ours = module.norm(x.transpose(0, 1)[None])[0].transpose(0, 1)
    motion = files["motion_module"]
    theirs = plain.group_norm(motion, f"{name}.temporal_transformer.norm", x, 1e-6)
    assert relative(ours, theirs) < 1e-5
    mixed = torch.nn.functional.group_norm(x.transpose(0, 1)[None], 32, module.norm.weight, module.norm.bias, 1e-6)
    assert relative(mixed[0].transpose(0, 1), theirs) > 0.1
    assert relative(module(x, num_frames=FRAMES), plain.temporal(motion, name, x)) < 1e-5


@torch.no_grad()
def test_pose_features_are_added_right_after_conv_in(files, networks, inputs):
    unet, seen = networks[0], []
    hook = unet.unet.conv_in.register_forward_hook(lambda module, args, out: seen.append(out))
    unet(inputs["x"], 1.0, condition(networks, inputs))
    hook.remove()
    s = files["denoising_unet"]
    features = plain.pose_features(files["pose_guider"], inputs["drawing"])
    assert features.shape == (FRAMES, 32, 8, 8)
    assert relative(seen[0], plain.conv(s, "conv_in", inputs["x"]) + features) < 1e-5


@torch.no_grad()
def test_animatediff_v1_normalises_over_the_clip(tmp_path, inputs):
    torch.save(small("denoising_unet"), tmp_path / "unet.pth")
    torch.save(small("mm_v1", 3), tmp_path / "mm.ckpt")
    unet, _ = load_denoiser(tmp_path / "unet.pth", tmp_path / "mm.ckpt", prediction="epsilon")
    norm = unet.unet.down_blocks[0].resnets[0].norm1
    cond = Condition(inputs["drawing"], inputs["tokens"], torch.zeros(FRAMES), clip_length=FRAMES)
    x = inputs["x"]
    assert unet(x, 0.5, cond).isfinite().all() and norm.frames == FRAMES
    rows = torch.randn(FRAMES, 32, 4, 4)
    whole = torch.nn.functional.group_norm(rows.transpose(0, 1)[None], 32, norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(norm(rows), whole[0].transpose(0, 1))
    out, (alpha, beta) = unet(x, 0.5, cond), unet.levels(0.5)
    assert 0 < alpha < 1 and 0 < beta < 1 and out.shape == x.shape
    assert unet.levels(1.0)[0] > 0.03  # the plain schedule does not end at pure noise


@torch.no_grad()
@pytest.mark.parametrize(("prediction", "rescaled"), [("v", True), ("epsilon", False)])
def test_sampler_equals_the_scheduler_of_diffusers(networks, inputs, prediction, rescaled):
    from diffusers import DDIMScheduler

    unet, cond = networks[0], condition(networks, inputs)
    config, steps = unet.config, 5
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample=False, steps_offset=1,
        prediction_type=dict(v="v_prediction", epsilon="epsilon")[prediction], rescale_betas_zero_snr=rescaled,
        timestep_spacing="trailing",
    )  # fmt: skip
    scheduler.set_timesteps(steps)
    assert scheduler.timesteps.tolist() == trailing_timesteps(steps)
    object.__setattr__(unet, "config", type(config)(**{**config.__dict__, "prediction": prediction}))
    try:
        ours = sample_guided(unet, inputs["x"], cond, steps=steps, scale=1.0, windows=ContextWindows(FRAMES, 0))
        x = inputs["x"]
        for t in scheduler.timesteps:
            clean = unet(x, float(t) / 999, cond)
            alpha, beta = unet.levels(float(t) / 999)
            out = (alpha * x - clean) / beta if prediction == "v" else (x - alpha * clean) / beta
            x = scheduler.step(out, t, x).prev_sample
    finally:
        object.__setattr__(unet, "config", config)
    assert relative(ours, x) < 1e-4


def test_trailing_timesteps():
    assert trailing_timesteps(20) == [999 - 50 * i for i in range(20)]
    assert trailing_timesteps(1) == [999] and len(set(trailing_timesteps(30))) == 30
    with pytest.raises(ValueError, match="steps"):
        trailing_timesteps(0)


def test_context_windows_are_the_public_ones():
    """24 frames, 4 shared, closed: starts every 20 frames and wraps, as AnimateAnyone's long pipeline."""
    plan = ContextWindows().plan(50)
    assert [w[0] for w in plan] == [0, 20, 40] and plan[2] == [*range(40, 50), *range(14)]
    assert all(len(w) == 24 for w in plan) and ContextWindows().plan(20) == [list(range(20))]
    opened = ContextWindows(8, 2, closed=False).plan(17)
    assert opened == [list(range(8)), list(range(6, 14)), list(range(9, 17))]
    for closed in (True, False):
        for frames in range(1, 60):
            plan = ContextWindows(8, 3, closed).plan(frames)
            assert set().union(*plan) == set(range(frames)) and all(len(set(w)) == len(w) <= 8 for w in plan)
    with pytest.raises(ValueError, match="overlap"):
        ContextWindows(4, 4)


def test_windows_are_averaged_per_frame():
    windows = ContextWindows(4, 2, closed=False)
    out = averaged_over_windows(lambda index: index[:, None].float() + index[0], 6, windows)
    assert out[:, 0].tolist() == [0, 1, (2 + 4) / 2, (3 + 5) / 2, 6, 7]
    same = averaged_over_windows(lambda index: torch.ones(len(index), 2), 11, ContextWindows(4, 1))
    assert torch.equal(same, torch.ones(11, 2))


@torch.no_grad()
def test_long_clips_run_in_windows(networks, inputs):
    unet, cond = networks[0], condition(networks, inputs)
    run = partial(sample_guided, unet, inputs["x"], cond, steps=2, scale=1.0)
    steps = []
    windowed = run(windows=ContextWindows(4, 1), callback=lambda i, n: steps.append((i, n)))
    assert windowed.shape == inputs["x"].shape and windowed.isfinite().all() and steps == [(1, 2), (2, 2)]
    assert relative(windowed, run()) > 1e-4 and torch.equal(run(), run())
    with pytest.raises(ValueError, match="reach 32"):
        run(windows=ContextWindows(40, 4))
