"""Plain pictures of results, drawn with Pillow: a confusion matrix, and bars with their intervals."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

_INK, _PAPER, _BAR, _RULE = (30, 34, 40), (255, 255, 255), (70, 120, 180), (215, 220, 226)


def confusion_picture(counts: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str, path: Path) -> None:
    """Draw counts (R, C) as a PNG: cells shaded blue by their fraction of the row, with the counts as text."""
    cell, left, top = 46, 92, 70
    image = Image.new("RGB", (left + cell * len(columns) + 20, top + cell * len(rows) + 20), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((12, 10), title, fill=_INK)
    for j, name in enumerate(columns):
        draw.text((left + j * cell + 4, top - 18), name[:7], fill=_INK)
    for i, name in enumerate(rows):
        draw.text((12, top + i * cell + cell // 2 - 6), name, fill=_INK)
        total = max(1.0, float(counts[i].sum()))
        for j in range(len(columns)):
            share = float(counts[i, j]) / total
            shade = tuple(round(255 + share * (c - 255)) for c in _BAR)
            box = (left + j * cell, top + i * cell, left + (j + 1) * cell, top + (i + 1) * cell)
            draw.rectangle(box, fill=shade, outline=_RULE)
            if counts[i, j]:
                draw.text((box[0] + 16, box[1] + 16), f"{counts[i, j]:.0f}", fill=_PAPER if share > 0.5 else _INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def interval_picture(metrics: dict[str, dict[str, float]], title: str, path: Path) -> None:
    """Draw {name: {"value", "low", "high"}} as a PNG: one bar per metric, on its own scale from 0 to its largest
    number."""
    height, left, width = 30, 230, 420
    image = Image.new("RGB", (left + width + 130, 50 + height * len(metrics)), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((12, 12), title, fill=_INK)
    for i, (name, row) in enumerate(metrics.items()):
        y, most = 46 + i * height, max(1.0, *(abs(v) for v in row.values()))
        at = {k: left + max(0.0, v) / most * width for k, v in row.items()}
        draw.text((12, y + 4), name, fill=_INK)
        draw.rectangle((left, y, left + width, y + 18), outline=_RULE)
        draw.rectangle((left, y + 3, at["value"], y + 15), fill=_BAR)
        draw.line((at["low"], y + 9, at["high"], y + 9), fill=_INK, width=2)
        draw.text((left + width + 12, y + 4), f"{row['value']:.3f} of {most:.3g}", fill=_INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
