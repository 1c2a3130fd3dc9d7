"""Marks of synthetic media: tags for video containers and PNG text, and a visible label."""

import torch
from torch import Tensor

from ... import __version__
from ...shapes import dims

NOTICE = "Synthetic media: the person did not say or do this."
SOURCE_TYPE = "trainedAlgorithmicMedia"  # IPTC's word for media made by a trained model
CORNERS = ("bottom left", "bottom right", "top left", "top right")
_HEIGHT = 1 / 22  # of the picture: height of the label's letters


def provenance(model: str, seed: int) -> dict[str, str | int]:
    """Return the tags that mark every output as synthetic."""
    return {
        "notice": NOTICE,
        "digital_source_type": SOURCE_TYPE,
        "generator": f"StereoTalker {__version__}",
        "model": model,
        "seed": seed,
    }


def container_tags(model: str, seed: int) -> dict[str, str]:
    """Return the notice as title and comment, the two tags that every player shows."""
    facts = provenance(model, seed)
    origin = f"Made with {facts['generator']}, model {model}, seed {seed}; digital source type {SOURCE_TYPE}."
    return {"title": "Talking portrait (synthetic media)", "comment": f"{NOTICE} {origin}"}


def draw_label(frames: Tensor, text: str, corner: str = "bottom left", opacity: float = 0.8) -> Tensor:
    """Draw white text on a dark strip into a corner of the frames (T, 3, H, W) in [-1, 1].

    text: of the label; corner: one of CORNERS, else ValueError; opacity: 0..1."""
    size = dims(frames, "T 3 H W")
    if corner not in CORNERS:
        raise ValueError(f"corner {corner!r} is unknown; use one of {', '.join(CORNERS)}")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be 0..1, got {opacity}")
    if not text.strip() or opacity == 0:
        return frames
    label = _drawn(text.strip(), size["W"], max(8, round(size["H"] * _HEIGHT))).to(frames)
    rows, columns = label.shape[-2:]
    top = size["H"] - rows if corner.startswith("bottom") else 0
    left = size["W"] - columns if corner.endswith("right") else 0
    out = frames.clone()
    window = out[..., top : top + rows, left : left + columns]
    window.lerp_(label.expand_as(window), opacity)
    return out


def _drawn(text: str, width: int, letters: int) -> Tensor:
    """Draw white text on near black -> (3, rows, columns) in [-1, 1], at most `width` px wide.

    letters: height of the text in px."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default()  # a bitmap font: scaled afterwards, so that any Pillow draws the same
    left, top, right, bottom = font.getbbox(text)
    picture = Image.new("L", (int(right - left) + 8, int(bottom - top) + 6), 24)
    ImageDraw.Draw(picture).text((4 - left, 3 - top), text, fill=255, font=font)
    scale = min(letters / picture.height * 1.4, width / picture.width)
    picture = picture.resize((max(1, int(picture.width * scale)), max(1, int(picture.height * scale))))
    grey = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 127.5 - 1)
    return grey.expand(3, -1, -1)
