"""Held-out picture quality of stage 2: unseen identities, true fits, a fixed yaw grid, bootstrap over identities."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..body.model import HalfBody
from ..records import Regions
from ..synthetic.dataset import DatasetConfig, generate
from ..training.avatars import CLIP, FACE, AvatarData, Rows, find_shards
from ..video.render import Renderer, composite
from .bootstrap import bootstrap

logger = logging.getLogger(__name__)
BINS = ((0, 30), (30, 60), (60, 90))
_MIN_FACE = 60  # pixels of face below which a frame says nothing about faces
QUICK_IDENTITIES, QUICK_FRAMES = 3, 3  # people, and frames of every clip


@dataclass(frozen=True)
class Ablation:
    """What is switched off, and how the frames are sampled."""

    view_experts: bool = True
    mask_experts: bool = True
    predicted_mask: bool = True
    motion_modules: bool = True
    steps: int = 1
    seed: int = 0

    def renderer(self, renderer: Renderer) -> Renderer:
        """The renderer without the experts that are switched off."""
        return replace(
            renderer,
            view_experts=renderer.view_experts if self.view_experts else None,
            mask_experts=renderer.mask_experts if self.mask_experts else None,
        )


def make_validation(folder: str | Path, quick: bool = False) -> None:
    """Render the validation split into `folder`, which must be called val: 12 identities x 40 frames, quick 3 x 40."""
    folder = Path(folder)
    if folder.name != "val":
        raise ValueError(f"{folder} does not exist, and only a folder called val can be made; give <folder>/val")
    config = DatasetConfig("val", QUICK_IDENTITIES if quick else 12, clips=5, shards=1)
    generate(folder.parent, config)


def evaluate_render(
    renderer: Renderer,
    data: str | Path = "data/avatars/val",
    quick: bool = False,
    ablation: Ablation | None = None,
    estimated: str | Path | None = None,
) -> dict[str, Any]:
    """{"metrics": {name: {"value", "low", "high"}}, "skipped": {name: why}} over the identities of a validation split.

    data: folder of shards; made on the fly when absent. estimated: the same frames with guides from an estimated fit
    (default: `<data>_est`), scored as psnr_fg_est_*; skipped, and said so, when absent.
    """
    if not any(Path(data).glob("*/DONE")):
        logger.info("no validation set at %s: rendering one", data)
        make_validation(data, quick)
    body = HalfBody()
    metrics = _score(renderer, data, body, quick, ablation or Ablation())
    skipped = {}
    estimated = Path(estimated) if estimated is not None else Path(f"{data}_est")
    if any(estimated.glob("*/DONE")):
        scores = _score(renderer, estimated, body, quick, ablation or Ablation())
        wanted = ("psnr_fg", "lift_psnr_fg", "psnr_face", "lift_psnr_face", "mask_iou", "region_miou")
        for name, value in scores.items():
            for prefix in wanted:
                if name == prefix or name.startswith(f"{prefix}_"):
                    metrics[name.replace(prefix, f"{prefix}_est", 1)] = value
    else:
        skipped["psnr_fg_est"] = f"no frames with estimated fits at {estimated}"
        logger.warning("psnr_fg_est_* skipped: %s", skipped["psnr_fg_est"])
    return {"metrics": metrics, "skipped": skipped}


def _score(renderer: Renderer, data: str | Path, body: HalfBody, quick: bool, ablation: Ablation) -> dict[str, Any]:
    frames = AvatarData(find_shards(data), body.part_names)
    people = frames.rows_of[:QUICK_IDENTITIES] if quick else frames.rows_of
    length = QUICK_FRAMES if quick else CLIP  # always neighbours in time: the temporal layers expect them
    scores = [
        _identity_scores(
            ablation.renderer(renderer), frames, [rows[i : i + length] for i in range(0, len(rows), CLIP)], ablation
        )
        for rows in people
    ]
    names = sorted({name for score in scores for name in score})
    return {
        name: bootstrap([s.get(name, (np.nan, 0))[0] for s in scores], [s.get(name, (np.nan, 0))[1] for s in scores])
        for name in names
    }


def _identity_scores(
    renderer: Renderer, data: AvatarData, clips: list[np.ndarray], ablation: Ablation
) -> dict[str, tuple[float, int]]:
    """name -> (mean over the frames of one identity, count of frames). clips: row indices rendered together."""
    values: dict[str, list[float]] = {}
    counts = np.zeros((3, 4))  # intersection, union of regions; [2, :2] of the person
    for clip in clips:
        rows = data.rows(clip)
        out, regions = render_rows(renderer, data, rows, clip[0], ablation)
        counts += region_overlap(regions, rows)
        for prefix, image in (("", out), ("lift_", rows.guides.lift)):
            for name, frame in frame_metrics(image, rows).items():
                values.setdefault(prefix + name, []).extend(frame)
    index = np.concatenate(clips)
    bins = np.abs(data.yaw[index])
    scores: dict[str, tuple[float, int]] = {}
    for name, series in values.items():
        series = np.asarray(series)
        for low, high in BINS if "psnr_fg" in name else ():
            inside = (bins >= low) & (bins < high + (high == 90))
            if inside.any():
                scores[f"{name}_{low}_{high}"] = (float(series[inside].mean()), int(inside.sum()))
        if np.isfinite(series).any():
            scores[name] = (float(np.nanmean(series)), int(np.isfinite(series).sum()))
    present = counts[1] > 0
    scores["region_miou"] = (float((counts[0][present] / counts[1][present]).mean()), len(index))
    scores["mask_iou"] = (float(counts[2, 0] / max(counts[2, 1], 1)), len(index))
    return scores


def render_rows(
    renderer: Renderer, data: AvatarData, rows: Rows, first: int, ablation: Ablation
) -> tuple[Tensor, Regions]:
    """Stored guides of one identity through the renderer -> frames (T, 3, H, W), regions."""
    guide = rows.guide(data.n_parts)
    portrait = renderer.encode_portrait(data.portrait(data.identity[[first]]))
    regions = renderer.predict_regions(rows.guides, guide, ablation.predicted_mask)
    noise = renderer.noise(rows.rgb.shape[-2:], ablation.seed)
    latents = renderer.denoise(
        rows.guides, guide, regions, portrait, noise, ablation.steps, motion=ablation.motion_modules
    )
    frames = renderer.decode(latents, guide)
    return composite(frames, regions.person.float(), stored_plate(rows)), regions


def stored_plate(rows: Rows) -> Tensor:
    """(1, 3, H, W) background of stored guides: what the lift shows outside the body, averaged over the frames; what
    the body always covers takes the row's mean."""
    outside = (rows.guides.part == 0).float()
    seen = outside.sum(0, keepdim=True)
    mean = (rows.guides.lift * outside).sum(0, keepdim=True) / seen.clamp_min(1)
    known = (seen > 0).float()
    across = (mean * known).sum(-1, keepdim=True) / known.sum(-1, keepdim=True).clamp_min(1)
    return torch.where(known > 0, mean, across)


