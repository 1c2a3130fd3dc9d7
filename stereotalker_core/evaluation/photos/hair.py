"""Colours of unseen hair: whether hair that the photograph does not show is drawn in the colours of the visible hair.
"""

import math
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from ...body.model import HalfBody
from ...body.texture.texels import Lifter
from ...records import Cameras, Identity, Motion
from ...video.guides.maps import render_guides
from .metrics import lab

_SEEN, _UNSEEN = 0.5, 0.1  # visibility above and below which a pixel's surface was seen in the photograph, and was not
_FEW = 64  # pixels that tell
_INSIDE = 0.975  # share of the photographed hair that counts as its distribution
_LEAST = 2.0  # dE of noise that is in any colour


@lru_cache(maxsize=1)
def _hair_atlas(body: HalfBody, size: int) -> Tensor:
    """Return an atlas (3, A, A), 1 on texels of the scalp where hair usually grows, else -1."""
    lifter = Lifter(body, size)
    atlas = torch.full((3, size * size), -1.0)
    atlas[:, lifter.texel[lifter.hair]] = 1.0
    return atlas.view(3, size, size)


def hair_pixels(body: HalfBody, identity: Identity, motion: Motion, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Return two (H, W) bool for one frame: hair pixels that the photograph shows, and those that it does not.

    identity: the person; motion, cameras: one frame each."""
    marked = replace(identity, atlas=_hair_atlas(body, identity.atlas.shape[-1]), light=None)
    guides = render_guides(body, marked, motion, cameras)
    hair = (guides.lift[0, 0] > 0.9) & (guides.part[0, 0] == body.part_index["scalp"] + 1)
    visible = guides.visibility[0, 0]
    return hair & (visible > _SEEN), hair & (visible < _UNSEEN)


def colours_within(colours: Tensor, seen: Tensor) -> float:
    """Return the fraction of colours (3, N) in [-1, 1] inside the distribution of seen ones (3, M); NaN for too few.

    Inside: closer to the mean, in Mahalanobis distance in CIE L*a*b*, than the outermost fortieth of the seen colours.
    """
    if seen.shape[1] < _FEW or colours.shape[1] < _FEW:
        return math.nan
    ours, theirs = lab(colours).T, lab(seen).T
    mean = theirs.mean(0)
    covariance = torch.cov(theirs.T) + _LEAST**2 * torch.eye(3)
    inverse = torch.linalg.inv(covariance)
    away, own = (((x - mean) @ inverse * (x - mean)).sum(1) for x in (ours, theirs))
    return float((away <= own.quantile(_INSIDE)).float().mean())
