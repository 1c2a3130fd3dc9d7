"""The face nodes on a tiny untrained ProbTalk3D: speech -> performances -> motion -> onto a moving body."""

import pytest
import torch
from graph import load_pack

PACK = load_pack()
NODES = PACK.NODE_CLASS_MAPPINGS
AUDIO = {"waveform": 0.2 * torch.sin(torch.arange(24000) * 0.1)[None, None], "sample_rate": 24000}
CHOICES = {"identity": "W011", "emotion": "happy", "intensity": "high", "temperature": 0.2, "k": 1}


@pytest.fixture(scope="module")
def face_model():
    core = PACK.stereotalker_core
    from importlib import import_module

    model = import_module(f"{core.__name__}.face.model")
    prior = import_module(f"{core.__name__}.face.prior")
    encoder = import_module(f"{core.__name__}.audio.encoder").SpeechEncoder
    torch.manual_seed(0)
    small = prior.MotionPrior.Config(
        width=16, encoder_layers=1, decoder_layers=1, heads=2, inner=16, codes=12, code_width=4, rows="channel",
        norm="frame",
    )  # fmt: skip
    net = model.ProbTalk3D(model.ProbTalk3D.Config(small, None, audio=45, layers=1, basis="arkit", coherence=6.0))
    torch.nn.init.normal_(net.motion_prior.quantize.embedding.weight)
    ears = encoder(encoder.Config(width=32, layers=1, heads=2, feed_forward=32, position_kernel=3))
    return PACK.nodes.host.Managed(net.eval(), ears.eval())


def test_speech_becomes_three_performances_and_one_moves_a_body(face_model):
    face, frames = NODES["StereoTalkerSampleEmotionalFace"]().sample(face_model, AUDIO, **CHOICES, seed=5, samples=3)
    assert frames == 25 and face.parameters.shape == (3, 25, 53)
    (motion,) = NODES["StereoTalkerFaceToMotion"]().convert(face, 2)
    assert len(motion) == 25 and not motion.rotations.any()
    (back,) = NODES["StereoTalkerMotionToFace"]().convert(motion)
    assert back.parameters.shape == (1, 25, 53)
    body = type(motion)(torch.randn(25, 49, 3), torch.rand(25, 52))
    (merged,) = NODES["StereoTalkerMergeFace"]().merge(body, face, 2, 1.0, True)
    assert torch.equal(merged.rotations, body.rotations)
    assert torch.allclose(merged.expression[:, 24], motion.expression[:, 24])  # jawOpen


def test_the_largest_seed_works_and_wrong_requests_are_named(face_model):
    node = NODES["StereoTalkerSampleEmotionalFace"]()
    node.sample(face_model, AUDIO, **CHOICES, seed=2**64 - 1, samples=2)
    face, _ = node.sample(face_model, AUDIO, **CHOICES, seed=0, samples=1)
    with pytest.raises(ValueError, match="sample 1 of 1"):
        NODES["StereoTalkerFaceToMotion"]().convert(face, 1)
    silent = {"waveform": torch.zeros(1, 1, 16000), "sample_rate": 16000}
    with pytest.raises(ValueError, match="silent"):
        node.sample(face_model, silent, **CHOICES, seed=0, samples=1)
