"""`info`: the models that ship with the package, versions, devices."""

import argparse
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from .. import __version__
from ..checkpoint import NANO

_LIBRARIES = ("torch", "numpy", "diffusers", "transformers", "av", "safetensors")
_PLAIN = ("seed", "commit", "command", "training_cost")


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Declare `info`."""
    parser = commands.add_parser("info", help="models, sizes, versions, devices", description=__doc__)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the models, sizes, versions and devices."""
    found = collect()
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    print(f"stereotalker {found['version']}   python {found['python']}   device {', '.join(found['devices'])}")
    print("  ".join(f"{name} {version}" for name, version in found["libraries"].items()))
    print(f"\nmodels in {NANO} ({found['total_mb']:.1f} MB)")
    for row in found["models"]:
        metrics = "  ".join(f"{k} {_short(v)}" for k, v in row.get("metrics", {}).items())
        text = row.get("error") or f"{row['parameters'] / 1e6:6.2f} M parameters   {metrics}"
        print(f"  {row['file']:<30} {row['mb']:6.2f} MB  {text}"[:160])
    return 0


def collect() -> dict[str, Any]:
    """Return everything that `info` prints, as plain values."""
    devices = ["cpu", *(f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count()))]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    models = [describe(path) for path in sorted(NANO.glob("*.safetensors"))]
    return {
        "version": __version__,
        "python": platform.python_version(),
        "devices": devices,
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "models": models,
        "total_mb": sum(row["mb"] for row in models),
    }


def describe(path: Path) -> dict[str, Any]:
    """Describe one checkpoint: file, size, parameters, model and provenance; "error" where it cannot be read."""
    row: dict[str, Any] = {"file": path.name, "mb": path.stat().st_size / 1e6}
    try:
        with safe_open(path, "pt") as file:
            meta = file.metadata() or {}
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    except SafetensorError as error:
        return row | {"error": f"damaged: {error}"}
    row |= {"model": meta.get("model", ""), "parameters": sum(torch.Size(s).numel() for s in shapes)}
    row["metrics"] = json.loads(meta.get("metrics", "{}"))
    return row | {key: meta[key] for key in _PLAIN if key in meta}


def _short(value: Any) -> str:
    value = value.get("value", value) if isinstance(value, dict) else value
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"
