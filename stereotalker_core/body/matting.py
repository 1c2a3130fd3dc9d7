"""A person's mask without a segmentation network: the fitted body says where, the colours say where exactly.

Pixels well inside the body's silhouette are person, pixels far outside are not; those between (hair, clothes, the
edge) go to the side whose pixels are most like them in colour and place, smoothed along the picture's edges. A pixel
that is like neither, as in a backdrop that shows beside the head alone, is person only near the body.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_PLACE = 0.25  # colour units (0..1) that a distance of one face height counts for
_SAMPLES = 1200  # pixels of each side that are compared
_NEIGHBOURS = 6
_HAIR, _CLOTHES, _INSIDE = 0.42, 0.18, 0.06  # face heights: how far hair and clothes stand off, the sure inside
_ALIKE = 0.04  # colour units of one log odd
_NOVEL = 0.25  # colour units from which on a pixel is like neither side
_NEAR = 1.0  # log odds for person beside the body, and against it as far off as hair and clothes reach
_OPINION = 0.4  # weight of the log odds of the network's mask, which was trained on synthetic hair


def guided_filter(guide: Tensor, values: Tensor, radius: int, epsilon: float) -> Tensor:
    """Edge-preserving smoothing (He et al. 2010) of values (B, 1, H, W) along the grey edges of guide (B, 3, H, W)."""
    grey = guide.mean(1, keepdim=True)

    def box(x: Tensor) -> Tensor:  # rows, then columns: a square at once costs its area
        side = 2 * radius + 1
        across = F.avg_pool2d(F.pad(x, (radius, radius, 0, 0), mode="replicate"), (1, side), 1)
        return F.avg_pool2d(F.pad(across, (0, 0, radius, radius), mode="replicate"), (side, 1), 1)

    mean, target = box(grey), box(values)
    slope = (box(grey * values) - mean * target) / (box(grey * grey) - mean * mean + epsilon)
    return box(slope) * grey + box(target - slope * mean)


def matte(
    image: Tensor,
    silhouette: Tensor,
    head: Tensor,
    face_height: float,
    prior: Tensor | None = None,
    limbs: Tensor | None = None,
) -> Tensor:
    """Mask (1, H, W) in [0, 1] of the person in image (3, H, W) in [-1, 1].

    silhouette, head (1, H, W): rendered coverage of the fitted body, and of its scalp alone; face_height in pixels;
    prior (1, H, W): a network's opinion in [0, 1], which decides where the colours do not tell. limbs (1, H, W):
    coverage of arms and hands, whose place is uncertain: there the colours decide.
    """
    colour = image / 2 + 0.5
    body = (silhouette > 0.5).to(colour.dtype)[None]
    inside = 1 - _grow(1 - body, _INSIDE * face_height)
    away = torch.minimum(
        _away(body, _CLOTHES * face_height), _away((head > 0.5).to(colour.dtype)[None], _HAIR * face_height)
    )
    if not bool(inside.any()) or not bool((away == 1).any()):
        return body[0]
    sure = inside if limbs is None else inside * (limbs < 0.5)
    if not bool(sure.any()):
        return body[0]
    decided = torch.where(sure > 0.5, 1.0, torch.where(away == 1, 0.0, 0.5))
    usual = _NEAR * (1 - 2 * away)
    share = decided.clone()
    for _ in range(2):  # the second time hair and clothes that were found speak for their neighbours
        share = _by_likeness(colour, share, decided, face_height, usual, prior)
        share = guided_filter(colour[None], share, max(2, round(0.03 * face_height)), 1e-3).clamp(0, 1)
        share = torch.where(decided == 0.5, share, decided)
    radius = max(1, round(0.02 * face_height))
    return ((guided_filter(colour[None], share, radius, 1e-4) - 0.5) * 2 + 0.5).clamp(0, 1)[0]


def _step(mask: Tensor, i: int) -> Tensor:
    """Dilate (1, 1, H, W) by a pixel; squares and crosses in turn make about a disc."""
    if i % 2 == 0:
        return F.max_pool2d(mask, 3, 1, 1)
    return torch.maximum(F.max_pool2d(mask, (3, 1), 1, (1, 0)), F.max_pool2d(mask, (1, 3), 1, (0, 1)))


def _grow(mask: Tensor, radius: float) -> Tensor:
    """Dilate (1, 1, H, W) by about a disc."""
    for i in range(max(1, round(radius))):
        mask = _step(mask, i)
    return mask


def _away(mask: Tensor, reach: float) -> Tensor:
    """(1, 1, H, W) distance from a mask in shares of `reach` px: 0 on it, 1 out of reach."""
    steps = max(1, round(reach))
    total = mask
    for i in range(steps):
        mask = _step(mask, i)
        total = total + mask
    return 1 - total / (steps + 1)


def _by_likeness(
    colour: Tensor, share: Tensor, decided: Tensor, face_height: float, usual: Tensor, prior: Tensor | None
) -> Tensor:
    rows, columns = colour.shape[-2:]
    y = torch.arange(rows, device=colour.device)[:, None].expand(rows, columns) * (_PLACE / face_height)
    x = torch.arange(columns, device=colour.device)[None].expand(rows, columns) * (_PLACE / face_height)
    features = torch.cat([colour, x[None], y[None]]).flatten(1).T
    value = share.flatten()
    open_pixels = (decided.flatten() == 0.5).nonzero().squeeze(1)
    person, other = (
        torch.exp(-_distance(features[open_pixels], features[side.nonzero().squeeze(1)]) / _ALIKE)
        for side in (value > 0.85, value < 0.15)
    )
    neither = math.exp(-_NOVEL / _ALIKE)
    odds = torch.log((person + neither) / (other + neither))
    odds = odds + usual.flatten()[open_pixels]
    if prior is not None:
        odds = odds + _OPINION * torch.logit(prior.flatten()[open_pixels].clamp(0.02, 0.98))
    return share.flatten().index_copy(0, open_pixels, torch.sigmoid(odds)).view_as(share)


def _distance(features: Tensor, samples: Tensor) -> Tensor:
    """(N, 5), (M, 5) -> (N,) mean distance to the nearest few samples."""
    samples = samples[:: max(1, len(samples) // _SAMPLES)]
    nearest = torch.cdist(features, samples).topk(min(_NEIGHBOURS, len(samples)), largest=False).values
    return nearest.mean(1)
