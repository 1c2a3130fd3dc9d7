"""Long recordings through the public encoders: equal to one pass of transformers, for every layout of theirs."""

import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.audio import encoder as encoder_module
from stereotalker_core.audio import long, pretrained
from stereotalker_core.audio.encoder import HOP, SpeechEncoder
from stereotalker_core.audio.load import make_audio
from stereotalker_core.audio.pretrained import PretrainedSpeechEncoder

SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
LAYOUTS = {
    "wav2vec2 base": ("Wav2Vec2", {}),
    "wav2vec2 large": ("Wav2Vec2", LARGE),
    "wav2vec2 layer norm, not stable": ("Wav2Vec2", {"feat_extract_norm": "layer"}),
    "wav2vec2 group norm, stable": ("Wav2Vec2", {"do_stable_layer_norm": True}),
    "wav2vec2 with attention adapters": ("Wav2Vec2", {**LARGE, "adapter_attn_dim": 8}),
    "hubert base": ("Hubert", {}),
    "hubert large": ("Hubert", LARGE),
    "hubert, batch norm, no projection norm": ("Hubert", {"conv_pos_batch_norm": True, "feat_proj_layer_norm": False}),
    "wavlm base": ("WavLM", {"num_buckets": 40, "max_bucket_distance": 60}),
    "wavlm large": ("WavLM", {**LARGE, "num_buckets": 40, "max_bucket_distance": 60}),
}


def build(name: str, **changes):
    """A random model of transformers whose group norm, positions and attention all matter."""
    import transformers as hf

    kind, settings = LAYOUTS[name]
    conv = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    config = getattr(hf, f"{kind}Config")(**SMALL, **conv, **settings, **changes)
    torch.manual_seed(0)
    model = getattr(hf, f"{kind}Model")(config).eval().requires_grad_(False)
    for parameter_name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.mul_(3)  # sharper attention than fresh weights have
        elif "norm" in parameter_name:
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return model


def sound(seconds: float) -> torch.Tensor:
    samples = round(seconds * 16_000)
    g = torch.Generator().manual_seed(3)
    return torch.randn(samples, generator=g) * torch.linspace(0.2, 2, samples)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Pieces so small that a short recording has many of them."""
    monkeypatch.setattr(long, "FRONT", 37)
    monkeypatch.setattr(long, "SCORES", 5000)


@torch.no_grad()
@pytest.mark.parametrize("name", LAYOUTS)
def test_many_pieces_equal_one_pass(name):
    model = build(name)
    wave = F.pad(sound(4.3)[: 215 * HOP], (40, 40))
    whole = model(wave[None]).last_hidden_state[0]
    pieces = long.long_hidden(model, wave, 10**9)
    assert pieces.shape == whole.shape == (215, 32)
    assert float((pieces - whole).norm() / whole.norm()) < 1e-5
    assert float((pieces - whole).abs().max()) < 2e-5
    alone = model(F.pad(wave[100 * HOP : 140 * HOP], (40, 40))[None]).last_hidden_state[0]
    assert float((alone[10:-10] - whole[110:130]).norm() / whole[110:130].norm()) > 1e-3, "nothing looks far"


@torch.no_grad()
def test_the_public_encoder_takes_the_long_way_by_itself(monkeypatch):
    """`encode` over many pieces equals `encode` over one; Whisper's contract is the other test's."""
    monkeypatch.setattr(encoder_module, "CHUNK", 10**6)
    monkeypatch.setattr(pretrained, "PIECE", 10**6)
    config = SpeechEncoder.Config(bins=20, width=16, layers=1, heads=2, feed_forward=32, context=5, position_kernel=7)
    model = PretrainedSpeechEncoder(build("wav2vec2 base"), SpeechEncoder(config).eval(), "wav2vec2").eval()
    audio = make_audio(0.1 * sound(3.01)[None], 16_000)
    whole = model.encode(audio).features
    monkeypatch.setattr(pretrained, "PIECE", 50)
    pieces = model.encode(audio).features
    assert pieces.shape == whole.shape == (76, 64)
    assert float((pieces - whole).norm() / whole.norm()) < 1e-5
    model.exact_seconds = 1.0
    monkeypatch.setattr(long, "WINDOW", 60)
    monkeypatch.setattr(long, "CONTEXT", 30)
    windows = model.encode(audio).features
    assert 1e-5 < float((windows - whole).norm() / whole.norm()) < 0.2


@torch.no_grad()
def test_beyond_the_limit_only_the_attention_is_windowed(monkeypatch):
    """Without attention across windows there is no difference: the front end and the positions stay exact."""
    model = build("hubert base")
    for layer in model.encoder.layers:
        layer.attention.out_proj.weight.zero_()
    monkeypatch.setattr(long, "WINDOW", 50)
    monkeypatch.setattr(long, "CONTEXT", 10)
    wave = F.pad(sound(3.0), (40, 40))
    whole = model(wave[None]).last_hidden_state[0]
    assert float((long.long_hidden(model, wave, 100) - whole).norm() / whole.norm()) < 1e-5


@torch.no_grad()
def test_whisper_hears_pieces_of_its_window():
    """Every piece of 20 s with its 2 s of context is what transformers gives for that piece."""
    import transformers as hf

    torch.manual_seed(0)
    layers = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = hf.WhisperConfig(d_model=16, encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=20, **layers)
    stock = hf.WhisperModel(config).eval().get_encoder()
    ours = SpeechEncoder.Config(bins=20, width=16, layers=1, heads=2, feed_forward=32, context=5, position_kernel=7)
    model = PretrainedSpeechEncoder(stock, SpeechEncoder(ours).eval(), "whisper").eval()
    audio = make_audio(0.1 * sound(25.0)[None], 16_000)
    wave = audio.waveform * pretrained.loudness_gain(audio.waveform)
    second = wave[(1000 - pretrained.CONTEXT) * HOP :]
    mel = hf.WhisperFeatureExtractor(feature_size=20)(
        second[160:].numpy(), sampling_rate=16_000, return_tensors="pt"
    ).input_features  # fmt: skip
    expected = stock(mel).last_hidden_state[0, pretrained.CONTEXT : pretrained.CONTEXT + 250]
    found = model.encode(audio).features[500:].reshape(250, 16)
    assert float((found - expected).abs().max()) < 1e-5


def test_strided_adapters_are_refused():
    model = build("wav2vec2 base", add_adapter=True)
    with pytest.raises(ValueError, match="adapter"):
        long.long_hidden(model, sound(1.0), 100)
