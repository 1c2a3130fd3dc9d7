"""The back of a clothed trunk: at every height it has the colour of the outermost clothes in front.

The shirt in a jacket, hair over a shoulder and the skin at a neckline exist in front of a person only, but a belt, a
hem and stripes run all around. So the back is a profile of colour over height, as sleeves are profiles along the arm.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...pixels.materials import skin_like, unlike
from .fill_limbs import cloth_colour, outer_clothes, outermost
from .texels import Lifter

_STEP = 0.006  # m of height that share a colour
_LOWEST, _BINS = -0.12, 120
_SURE = 0.5  # visibility of texels that may speak for others
_FEW = 60  # texels that make a profile
_CHEST = 0.25  # m below the highest clothes
_HEM = 5  # bins above the lowest clothes up to which those of the chest are the lowest
_ANOTHER = 1.2  # steps from the outermost clothes from which a colour is of others
_MIDDLE = (0.04, 0.11)  # m from the middle between which clothes count more and more as the outermost
_INNER_WEIGHT = 0.02
_SMOOTH = (1.0, 8.0)  # bins, standard deviations, near what was seen and away from it
_GAP = 2  # bins


def back_colours(
    lifter: Lifter, colour: Tensor, photo: Tensor, skin: Tensor, coat: bool = True
) -> tuple[Tensor, Tensor]:
    """Return the colours for the unseen texels of the back.

    lifter: the table of the atlas's N texels.
    colour: (N, 3) in [-1, 1] of the photograph.
    photo: (N,) in [0, 1], how far the photograph really shows the texel.
    skin: (3,) colour of the face.
    coat: leave out, at heights where the chest's outermost clothes are seen, what does not look like them, and let them
        go on above. A fit that may be off by some pixels does better with means of everything.

    Returns colours (N, 3) and their weight (N,) in [0, 1]: 0 off the back and where no clothes were seen."""
    seen = (lifter.dressed & (photo > _SURE)).nonzero().squeeze(1)
    cloths = [cloth_colour(lifter, colour, photo, ~lifter.covered), outer_clothes(lifter, colour, photo)]
    cloths = [cloth for cloth in cloths if cloth is not None]
    values = colour[seen]
    other = torch.ones_like(seen, dtype=torch.bool)
    hair = colour[lifter.hair][photo[lifter.hair] > _SURE]
    for cloth in cloths:  # a blouse is not the skirt below it
        alike = skin_like(values, cloth, skin)
        if len(hair) >= _FEW:
            alike |= skin_like(values, cloth, hair.median(0).values)
        other &= alike
    values, seen = values[~other], seen[~other]
    if not cloths or len(seen) < _FEW:
        return torch.zeros_like(colour), torch.zeros_like(photo)
    outer = ((lifter.aside[seen] - _MIDDLE[0]) / (_MIDDLE[1] - _MIDDLE[0])).clamp(_INNER_WEIGHT, 1)
    bins, weight = _height_bin(lifter.height[seen]), outer * photo[seen]
    profile, _ = _colours_over_height(bins, values, weight)
    if coat:
        profile = _with_coat(profile, bins, values, weight, _upper(lifter.height[seen], lifter.aside[seen], values))
    return profile[_height_bin(lifter.height)], lifter.behind


def _with_coat(profile: Tensor, bins: Tensor, values: Tensor, weight: Tensor, cloth: Tensor) -> Tensor:
    """Replace a profile (_BINS, 3) where a cloth was seen by the profile of its colours alone, and beyond: a collar, a
    scarf or a shirt at the same height is not mixed into a coat.

    bins, values, weight: as in `_colours_over_height`; cloth: (3,), its colour."""
    own = unlike(values, cloth) < _ANOTHER
    if not bool(own.any()):
        return profile
    coat, worn = _colours_over_height(bins[own], values[own], weight[own])
    place = torch.arange(_BINS, device=bins.device)
    worn = worn | (place > bins[own].max())
    if int(bins[own].min() - bins.min()) < _HEM:
        worn = worn | (place < bins.min())
    return torch.where(worn[:, None], coat, profile)


def _upper(height: Tensor, aside: Tensor, colours: Tensor) -> Tensor:
    """Return the colour (3,) of the outermost clothes of the chest.

    height, aside: (n,) m, places of what was seen of clothes; colours: (n, 3)."""
    chest = height > height.max() - _CHEST
    return outermost(colours[chest], aside[chest])


def _height_bin(height: Tensor) -> Tensor:
    return ((height - _LOWEST) / _STEP).long().clamp(0, _BINS - 1)


def _colours_over_height(bins: Tensor, colours: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Average colours (n, 3) into a smooth profile over height; unseen bins take a broad mean around the nearest seen
    one.

    bins: (n,) index of each colour's height; weight: (n,) in the mean.

    Returns the profile (_BINS, 3), and (_BINS,) bool where it was seen."""
    values = torch.cat([colours, torch.ones_like(weight)[:, None]], 1) * weight[:, None]
    sums = values.new_zeros(_BINS, 4).index_add_(0, bins, values)
    fine, coarse = (_smoothed(sums, width) for width in _SMOOTH)
    place = torch.arange(_BINS, device=colours.device)
    known = (fine[:, 3] > 1).nonzero().squeeze(1)
    known = known if len(known) else sums[:, 3].argmax()[None]
    away, nearest = (place[:, None] - known).abs().min(1)
    found = torch.where((away > _GAP)[:, None], coarse[known[nearest]], fine[known[nearest]])
    return found[:, :3] / found[:, 3:], away <= _GAP


def _smoothed(sums: Tensor, width: float) -> Tensor:
    reach = torch.arange(-round(3 * width), round(3 * width) + 1, device=sums.device)
    kernel = (-(reach / width).square() / 2).exp()
    return F.conv1d(sums.T[:, None], (kernel / kernel.sum())[None, None], padding=len(reach) // 2)[:, 0].T
