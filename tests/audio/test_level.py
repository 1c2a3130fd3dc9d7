"""The gain that follows a recording."""

import pytest
import torch

from stereotalker_core.audio.level import Levelled, local_gain


def noise(seconds: float, rms: float) -> torch.Tensor:
    return rms * torch.randn(round(16_000 * seconds), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("rms", [1e-3, 0.02, 0.4])
def test_an_even_recording_has_one_gain(rms):
    heard = Levelled(noise(20.0, rms))[:]
    assert float(heard.square().mean().sqrt()) == pytest.approx(0.1, rel=0.02)
    assert float(local_gain(noise(20.0, rms)).std()) < 0.1  # decibels


def test_a_quiet_half_is_heard_as_loud_as_the_loud_one():
    heard = Levelled(torch.cat([noise(15.0, 0.2), noise(15.0, 0.2 * 10 ** (-26 / 20))]))
    loud, quiet = heard[32_000:160_000], heard[320_000:448_000]
    assert float(quiet.square().mean() / loud.square().mean()) == pytest.approx(1, rel=0.1)


def test_a_long_pause_is_not_brought_up_to_speech():
    heard = Levelled(torch.cat([noise(15.0, 0.2), noise(15.0, 1e-5), noise(15.0, 0.2)]))
    assert float(heard[320_000:400_000].abs().max()) < 0.01


def test_any_part_is_as_in_the_whole():
    level = Levelled(torch.cat([noise(7.0, 0.2), noise(8.3, 0.01)]))
    whole = level[:]
    assert len(level) == len(whole) == level.shape[0]
    for start, stop in ((0, 100), (50_001, 190_000), (240_000, 300_000)):
        torch.testing.assert_close(level[start:stop], whole[start:stop])
    assert not Levelled(torch.zeros(16_000))[:].any()
