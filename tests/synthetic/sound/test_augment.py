import numpy as np
import pytest

from stereotalker_core.synthetic.sound.augment import add_noise, augment, band_limit, reverberate

T = np.arange(16000) / 16000


def tone(hz):
    return (0.3 * np.sin(2 * np.pi * hz * T)).astype(np.float32)


def test_augment_keeps_length_range_and_seed():
    wave = tone(200)
    copies = [augment(wave, np.random.default_rng(k)) for k in range(12)]
    assert all(c.shape == wave.shape and c.dtype == np.float32 and np.abs(c).max() <= 1.0 for c in copies)
    assert np.array_equal(copies[3], augment(wave, np.random.default_rng(3)))
    assert len({round(float(c.std()), 6) for c in copies}) == 12


def test_noise_has_the_asked_level():
    wave = tone(300)
    noise = add_noise(wave, 20.0, -1.0, np.random.default_rng(0)) - wave
    assert 10 * np.log10((wave**2).mean() / (noise**2).mean()) == pytest.approx(20.0, abs=0.1)


def test_band_limit_keeps_the_middle_and_drops_the_ends():
    def level(hz):
        return band_limit(tone(hz), 150, 3400).std() / tone(hz).std()

    assert level(1000) > 0.95 and level(40) < 0.1 and level(7000) < 0.1


def test_reverberation_does_not_move_the_direct_sound():
    click = np.zeros(8000, np.float32)
    click[1000] = 1
    wet = reverberate(click, 0.3, 6.0, np.random.default_rng(1))
    assert np.abs(wet).argmax() == 1000 and np.abs(wet[:1000]).max() < 1e-6
    assert np.abs(wet[1100:4000]).max() > 1e-3


def test_bad_waveform_is_refused():
    with pytest.raises(ValueError, match="finite"):
        augment(np.array([0.0, np.nan]), np.random.default_rng(0))
