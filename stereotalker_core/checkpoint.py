"""One safetensors file per trained model: the weights, with {"model", "config", provenance...} as metadata.

Loading is strict: another model's file, a missing or an unexpected key is an error. Nothing is ever unpickled."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .config import from_json, to_json

M = TypeVar("M", bound=nn.Module)
NANO = Path(__file__).parent / "checkpoints" / "nano"


def write_atomically(path: str | Path, write) -> None:
    """Call write(temporary path) and rename that file to `path`, so that a crash never leaves half a file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    try:
        write(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        if os.path.exists(name):
            os.unlink(name)


def save_tensors(tensors: dict[str, Tensor], metadata: dict[str, Any], path: str | Path) -> None:
    """Write tensors and metadata (non-strings as JSON) to one safetensors file, atomically."""
    text = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    flat = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    write_atomically(path, lambda name: save_file(flat, name, text))


def load_tensors(path: str | Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file -> (tensors, metadata). FileNotFoundError and ValueError name the file and the remedy."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}")
    try:
        with safe_open(path, "pt", device=device) as file:
            return {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file ({error}); download or train it again") from error


def save(model: nn.Module, path: str | Path, dtype: torch.dtype = torch.float16, **provenance: Any) -> None:
    """Save model.state_dict() in `dtype` with class name, config and provenance (command, seed, commit, metrics)."""
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in model.state_dict().items()}
    meta = {"model": type(model).__name__, "config": to_json(model.config), **provenance}
    save_tensors(state, meta, path)


def load(cls: type[M], path: str | Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> M:
    """Build cls(Config) from the file's metadata and load its weights strictly; refuses a file of another model."""
    state, meta = load_tensors(path, device)
    if meta.get("model") != cls.__name__:
        raise ValueError(f"{path} holds {meta.get('model', 'no model name')!r}, not {cls.__name__!r}")
    kind: Any = cls
    model: M = kind(from_json(kind.Config, meta["config"])).to(device)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise ValueError(f"{path} does not fit {cls.__name__}: missing {missing[:5]}, unexpected {unexpected[:5]}")
    return model.to(dtype).eval()
