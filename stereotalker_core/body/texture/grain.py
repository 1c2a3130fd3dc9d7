"""The crispness and the grain of texture that was not photographed, brought to those of the seen texture.

What is averaged, borrowed or predicted is smooth: it lacks the finest detail, and looks like plastic beside the
photographed cloth and hair. Its edges are sharpened, and what a blur takes away from the seen texels is quilted to a
tile and added where there is less of it."""

import torch
from torch import Tensor

from ...pixels.dilation import largest_around
from ...pixels.materials import unlike
from ...pixels.means import mean_around, mean_within
from ...pixels.quilting import quilt
from ..model import HalfBody
from .fill import skin_colour
from .fill_limbs import outer_clothes
from .texels import Lifter

_CRISP = 1.4  # of what the blur takes away
_EDGE_CLOTH, _EDGE_HEAD = 1, 4  # texels of the blur by whose difference edges are sharpened; a head's are finer
_CLOTH, _HAIR = (2, 12), (4, 24)  # texels of the blur that leaves no grain, and of the squares in which it is laid
_SEEN = 0.9  # visibility of texels that lend their grain
_TILE = 96  # texels a side that are laid and then repeated, mirrored
_AREA = 4  # radii of the blur over which the energy of the present detail is averaged
_CALM = 0.9  # share of the seen texels of a photograph, the calmest, that tell its energy: no seams, no buttons
_LOUD = 4.0  # times the root of that energy from which a texel is a seam, and its square is not laid
_ANOTHER = 2.0  # steps from the outermost clothes from which a colour is of others
_FEW = 400  # texels that make a grain
_MOST = 2.0  # times a tile may be amplified


def textured(
    body: HalfBody, lifter: Lifter, atlas: Tensor, visibility: Tensor, share: Tensor, photographed: bool
) -> Tensor:
    """Sharpen unseen clothes, limbs and hair, and add the grain of the seen clothes and hair -> (3, A, A).

    body: the half body.
    lifter: the table of the atlas's N texels.
    atlas: (3, A, A) in [-1, 1], filled everywhere.
    visibility: (1, A, A) in [0, 1] of texels really seen.
    share: (1, A, A) in [0, 1], how far each texel may change.
    photographed: the person is a photograph's: grain comes from the calm parts of the outermost clothes alone."""
    cloth = _area(lifter, lifter.dressed | lifter.limbs & ~lifter.hands)
    for area, radius in ((cloth, _EDGE_CLOTH), (_area(lifter, lifter.head), _EDGE_HEAD)):
        atlas = (atlas + _CRISP * share * _fine(atlas, area, radius)).clamp(-1, 1)
    seen, colour = visibility.flatten()[lifter.texel], atlas.flatten(1)[:, lifter.texel].T
    outer, lend = outer_clothes(lifter, colour, seen), lifter.dressed
    skin = skin_colour(body, lifter, colour, seen)
    if outer is not None:
        sleeve = lifter.limbs & ~lifter.hands & (unlike(colour, outer) < unlike(colour, skin))
        lend = lend & (unlike(colour, outer) < _ANOTHER) if photographed else lend
        take = lifter.dressed | sleeve
        atlas = _grained(lifter, atlas, visibility, share, (lend, take), _CLOTH, _CALM if photographed else 1.0)
    hair = torch.zeros_like(lifter.hands).index_fill_(0, lifter.hair, True)
    return _grained(lifter, atlas, visibility, share, (hair, hair), _HAIR, _CALM if photographed else 1.0)


def _grained(
    lifter: Lifter,
    atlas: Tensor,
    visibility: Tensor,
    share: Tensor,
    kinds: tuple[Tensor, Tensor],
    sizes: tuple[int, int],
    calm: float,
) -> Tensor:
    """Add to texels the fine detail that seen ones of the same material have more of -> (3, A, A).

    kinds: (N,) bool each, the texels of the material that lend their grain where they were seen, and those that are
        given it.
    sizes: texels of the blur, whose double leaves what is not fine detail, and of a side of the squares.
    calm: share of the seen texels, the calmest, that tell the energy.

    Returns the atlas unchanged where too little was seen."""
    radius, side = sizes
    lent, taken = (_area(lifter, kind) for kind in kinds)
    fine = _fine(atlas, torch.maximum(lent, taken), radius)
    inner = (-largest_around(-lent * (visibility > _SEEN), radius) > 0.5)[0]
    energy = fine.square().sum(0)
    told = energy[inner]
    if len(told) < _FEW:
        return atlas
    wanted = told.sort().values[: int(calm * len(told))].mean()
    quiet = inner if calm == 1 else inner & (energy < _LOUD**2 * wanted)
    tile = quilt(fine, quiet, (_TILE, _TILE), side)
    if tile is None:
        return atlas
    around = _AREA * radius
    present = mean_within(energy[None], taken, around)
    lacking = (wanted - present).clamp_min(0) / tile.square().sum(0).mean().clamp_min(1e-9)
    place = _TILE - 1 - (torch.arange(lifter.size, device=atlas.device).remainder(2 * _TILE - 2) - (_TILE - 1)).abs()
    laid = tile[:, place][:, :, place]
    return (atlas + lacking.sqrt().clamp(max=_MOST) * share * taken * laid).clamp(-1, 1)


def _area(lifter: Lifter, texels: Tensor) -> Tensor:
    """Put (N,) bool into an atlas (1, A, A) of 0 and 1."""
    flat = torch.zeros(lifter.size**2, device=texels.device)
    return flat.index_copy(0, lifter.texel, texels.to(flat)).view(1, lifter.size, lifter.size)


def _fine(atlas: Tensor, inside: Tensor, radius: int) -> Tensor:
    """Return (3, A, A): what two means over `radius` texels to either side take away, of the texels inside (1, A, A).
    """
    soft, weight = atlas * inside, inside
    for _ in range(2):
        soft, weight = mean_around(soft, radius), mean_around(weight, radius)
    return (atlas - soft / weight.clamp_min(1e-6)) * inside
