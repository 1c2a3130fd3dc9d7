"""Public autoencoders and image encoders as our classes."""

import json
from pathlib import Path

import torch
from torch import Tensor

from ..video.networks.image_encoder import ImageEncoder, ImageEncoderConfig
from ..video.networks.public_autoencoder import PublicAutoencoder, PublicAutoencoderConfig
from .assemble import fill, load_model, skeleton
from .names import LDM_VAE, renamed, tiny_from_taesd, vae_from_ldm
from .report import Report, compare
from .weights import PICKLED, common_dtype, is_ours, read_weights

State = dict[str, Tensor]
_WIDE_CLIP = 1280  # OpenCLIP's ViT-H and larger use the exact GELU, OpenAI's models the quick one


def load_autoencoder(path: str | Path, *, dtype: torch.dtype | None = None) -> tuple[PublicAutoencoder, Report]:
    """Load an autoencoder -> the network, and the report of its keys.

    path: Stable Diffusion's VAE (VAE file, whole checkpoint, diffusers folder), TAESD (diffusers folder, or either of
        taesd_encoder and taesd_decoder, which lie side by side), or a file of our own format; dtype: of the weights,
        None keeps the file's."""
    path = Path(path)
    if is_ours(path):
        model = load_model(PublicAutoencoder, path, dtype=dtype)
        return model, Report("PublicAutoencoder", str(path), loaded=len(model.state_dict()))
    pair = _taesd_pair(path)
    if pair is not None:
        return _tiny(tiny_from_taesd(*map(read_weights, pair)), f"{pair[0]} + {pair[1].name}", dtype)
    given = read_weights(path / "vae" if (path / "vae").is_dir() else path)
    ignored: dict[str, list[str]] = {}
    if any(key.startswith(LDM_VAE) for key in given):
        ignored["other parts of the checkpoint"] = [key for key in given if not key.startswith(LDM_VAE)]
        given = {k.removeprefix(LDM_VAE): v for k, v in given.items() if k.startswith(LDM_VAE)}
    if any(key.startswith("decoder.layers.") for key in given):
        return _tiny(given, str(path), dtype)
    given = vae_from_ldm(given)
    wide = [given.get(f"encoder.down_blocks.{i}.resnets.0.conv1.weight") for i in range(4)]
    known = [w for w in wide if w is not None]
    if len(known) < len(wide) or "decoder.conv_in.weight" not in given:
        raise ValueError(f"{path} holds no Stable Diffusion autoencoder, its first part is {next(iter(given))}")
    config = PublicAutoencoderConfig(
        latent_channels=given["decoder.conv_in.weight"].shape[1], widths=tuple(w.shape[0] for w in known)
    )
    model, report = _load("autoencoder", str(path), given, PublicAutoencoder, config, _outside_vae, dtype)
    report.ignored |= ignored
    return model, report


def _tiny(given: State, source: str, dtype: torch.dtype | None) -> tuple[PublicAutoencoder, Report]:
    first = given.get("decoder.layers.0.weight")
    if first is None:
        raise ValueError(f"{source} holds no TAESD autoencoder, its first part is {next(iter(given))}")
    config = PublicAutoencoderConfig("tiny", first.shape[1], (first.shape[0],) * 4)
    return _load("TAESD autoencoder", source, given, PublicAutoencoder, config, lambda key: None, dtype)


def _taesd_pair(path: Path) -> tuple[Path, Path] | None:
    """Return the (encoder, decoder) files of an original TAESD when `path` is one of them, else None.

    FileNotFoundError where the other one is missing."""
    parts = ("encoder", "decoder")
    own = next((part for part in parts if path.stem.endswith(f"taesd_{part}")), None)
    if own is None or not path.is_file():
        return None
    found = []
    for part in parts:
        stem = path.stem.removesuffix(own) + part
        names = [path.with_name(f"{stem}{suffix}") for suffix in (path.suffix, ".safetensors", *PICKLED)]
        file = next((name for name in names if name.is_file()), None)
        if file is None:
            raise FileNotFoundError(f"no {stem}{path.suffix} beside {path}; TAESD needs both")
        found.append(file)
    return found[0], found[1]


def _outside_vae(key: str) -> str | None:
    if key.startswith("loss."):
        return "parts of its training"
    return "averaged copy" if key.startswith("model_ema.") else None


def load_image_encoder(path: str | Path, *, dtype: torch.dtype | None = None) -> tuple[ImageEncoder, Report]:
    """Load CLIP's vision tower with projection -> the network, and the report of its keys.

    path: a transformers folder, a folder with image_encoder/ in it, or one file; dtype: of the weights, None keeps the
        file's."""
    path = Path(path)
    if is_ours(path):
        model = load_model(ImageEncoder, path, dtype=dtype)
        return model, Report("ImageEncoder", str(path), loaded=len(model.state_dict()))
    folder = path / "image_encoder" if (path / "image_encoder").is_dir() else path
    given = read_weights(folder)
    text = [key for key in given if key.startswith(("text_model.", "text_projection.", "logit_scale"))]
    given = {k: v for k, v in given.items() if k not in set(text)}
    config = _clip_config(given, str(path))
    settings = folder / "config.json"
    if settings.is_file():
        values = json.loads(settings.read_text(encoding="utf-8"))
        values = values.get("vision_config", values)
        heads, activation = values.get("num_attention_heads", config.heads), values.get("hidden_act", config.activation)
        config = ImageEncoderConfig(**{**config.__dict__, "heads": heads, "activation": activation})
    model, report = _load("image encoder", str(path), given, ImageEncoder, config, _outside_clip, dtype)
    if text:
        report.ignored["text tower, not used"] = text
    return model, report


def _outside_clip(key: str) -> str | None:
    return "positions, computed" if key.endswith("embeddings.position_ids") else None


def _clip_config(given: State, source: str) -> ImageEncoderConfig:
    names = ("vision_model.embeddings.patch_embedding.weight", "visual_projection.weight")
    if any(name not in given for name in names):
        raise ValueError(
            f"{source} holds no CLIP vision model with projection (it lacks {names[0]} or {names[1]}, has "
            f"{next(iter(given))}); "
            "take image_encoder of sd-image-variations-diffusers, or a clip_vision file"
        )
    patches, projection = (given[name] for name in names)
    width, patch = patches.shape[0], patches.shape[-1]
    layers = 0
    while f"vision_model.encoder.layers.{layers}.mlp.fc1.weight" in given:
        layers += 1
    places = given["vision_model.embeddings.position_embedding.weight"].shape[0] - 1
    return ImageEncoderConfig(
        width=width,
        layers=layers,
        heads=max(1, width // (64 if width < _WIDE_CLIP else 80)),
        feed_forward=given["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        patch=patch,
        side=round(places**0.5) * patch,
        out=projection.shape[0],
        activation="quick_gelu" if width < _WIDE_CLIP else "gelu",
    )


def _load(kind, source, given, cls, config, ignore, dtype):
    model = skeleton(cls, config)
    given = renamed(given, lambda key: f"model.{key}")
    expected = model.state_dict()
    state, report = compare(kind, source, given, expected, ignore=lambda key: ignore(key.removeprefix("model.")))
    report.refuse()
    return fill(model, state, dtype or common_dtype(state)), report
