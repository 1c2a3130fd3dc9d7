"""The example that every demonstration shows: people who do not exist, and a synthesised sentence."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

SPEECH = Path(__file__).parent / "assets" / "demo_speech.flac"
TRANSCRIPT = SPEECH.with_suffix(".txt")
FOLDER = Path(__file__).parent / "assets" / "people"  # tools/pictures/make_examples.py
PEOPLE = ("marek", "aria", "yuna")
PERSON = PEOPLE[0]


def example_portrait(name: str, size: int = 512) -> tuple[Tensor, Tensor]:
    """Return the portrait of an example person (3, size, size) in [-1, 1], and their mask (1, size, size) in [0, 1].

    name: one of PEOPLE; size: px of a side. ValueError for another name, or a size below 16 px."""
    import numpy as np
    from PIL import Image

    if name not in PEOPLE:
        raise ValueError(f"example person {name!r} is unknown; use one of {', '.join(PEOPLE)}")
    if size < 16:
        raise ValueError(f"an example portrait needs at least 16 px, got {size}")
    with Image.open(FOLDER / f"{name}.webp") as picture:
        values = torch.from_numpy(np.array(picture.convert("RGBA"))).permute(2, 0, 1)[None] / 255
    smaller = size < values.shape[-1]
    values = F.interpolate(values, (size, size), mode="bicubic", antialias=smaller, align_corners=False)[0].clamp(0, 1)
    return values[:3] * 2 - 1, values[3:]
