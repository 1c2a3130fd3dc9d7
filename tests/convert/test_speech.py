"""Speech encoders from folders and single files: equal to plain transformers calls, long recordings in chunks."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from stereotalker_core.audio.encoder import SpeechEncoder
from stereotalker_core.audio.load import loudness_gain, make_audio
from stereotalker_core.convert.speech import load_speech_model

PHONES = SpeechEncoder.Config(bins=20, width=16, layers=1, heads=2, feed_forward=32, context=5, position_kernel=7)
SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 96}
CONV = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 9, "num_conv_pos_embedding_groups": 4}


def recording(seconds):
    g = torch.Generator().manual_seed(3)
    samples = round(seconds * 16_000)
    return make_audio(0.1 * torch.randn(1, samples, generator=g) * torch.linspace(0.2, 1, samples), 16_000)


@pytest.fixture(scope="module")
def phones():
    torch.manual_seed(0)
    return SpeechEncoder(PHONES).eval()


KINDS = ["wav2vec2", "wav2vec2-large", "hubert", "hubert-large", "wavlm", "wavlm-large", "whisper"]


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    import transformers as hf

    torch.manual_seed(1)
    path = tmp_path_factory.mktemp(request.param)
    if request.param == "whisper":
        layers = {"encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 1, "decoder_attention_heads": 1}
        config = hf.WhisperConfig(d_model=64, encoder_ffn_dim=96, decoder_ffn_dim=96, num_mel_bins=20, **layers)
        hf.WhisperForConditionalGeneration(config).save_pretrained(path)
    else:
        large = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
        settings = {**SMALL, **CONV, **(large if "large" in request.param else {})}
        if "hubert" in request.param:
            hf.HubertModel(hf.HubertConfig(**settings)).save_pretrained(path)
        elif "wavlm" in request.param:
            hf.WavLMModel(hf.WavLMConfig(**settings, num_buckets=64)).save_pretrained(path)
        else:
            hf.Wav2Vec2ForCTC(hf.Wav2Vec2Config(**settings)).save_pretrained(path)
    return path


@torch.no_grad()
def plain(folder, audio, normalised=True):
    """What transformers alone gives on the padded recording, two frames of 20 ms side by side."""
    from transformers import AutoModel, WhisperFeatureExtractor

    stock = AutoModel.from_pretrained(folder).eval()
    if stock.config.model_type == "whisper":
        wave = audio.waveform * loudness_gain(audio.waveform)
        mel = WhisperFeatureExtractor(feature_size=20)(wave[160:].numpy(), sampling_rate=16_000, return_tensors="pt")
        hidden = stock.encoder(mel.input_features).last_hidden_state[0, :50]
    else:
        deviation, mean = torch.std_mean(audio.waveform)
        wave = (audio.waveform - mean) / (deviation + 1e-7) if normalised else audio.waveform
        hidden = stock(F.pad(wave, (40, 40))[None]).last_hidden_state[0]
    return hidden.reshape(25, 128)


def test_folders_equal_transformers(folder, phones):
    audio = recording(1.0)
    model, report = load_speech_model(folder, phones)
    assert report.loaded and not report.missing and not report.unexpected
    assert (model.encode(audio).features - plain(folder, audio)).abs().max() <= 1e-5


def test_pickled_folders_and_single_files_equal_transformers(folder, phones, tmp_path):
    audio, tensors = recording(1.0), load_file(folder / "model.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    expected = plain(folder, audio)
    model, _ = load_speech_model(tmp_path, phones)
    assert (model.encode(audio).features - expected).abs().max() <= 1e-5
    single = tmp_path / "encoder.safetensors"
    if "hubert" in folder.name:  # the base class saves no prefix, which tells HuBERT and wav2vec 2.0 apart
        tensors = {f"hubert.{key}": value for key, value in tensors.items()}
    save_file(tensors, single)
    model, report = load_speech_model(single, phones)
    assert model.normalised == ("large" in folder.name or model.kind == "whisper")
    assert (model.encode(audio).features - plain(folder, audio, model.normalised)).abs().max() <= 1e-5
    assert report.loaded and not report.missing and not report.unexpected


def test_refusals(phones, tmp_path):
    save_file({"encoder.layer_norm.bias": torch.zeros(4)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no wav2vec 2.0, HuBERT, WavLM or Whisper"):
        load_speech_model(tmp_path / "other.safetensors", phones)
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "other.safetensors").read_bytes())
    with pytest.raises(FileNotFoundError, match="config.json"):
        load_speech_model(tmp_path, phones)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="'bert' model"):
        load_speech_model(tmp_path, phones)
