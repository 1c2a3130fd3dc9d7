"""Tiny networks and a stand-in speech encoder shared by the tests of stage 1."""

import torch
from torch import nn

from stereotalker_core.motion.conditioning import STYLE_WIDTH, MotionCondition
from stereotalker_core.motion.generation.sampling import MotionModels
from stereotalker_core.motion.networks.denoiser import MotionDenoiser
from stereotalker_core.motion.networks.prior import LanguagePrior, nano_llm, pack_tokenizer
from stereotalker_core.motion.representation import MotionCodec
from stereotalker_core.records import Audio, Motion, SpeechFeatures
from stereotalker_core.shapes import SAMPLE_RATE


class FakeEncoder(nn.Module):
    """Phones and features that depend on the sound of their own frame only."""

    def encode(self, audio: Audio, features: bool = True) -> SpeechFeatures:
        frames = audio.frame_count()
        wave = torch.nn.functional.pad(audio.waveform, (0, frames * 640 - len(audio.waveform))).view(frames, 640)
        table = torch.randn(640, 40 + 6, generator=torch.Generator().manual_seed(0))
        out = wave @ table
        return SpeechFeatures(out[:, 40:], out[:, :40].log_softmax(-1), audio.seconds)


def make_audio(samples: int, seed: int = 0) -> Audio:
    wave = 0.3 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))
    return Audio(wave, wave[None], SAMPLE_RATE)


def make_motion(frames: int = 30, seed: int = 0, scale: float = 0.3) -> Motion:
    g = torch.Generator().manual_seed(seed)
    return Motion(scale * torch.randn(frames, 49, 3, generator=g), torch.rand(frames, 52, generator=g))


def make_denoiser(**settings) -> MotionDenoiser:
    torch.manual_seed(0)
    config = dict(
        codec=MotionCodec.Config(fingers=6), prior=16, width=32, layers=2, heads=2, expand=2,
        window=20, seed=4, lookahead=3,
    )  # fmt: skip
    net = MotionDenoiser(MotionDenoiser.Config(**(config | settings))).eval()
    with torch.no_grad():  # a fresh network ignores its input: its last layers start at zero
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return net


def make_prior(width: int = 16, **settings) -> LanguagePrior:
    torch.manual_seed(1)
    prior = LanguagePrior(LanguagePrior.Config(llm=nano_llm(300, width, 2), projector=16, rank=2, **settings)).eval()
    with torch.no_grad():
        for name, parameter in prior.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return prior


def make_condition(net: MotionDenoiser, batch: int = 2, frames: int = 12, prior: bool = True) -> MotionCondition:
    g = torch.Generator().manual_seed(3)
    width = net.codec.width
    mask = torch.zeros(batch, frames, 1)
    mask[:, :3] = 1
    return MotionCondition(
        torch.rand(batch, frames, net.config.audio, generator=g),
        torch.randn(batch, STYLE_WIDTH, generator=g),
        torch.randn(batch, frames, width, generator=g),
        mask,
        torch.randn(batch, frames, net.config.prior, generator=g) if prior else None,
    )


def byte_tokenizer() -> str:
    """A byte-level tokenizer.json with one merged piece, "hi"."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = ["<s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "hi"]
    tokenizer = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, [("h", "i")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer.to_str()


def make_reader(**settings) -> LanguagePrior:
    """A prior with a tokenizer."""
    packed = pack_tokenizer(byte_tokenizer())
    prior = make_prior(tokenizer_bytes=len(packed), **settings)
    prior.tokenizer_json.copy_(packed)
    return prior


def make_models() -> MotionModels:
    return MotionModels(FakeEncoder(), make_reader(), make_denoiser())
