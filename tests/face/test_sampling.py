"""Sampling: any length by windows, the same draws where windows overlap, temperature, seeds, both kinds of model."""

import math

import pytest
import torch
from golden import mini

from stereotalker_core.audio.encoder import SpeechEncoder
from stereotalker_core.face.layout import FaceStyle
from stereotalker_core.face.model import ProbTalk3D
from stereotalker_core.face.prior import MotionPrior
from stereotalker_core.face.quantiser import Draw, Quantiser, gumbel_track, normal_track
from stereotalker_core.face.sampling import OVERLAP, FaceModels, FaceOptions, sample_face, stream_face
from stereotalker_core.records import Audio


def recording(seconds, seed=0):
    t = torch.arange(round(16000 * seconds)) / 16000
    noise = torch.randn(len(t), generator=torch.Generator().manual_seed(seed))
    wave = 0.2 * torch.sin(2 * math.pi * 140 * t) * (1 + torch.sin(2 * math.pi * 3 * t)) + 0.01 * noise
    return Audio(wave, wave[None], 16000)


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    encoder = SpeechEncoder(SpeechEncoder.Config(width=32, layers=1, heads=2, feed_forward=32, position_kernel=3))
    prior = MotionPrior.Config(
        width=16, encoder_layers=1, decoder_layers=1, heads=2, inner=16, codes=12, code_width=4, rows="channel",
        norm="frame", dropout=0.0,
    )  # fmt: skip
    config = ProbTalk3D.Config(prior, None, audio=45, layers=1, basis="arkit", coherence=6.0, window=OVERLAP + 16)
    model = ProbTalk3D(config)
    torch.nn.init.normal_(model.motion_prior.quantize.embedding.weight)
    return FaceModels(model.eval(), encoder.eval())


def test_any_length_gives_every_frame_once(models):
    for seconds in (0.1, 1.0, 1.59, 1.61, 2.3, 4.0):
        audio = recording(seconds)
        face = sample_face(models, audio, FaceStyle(emotion="happy"), FaceOptions(samples=2))
        assert face.parameters.shape == (2, audio.frame_count(), 53) and face.basis == "arkit"


