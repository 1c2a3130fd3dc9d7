"""Public encoders behind our interface: small random models in Hugging Face format, alignment, refusals."""

import json

import pytest
import torch
import torch.nn.functional as F

from stereotalker_core import checkpoint
from stereotalker_core.audio import pretrained
from stereotalker_core.audio.encoder import SpeechEncoder
from stereotalker_core.audio.load import make_audio
from stereotalker_core.audio.pretrained import PretrainedSpeechEncoder, load_speech_encoder

PHONES = SpeechEncoder.Config(bins=20, width=16, layers=1, heads=2, feed_forward=32, context=5, position_kernel=7)
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
CONV = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 9, "num_conv_pos_embedding_groups": 2}


def noise(seconds: float) -> torch.Tensor:
    torch.manual_seed(3)
    return 0.1 * torch.randn(1, round(seconds * 16_000)) * torch.linspace(0.2, 1, round(seconds * 16_000))


@pytest.fixture(scope="module")
def phones():
    torch.manual_seed(0)
    return SpeechEncoder(PHONES).eval()


@pytest.fixture(scope="module", params=["wav2vec2", "hubert", "wavlm", "whisper"])
def folder(request, tmp_path_factory):
    import transformers as hf

    torch.manual_seed(1)
    path = tmp_path_factory.mktemp(request.param)
    if request.param == "whisper":
        layers = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
        config = hf.WhisperConfig(d_model=16, encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=20, **layers)
        hf.WhisperModel(config).save_pretrained(path)
    elif request.param == "wav2vec2":
        hf.Wav2Vec2Model(hf.Wav2Vec2Config(**SMALL, **CONV)).save_pretrained(path)
    elif request.param == "hubert":
        hf.HubertModel(hf.HubertConfig(**SMALL, **CONV)).save_pretrained(path)
    else:
        hf.WavLMModel(hf.WavLMConfig(**SMALL, **CONV)).save_pretrained(path)
    return path


@pytest.mark.parametrize("seconds", [0.1, 1.013])
def test_one_feature_per_frame(folder, phones, seconds):
    audio = make_audio(noise(seconds), 16_000)
    model = PretrainedSpeechEncoder.from_folder(folder, phones).eval()
    out = model.encode(audio)
    assert out.features.shape == (audio.frame_count(), model.feature_width) == (audio.frame_count(), 32)
    assert out.features.isfinite().all() and torch.equal(out.phones, phones.encode(audio).phones)


def test_short_recordings_equal_the_stock_model(folder, phones):
    """One chunk: the plain recipe of transformers on the padded recording."""
    from transformers import AutoModel, WhisperFeatureExtractor

    audio = make_audio(noise(1.0), 16_000)
    model = PretrainedSpeechEncoder.from_folder(folder, phones).eval()
    stock = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        if model.kind == "whisper":
            wave = audio.waveform * pretrained.loudness_gain(audio.waveform)
            extract = WhisperFeatureExtractor(feature_size=20)
            mel = extract(wave[160:].numpy(), sampling_rate=16_000, return_tensors="pt")
            hidden = stock.encoder(mel.input_features).last_hidden_state[0, :50]
        else:
            wave = (audio.waveform - audio.waveform.mean()) / audio.waveform.std()
            hidden = stock(F.pad(wave, (40, 40))[None]).last_hidden_state[0]
    assert torch.allclose(model.encode(audio).features, hidden.reshape(25, 32), atol=1e-4)


def test_one_loader_for_files_and_folders(folder, phones, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "NANO", tmp_path)
    checkpoint.save(phones, tmp_path / "audio_encoder.safetensors")
    assert isinstance(load_speech_encoder(), SpeechEncoder)
    assert load_speech_encoder(tmp_path / "audio_encoder.safetensors").config == PHONES
    assert isinstance(load_speech_encoder(folder), PretrainedSpeechEncoder)


def test_refusals(phones, tmp_path):
    with pytest.raises(FileNotFoundError, match="config.json"):
        PretrainedSpeechEncoder.from_folder(tmp_path, phones)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="'bert' model.*wav2vec2"):
        PretrainedSpeechEncoder.from_folder(tmp_path, phones)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "hubert"}))
    with pytest.raises(ValueError, match="no .safetensors"):
        PretrainedSpeechEncoder.from_folder(tmp_path, phones)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_speech_encoder(tmp_path / "nowhere.safetensors")
