"""One contact sheet of talking people from their photos: a row a photo (the photo, then five yaws), to judge by eye.

python tools/pictures/photo_sheet.py photos/*.jpg --out docs/images/real_photos.jpg

Keypoints and mask are found in the photo, or keypoints are read from a JSON file of the photo's name. Each column shows
the moment with the widest open mouth in one fifth of the recording. Prints the quality of every fit.
"""

import argparse
import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

from stereotalker_core.audio.load import load_audio
from stereotalker_core.body.fitting.fit import fit_portrait
from stereotalker_core.image import load_portrait
from stereotalker_core.motion.arkit import ARKIT_INDEX
from stereotalker_core.motion.generation.sampling import sample_motion
from stereotalker_core.perception.keypoints import load_keypoints
from stereotalker_core.pipeline import Models, View
from stereotalker_core.records import Identity, Motion
from stereotalker_core.synthetic.example import SPEECH
from stereotalker_core.video.rendering.render import render_video

YAWS = (-40, -20, 0, 20, 40)
CONTEXT = 1  # frames rendered before and after each picture: the temporal layers want neighbours
GAP, TITLE = 4, 22  # px
LARGEST = 400_000  # bytes


def moments(motion: Motion, count: int) -> list[int]:
    """Return the frame with the widest open jaw in each of `count` equal parts of the motion."""
    jaw = motion.expression[:, ARKIT_INDEX["jawOpen"]]
    edges = torch.linspace(CONTEXT, len(jaw) - CONTEXT, count + 1).long().tolist()
    return [a + int(jaw[a:b].argmax()) for a, b in zip(edges, edges[1:], strict=False)]


def render_row(models: Models, identity: Identity, motion: Motion, framing: str) -> list[torch.Tensor]:
    """Return the pictures (3, 256, 256) in [-1, 1] of one person at all yaws."""
    pictures = []
    for yaw, moment in zip(YAWS, moments(motion, len(YAWS)), strict=True):
        part = motion[slice(moment - CONTEXT, moment + CONTEXT + 1)]
        cameras = View(yaw=yaw, framing=framing).cameras(models.body, identity, len(part))
        chunks = render_video(models.body, models.renderer, identity, part, cameras)
        pictures.append(torch.cat([chunk.frames for chunk in chunks])[CONTEXT])
    return pictures


def square(image: torch.Tensor, side: int) -> Image.Image:
    """Crop a picture (3, H, W) in [-1, 1] to the upper middle square, resized to `side` px."""
    rows, columns = image.shape[-2:]
    short = min(rows, columns)
    left = (columns - short) // 2
    cut = image[None, :, :short, left : left + short]
    small = F.interpolate(cut, (side, side), mode="bilinear", antialias=True, align_corners=False)[0]
    return Image.fromarray(((small.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())


def draw_sheet(rows: list[list[torch.Tensor]], side: int) -> Image.Image:
    titles = ["photo", *(f"yaw {yaw}" for yaw in YAWS)]
    sheet = Image.new("RGB", (len(titles) * (side + GAP) - GAP, TITLE + len(rows) * (side + GAP) - GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for k, title in enumerate(titles):
        draw.text((k * (side + GAP) + side / 2, TITLE / 2), title, font=font, fill="black", anchor="mm")
        for i, row in enumerate(rows):
            sheet.paste(square(row[k], side), (k * (side + GAP), TITLE + i * (side + GAP)))
    return sheet


def save(sheet: Image.Image, path: Path) -> None:
    """Write the sheet as PNG, or as JPEG with the best quality whose file has at most LARGEST bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".png":
        return sheet.save(path)
    for quality in range(92, 40, -4):
        sheet.save(path, quality=quality, optimize=True)
        if path.stat().st_size <= LARGEST:
            return None
    raise ValueError(f"{path} holds more than {LARGEST} bytes at any quality; give fewer photos or a smaller --side")


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--audio", type=Path, default=SPEECH)
    parser.add_argument("--framing", default="auto", help="as in `talk --framing`")
    parser.add_argument("--side", type=int, default=192, help="px of a picture")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    models, rows = Models.load_nano(), []
    motion = sample_motion(models.motion, load_audio(options.audio))
    for path in options.photos:
        image = load_portrait(path).image
        try:
            given = path.with_suffix(".json")
            points = load_keypoints(given, *image.shape[:0:-1]) if given.is_file() else None
            identity = fit_portrait(models.body, image, points, networks=models.perception)
        except ValueError as refusal:
            print(f"{path.name}: refused, {refusal}", flush=True)
            continue
        print(f"{path.name}: quality {identity.quality:.2f}", flush=True)
        rows.append([image, *render_row(models, identity, motion, options.framing)])
    save(draw_sheet(rows, options.side), options.out)


if __name__ == "__main__":
    main()
