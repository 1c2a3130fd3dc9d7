"""Fixtures for the whole path: tiny untrained networks, a synthetic portrait with its labels, a recording."""

import builtins
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

PASSED = os.environ.get("TESTS_PASSED")  # a file: tests that it names are left out, those that pass are added


def pytest_collection_modifyitems(config, items):
    """Runs with servers and browsers take long: a run that was cut short goes on where it stopped."""
    if PASSED and Path(PASSED).exists():
        done = set(Path(PASSED).read_text(encoding="utf-8").splitlines())
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in done])
        items[:] = [item for item in items if item.nodeid not in done]


def pytest_runtest_logreport(report):
    if PASSED and report.when == "call" and report.passed:
        with open(PASSED, "a", encoding="utf-8") as file:
            file.write(f"{report.nodeid}\n")


@dataclass(frozen=True)
class Inputs:
    """Files that `talk` takes."""

    portrait: Path
    mask: Path
    keypoints: Path
    audio: Path
    seconds: float


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> Inputs:
    """A 256 px avatar portrait with perfect mask and keypoints, and half a second of something voiced."""
    import av
    import numpy as np

    from stereotalker_core.commands.data import write_portrait

    folder = tmp_path_factory.mktemp("inputs")
    write_portrait(folder / "portrait.png", 3, 256, labels=True)
    seconds, rate = 0.5, 16000
    t = np.arange(int(seconds * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * 130 * t) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))
    with av.open(str(folder / "speech.wav"), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate = rate
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    names = ("portrait.png", "portrait_mask.png", "portrait_keypoints.json", "speech.wav")
    return Inputs(*(folder / name for name in names), seconds)


def _shake(module: torch.nn.Module, amount: float = 0.02) -> torch.nn.Module:
    """Fresh networks end in zeros and ignore what they are told: move every weight a little."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(amount * torch.randn(parameter.shape))
    return module.eval()


@pytest.fixture(scope="session")
def tiny_models():
    """`pipeline.Models` of all classes that nano uses, a few thousand weights each, untrained; real perception."""
    from stereotalker_core.audio.encoder import SpeechEncoder
    from stereotalker_core.body.model import HalfBody
    from stereotalker_core.motion.generation.sampling import MotionModels
    from stereotalker_core.motion.networks.denoiser import MotionDenoiser
    from stereotalker_core.motion.networks.prior import LanguagePrior, nano_llm
    from stereotalker_core.motion.representation import MotionCodec
    from stereotalker_core.perception.networks import load_perception
    from stereotalker_core.pipeline import Models
    from stereotalker_core.video.networks.experts import MaskExperts, ViewExperts
    from stereotalker_core.video.networks.mask import MaskPredictor
    from stereotalker_core.video.networks.reference import ReferenceNet
    from stereotalker_core.video.networks.unet import StereoTalkerUNet, UNetConfig
    from stereotalker_core.video.networks.vae import AutoencoderConfig, TinyAutoencoder
    from stereotalker_core.video.rendering.nano import NanoRenderer

    torch.manual_seed(0)
    body = HalfBody()
    encoder = SpeechEncoder(SpeechEncoder.Config(width=32, layers=1, heads=2, feed_forward=32, position_kernel=3))
    prior = LanguagePrior(LanguagePrior.Config(llm=nano_llm(300, 48, 1), projector=16, rank=2))
    denoiser = MotionDenoiser(
        MotionDenoiser.Config(codec=MotionCodec.Config(fingers=6), prior=48, width=32, layers=1, heads=2, expand=2)
    )
    config = UNetConfig(widths=(16, 32, 32), heads=(2, 2, 2), motion_heads=(2, 2, 2), groups=8, guide_widths=(16, 24))
    unet = StereoTalkerUNet(config)
    vae = TinyAutoencoder(AutoencoderConfig(encoder_width=16, decoder_width=16, guided_width=16))
    renderer = NanoRenderer(
        _shake(unet),
        _shake(ReferenceNet(config.reference())),
        _shake(vae),
        _shake(MaskPredictor.for_parts(body.part_names, widths=(16, 16, 16)), 0.1),
        _shake(ViewExperts.for_unet(unet, rank=4), 0.5),
        _shake(MaskExperts.for_unet(unet, rank=4), 0.5),
    )
    motion = MotionModels(encoder.eval(), _shake(prior), _shake(denoiser))
    return Models(body, load_perception(), motion, renderer)


@pytest.fixture
def hide_numba(monkeypatch):
    """Call it, and from then on `import numba` fails as where it is not installed."""
    real = builtins.__import__

    def without(name, *more, **named):
        if name == "numba" or name.startswith("numba."):
            raise ImportError("no numba here")
        return real(name, *more, **named)

    return lambda: monkeypatch.setattr(builtins, "__import__", without)
