"""Contact sheets of drawn photographs, made from the stored frames of a run, to judge by eye."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

Row = dict[str, Any]
COLUMNS = {
    "photo": "photo",
    "yaw-40": "yaw -40",
    "yaw-30": "yaw -30",
    "yaw-20": "yaw -20",
    "shut": "yaw 0, shut",
    "yaw+20": "yaw 20",
    "yaw+30": "yaw 30",
    "yaw+40": "yaw 40",
    "own": "own pose",
    "open": "mouth open",
    "half_body_0": "half body",
    "auto_1": "auto",
}
SIDE, GAP, TITLE = 256, 4, 20  # px
WORST = 10
_PAIRS = 5  # worst photographs in a line, photo and frame side by side
_SMALL = 192  # px of a picture among the worst
_CAPTIONS = ("landmark_error", "eye_opening", "iris_contrast", "lips_shut", "hands_most", "matte_iou", "self_psnr")
BADNESS: dict[str, Callable[[float], float]] = {  # largest first
    "landmark_error": lambda value: value,
    "matte_iou": lambda value: -value,
    "eye_opening": lambda value: abs(math.log(max(value, 1e-3))),
}


def frame_file(out: Path, row: Row, name: str) -> Path:
    """Return the path under which a run stores one picture of a photograph."""
    return out / "frames" / row["file"] / f"{name}.png"


def write_sheet(row: Row, out: Path) -> Path | None:
    """Write OUT/sheets/<photograph>.jpg: the photograph and its frames in a row, the figures below -> its path.

    None for a photograph that was refused."""
    shown = {name: title for name, title in COLUMNS.items() if frame_file(out, row, name).is_file()}
    if row["refused"] is not None or not shown:
        return None
    sheet = Image.new("RGB", (len(shown) * (SIDE + GAP) - GAP, 2 * TITLE + SIDE), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for k, (name, title) in enumerate(shown.items()):
        x = k * (SIDE + GAP)
        pen.text((x + SIDE / 2, TITLE / 2), title, font=font, fill="black", anchor="mm")
        sheet.paste(_picture(frame_file(out, row, name), SIDE), (x, TITLE))
    pen.text((2, TITLE + SIDE + TITLE / 2), caption(row), font=font, fill="black", anchor="lm")
    target = out / "sheets" / f"{row['file']}.jpg"
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target, quality=90)
    return target


def caption(row: Row) -> str:
    """Return the most important figures of one photograph as a line of text."""
    told = [f"{name} {row[name]:.3g}" for name in _CAPTIONS if row.get(name) is not None]
    return f"{row['file']}: " + ", ".join(told)


def worst(rows: Sequence[Row], name: str, count: int = WORST) -> list[Row]:
    """Return the rows with the worst value of a figure, worst first."""
    told = [row for row in rows if row.get(name) is not None]
    return sorted(told, key=lambda row: -BADNESS[name](row[name]))[:count]


def write_worst(rows: Sequence[Row], out: Path) -> Path:
    """Write OUT/worst.jpg: the ten worst photographs by landmark_error, matte_iou and eye_opening, each beside yaw 0.
    """
    blocks = {name: worst(rows, name) for name in BADNESS}
    lines = [(name, own[i : i + _PAIRS]) for name, own in blocks.items() for i in range(0, len(own), _PAIRS)]
    step = _SMALL + TITLE
    sheet = Image.new("RGB", (_PAIRS * (2 * _SMALL + GAP), max(1, len(lines)) * step), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for line, (name, own) in enumerate(lines):
        for k, row in enumerate(own):
            x, y = k * (2 * _SMALL + GAP), line * step
            text = f"{name} {row[name]:.3f} {row['file']}"
            pen.text((x + 2, y + TITLE / 2), text, font=font, fill="black", anchor="lm")
            for place, frame in enumerate(("photo", "shut")):
                file = frame_file(out, row, frame)
                if file.is_file():
                    sheet.paste(_picture(file, _SMALL), (x + place * _SMALL, y + TITLE))
    target = out / "worst.jpg"
    out.mkdir(parents=True, exist_ok=True)
    sheet.save(target, quality=88)
    return target


def _picture(file: Path, side: int) -> Image.Image:
    with Image.open(file) as picture:
        return picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