def region_overlap(regions: Regions, rows: Rows) -> np.ndarray:
    """(3, 4): intersection and union of the four hard regions, then of the person (first two of the last row)."""
    label = regions.masks.argmax(1)
    count = np.zeros((3, 4))
    for i in range(4):
        a, b = label == i, rows.region == i
        count[:2, i] = float((a & b).sum()), float((a | b).sum())
    a, b = regions.person > 0.5, rows.alpha > 0.5
    count[2, :2] = float((a & b).sum()), float((a | b).sum())
    return count


def frame_metrics(image: Tensor, rows: Rows) -> dict[str, list[float]]:
    """Per frame: PSNR (dB) of the 8-bit image over the person (alpha > 0.5), its face (NaN when tiny), and SSIM."""
    ours, truth = (((x.clamp(-1, 1) + 1) * 127.5).round() / 255 for x in (image, rows.rgb))
    person = (rows.alpha > 0.5).float()
    face = person * (rows.region == FACE)[:, None]
    squared = (ours - truth).square().mean(1, keepdim=True)
    visible = face.sum((1, 2, 3)) > _MIN_FACE
    similar = ssim_map(ours, truth)
    inner = person[:, :, 5:-5, 5:-5]
    return {
        "psnr_fg": _psnr(squared, person),
        "psnr_full": _psnr(squared, torch.ones_like(person)),
        "psnr_face": [p if v else float("nan") for p, v in zip(_psnr(squared, face), visible, strict=True)],
        "ssim": similar.mean((1, 2, 3)).tolist(),
        "ssim_fg": ((similar * inner).sum((1, 2, 3)) / inner.sum((1, 2, 3)).clamp_min(1)).tolist(),
    }


def _psnr(squared: Tensor, mask: Tensor) -> list[float]:
    mean = (squared * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp_min(1)
    return (-10 * torch.log10(mean.clamp_min(1e-8))).tolist()


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """SSIM (Wang et al. 2004: Gaussian window of 11, sigma 1.5) of images in [0, 1] -> (N, 1, H - 10, W - 10)."""
    window = torch.exp(-((torch.arange(11) - 5.0) ** 2) / (2 * 1.5**2)).to(a)
    window = window / window.sum()

    def blur(x: Tensor) -> Tensor:
        kernel = window.view(1, 1, 1, -1).expand(x.shape[1], 1, 1, -1)
        x = F.conv2d(x, kernel, groups=x.shape[1])
        return F.conv2d(x, kernel.transpose(2, 3), groups=x.shape[1])

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    both = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return (top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean(1, keepdim=True)


def contact_sheet(
    renderer: Renderer,
    data: AvatarData,
    index: Sequence[int],
    crop_face: bool = False,
    ablation: Ablation | None = None,
) -> np.ndarray:
    """One line of pictures a row index: portrait | lift | rendered | truth, (R * 256, 4 * 256, 3) uint8."""
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
