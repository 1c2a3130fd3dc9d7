"""Public speech encoders (wav2vec 2.0, HuBERT, WavLM, Whisper) from folders and from single files."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..audio.encoder import SpeechEncoder
from ..audio.pretrained import KINDS, PretrainedSpeechEncoder, embedded_encoder, load_speech_encoder
from .language import build_transformer
from .report import Report
from .weights import is_ours, read_weights

_LEFT_OUT = {
    "masked_spec_embed": "mask of the pre-training",
    "quantizer": "pre-training head",
    "project_hid": "pre-training head",
    "project_q": "pre-training head",
    "lm_head": "recognition head",
    "projector": "classification head",
    "classifier": "classification head",
    "proj_out": "recognition head",
    "decoder.": "text decoder, not used",
}
_WIDTHS = {384: (4, 6), 512: (6, 8), 768: (12, 12), 1024: (24, 16), 1280: (32, 20)}  # Whisper: layers, heads


def load_speech_model(
    path: str | Path, phones: SpeechEncoder | None = None
) -> tuple[PretrainedSpeechEncoder | SpeechEncoder, Report]:
    """Load a speech encoder -> the network, and the report of its keys.

    path: a model folder in Hugging Face format, one file with such weights (as in models/audio_encoders), or a file of
        our own format; phones: the encoder that supplies the phone probabilities, None for the embedded one."""
    path = Path(path)
    if is_ours(path):
        model = load_speech_encoder(path)
        return model, Report("SpeechEncoder", str(path), loaded=len(model.state_dict()))
    tensors = read_weights(path)
    if path.is_dir():
        settings = path / "config.json"
        if not settings.is_file():
            raise FileNotFoundError(f"no config.json in {path}; give a model folder in Hugging Face format")
        kind = json.loads(settings.read_text(encoding="utf-8")).get("model_type")
    else:
        kind = None
    model, kind, report = _build(path, tensors, kind)
    processor = path / "preprocessor_config.json"
    if path.is_dir():
        told = json.loads(processor.read_text(encoding="utf-8")) if processor.is_file() else {}
        normalised = told.get("do_normalize", True)
    else:  # the large models were trained on normalised waveforms, the base ones of wav2vec 2.0 were not
        normalised = getattr(model.config, "feat_extract_norm", "layer") == "layer"
    phones = embedded_encoder() if phones is None else phones
    return PretrainedSpeechEncoder(model, phones, kind, normalised).eval(), report


def _build(path: Path, tensors: dict[str, Tensor], kind: str | None):
    from transformers import MODEL_MAPPING, AutoConfig

    if kind is None:
        tensors, config = _single_file(path, tensors)
        kind = config.model_type
    elif kind not in KINDS:
        raise ValueError(f"{path} holds a {kind!r} model; speech encoders that work: {', '.join(KINDS)}")
    else:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
    if kind != "whisper":
        model, report = build_transformer(
            MODEL_MAPPING[type(config)], config, tensors, str(path), "speech encoder", _LEFT_OUT
        )
        return model, kind, report
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    prefixes = ("model.encoder.", "encoder.")
    encoder = {k.partition("encoder.")[2]: v for k, v in tensors.items() if k.startswith(prefixes)}
    rest = [k for k in tensors if not k.startswith(prefixes)]
    unknown = [k for k in rest if not any(part in k for part in _LEFT_OUT)]
    if unknown or not encoder:
        raise ValueError(f"{path} is no Whisper model (unexpected: {', '.join(unknown[:3])}); nothing was loaded")
    model, report = build_transformer(WhisperEncoder, config, encoder, str(path), "speech encoder", {})
    if rest:
        report.ignored[_LEFT_OUT["decoder."]] = rest
    return model, kind, report


def _single_file(path: Path, tensors: dict[str, Tensor]):
    """Return the tensors of one file under transformers' names, and a config with the sizes derived from their shapes.
    """
    from transformers import HubertConfig, Wav2Vec2Config, WavLMConfig, WhisperConfig

    places = next((v for k, v in tensors.items() if k.endswith("encoder.embed_positions.weight")), None)
    if places is not None:
        mels = next(v.shape[1] for k, v in tensors.items() if k.endswith("encoder.conv1.weight"))
        width = places.shape[1]
        layers = _count(tensors, "encoder.layers.{}.fc1.weight")
        heads = _WIDTHS.get(width, (layers, max(1, width // 64)))[1]
        feed_forward = next(v.shape[0] for k, v in tensors.items() if k.endswith("encoder.layers.0.fc1.weight"))
        return tensors, WhisperConfig(
            d_model=width, encoder_layers=layers, encoder_attention_heads=heads, num_mel_bins=mels,
            encoder_ffn_dim=feed_forward, max_source_positions=places.shape[0],
        )  # fmt: skip
    prefix = next((p for p in ("wav2vec2.", "hubert.", "wavlm.") if any(k.startswith(p) for k in tensors)), "")
    bare = {k.removeprefix(prefix): v for k, v in tensors.items()}
    norm = bare.get("encoder.layer_norm.bias")
    if norm is None or "feature_extractor.conv_layers.0.conv.weight" not in bare:
        raise ValueError(
            f"{path} holds no wav2vec 2.0, HuBERT, WavLM or Whisper weights; its first is {next(iter(tensors))}"
        )
    layer_norm = "feature_extractor.conv_layers.1.layer_norm.weight" in bare
    width = norm.shape[0]
    distances = bare.get("encoder.layers.0.attention.rel_attn_embed.weight")  # WavLM alone has them
    cls = HubertConfig if prefix == "hubert." else Wav2Vec2Config if distances is None else WavLMConfig
    places = [v for k, v in bare.items() if k.startswith("encoder.pos_conv_embed.conv.") and v.ndim == 3]
    kernel = max(places, key=torch.Tensor.numel)  # beside it lies its norm, (1, 1, K)
    more: dict[str, Any] = {} if distances is None else {"num_buckets": distances.shape[0]}
    return bare, cls(
        hidden_size=width,
        num_hidden_layers=_count(bare, "encoder.layers.{}.feed_forward.intermediate_dense.weight"),
        num_attention_heads=max(1, width // 64),
        intermediate_size=bare["encoder.layers.0.feed_forward.intermediate_dense.weight"].shape[0],
        conv_dim=tuple(bare[f"feature_extractor.conv_layers.{i}.conv.weight"].shape[0] for i in range(7)),
        conv_bias="feature_extractor.conv_layers.1.conv.bias" in bare,
        feat_extract_norm="layer" if layer_norm else "group",
        do_stable_layer_norm=layer_norm,
        num_conv_pos_embeddings=kernel.shape[2],
        num_conv_pos_embedding_groups=width // kernel.shape[1],
        **more,
    )


def _count(tensors: dict[str, Tensor], pattern: str) -> int:
    n = 0
    while any(key.endswith(pattern.format(n)) for key in tensors):
        n += 1
    return n
