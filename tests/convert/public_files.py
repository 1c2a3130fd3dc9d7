"""Files with the keys and shapes of the public weights (tests/data/public_keys.txt.gz), full size without the bytes."""

import gzip
import json
import struct
from functools import cache
from math import prod
from pathlib import Path

import torch

KEYS = Path(__file__).resolve().parents[1] / "data" / "public_keys.txt.gz"


@cache
def key_lists() -> dict[str, dict[str, tuple[int, ...]]]:
    """File -> key -> shape, as the public files have them."""
    lists, current = {}, {}
    for line in gzip.decompress(KEYS.read_bytes()).decode().splitlines():
        if line.startswith("# "):
            current = lists.setdefault(line[2:], {})
        else:
            key, _, shape = line.partition(" ")
            current[key] = tuple(int(n) for n in shape.split(",") if n)
    return lists


def sparse_file(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    """A fp16 safetensors file of full size whose numbers are a hole in the file: all zero, no space taken."""
    header, at = {}, 0
    for key, shape in shapes.items():
        size = 2 * prod(shape)
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)
    return path


def small(name: str, seed: int = 0, divisor: int = 10) -> dict[str, torch.Tensor]:
    """Random fp32 tensors for the keys of a public file at a tenth of the width (cross-attention: 64 channels)."""
    generator = torch.Generator().manual_seed(seed)
    shapes = key_lists()[name].items()
    return {key: _values(key, [_narrow(n, divisor) for n in shape], generator) for key, shape in shapes}


def _narrow(n: int, divisor: int) -> int:
    if n == 768 and divisor > 1:
        return 64
    return n // divisor if n % 320 == 0 else n


def _values(key: str, shape: list[int], generator: torch.Generator) -> torch.Tensor:
    if key.endswith("pos_encoder.pe"):
        length, width = shape[1:]
        angle = torch.arange(length)[:, None] / 10000 ** (torch.arange(0, width, 2) / width)
        return torch.stack([angle.sin(), angle.cos()], -1).reshape(shape)
    scale = prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.2
    value = torch.randn(shape, generator=generator) * scale
    return value + 1 if len(shape) == 1 and "norm" in key and key.endswith("weight") else value
