"""Named tensors from any public weight file or folder: safetensors, PyTorch's pickled files, single or sharded."""

import json
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..checkpoint import load_tensors
from ..pickled import TRAINING_STATE, load_pickled

PICKLED = (".ckpt", ".pth", ".pt", ".bin")
_MAX_HEADER = 100 << 20  # bytes; the safetensors format allows no more
_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")  # of diffusers and transformers folders
_VARIANTS = ("", ".fp16", ".bf16", ".non_ema")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read {key: tensor} from a weight file, or from a diffusers or transformers model folder.

    Tensors lie on the CPU and keep their dtype. "state_dict" and "module.", which training programs wrap around
    weights, are removed. FileNotFoundError where there is no file. ValueError, which names the remedy, for damaged
    files, other formats, code in a pickle, and formats (fp8) that do not hold full weights."""
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}")
    if path.suffix == ".safetensors":
        check_header(path)
        tensors = load_tensors(path)[0]
    elif path.suffix in PICKLED:
        tensors = _named_tensors(path, load_pickled(path, TRAINING_STATE))
    else:
        raise ValueError(f"{path} is no weight file this can read; give .safetensors, {', '.join(PICKLED)} or a folder")
    return _unwrapped(_checked(path, tensors))


def check_header(path: Path) -> None:
    """Raise ValueError where the header length of a safetensors file is impossible, before anything is allocated."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 2 <= length <= min(_MAX_HEADER, size - 8):
        raise ValueError(
            f"{path} is not a complete safetensors file (a header of {length} bytes is announced in a file of {size}); "
            "download it again"
        )


def is_ours(path: str | Path) -> bool:
    """Tell whether a file is in the format of `checkpoint.save`; false for a missing one."""
    path = Path(path)
    if not path.is_file() or path.suffix != ".safetensors":
        return False
    check_header(path)
    try:
        with safe_open(path, "pt") as file:
            return {"model", "config"} <= set(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file ({error}); download it again") from error


def stored_config(path: str | Path) -> dict[str, Any]:
    """Return the config in the metadata of a file of our format, without loading its weights; {} for other files."""
    if not is_ours(path):
        return {}
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["config"])


def weight_file(folder: Path) -> Path:
    """Return the weight file (or index of shards) of a diffusers or transformers folder; FileNotFoundError without one.
    """
    for suffix in (".safetensors", ".bin"):
        for stem in _STEMS:
            for variant in _VARIANTS:
                for name in (f"{stem}{variant}{suffix}", f"{stem}{suffix}.index{variant}.json"):
                    if (folder / name).is_file():
                        return folder / name
    raise FileNotFoundError(
        f"no weights in {folder}; it should hold {_STEMS[0]}.safetensors or {_STEMS[1]}.safetensors"
    )


def _read_folder(folder: Path) -> dict[str, Tensor]:
    path = weight_file(folder)
    if path.suffix != ".json":
        return read_weights(path)
    shards = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    if any(Path(name).name != name for name in shards):
        raise ValueError(f"{path} names files outside of its folder; download it again")
    tensors: dict[str, Tensor] = {}
    for name in shards:
        tensors |= read_weights(folder / name)
    return tensors


def _named_tensors(path: Path, content: Any) -> dict[str, Tensor]:
    """Return the {name: tensor} dictionary inside what a training program saved; path: for error messages."""
    for wrapper in ("state_dict", "model", "module", "params_ema"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} holds no named weights")
    others = [key for key, value in content.items() if not isinstance(value, Tensor)]
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"{path} holds no named weights, only {', '.join(map(str, others[:5]))}")
    return tensors


def _checked(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if not tensors:
        raise ValueError(f"{path} holds no weights")
    small = sorted({str(t.dtype) for t in tensors.values() if t.is_floating_point() and t.element_size() < 2})
    if small:
        raise ValueError(f"{path} holds {', '.join(small)} numbers; get the fp16, bf16 or fp32 version of the file")
    return tensors


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    while all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return tensors


def common_dtype(tensors: dict[str, Tensor]) -> torch.dtype:
    """Return the floating-point dtype that most elements have; float32 where there is none."""
    counts: dict[torch.dtype, int] = {}
    for tensor in tensors.values():
        if tensor.is_floating_point():
            counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.numel()
    return max(counts, key=lambda dtype: counts[dtype], default=torch.float32)
