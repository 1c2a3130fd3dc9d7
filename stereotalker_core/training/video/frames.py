"""The options that trainings on rendered avatar frames share, and the opening of the frames."""

import argparse

from ...body.model import HalfBody
from ...synthetic.data.avatar_frames import AvatarData, find_shards


def frame_arguments(parser: argparse.ArgumentParser, steps: int, out: str = "the .safetensors file to write") -> None:
    """Declare --data --run --steps --unfinished --seed --out."""
    parser.add_argument("--data", default="data/avatars/train", help="folder of shards")
    parser.add_argument("--run", required=True, help="folder of the run's state and curves; a second start resumes")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--unfinished", action="store_true", help="also use shards that are still being written")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, help=out)


def open_frames(options: argparse.Namespace, folder: str | None = None) -> AvatarData:
    """Open the frames of --data, or of another folder of shards."""
    return AvatarData(find_shards(folder or options.data, options.unfinished), HalfBody().part_names)


def counted(*data: AvatarData) -> dict[str, int]:
    """Return the numbers of frames and identities of the training, for a checkpoint's metadata."""
    return {"frames": sum(map(len, data)), "identities": sum(len(part.portraits) for part in data)}
