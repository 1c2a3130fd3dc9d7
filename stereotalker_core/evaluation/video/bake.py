"""The quality where the portrait showed nothing: plain fill, the renderer's networks and the bake, against the truth.

Held-out synthetic people with true fits, in the frames of `evaluate render` (24 views from -87.5 to 87.5 degrees with
gestures). Pixels of the person are unseen where the guides' visibility is below UNSEEN, seen above SEEN. PSNR is the
mean over frames of the PSNR of those pixels; detail is the energy above a binomial blur relative to the truth's, over
the same pixels; share is their fraction of the person."""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...body.model import HalfBody
from ...body.texture.rig import Rig
from ...body.texture.texels import Lifter
from ...records import Guides
from ...shapes import size_of
from ...synthetic.data.dataset import CLIP, ClipMaker, DatasetConfig
from ...synthetic.people.render import AvatarFrames, render_avatar
from ...synthetic.people.template import Template
from ...video.guides.maps import background_plate, guide_tensor, render_guides
from ...video.networks.bake_network import BakeNetwork
from ...video.rendering.bake import BakeOptions, bake
from ...video.rendering.composite import composite
from ...video.rendering.renderer import Renderer
from ..bootstrap import bootstrap
from .render import BINS, _as_bytes_would_show, _detail, _psnr, _squared

logger = logging.getLogger(__name__)
UNSEEN, SEEN = 0.05, 0.95  # visibility
PEOPLE, QUICK_PEOPLE = 40, 3
_CLIPS = 3
_FEW = 30  # pixels below which a frame says nothing
Row = dict[str, list[float]]  # name -> (mean over the frames of one person, count of frames)


def evaluate_bake(
    network: BakeNetwork,
    renderer: Renderer | None = None,
    people: int = PEOPLE,
    steps: Sequence[int] = (BakeOptions.steps,),
    seed: int = 0,
    out: str | Path | None = None,
    strength: float = BakeOptions.strength,
) -> dict[str, dict[str, float]]:
    """Measure the bake (generated texture where the portrait showed nothing) -> {name: {"value", "low", "high"}}.

    network: generates the texture.
    renderer: the per-frame networks, drawn with plain and with baked guides; None: guides alone.
    people: how many held-out people.
    steps: numbers of denoising steps to compare; the first is called "bake", others "bake_N".
    seed: determines the noise.
    out: a JSON-lines file of finished people; a second run continues it.
    strength: how much of the generated texture is used, 0..1.

    The names are those of `frame_scores` (NAME over all yaws, NAME_LOW_HIGH for |yaw| from LOW to HIGH degrees), and
    those of `_gains`."""
    body = HalfBody()
    maker = (Template(body), Lifter(body), Rig(body))
    config = DatasetConfig("val", people, clips=_CLIPS, shards=1)
    done = _rows_so_far(out)
    for place, person in enumerate(config.seeds(0)):
        if str(person) in done:
            continue
        row = _person_scores(network, renderer, body, maker, config, person, steps, (seed, strength))
        done[str(person)] = row
        if out is not None:
            Path(out).parent.mkdir(parents=True, exist_ok=True)
            with Path(out).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"person": str(person), "row": row}) + "\n")
        logger.info("person %d of %d", place + 1, people)
    rows = [done[str(person)] for person in config.seeds(0)]
    return _summary(rows) | _gains(rows)


def _rows_so_far(out: str | Path | None) -> dict[str, Row]:
    if out is None or not Path(out).is_file():
        return {}
    lines = [json.loads(line) for line in Path(out).read_text(encoding="utf-8").splitlines()]
    return {line["person"]: line["row"] for line in lines}


def _summary(rows: list[Row]) -> dict[str, dict[str, float]]:
    names = sorted({name for row in rows for name in row})
    return {
        name: bootstrap([r.get(name, (np.nan, 0))[0] for r in rows], [r.get(name, (np.nan, 0))[1] for r in rows])
        for name in names
    }


