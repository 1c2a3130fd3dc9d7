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
    assert node.sample(face_model, silent, **CHOICES, seed=0, samples=1)[0].parameters.shape[1] == 25


def test_a_fitted_map_takes_faces_of_flames_own_basis_to_arkit_and_back(face_model, tmp_path, monkeypatch):
    from importlib import import_module

    arkit_map = import_module(f"{PACK.stereotalker_core.__name__}.face.arkit_map")
    layout = import_module(f"{PACK.stereotalker_core.__name__}.face.layout")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "stereotalker").mkdir(parents=True)
    turn, arkit = torch.randn(53, 52), torch.rand(400, 52)
    arkit_map.fit_map(arkit, arkit @ turn.T, ridge=1e-6).save("models/stereotalker/map.safetensors")
    choices = NODES["StereoTalkerFaceToMotion"].INPUT_TYPES()["optional"]["fit_map"][0]
    assert choices == ["none", "map.safetensors"]
    face = layout.Face((arkit[:30] @ turn.T)[None], "flame")
    with pytest.raises(ValueError, match="fit_map"):
        NODES["StereoTalkerFaceToMotion"]().convert(face, 0)
    (motion,) = NODES["StereoTalkerFaceToMotion"]().convert(face, 0, "map.safetensors")
    jaw_open, mouth_close = 24, 26
    free = [i for i in range(52) if i != mouth_close]
    assert (motion.expression[:, free] - arkit[:30, free]).abs().max() < 0.05 and motion.expression[:, jaw_open].any()
    (back,) = NODES["StereoTalkerMotionToFace"]().convert(motion, "map.safetensors")
    assert back.basis == "flame"
    body = type(motion)(torch.randn(30, 49, 3), torch.rand(30, 52))
    (merged,) = NODES["StereoTalkerMergeFace"]().merge(body, face, 0, 1.0, True, "map.safetensors")
    assert torch.allclose(merged.expression[:, jaw_open], motion.expression[:, jaw_open])


def test_a_flame_mesh_performs_and_missing_files_are_named(face_model, tmp_path, monkeypatch):
    import sys
    from importlib import import_module
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[1] / "face"))
    from flame_like import head

    layout = import_module(f"{PACK.stereotalker_core.__name__}.face.layout")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "stereotalker").mkdir(parents=True)
    head().save("models/stereotalker/flame.safetensors")
    node = NODES["StereoTalkerRenderFaceMesh"]()
    face = layout.Face(torch.zeros(1, 5, 53), "flame")
    face.parameters[0, 3:, 50] = 0.4
    images, fps = node.render(face, "flame.safetensors", 0, 0.0, 64)
    assert images.shape == (5, 64, 64, 3) and fps == 25 and 0 <= float(images.min()) < float(images.max()) <= 1
    first, second = (((images[i] - images[i + 1]).abs() > 1e-4).float().mean() for i in (1, 2))
    assert float(first) < 0.002 < 0.02 < float(second)  # at rest, and the jaw opens
    with pytest.raises(ValueError, match="no FLAME model"):
        node.render(face, "none", 0, 0.0, 64)
    with pytest.raises(FileNotFoundError, match="absent"):
        node.render(face, "absent.safetensors", 0, 0.0, 64)
    with pytest.raises(ValueError, match="fitted map"):
        node.render(layout.Face(torch.zeros(1, 5, 53)), "flame.safetensors", 0, 0.0, 64)
