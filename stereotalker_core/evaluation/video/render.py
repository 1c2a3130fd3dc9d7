"""Held-out picture quality of stage 2: unseen identities, true fits, a fixed yaw grid, bootstrap over identities."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody
from ...records import Regions
from ...shapes import size_of
from ...synthetic.data.avatar_frames import CLIP, FACE, HANDS, AvatarData, Rows, find_shards, without_lift
from ...synthetic.data.dataset import DatasetConfig, generate
from ...video.networks.vae import binomial_blur
from ...video.rendering.composite import composite
from ...video.rendering.nano import NanoRenderer
from ..bootstrap import bootstrap

logger = logging.getLogger(__name__)
BINS = ((0, 30), (30, 60), (60, 90))
_MIN_FACE = 60  # pixels of face below which a frame says nothing about faces
_SIDE = 60  # degrees from which view experts should matter
# Alpha above which a pixel is the person's where masks are compared. Sets store an exact half as 128 / 255, a little
# more than 0.5, while the guides' majority of samples leaves a tie to the background: no mask is blamed for ties.
_COVERED = 0.51
IDENTITIES, QUICK_IDENTITIES, QUICK_FRAMES = 40, 3, 3  # people, of a quick run, and its frames of every clip


@dataclass(frozen=True)
class Ablation:
    """The choice of what a renderer is evaluated with: a field that is False switches that part off.

    steps, seed: denoising steps, and seed of their noise; mode: of `pipeline.Look`; in mode "play" only predicted_mask
    and lift matter, because the denoiser is not used."""

    view_experts: bool = True
    mask_experts: bool = True
    predicted_mask: bool = True
    motion_modules: bool = True
    reference: bool = True
    lift: bool = True
    steps: int = 1
    seed: int = 0
    mode: str = "diffusion"

    def renderer(self, renderer: NanoRenderer) -> NanoRenderer:
        """Return the renderer without the experts that are switched off."""
        return replace(
            renderer,
            view_experts=renderer.view_experts if self.view_experts else None,
            mask_experts=renderer.mask_experts if self.mask_experts else None,
        )


def make_validation(folder: str | Path, quick: bool = False) -> None:
    """Render the validation split into `folder`, which must be named val: 40 identities x 24 frames, quick 3 x 24."""
    folder = Path(folder)
    if folder.name != "val":
        raise ValueError(f"{folder} does not exist, and only a folder called val can be made; give <folder>/val")
    config = DatasetConfig("val", QUICK_IDENTITIES if quick else IDENTITIES, clips=3, shards=1)
    generate(folder.parent, config)


def evaluate_render(
    renderer: NanoRenderer,
    data: str | Path = "data/avatars/val",
    quick: bool = False,
    ablation: Ablation | None = None,
    estimated: str | Path | None = None,
    people: int | None = None,
) -> dict[str, Any]:
    """Measure the picture quality over the identities of a validation split.

    renderer: what is measured.
    data: folder of shards; rendered first if absent.
    quick: fewer identities and frames.
    ablation: parts that are switched off.
    estimated: the same frames with guides from an estimated fit (default: `<data>_est`), scored as psnr_fg_est_*.
    people: number of people, the first ones; None for all.

    Returns {"metrics": {name: {"value", "low", "high"}}, "skipped": {name: reason}}."""
    if not any(Path(data).glob("*/DONE")):
        logger.info("no validation set at %s: rendering one", data)
        make_validation(data, quick)
    body = HalfBody()
    settings = (body, quick, ablation or Ablation(), people)
    metrics = summary(identity_scores(renderer, data, *settings))
    skipped = {}
    estimated = Path(estimated) if estimated is not None else Path(f"{data}_est")
    if any(estimated.glob("*/DONE")):
        scores = summary(identity_scores(renderer, estimated, *settings))
        wanted = tuple(f"{kind}psnr_{what}" for kind in ("", "lift_", "relit_") for what in ("fg", "face"))
        wanted += ("gain_fg", "mask_iou", "region_miou", "silhouette_error", "bare_silhouette_error", "hair_recall")
        for name, value in scores.items():
            for prefix in wanted:
                if name == prefix or name.startswith(f"{prefix}_"):
                    metrics[name.replace(prefix, f"{prefix}_est", 1)] = value
    else:
        skipped["psnr_fg_est"] = f"no frames with estimated fits at {estimated}"
        logger.warning("psnr_fg_est_* skipped: %s", skipped["psnr_fg_est"])
    return {"metrics": metrics, "skipped": skipped}


Scores = dict[str, tuple[float, int]]  # name -> (mean over the frames of one identity, count of frames)


def identity_scores(
    renderer: NanoRenderer, data: str | Path, body: HalfBody, quick: bool, ablation: Ablation, people: int | None
) -> list[Scores]:
    """Measure every identity of a validation set -> {metric: (mean, number of frames)} of each.

    renderer: what is measured; data: folder of the set; body: the half body; quick: fewer frames; ablation: parts that
    are switched off; people: number of people, the first ones; None for all."""
    frames = AvatarData(find_shards(data), body.part_names)
    chosen = frames.rows_of[: QUICK_IDENTITIES if quick else people]
    length = QUICK_FRAMES if quick else CLIP  # always neighbours in time: the temporal layers expect them
    return [
        _identity_scores(renderer, frames, [rows[i : i + length] for i in range(0, len(rows), CLIP)], ablation)
        for rows in chosen
    ]


def summary(scores: list[Scores]) -> dict[str, dict[str, float]]:
    """Average {metric: (mean, number of frames)} over identities -> {metric: {"value", "low", "high"}}, 95 %
    intervals."""
    names = sorted({name for score in scores for name in score})
    return {
        name: bootstrap([s.get(name, (np.nan, 0))[0] for s in scores], [s.get(name, (np.nan, 0))[1] for s in scores])
        for name in names
    }


def _identity_scores(
    renderer: NanoRenderer, data: AvatarData, clips: list[np.ndarray], ablation: Ablation
) -> Scores:
    """Measure one identity -> {metric: (mean, number of frames)}.

    renderer: what is measured.
    data: the validation split.
    clips: arrays of row indices of `data`, each rendered together.
    ablation: parts that are switched off.

    The metrics: those of `frame_metrics` for the renderer; the same for the lift, as "lift_*" (with the portrait's
    shading) and "relit_*" (shaded anew); "gain_fg", the renderer's psnr_fg minus that of "lift_*"; those of
    `switch_gains` and `silhouette_metrics`; "region_miou" and "mask_iou" (intersection over union)."""
    series: dict[str, list[float]] = {}
    counts = np.zeros((3, 4))  # intersection, union of regions; [2, :2] of the person
    used = ablation.renderer(renderer)
    for clip in clips:
        rows = data.rows(clip)
        out, regions = render_rows(used, data, rows, clip[0], ablation)
        counts += region_overlap(regions, rows)
        found = frame_metrics(out, rows) | switch_gains(used, data, rows, clip[0], ablation, out)
        baselines = data.baselines(clip)
        if baselines is None:
            found |= _prefixed("lift_", frame_metrics(rows.guides.lift, rows))
        else:
            found |= _prefixed("lift_", frame_metrics(baselines[0], rows))
            found |= _prefixed("relit_", frame_metrics(rows.guides.lift, rows))
            found |= silhouette_metrics(regions.person.float(), baselines[1], rows)
        found["gain_fg"] = [a - b for a, b in zip(found["psnr_fg"], found["lift_psnr_fg"], strict=True)]
        for name, values in found.items():
            series.setdefault(name, []).extend(values)
    index = np.concatenate(clips)
    scores = _means(series, np.abs(data.yaw[index]))
    present = counts[1] > 0
    scores["region_miou"] = (float((counts[0][present] / counts[1][present]).mean()), len(index))
    scores["mask_iou"] = (float(counts[2, 0] / max(counts[2, 1], 1)), len(index))
    return scores


def _prefixed(prefix: str, values: dict[str, list[float]]) -> dict[str, list[float]]:
    return {prefix + name: v for name, v in values.items()}


def _means(series: dict[str, list[float]], angle: np.ndarray) -> Scores:
    """Average {metric: [one value per frame]} -> {metric: (mean of the finite values, their number)}.

    angle: (T,) |yaw| in degrees of each frame.

    For a metric whose name ends in _fg, the means over the frames with |yaw| within each of BINS are added, as
    METRIC_LOW_HIGH."""
    scores: Scores = {}
    for name, values in series.items():
        column = np.asarray(values)
        groups = {name: np.full(len(column), True)}
        for low, high in BINS if name.endswith("_fg") else ():
            groups[f"{name}_{low}_{high}"] = (angle >= low) & (angle < high + (high == 90))
        for key, inside in groups.items():
            finite = inside & np.isfinite(column)
            if finite.any():
                scores[key] = (float(column[finite].mean()), int(finite.sum()))
    return scores


def switch_gains(
    renderer: NanoRenderer, data: AvatarData, rows: Rows, first: int, ablation: Ablation, out: Tensor
) -> dict[str, list[float]]:
    """Return {"view_moe_gain_db", "mask_moe_gain_db": [dB per frame]} that the experts add where they should.

    View experts count at |yaw| >= 60 degrees, mask experts on face and hands; NaN where there are too few such pixels.

    renderer: what is measured.
    data: the validation split.
    rows: its stored frames.
    first: index of the first row in `data`.
    ablation: how `out` was drawn.
    out: (T, 3, H, W) with the experts."""
    person = (rows.alpha > 0.5).float()
    skin = person * ((rows.region == FACE) | (rows.region == HANDS))[:, None]
    side = person * (rows.guides.yaw.abs() >= _SIDE).view(-1, 1, 1, 1)
    gains = {}
    for name, kind, mask in (("view", "view_experts", side), ("mask", "mask_experts", skin)):
        if getattr(renderer, kind) is None or ablation.mode == "play":
            continue
        size = mask.sum((1, 2, 3))
        if not bool((size > _MIN_FACE).any()):
            gains[f"{name}_moe_gain_db"] = [float("nan")] * len(size)
            continue
        without, _ = render_rows(replace(renderer, **{kind: None}), data, rows, first, ablation)
        after, before = (_psnr(_squared(x, rows.rgb), mask) for x in (out, without))
        gains[f"{name}_moe_gain_db"] = [
            a - b if n > _MIN_FACE else float("nan") for a, b, n in zip(after, before, size.tolist(), strict=True)
        ]
    return gains


def silhouette_metrics(person: Tensor, bare: Tensor, rows: Rows) -> dict[str, list[float]]:
    """Compare the predicted mask with the truth -> {metric: [one value per frame]}.

    person: (T, 1, H, W) predicted.
    bare: (T, 1, H, W) mask of the body without hair and clothes.
    rows: the stored frames.

    "silhouette_error", "bare_silhouette_error": fraction of wrong pixels of either mask; "hair_recall": fraction of
    hair and clothes (the person's pixels outside the bare mask) that the predicted mask covers."""
    truth, ours, naked = rows.alpha > _COVERED, person > 0.5, bare > 0.5
    area = truth.sum((1, 2, 3)).clamp_min(1)
    more = truth & ~naked
    found = (more & ours).sum((1, 2, 3)) / more.sum((1, 2, 3)).clamp_min(1)
    error, bare_error = ((x ^ truth).sum((1, 2, 3)) / area for x in (ours, naked))
    return {
        "silhouette_error": error.tolist(),
        "bare_silhouette_error": bare_error.tolist(),
        "hair_recall": found.tolist(),
    }


def render_rows(
    renderer: NanoRenderer, data: AvatarData, rows: Rows, first: int, ablation: Ablation
) -> tuple[Tensor, Regions]:
    """Render stored guides of one identity -> frames (T, 3, H, W) and regions.

    renderer: draws the frames; data: the validation split; rows: its stored frames; first: index of the first row in
        `data`, which names the person; ablation: parts that are switched off."""
    plate = stored_plate(rows)
    regions = renderer.predict_regions(rows.guides, rows.guide(data.n_parts), ablation.predicted_mask)
    if not ablation.lift:  # the masks are as ever: only what the renderer draws from is asked for
        rows = replace(rows, guides=without_lift(rows.guides))
    guide = rows.guide(data.n_parts)
    if ablation.mode == "play":
        return composite(renderer.restore(rows.guides, guide), regions.person.float(), plate, drawn=True), regions
    portrait = renderer.encode_portrait(data.portrait(data.identity[[first]]))
    if not ablation.reference:
        portrait = replace(portrait, reference={})
    noise = renderer.noise(size_of(rows.rgb), ablation.seed)
    latents = renderer.denoise(
        rows.guides, guide, regions, portrait, noise, ablation.steps, motion=ablation.motion_modules
    )
    frames = renderer.decode(latents, guide)
    return composite(frames, regions.person.float(), plate, drawn=True), regions


def stored_plate(rows: Rows) -> Tensor:
    """Return the background (1, 3, H, W) of stored guides, from the lift outside the body and its soft edge.

    Averaged over the frames; pixels that the body always covers take the mean of their row."""
    outside = (F.max_pool2d((rows.guides.part > 0).float(), 3, 1, 1) == 0).float()
    seen = outside.sum(0, keepdim=True)
    mean = (rows.guides.lift * outside).sum(0, keepdim=True) / seen.clamp_min(1)
    known = (seen > 0).float()
    across = (mean * known).sum(-1, keepdim=True) / known.sum(-1, keepdim=True).clamp_min(1)
    return torch.where(known > 0, mean, across)


def region_overlap(regions: Regions, rows: Rows) -> np.ndarray:
    """Count the pixels in which predicted and true regions agree -> (3, 4).

    regions: predicted.
    rows: the stored frames.

    Row 0 of the result holds the intersection of each of the four regions, row 1 their union; row 2 begins with the
    intersection and the union of the whole person."""
    label = regions.masks.argmax(1)
    count = np.zeros((3, 4))
    for i in range(4):
        a, b = label == i, rows.region == i
        count[:2, i] = float((a & b).sum()), float((a | b).sum())
    a, b = regions.person > 0.5, rows.alpha > _COVERED
    count[2, :2] = float((a & b).sum()), float((a | b).sum())
    return count


def frame_metrics(image: Tensor, rows: Rows) -> dict[str, list[float]]:
    """Measure the picture quality of frames (T, 3, H, W) against stored ones -> {metric: [one value per frame]}.

    "psnr_fg", "psnr_full", "psnr_face": PSNR (dB) of the 8-bit picture over the person (alpha > 0.5), all pixels, and
    the face (NaN when tiny); "ssim", "ssim_fg": SSIM; "detail": the person's energy above a binomial blur, relative to
    the truth's."""
    ours, truth = _as_bytes_would_show(image), _as_bytes_would_show(rows.rgb)
    person = (rows.alpha > 0.5).float()
    face = person * (rows.region == FACE)[:, None]
    squared = _squared(image, rows.rgb)
    visible = face.sum((1, 2, 3)) > _MIN_FACE
    similar = ssim_map(ours, truth)
    inner = person[:, :, 5:-5, 5:-5]
    return {
        "psnr_fg": _psnr(squared, person),
        "psnr_full": _psnr(squared, torch.ones_like(person)),
        "psnr_face": [p if v else float("nan") for p, v in zip(_psnr(squared, face), visible, strict=True)],
        "ssim": similar.mean((1, 2, 3)).tolist(),
        "ssim_fg": ((similar * inner).sum((1, 2, 3)) / inner.sum((1, 2, 3)).clamp_min(1)).tolist(),
        "detail": (_detail(ours, person) / _detail(truth, person).clamp_min(1e-9)).tolist(),
    }


def _as_bytes_would_show(image: Tensor) -> Tensor:
    """Map [-1, 1] -> [0, 1], rounded to steps of 1 / 255."""
    return ((image.clamp(-1, 1) + 1) * 127.5).round() / 255


def _squared(image: Tensor, truth: Tensor) -> Tensor:
    """Return the squared error (T, 1, H, W) of the 8-bit images, averaged over the channels."""
    return (_as_bytes_would_show(image) - _as_bytes_would_show(truth)).square().mean(1, keepdim=True)


def _detail(image: Tensor, person: Tensor) -> Tensor:
    """Return the energy (T,) of the detail that a 3 x 3 binomial blur removes, inside the person (T, 1, H, W)."""
    inside = 1 - F.max_pool2d(1 - person, 5, 1, 2)
    return ((image - binomial_blur(image)).square() * inside).sum((1, 2, 3))


def _psnr(squared: Tensor, mask: Tensor) -> list[float]:
    mean = (squared * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp_min(1)
    return (-10 * torch.log10(mean.clamp_min(1e-8))).tolist()


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """Map two batches of images in [0, 1] -> their SSIM (N, 1, H - 10, W - 10).

    Wang et al. 2004, with a Gaussian window of 11 px, sigma 1.5.
    """
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