def _gains(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Return {"unseen_gain_LOW_HIGH": {"value", "low", "high"}}: dB by which the bake is better than the plain fill.

    rows: {metric: (mean, number of frames)} per person; LOW, HIGH: bounds of |yaw| in degrees."""
    found = {}
    for low, high in BINS:
        names = [f"unseen_psnr_{kind}_{low}_{high}" for kind in ("bake", "fill")]
        pairs = [(row[names[0]], row[names[1]]) for row in rows if all(n in row for n in names)]
        if pairs:
            gains = [a[0] - b[0] for a, b in pairs]
            found[f"unseen_gain_{low}_{high}"] = bootstrap(gains, [a[1] for a, _ in pairs])
    return found


@torch.inference_mode()
def _person_scores(
    network: BakeNetwork,
    renderer: Renderer | None,
    body: HalfBody,
    shared: tuple[Template, Lifter, Rig],
    config: DatasetConfig,
    person: int,
    steps: Sequence[int],
    drawn: tuple[int, float],
) -> Row:
    template, lifter, rig = shared
    maker = ClipMaker(body, person, config, template, lifter)
    baked = {}
    for count in steps:
        name = f"bake_{count}" if baked else "bake"
        options = BakeOptions(seed=drawn[0], strength=drawn[1], steps=count)
        baked[name] = bake(network, body, maker.identity, options, rig)
    series: dict[str, list[float]] = {}
    angles = []
    for clip in range(config.clips):
        cameras, motion = maker.cameras(clip), maker.motion()
        wall = background_plate(replace(maker.identity, background=maker.portrait.background), cameras)
        truth = render_avatar(body, maker.avatar, motion, cameras, background=wall, rest=maker.rest)
        plain = render_guides(body, maker.identity, motion, cameras)
        pictures = {"fill": plain.lift}
        for name, identity in baked.items():
            pictures[name] = render_guides(body, identity, motion, cameras).lift
        if renderer is not None:
            plate = background_plate(maker.identity, cameras)
            for name, lift in (("networks", plain.lift), ("bake_networks", pictures["bake"])):
                pictures[name] = _frames_of_networks(renderer, replace(plain, lift=lift), maker.portrait.image, plate)
        for name, values in frame_scores(pictures, truth, plain).items():
            series.setdefault(name, []).extend(values)
        angles.append(cameras.yaw.abs())
    return _by_angle(series, torch.cat(angles).numpy())


def _frames_of_networks(renderer: Renderer, guides: Guides, portrait: Tensor, plate: Tensor) -> Tensor:
    """Draw frames (T, 3, H, W) in mode diffusion, in one step, over a background plate (1, 3, H, W).

    renderer: the networks; guides: maps of T frames; portrait: (3, S, S) in [-1, 1]."""
    small = torch.nn.functional.interpolate(portrait[None], guides.lift.shape[-2:], mode="area")
    frames = []
    for start in range(0, len(guides), CLIP):
        part = guides[start : start + CLIP]
        guide = guide_tensor(part)
        regions = renderer.predict_regions(part, guide, True)
        noise = renderer.noise(size_of(part.lift), 0)
        latents = renderer.denoise(part, guide, regions, renderer.encode_portrait(small), noise, 1, motion=True)
        frames.append(composite(renderer.decode(latents, guide), regions.person.float(), plate, drawn=True))
    return torch.cat(frames)


def frame_scores(pictures: dict[str, Tensor], truth: AvatarFrames, guides: Guides) -> dict[str, list[float]]:
    """Measure pictures where the portrait showed the person and where it did not -> {metric: [one value per frame]}.

    pictures: {name: (T, 3, H, W)}; truth: the rendered avatar; guides: their visibility tells what was shown.

    "unseen_psnr_NAME", "seen_psnr_NAME" (dB), "unseen_detail_NAME" (energy of fine detail relative to the truth's), and
    "unseen_share", the fraction of the person that is unseen."""
    person = (truth.alpha > 0.5).float()
    unseen, seen = person * (guides.visibility < UNSEEN), person * (guides.visibility > SEEN)
    found = {"unseen_share": (unseen.sum((1, 2, 3)) / person.sum((1, 2, 3)).clamp_min(1)).tolist()}
    real = _detail(_as_bytes_would_show(truth.rgb), unseen)
    for name, picture in pictures.items():
        squared = _squared(picture, truth.rgb)
        found[f"unseen_psnr_{name}"] = _where(unseen, _psnr(squared, unseen))
        found[f"seen_psnr_{name}"] = _where(seen, _psnr(squared, seen))
        ratio = _detail(_as_bytes_would_show(picture), unseen) / real.clamp_min(1e-9)
        found[f"unseen_detail_{name}"] = [
            value if energy > 1e-4 else float("nan")
            for value, energy in zip(ratio.tolist(), real.tolist(), strict=True)
        ]
    return found


def _where(mask: Tensor, values: list[float]) -> list[float]:
    return [v if n > _FEW else float("nan") for v, n in zip(values, mask.sum((1, 2, 3)).tolist(), strict=True)]


def _by_angle(series: dict[str, list[float]], angle: np.ndarray) -> Row:
    row: Row = {}
    for name, values in series.items():
        column = np.asarray(values)
        for low, high in BINS:
            inside = (angle >= low) & (angle < high + (high == 90)) & np.isfinite(column)
            if inside.any():
                row[f"{name}_{low}_{high}"] = [float(column[inside].mean()), int(inside.sum())]
    return row
