"""The embedded ProbTalk3D: eight emotions are told apart at full strength; draws differ in look, not in the lips."""

import pytest
import torch

from stereotalker_core.audio.load import load_audio
from stereotalker_core.face.layout import EMOTIONS, FaceStyle
from stereotalker_core.face.sampling import FaceModels, FaceOptions, sample_face
from stereotalker_core.synthetic.example import SPEECH

JAW = 50  # the jaw's opening among the 53 numbers


@pytest.fixture(scope="module")
def heard():
    models, audio = FaceModels.load_nano(), load_audio(SPEECH)
    return models, audio, models.encoder.encode(audio)


def drawn(heard, style: FaceStyle, **options) -> torch.Tensor:
    models, audio, speech = heard
    return sample_face(models, audio, style, FaceOptions(**options), speech=speech).parameters


def test_eight_emotions_are_told_apart_by_their_coefficients(heard):
    """Two draws of an emotion are nearer to each other than to any draw of another one."""
    means = []
    for emotion in EMOTIONS:
        style = FaceStyle(emotion=emotion, intensity="low" if emotion == "neutral" else "high")
        means.append(drawn(heard, style, temperature=1.0, samples=2, seed=5).mean(1))
    means = torch.stack(means)  # (8, 2, 53)
    between = torch.cdist(means[:, 0], means[:, 1])
    within = between.diagonal()
    others = between + torch.eye(len(EMOTIONS)) * 1e3
    assert len(EMOTIONS) == 8 and (within < 0.75 * torch.minimum(others.amin(0), others.amin(1))).all()


def test_draws_differ_in_the_look_and_agree_in_the_lips(heard):
    faces = drawn(heard, FaceStyle(emotion="happy", intensity="high"), temperature=1.0, samples=4, seed=1)
    spread = faces.std(0).mean(0)  # (53,)
    jaws = faces[:, :, JAW] - faces[:, :, JAW].mean(1, keepdim=True)
    alike = torch.corrcoef(jaws)
    assert float(alike.min()) > 0.8
    assert float(spread[:50].max()) > 0.1
    still = drawn(heard, FaceStyle(emotion="happy", intensity="high"), temperature=0.0, samples=2)
    torch.testing.assert_close(still[0], still[1], atol=1e-4, rtol=0)
