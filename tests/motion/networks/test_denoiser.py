"""The denoiser: its contract, what it may and may not look at, and its losses."""

from dataclasses import replace

import pytest
import torch

from stereotalker_core.motion.networks.denoiser import (
    MotionDenoiser,
    closure_error,
    loss_weight,
    motion_errors,
    preconditioning,
)
from tests.motion.samples import make_condition, make_denoiser


@pytest.fixture(scope="module")
def net() -> MotionDenoiser:
    return make_denoiser()


def noisy(net, batch=2, frames=12):
    return torch.randn(batch, frames, net.codec.width, generator=torch.Generator().manual_seed(1))


def test_batch_equals_single(net):
    cond, x, sigma = make_condition(net), noisy(net), torch.tensor([0.5, 7.0])
    whole = net(x, sigma, cond)
    one = replace(
        cond, audio=cond.audio[1:], style=cond.style[1:], seed=cond.seed[1:], seed_mask=cond.seed_mask[1:],
        prior=cond.prior[1:],
    )  # fmt: skip
    torch.testing.assert_close(net(x[1:], sigma[1:], one), whole[1:], atol=1e-5, rtol=1e-4)


def test_small_noise_is_left_alone(net):
    x = noisy(net)
    out = net(x, torch.full((2,), 1e-4), make_condition(net))
    torch.testing.assert_close(out, x, atol=1e-2, rtol=0)


@pytest.mark.parametrize("what", ["audio", "style", "prior", "seed"])
def test_every_condition_matters(net, what):
    cond, x, sigma = make_condition(net), noisy(net), torch.full((2,), 5.0)
    changed = replace(cond, **{what: getattr(cond, what) + 1})
    assert (net(x, sigma, cond) - net(x, sigma, changed)).abs().max() > 1e-3


def test_masked_seed_frames_are_not_seen(net):
    cond, x, sigma = make_condition(net), noisy(net), torch.full((2,), 5.0)
    changed = replace(cond, seed=cond.seed + 3 * (1 - cond.seed_mask))
    assert torch.equal(net(x, sigma, cond), net(x, sigma, changed))


def test_withheld_sound_is_not_heard(net):
    cond, x, sigma = make_condition(net), noisy(net), torch.full((2,), 5.0)
    deaf = replace(cond, keep_audio=torch.zeros(2, 1, 1))
    changed = replace(deaf, audio=cond.audio + 1)
    assert torch.equal(net(x, sigma, deaf), net(x, sigma, changed))
    assert not torch.equal(net(x, sigma, deaf), net(x, sigma, cond))


def test_zero_prior_is_no_prior(net):
    cond, x, sigma = make_condition(net), noisy(net), torch.full((2,), 5.0)
    assert torch.equal(
        net(x, sigma, replace(cond, prior=torch.zeros_like(cond.prior))), net(x, sigma, replace(cond, prior=None))
    )


def test_preconditioning_keeps_unit_variance():
    sigma = torch.tensor([0.05, 1.0, 20.0])
    skip, out, scale, _ = preconditioning(sigma)
    torch.testing.assert_close(scale.square() * (1 + sigma.square()), torch.ones(3))
    # the target of the network, (clean - skip * noisy) / out, has unit variance too
    torch.testing.assert_close(((1 - skip).square() + (skip * sigma).square()) / out.square(), torch.ones(3))
    assert loss_weight(sigma, 5.0).max() == 5 and abs(loss_weight(sigma)[2] - 1) < 0.01


def test_losses_are_zero_at_the_target_and_positive_off_it(net):
    clean = noisy(net)
    position, velocity = motion_errors(net.codec, clean, clean)
    assert position.abs().max() == 0 and velocity.shape[1] == clean.shape[1] - 1
    position, velocity = motion_errors(net.codec, clean + 1, clean)
    torch.testing.assert_close(position, torch.ones_like(position))
    assert velocity.abs().max() < 1e-5


def test_closure_error_only_punishes_open_lips_where_closed():
    gap, target = torch.tensor([[12.0, 12.0, 1.0]]), torch.tensor([[2.0, 2.0, 2.0]])
    closed = torch.tensor([[1.0, 0.0, 1.0]])
    torch.testing.assert_close(closure_error(gap, target, closed), torch.tensor([[1.0, 0.0, 0.0]]))


@pytest.mark.parametrize("settings", [{"width": 30, "heads": 4}, {"window": 10, "seed": 8, "lookahead": 2}])
def test_bad_config_is_refused(settings):
    with pytest.raises(ValueError, match="must"):
        MotionDenoiser.Config(**settings)


def test_wrong_audio_width_is_refused(net):
    cond = make_condition(net)
    with pytest.raises(ValueError, match="expected"):
        net(noisy(net), torch.ones(2), replace(cond, audio=cond.audio[..., :-1]))
