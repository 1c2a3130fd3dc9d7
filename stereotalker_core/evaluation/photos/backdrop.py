"""The colour key of a studio portrait: the person is whatever differs from a smooth backdrop.

An independent reference for mattes: it models the backdrop's colours from pixels far from the person, and knows nothing
of people."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...shapes import size_of

_WORK = 512  # px of the longer side
_DEGREE = 4
_FAR = 0.04  # of the longer side between the coarse mask and the pixels that tell the backdrop
_FEWEST = 0.08  # of the picture that must be backdrop
_NOISE = 0.022  # of the range 0..1: a backdrop that its polynomial does not meet to this is not smooth
_LEAST, _DEVIATIONS = 0.045, 5.0  # colour distance from which a pixel is not backdrop, at least, and in deviations
_CORE = 0.95  # of the person's core that the key must call person
_CLEAN = 0.98  # of the far pixels that it must call backdrop
_SAMPLES = 8000  # pixels that the polynomial is fitted to, about
_HOLE = 0.002  # of the picture: smaller islands of backdrop inside the person are the person's


def key_of(image: Tensor, coarse: Tensor) -> Tensor | None:
    """Key out a smooth backdrop of image (3, H, W) in [-1, 1].

    image: the portrait; coarse: (1, H, W) in [0, 1], a rough mask that only says which pixels are surely person or
    backdrop.

    Returns the person's mask (1, h, w) of 0 and 1, at most 512 px on its longer side; None where the key is unreliable:
    too little backdrop, one that is not smooth, or clothes of its colour."""
    factor = min(1.0, _WORK / max(image.shape[1:]))
    size = tuple(max(8, round(side * factor)) for side in image.shape[1:])
    small, near = (
        F.interpolate(x[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
        for x in ((image.clamp(-1, 1) + 1) / 2, coarse)
    )
    reach = max(2, round(_FAR * max(size)))
    far = _grown_mask(near > 0.1, reach).logical_not()[0]
    core = _grown_mask(near < 0.9, reach).logical_not()[0]
    if float(far.float().mean()) < _FEWEST or not bool(core.any()):
        return None
    # up to the person, so that nothing is extrapolated; hair that the coarse mask misses is few pixels, and outvoted
    close = _grown_mask(near > 0.2, max(2, reach // 3)).logical_not()[0]
    backdrop, noise = smooth_backdrop(small, close)
    if noise > _NOISE:
        return None
    differs = (small - backdrop).norm(dim=0) > max(_LEAST, _DEVIATIONS * noise)
    person = _one_piece(differs, far)
    if float(person[core].float().mean()) < _CORE or float(person[far].float().mean()) > 1 - _CLEAN:
        return None
    return (person | core)[None].float()  # deep inside, the polynomial is a guess that clothes may meet by chance


def smooth_backdrop(image: Tensor, where: Tensor) -> tuple[Tensor, float]:
    """Fit a polynomial of degree 4 in x and y to the pixels marked in where (H, W), robustly, per channel of (3, H, W).

    Returns its values everywhere (3, H, W), and the robust deviation of the marked pixels from it."""
    terms = _monomials(size_of(image))
    step = max(1, int(where.sum()) // _SAMPLES)
    rows, values = terms[where][::step].double(), image[:, where].T[::step].double()
    weight = torch.ones(len(rows), 1, dtype=torch.float64)
    for _ in range(6):
        normal = rows.T @ (weight * rows) + 1e-6 * torch.eye(rows.shape[1], dtype=torch.float64)
        solution = torch.linalg.solve(normal, rows.T @ (weight * values))
        off = (rows @ solution - values).norm(dim=1, keepdim=True)
        scale = off.median().clamp_min(1e-4)
        weight = 1 / (1 + (off / (2 * scale)).square())  # Cauchy's: objects and shadows lose their say
    everywhere = (terms.double() @ solution).permute(2, 0, 1).float()
    return everywhere, float(scale)


def _monomials(size: tuple[int, int]) -> Tensor:
    """Return (H, W, 15): the monomials x^i y^j with i + j <= 4, for x and y in [-1, 1]."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size[0]), torch.linspace(-1, 1, size[1]), indexing="ij")
    powers = [(i, j) for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i)]
    return torch.stack([x**i * y**j for i, j in powers], -1)


def _one_piece(differs: Tensor, far: Tensor) -> Tensor:
    """Clean a mask (H, W) of what differs from the backdrop: no specks in the backdrop, no pinholes in the person.

    far: (H, W) pixels that are surely backdrop."""
    # opened: single pixels are noise
    solid = _grown_mask(_grown_mask(differs.logical_not()[None], 1).logical_not(), 1)[0]
    backdrop = spread(far & ~solid, ~solid)
    holes = ~solid & ~backdrop  # backdrop's colours that do not reach the backdrop: through an arm, or on the clothes
    large = _grown_mask(_grown_mask(holes.logical_not()[None], 3).logical_not(), 3)[0] & holes
    keep = large if float(large.float().mean()) > _HOLE else torch.zeros_like(large)
    return ~backdrop & ~keep


def spread(seed: Tensor, room: Tensor) -> Tensor:
    """Flood fill: return the part of room (H, W) that is 4-connected with the seed (H, W) inside it."""
    reached = seed & room
    count = -1
    while int(reached.sum()) != count:
        count = int(reached.sum())
        for _ in range(16):
            across = F.max_pool2d(reached[None].float(), (1, 3), 1, (0, 1))[0]
            down = F.max_pool2d(reached[None].float(), (3, 1), 1, (1, 0))[0]
            reached = (torch.maximum(across, down) > 0.5) & room
    return reached


def _grown_mask(mask: Tensor, reach: int) -> Tensor:
    """Dilate a mask (1, H, W) by reach px."""
    return F.max_pool2d(mask[None].float(), 2 * reach + 1, 1, reach)[0] > 0.5
