"""Sound that nobody speaks, and surroundings of speech."""

import numpy as np
import pytest

from stereotalker_core.synthetic.sound.ambience import KINDS, ambience
from stereotalker_core.synthetic.sound.surroundings import Surroundings


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_drawn_by_its_seed_at_one_loudness(kind):
    a, b, c = (ambience(20_000, np.random.default_rng(s), kind) for s in (1, 1, 2))
    assert a.shape == (20_000,) and a.dtype == np.float32 and np.isfinite(a).all()
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    rms = float(np.sqrt(np.square(a).mean()))
    assert rms < 1e-3 if kind == "silence" else rms == pytest.approx(0.1, rel=1e-3)


def test_music_has_pitches_that_noise_lacks():
    def peakiness(kind: str) -> float:
        spectra = [np.abs(np.fft.rfft(ambience(32_000, np.random.default_rng(s), kind))) for s in range(8)]
        return float(np.median([s.max() / s.mean() for s in spectra]))

    assert peakiness("music") > 2 * peakiness("noise")


def test_refusals():
    with pytest.raises(ValueError, match="positive"):
        ambience(0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="one of music"):
        ambience(10, np.random.default_rng(0), "opera")
    with pytest.raises(ValueError, match="8 s"):
        Surroundings(0).cut(16_000 * 9, np.random.default_rng(0))


def test_speech_beside_other_sound_keeps_its_loudness_and_stays_the_loudest():
    around, rng = Surroundings(3), np.random.default_rng(0)
    time = np.arange(32_000) / 16_000
    wave = (0.14 * np.sin(2 * np.pi * 800 * time)).astype(np.float32)  # within what a telephone lets through
    for _ in range(12):
        out = around.beside(wave, rng, lambda r: r.standard_normal(32_000).astype(np.float32))
        assert np.sqrt(np.square(out).mean()) == pytest.approx(np.sqrt(np.square(wave).mean()), rel=1e-3)
        power = np.square(np.abs(np.fft.rfft(out)))  # a room turns the phase of a tone, not its pitch
        assert power[1550:1651].sum() > 0.4 * power.sum()
    silent = np.zeros(100, np.float32)
    assert around.beside(silent, rng, lambda r: silent) is silent


def test_a_piece_depends_on_its_number_alone():
    a, b = Surroundings(5), Surroundings(5)
    b.piece(7)
    np.testing.assert_array_equal(a.piece(3), b.piece(3))
