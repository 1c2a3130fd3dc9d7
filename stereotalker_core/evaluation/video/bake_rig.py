"""The quality of bakes on pixels of the rig, of people whom `synth bake` made with another seed than the training's.

No frame is rendered, so hundreds of people take minutes and small differences between networks can be told: all see the
same people, portraits and noise, and differences are paired by person. Counted are pixels that the portrait did not
show (visibility below UNSEEN), above the lower edge of pictures, without eyes, teeth and mouth. The intervals are over
people; they do not say how much another training of the same network differs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody
from ...body.texture.rig import FITS, RIG_REGIONS, Rig
from ...synthetic.data.bake_data import read, read_fits, unpacked
from ...video.networks.bake_network import BakeNetwork
from ...video.networks.vae import binomial_blur
from ...video.rendering.bake import sample
from ..bootstrap import bootstrap
from .bake import UNSEEN

FILL = "fill"
_LOWEST = 0.02  # m above the body's origin: lower pixels are hardly ever in a picture
_FEW = 100  # pixels below which a person says nothing of a region


def evaluate_rig(
    networks: Mapping[str, BakeNetwork],
    data: str | Path,
    people: int | None = None,
    steps: int = 1,
    strength: float = 1.0,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Measure bakes on the pixels of the rig -> {name: {"value", "low", "high"}} with 95 % intervals over people.

    networks: {NAME: network}; the first one is the reference of "lost".
    data: folder of `synth bake` with people that none of the networks has seen.
    people: so many of them, the first ones; None for all.
    steps: number of denoising steps.
    strength: 0..1, how much of what is generated is used.
    seed: determines the noise.

    "rig_psnr_NAME": mean over people of the PSNR of unseen pixels, dB; NAME "fill" is the plain fill.
    "rig_detail_NAME": energy of fine detail there, relative to the truth's.
    "rig_gain_NAME": paired difference to the fill, dB; "rig_gain_NAME_REGION": of the pixels of a region alone;
    "rig_gain_NAME_FIT": of people who were fitted so (FITS).
    "rig_lost_NAME": paired difference of the first network's PSNR to this one's."""
    rig, examples = Rig(HalfBody()), read(data)
    count, fits = len(examples) if people is None else min(people, len(examples)), read_fits(data)
    rows = [
        _person(rig, networks, examples[place], (steps, strength, seed), int(fits[place])) for place in range(count)
    ]
    return _summary(rows, list(networks), fits[:count])


@torch.inference_mode()
def _person(
    rig: Rig, networks: Mapping[str, BakeNetwork], packed: np.ndarray, drawn: tuple[int, float, int], fit: int
) -> dict[str, float]:
    """Return {"psnr_NAME", "psnr_NAME_REGION", "detail_NAME": value} of a person.

    rig: tables of the body; networks: {NAME: network}; packed: (P, CHANNELS) of `bake_data`; drawn: steps, strength,
    seed; fit: place in FITS."""
    example = unpacked(torch.from_numpy(np.array(packed))[None])
    lift, truth = example.lift, example.truth[0].clamp(-1, 1)
    counted = (example.visibility[0, :, 0] < UNSEEN) & (rig.position[:, 2] > _LOWEST) & ~rig.inner
    region = rig.region.argmax(1)
    pictures = {FILL: lift[0]}
    for name, network in networks.items():
        found = sample(network, rig, lift, example.visibility, drawn[2], drawn[0], fit=fit)
        pictures[name] = torch.lerp(lift, found, drawn[1])[0]
    mask = rig.canvas(counted.float()[:, None])
    real = _fine(rig, truth, mask)
    row = {}
    for name, picture in pictures.items():
        squared = (picture.clamp(-1, 1) - truth).square().mean(1) / 4
        row[f"psnr_{name}"] = _decibels(squared[counted])
        for k, part in enumerate(RIG_REGIONS):
            row[f"psnr_{name}_{part}"] = _decibels(squared[counted & (region == k)])
        row[f"detail_{name}"] = _fine(rig, picture, mask) / max(real, 1e-9)
    return row


def _decibels(squared: Tensor) -> float:
    return float(-10 * torch.log10(squared.mean().clamp_min(1e-8))) if len(squared) >= _FEW else float("nan")


def _fine(rig: Rig, values: Tensor, mask: Tensor) -> float:
    """Return the energy of what a 3 x 3 binomial blur removes from pictures of values (P, C), where mask (V, 1, H, W)
    is 1 all around."""
    picture = rig.canvas(values) / 2
    inside = 1 - F.max_pool2d(1 - mask, 5, 1, 2)
    return float(((picture - binomial_blur(picture)).square() * inside).sum())


def _summary(rows: list[dict[str, float]], names: list[str], fits: np.ndarray) -> dict[str, dict[str, float]]:
    found = {}
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    for name in (FILL, *names):
        found[f"rig_psnr_{name}"] = bootstrap(columns[f"psnr_{name}"].tolist())
        found[f"rig_detail_{name}"] = bootstrap(columns[f"detail_{name}"].tolist())
    for name in names:
        for part in ("", *(f"_{region}" for region in RIG_REGIONS)):
            gain = columns[f"psnr_{name}{part}"] - columns[f"psnr_{FILL}{part}"]
            if np.isfinite(gain).any():
                found[f"rig_gain_{name}{part}"] = bootstrap(gain.tolist(), np.isfinite(gain).astype(float).tolist())
        gain = columns[f"psnr_{name}"] - columns[f"psnr_{FILL}"]
        for k, kind in enumerate(FITS):
            if (fits == k).any():
                found[f"rig_gain_{name}_{kind}"] = bootstrap(gain[fits == k].tolist())
    for name in names[1:]:
        found[f"rig_lost_{name}"] = bootstrap((columns[f"psnr_{names[0]}"] - columns[f"psnr_{name}"]).tolist())
    return found
