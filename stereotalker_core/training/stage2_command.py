"""What the stage-2 training commands share: options, logging, provenance."""

import argparse
import logging
from typing import Any

from ..body.model import HalfBody
from .provenance import command, commit


def add_arguments(parser: argparse.ArgumentParser, steps: int) -> None:
    """--data --run --steps --seed --out, and logging."""
    parser.add_argument("--data", default="data/avatars/train", help="folder of shards")
    parser.add_argument("--run", required=True, help="folder of the run's state and curves; a second start resumes")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--unfinished", action="store_true", help="also use shards that are still being written")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, help="the .safetensors file to write")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


def provenance(seed: int, **metrics: Any) -> dict[str, Any]:
    """Metadata of a checkpoint: the command that made it, seed, commit, metrics."""
    return {"command": command(), "seed": str(seed), "commit": commit(), "metrics": metrics}


def part_names() -> list[str]:
    """The parts of the packed body asset, in the order of the guide labels."""
    return HalfBody().part_names
