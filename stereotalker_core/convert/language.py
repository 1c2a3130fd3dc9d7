"""Any causal language model of Hugging Face (folder or GGUF) as a LanguagePrior, and its LoRA as a file of its own."""

import copy
import json
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoint
from ..motion.networks.lora import merge_lora
from ..motion.networks.prior import LanguagePrior, pack_tokenizer
from .report import Report
from .weights import read_weights

_DAMAGED = (  # what the reader of GGUF raises, depending on where a file is damaged
    ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, OSError, OverflowError, MemoryError,
    struct.error,
)  # fmt: skip
HEAD = "output head: the prior reads hidden states"
TABLE = "mask or positions that the model computes"
_LEFT_OUT = {
    "lm_head.": HEAD,
    "embed_out.": HEAD,
    "score.": HEAD,
    ".attn.bias": TABLE,
    ".attn.masked_bias": TABLE,
    ".attention.bias": TABLE,
    ".attention.masked_bias": TABLE,
    "rotary_emb.inv_freq": TABLE,
}


def load_language_model(path: str | Path, **settings: Any) -> tuple[LanguagePrior, Report]:
    """Load a model folder saved by transformers (safetensors, .bin, shards) or a .gguf file, with new LoRA adapters.

    settings: other fields of LanguagePrior.Config (features, projector, rank). ValueError names what is wrong."""
    path = Path(path)
    llm, tokenizer, report = _from_gguf(path) if path.suffix == ".gguf" else _from_folder(path)
    packed = pack_tokenizer(tokenizer)
    description = json.dumps(llm.config.to_dict(), default=str)
    prior = LanguagePrior(LanguagePrior.Config(llm=description, tokenizer_bytes=len(packed), **settings), llm)
    prior.tokenizer_json.copy_(packed)
    return prior.eval(), report


def _from_folder(path: Path) -> tuple[Any, str, Report]:
    """Return (transformers model, its tokenizer as JSON, report) of a model folder."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING, AutoConfig, AutoTokenizer

    if not (path / "config.json").is_file():
        raise ValueError(f"{path} holds no config.json; give the folder of a Hugging Face causal language model")
    config = AutoConfig.from_pretrained(path, local_files_only=True)
    if type(config) not in MODEL_MAPPING or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(f"{path} holds a {config.model_type!r} model; give a causal language model")
    cls = MODEL_MAPPING[type(config)]
    llm, report = build_transformer(cls, config, read_weights(path), str(path), "language model", _LEFT_OUT)
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    return llm, tokenizer.backend_tokenizer.to_str(), report


def _from_gguf(path: Path) -> tuple[Any, str, Report]:
    """Return (transformers model, its tokenizer as JSON, report) of a .gguf file, converted to float32 by transformers.

    The report has no list of keys, because the library does not give one."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils.import_utils import is_gguf_available

    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError(f"{path} is no GGUF file; download it again")
    if not is_gguf_available():
        raise ValueError(f"{path} needs the package gguf; install it with: pip install gguf")
    named: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    try:
        llm, info = AutoModel.from_pretrained(path.parent, dtype=torch.float32, output_loading_info=True, **named)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **named).backend_tokenizer.to_str()
    except _DAMAGED as error:
        raise ValueError(f"{path} cannot be read as a language model ({error}); download it again") from error
    report = Report("language model", str(path), loaded=len(llm.state_dict()), dtype="gguf")
    report.missing = sorted(info["missing_keys"])
    report.refuse()
    return llm.eval().requires_grad_(False), tokenizer, report


def build_transformer(
    cls: Any, config: Any, tensors: dict[str, Tensor], source: str, kind: str, left_out: dict[str, str]
) -> tuple[Any, Report]:
    """Build a transformers model with these tensors, in float32; the library renames the keys of its older layouts.

    cls: the transformers class.
    config: its configuration.
    tensors: from `read_weights`, never unpickled by the library.
    source: where they came from, for the report.
    kind: what they are, for the report.
    left_out: {part of a key: why such keys are not used}.

    ValueError for every other key that the model lacks or does not know."""
    report = Report(kind, source)
    model, info = cls.from_pretrained(
        None, config=config, state_dict=dict(tensors), output_loading_info=True, dtype=torch.float32
    )
    report.missing = sorted(info["missing_keys"])
    report.wrong = [str(item) for item in info["mismatched_keys"]]
    for key in sorted(info["unexpected_keys"]):
        why = next((reason for part, reason in left_out.items() if part in key), None)
        if why is None:
            report.unexpected.append(key)
        else:
            report.ignored.setdefault(why, []).append(key)
    report.loaded = len(tensors) - sum(map(len, report.ignored.values())) - len(report.unexpected)
    report.dtype = "/".join(sorted({str(t.dtype).removeprefix("torch.") for t in tensors.values()}))
    report.refuse()
    return model.eval().requires_grad_(False), report


def lora_state(prior: LanguagePrior) -> dict[str, Tensor]:
    """Return the LoRA tensors under the names that peft uses in its adapter files."""
    return {
        f"base_model.model.{key.replace('.default.weight', '.weight')}": value
        for key, value in prior.llm.state_dict().items()
        if ".lora_A." in key or ".lora_B." in key
    }


def save_lora(prior: LanguagePrior, folder: str | Path) -> None:
    """Write the LoRA as an adapter folder for peft: adapter_model.safetensors and adapter_config.json."""
    folder = Path(folder)
    modules = sorted({key.split(".lora_")[0].rpartition(".")[2] for key in lora_state(prior)})
    rank = prior.config.rank
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": modules, "lora_dropout": 0.0}
    checkpoint.save_tensors(lora_state(prior), {"format": "pt"}, folder / "adapter_model.safetensors")
    text = json.dumps(config, indent=2)
    settings = folder / "adapter_config.json"
    checkpoint.write_atomically(settings, lambda name: Path(name).write_text(text, encoding="utf-8"))


def load_lora(prior: LanguagePrior, folder: str | Path) -> Report:
    """Load the tensors of an adapter folder into the prior. ValueError where they fit another model or another rank."""
    folder = Path(folder)
    path = folder / "adapter_model.safetensors" if folder.is_dir() else folder
    given, expected = read_weights(path), lora_state(prior)
    report = Report("LoRA of this language model", str(path), loaded=len(given))
    report.missing, report.unexpected = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
    report.wrong = [
        f"{key} is {tuple(v.shape)} where {tuple(expected[key].shape)} is expected"
        for key, v in given.items()
        if key in expected and v.shape != expected[key].shape
    ]
    report.refuse()
    settings = folder / "adapter_config.json"
    alpha = json.loads(settings.read_text(encoding="utf-8")).get("lora_alpha") if settings.is_file() else None
    if alpha is not None and alpha != 2 * prior.config.rank:
        raise ValueError(f"{folder} scales its LoRA by {alpha} / rank; this prior by 2, save it again from here")
    with torch.no_grad():
        for key, value in given.items():
            expected[key].copy_(value)  # the state dict shares memory with the model
    return report


def merged_language_model(prior: LanguagePrior) -> nn.Module:
    """Return a plain transformers copy of the language model, with the LoRA merged into its weights."""
    return merge_lora(copy.deepcopy(prior.llm)).eval()