def test_seeds_samples_and_temperature(models):
    audio = recording(2.0)
    base = sample_face(models, audio, options=FaceOptions(seed=3, samples=2)).parameters
    assert torch.equal(base, sample_face(models, audio, options=FaceOptions(seed=3, samples=2)).parameters)
    alone = sample_face(models, audio, options=FaceOptions(seed=4)).parameters
    torch.testing.assert_close(base[1:], alone, atol=1e-4, rtol=0)  # another batch: the same up to rounding
    assert not torch.equal(base[0], base[1])
    still = sample_face(models, audio, options=FaceOptions(temperature=0, samples=2)).parameters
    torch.testing.assert_close(still[0], still[1], atol=1e-4, rtol=0)
    less_likely = sample_face(models, audio, options=FaceOptions(seed=3, k=5)).parameters
    assert not torch.equal(less_likely[0], base[0])
    for wrong in ({"temperature": -1.0}, {"temperature": math.nan}, {"k": 0}, {"samples": 0}, {"samples": 99}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            FaceOptions(**wrong)


def test_windows_agree_where_they_overlap(models):
    """The model sees no time but its window's; frames far from the borders hardly depend on where windows begin."""
    steps = []
    audio = recording(6.0)
    chunks = list(stream_face(models, audio))
    assert len(chunks) > 5 and all(chunk.shape[1] <= 16 for chunk in chunks[:-1])
    motion = torch.cat(chunks, 1)[0]
    speed = motion.diff(dim=0).norm(dim=-1)
    seams = torch.arange(16, len(motion) - 24, 16) - 1
    assert speed[seams].mean() < 1.5 * speed.mean()
    sample_face(models, audio, callback=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (150, 150) and len(steps) == len(chunks)


def test_noise_depends_on_the_frame_alone_and_is_standard():
    whole = normal_track(5, 0, 400, 50, 7.0)
    assert torch.allclose(normal_track(5, 113, 60, 50, 7.0), whole[113:173], atol=1e-5)
    assert whole.mean().abs() < 0.05 and (whole.std() - 1).abs() < 0.05
    gumbel = gumbel_track(5, 0, 400, 50, 7.0)
    assert (gumbel.mean() - 0.5772).abs() < 0.08 and (gumbel.var() - math.pi**2 / 6).abs() < 0.2
    near = torch.corrcoef(torch.stack([whole[1:].flatten(), whole[:-1].flatten()]))[0, 1]
    far = torch.corrcoef(torch.stack([whole[14:].flatten(), whole[:-14].flatten()]))[0, 1]
    assert near > 0.9 and far.abs() < 0.1


def test_coherent_draws_have_the_chances_of_the_softmax():
    """Each frame by itself is drawn exactly as a multinomial draws, at every k."""
    torch.manual_seed(1)
    quantiser = Quantiser(4, 2, "channel", unit=2.0)
    torch.nn.init.normal_(quantiser.embedding.weight)
    distances = quantiser.distances(torch.zeros(2000, 2))
    chance = torch.softmax(quantiser.logits(distances[0], 0.3), 0)
    for k in (1, 2):
        drawn = torch.cat([quantiser.choose(distances, Draw(0.3, k, seed, 4.0), 2000) for seed in range(20)])
        share = torch.bincount(drawn, minlength=4) / len(drawn)
        expected = chance
        if k == 2:  # the second of two without replacement
            expected = sum(chance[i] * chance.index_fill(0, torch.tensor(i), 0) / (1 - chance[i]) for i in range(4))
        assert (share - expected).abs().max() < 0.04
    with pytest.raises(ValueError, match="channels"):
        Quantiser(4, 2, "time").choose(distances, Draw(0.3, 1, 0, 4.0), 2000)


def test_a_model_with_hubert_fills_every_frame_in_windows():
    model = mini(2)
    object.__setattr__(model, "config", ProbTalk3D.Config(model.config.prior, model.config.hubert, 32, 3, window=40))
    for seconds in (0.5, 1.0, 3.0):
        audio = recording(seconds)
        face = sample_face(FaceModels(model, None), audio, options=FaceOptions(samples=2))
        assert face.parameters.shape == (2, audio.frame_count(), 53) and face.basis == "flame"
        assert not torch.equal(face.parameters[0], face.parameters[1])


def test_a_model_without_ears_is_refused(models):
    with pytest.raises(ValueError, match="encoder"):
        sample_face(FaceModels(models.model, None), recording(0.5))


def test_the_vae_variant_draws_from_its_gaussian(models):
    config = MotionPrior.Config(
        kind="vae", width=16, encoder_layers=1, decoder_layers=1, heads=2, inner=16, norm="frame", dropout=0.0
    )
    prior = MotionPrior(config).eval()
    motion = torch.rand(1, 12, 53)
    mean, passed = prior(motion)
    assert torch.equal(mean, prior(motion, Draw(temperature=0))[0]) and passed.loss > 0
    one, two = (prior(motion, Draw(seed=s))[0] for s in (1, 2))
    assert not torch.equal(one, two) and torch.equal(one, prior(motion, Draw(seed=1))[0])
    assert (prior(motion, Draw(0.4))[0] - mean).norm() > (prior(motion, Draw(0.1))[0] - mean).norm()


def test_wrong_settings_are_named():
    for wrong in (
        {"kind": "gan"},
        {"rows": "both"},
        {"norm": "batch"},
        {"width": 20, "code_width": 16, "rows": "channel"},
    ):
        with pytest.raises(ValueError, match=str(next(iter(wrong)))):
            MotionPrior.Config(**wrong)
    with pytest.raises(ValueError, match="twice"):
        ProbTalk3D.Config(audio=100)
