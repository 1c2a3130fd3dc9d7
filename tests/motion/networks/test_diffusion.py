"""Samplers against distributions with known answers, and the identities of guidance."""

import pytest
import torch

from stereotalker_core.motion.networks.diffusion import (
    SAMPLERS,
    guided,
    karras_sigmas,
    sample,
    sample_ddim,
    sample_euler,
)


def gaussian(mean: float, deviation: float):
    """The ideal denoiser of N(mean, deviation^2)."""

    def model(x, sigma):
        s = sigma[:, None, None].square()
        return (x * deviation**2 + mean * s) / (deviation**2 + s)

    return model


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_reaches_the_distribution(name):
    noise = torch.randn(64, 16, 16, generator=torch.Generator().manual_seed(0))
    out = sample(name, gaussian(0.5, 0.5), noise, karras_sigmas(60))
    assert abs(float(out.mean()) - 0.5) < 0.02 and abs(float(out.std()) - 0.5) < 0.03


@pytest.mark.parametrize("name", SAMPLERS)
def test_point_target_is_hit_in_any_number_of_steps(name):
    noise = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))
    for steps in (1, 2, 5):
        torch.testing.assert_close(
            sample(name, lambda x, s: torch.full_like(x, 0.7), noise, karras_sigmas(steps)),
            torch.full_like(noise, 0.7), atol=1e-5, rtol=0,
        )  # fmt: skip


def test_ddim_without_noise_is_euler():
    noise = 30 * torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    a, b = (f(gaussian(1.0, 0.3), noise, karras_sigmas(7)) for f in (sample_euler, sample_ddim))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_second_order_beats_first_order():
    noise = torch.randn(8, 16, 16, generator=torch.Generator().manual_seed(0))
    truth = sample("dpmpp_2m", gaussian(2.0, 0.5), noise, karras_sigmas(400))
    error = {
        n: float((sample(n, gaussian(2.0, 0.5), noise, karras_sigmas(8)) - truth).abs().mean()) for n in SAMPLERS[:2]
    }
    assert error["dpmpp_2m"] < 0.7 * error["euler"]


def test_callback_sees_every_step():
    seen = []
    sample("euler", lambda x, s: x * 0, torch.ones(1, 2, 2), karras_sigmas(4), lambda i, n, d: seen.append((i, n)))
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_levels_fall_to_zero():
    sigmas = karras_sigmas(8)
    assert len(sigmas) == 9 and sigmas[-1] == 0 and (sigmas.diff() < 0).all()
    with pytest.raises(ValueError, match="at least 1"):
        karras_sigmas(0)
    with pytest.raises(ValueError, match="unknown"):
        sample("heun", lambda x, s: x, torch.ones(1, 2, 2), sigmas)


BRANCH = {(True, True): torch.tensor(5.0), (True, False): torch.tensor(3.0), (False, False): torch.tensor(1.0)}


def test_guidance_one_evaluates_only_the_full_condition():
    calls = []
    out = guided(lambda s, p: calls.append((s, p)) or BRANCH[s, p], 1, 1)
    assert calls == [(True, True)] and out == 5


@pytest.mark.parametrize("audio,prior", [(1, 1), (1, 2.5), (2.5, 1), (2, 3), (0, 0), (1, 0), (0, 1)])
def test_guidance_is_the_plain_formula(audio, prior):
    nothing, heard, full = BRANCH[False, False], BRANCH[True, False], BRANCH[True, True]
    plain = nothing + audio * (heard - nothing) + prior * (full - heard)
    torch.testing.assert_close(guided(lambda s, p: BRANCH[s, p], audio, prior), plain)
