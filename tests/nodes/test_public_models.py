"""Public speech encoders and language models through the loader nodes: folders and single files, random weights."""

import json
from importlib import import_module
from pathlib import Path

import pytest
import torch
from graph import STOCK, load_pack

PACK = load_pack()
CLASSES = {**STOCK, **PACK.NODE_CLASS_MAPPINGS}
NANO = "nano (embedded)"
ENCODERS = ("wav2vec2", "hubert", "wavlm", "whisper")


def core(name: str):
    return import_module(f"{PACK.__name__}.stereotalker_core.{name}")


def call(kind: str, **inputs):
    """Run one node -> its outputs."""
    result = getattr(CLASSES[kind](), CLASSES[kind].FUNCTION)(**inputs)
    return result["result"] if isinstance(result, dict) else result


def choices(kind: str, name: str) -> list[str]:
    return CLASSES[kind].INPUT_TYPES()["required"][name][0]


def sound(seconds: float = 0.6) -> dict:
    t = torch.arange(round(seconds * 16_000)) / 16_000
    return {"waveform": (0.3 * torch.sin(2 * torch.pi * 130 * t))[None, None], "sample_rate": 16_000}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """models/audio_encoders with a folder of every kind, models/LLM with a language model two levels down."""
    import transformers as hf
    from tokenizers import Tokenizer, models, pre_tokenizers

    place = tmp_path_factory.mktemp("place")
    torch.manual_seed(0)
    small = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 32}
    conv = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 9, "num_conv_pos_embedding_groups": 2}
    whisper = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 1, "decoder_attention_heads": 1}
    found = {
        "wav2vec2": hf.Wav2Vec2ForCTC(hf.Wav2Vec2Config(**small, **conv)),
        "hubert": hf.HubertModel(hf.HubertConfig(**small, **conv)),
        "wavlm": hf.WavLMModel(hf.WavLMConfig(**small, **conv)),
        "whisper": hf.WhisperModel(hf.WhisperConfig(
            d_model=64, encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=20, **whisper)),
    }  # fmt: skip
    for name, model in found.items():
        model.save_pretrained(place / "models" / "audio_encoders" / f"tiny_{name}")
    torch.save(found["wav2vec2"].state_dict(), place / "models" / "audio_encoders" / "single.bin")
    folder = place / "models" / "LLM" / "someone" / "tiny"
    config = hf.GPT2Config(vocab_size=30, n_embd=32, n_layer=1, n_head=2, n_positions=128)
    hf.GPT2LMHeadModel(config).save_pretrained(folder)
    words = {w: i for i, w in enumerate(["<unk>", *"abcdefghijklmnopqrstuvwxyz", "hello", "world"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(folder)
    return place


@pytest.fixture(autouse=True)
def workplace(place, monkeypatch):
    """The models folder is that of the working directory."""
    monkeypatch.chdir(place)
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("name", [*(f"tiny_{kind}/" for kind in ENCODERS), "single.bin"])
def test_speech_encoders_of_audio_encoders_hear(name):
    entry = f"{name} [audio_encoders]"
    assert entry in choices("StereoTalkerLoadAudioEncoder", "model_name")
    (encoder,) = call("StereoTalkerLoadAudioEncoder", model_name=entry)
    (audio, features, _), _ = call("StereoTalkerEncodeSpeech", audio_encoder=encoder, audio=sound())
    assert features.features.shape == (15, 128) and features.features.isfinite().all() and len(features.phones) == 15
    nano = call("StereoTalkerEncodeSpeech", audio_encoder=call("StereoTalkerLoadAudioEncoder", model_name=NANO)[0],
                audio=sound())[0][1]  # fmt: skip
    assert torch.equal(features.phones, nano.phones) and audio.frame_count() == 15


def small_denoiser(place: Path, prior: int, features: int = 0) -> str:
    """A motion model file for a prior and features of these widths."""
    denoiser, codec = core("motion.networks.denoiser").MotionDenoiser, core("motion.representation").MotionCodec
    torch.manual_seed(0)
    config = denoiser.Config(
        codec=codec.Config(fingers=6), prior=prior, width=32, layers=1, heads=2, expand=2, features=features
    )
    name = f"motion_{prior}_{features}.safetensors"
    core("checkpoint").save(denoiser(config), place / "models" / "stereotalker" / name, torch.float32)
    return name


def motion(loaded, encoder, transcript=""):
    speech, _ = call("StereoTalkerEncodeSpeech", audio_encoder=encoder, audio=sound())
    strengths = {f"{part}_strength": 1.0 for part in ("prior", "motion", "face")}
    return call("StereoTalkerSampleMotion", motion_model=loaded, speech=speech, seed=1, steps=1, emotion="neutral",
                smoothing=0.0, transcript=transcript, **strengths)[0]  # fmt: skip


def test_a_language_model_folder_is_a_prior(place):
    """Found two levels down, checked against the motion model, heard and read."""
    entry = "someone/tiny/ [LLM]"
    assert entry in choices("StereoTalkerLoadMotionModel", "prior_name")
    assert entry not in choices("StereoTalkerLoadMotionModel", "model_name")
    (loaded,) = call("StereoTalkerLoadMotionModel", model_name=small_denoiser(place, 32), prior_name=entry)
    (encoder,) = call("StereoTalkerLoadAudioEncoder", model_name=NANO)
    heard, read = motion(loaded, encoder), motion(loaded, encoder, "hello world")
    assert len(heard) == len(read) == 15 and heard.rotations.isfinite().all()
    with pytest.raises(ValueError, match="gives 32 channels, .* a prior of [0-9]+.*train motion"):
        call("StereoTalkerLoadMotionModel", model_name=NANO, prior_name=entry)


def test_a_motion_model_hears_the_features_it_was_trained_with(place):
    """64 channels of a public encoder, two frames side by side; another encoder is refused by its width."""
    (encoder,) = call("StereoTalkerLoadAudioEncoder", model_name="tiny_hubert/ [audio_encoders]")
    model = small_denoiser(place, 32, features=128)
    (loaded,) = call("StereoTalkerLoadMotionModel", model_name=model, prior_name="someone/tiny/ [LLM]")
    assert motion(loaded, encoder).rotations.isfinite().all()
    (nano,) = call("StereoTalkerLoadAudioEncoder", model_name=NANO)
    with pytest.raises(ValueError, match="384 features.*trained on 128.*Load Audio Encoder"):
        motion(loaded, nano)


def test_folders_that_cannot_be_used_say_why(place):
    for kind, name, folder in (
        ("StereoTalkerLoadAudioEncoder", "model_name", "audio_encoders"),
        ("StereoTalkerLoadMotionModel", "prior_name", "LLM"),
    ):
        inputs = {"model_name": NANO, "prior_name": NANO} if "Motion" in kind else {}
        with pytest.raises(FileNotFoundError, match=f"no model folder 'absent/'.*models/{folder}"):
            call(kind, **(inputs | {name: f"absent/ [{folder}]"}))
    bad = place / "models" / "audio_encoders" / "bert"
    bad.mkdir()
    (bad / "config.json").write_text(json.dumps({"model_type": "bert"}))
    torch.save({"x": torch.ones(1)}, bad / "pytorch_model.bin")
    with pytest.raises(ValueError, match="'bert' model; speech encoders that work: wav2vec2"):
        call("StereoTalkerLoadAudioEncoder", model_name="bert/ [audio_encoders]")
