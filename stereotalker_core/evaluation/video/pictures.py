"""Pictures of the renderer for people to judge: contact sheets of held-out frames, a strip of yaws."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ...body.model import HalfBody
from ...synthetic.data.avatar_frames import FACE, AvatarData, Rows, find_shards
from ...synthetic.data.dataset import DatasetConfig
from ...video.rendering.nano import NanoRenderer
from .render import Ablation, render_rows
from .temporal import subject, yaw_sweep

PEOPLE = 6  # lines of a sheet


def write_pictures(renderer: NanoRenderer, data: str | Path, folder: str | Path) -> list[Path]:
    """Write PNGs of a validation split, for people to judge -> the files.

    renderer: draws the frames; data: folder of the split; folder: where the files are written.

    sheet (whole frames) and faces: six people over the yaw grid; yaws: the first person's portrait pose from -90 to 90
    degrees."""
    body, folder = HalfBody(), Path(folder)
    frames = AvatarData(find_shards(data), body.part_names)
    index = [int(rows[round((i + 0.5) * len(rows) / PEOPLE)]) for i, rows in enumerate(frames.rows_of[:PEOPLE])]
    seed = DatasetConfig("val", 1, shards=1).seeds(0)[0]
    sweep = yaw_sweep(renderer, subject(body, seed), 180 / 12)
    made = {
        "sheet": contact_sheet(renderer, frames, index),
        "faces": contact_sheet(renderer, frames, index, crop_face=True),
        "yaws": strip(sweep),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in made.items():
        Image.fromarray(picture).save(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in made]


def contact_sheet(
    renderer: NanoRenderer,
    data: AvatarData,
    index: Sequence[int],
    crop_face: bool = False,
    ablation: Ablation | None = None,
) -> np.ndarray:
    """Draw one line of pictures per row index: portrait | lift | rendered | truth -> (R * 256, 4 * 256, 3) uint8.

    renderer: draws the frames.
    data: the validation split.
    index: (R,) row numbers of it.
    crop_face: show the face alone.
    ablation: parts that are switched off."""
    lines = []
    for i in index:
        rows = data.rows(np.asarray([i]))
        out, _ = render_rows(renderer, data, rows, i, ablation or Ablation())
        pictures = [data.portrait(data.identity[[i]]), rows.guides.lift, out, rows.rgb]
        if crop_face:
            pictures = [_zoom(p, rows) if k else p for k, p in enumerate(pictures)]
        lines.append(torch.cat([F.interpolate(p, (256, 256), mode="bicubic")[0] for p in pictures], 2))
    sheet = (torch.cat(lines, 1).clamp(-1, 1) + 1) * 127.5
    return sheet.round().byte().permute(1, 2, 0).numpy()


def _zoom(image: Tensor, rows: Rows, side: int = 96) -> Tensor:
    face = (rows.region[0] == FACE).nonzero().float()
    middle = face.mean(0) if len(face) else image.new_tensor([64.0, image.shape[-1] / 2])
    top, left = (int(min(max(float(c) - side / 2, 0), n - side)) for c, n in zip(middle, image.shape[-2:], strict=True))
    return image[..., top : top + side, left : left + side]


def strip(frames: Tensor, columns: int = 13) -> np.ndarray:
    """Place evenly chosen frames (T, 3, H, W) in [-1, 1] side by side at half size -> (H / 2, columns * W / 2, 3)
    uint8."""
    chosen = torch.linspace(0, len(frames) - 1, min(columns, len(frames))).round().long()
    small = F.interpolate(frames[chosen], scale_factor=0.5, mode="bilinear", antialias=True, align_corners=False)
    return ((torch.cat(list(small), 2).clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
