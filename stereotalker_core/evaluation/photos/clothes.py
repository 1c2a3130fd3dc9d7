"""Clothes below the photograph's edge: whether their continuation has as much detail as the photographed part."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody
from ...camera.gestures import staged
from ...camera.trajectories import fixed, framing_for
from ...geometry.projection import project
from ...pipeline import Models
from ...records import Cameras, Identity, Motion
from ...video.guides.maps import render_guides
from .frames import draw, framed, own_cameras
from .metrics import squared_gradient

_BAND = 0.15  # m above and below the edge that are compared
_GAP = 0.015  # m around the edge that belong to neither
_RIM = 3  # px of the clothes' outline that do not count
_CALM = 0.9  # share of the pixels
_FEW = 200  # px that make a figure
_PORTRAIT_END = 0.46  # m above the hips' joint at which head-and-shoulder portraits end (median of 12)


def below_edge_detail(models: Models, identity: Identity, motion: Motion, size: int) -> tuple[float, float]:
    """Return the gradient energy of the continued clothes relative to the photographed ones, in the half-body view.

    models: draw the frame.
    identity: the fitted person.
    motion: one frame; its arms are held at rest, so that no hand lies on the clothes.
    size: px of a side of the frame.

    Returns the ratio over all pixels, and without the strongest tenth of the pixels on both sides: edges between two
    materials (a collar on a coat, a shirt's end on trousers) hold nearly all of the energy and have no counterpart in
    the continuation. NaN where either part is missing."""
    body = models.body
    cameras = fixed(framing_for(body, identity, "half_body"), 1, size=(size, size))
    still = staged(body, identity, motion, cameras, "off")
    metre = float(cameras.intrinsics[1, 1] / cameras.world_to_camera[0, 2, 3])
    picture = draw(models, identity, still, cameras).picture
    dressed = _dressed(body, identity, still, cameras)
    return _ratios(picture, dressed, _edge_row(identity, cameras), metre)


def photographed_detail(body: HalfBody, identity: Identity, size: int) -> float:
    """Return the same ratio of all pixels in the photograph itself, around the height at which portraits usually end.

    It tells what real clothes are like there, for photographs that show them; NaN where this one does not.

    body: the half body; identity: the fitted person; size: px of a side of the canvas that the photograph is put on."""
    cameras = own_cameras(identity, size)
    pose = Motion(identity.rotations[None], identity.expression[None])
    photograph, shown = framed(identity.portrait, size)
    dressed = _dressed(body, identity.literal(), pose, cameras) & (shown[0] > 0.5)
    end = project(torch.tensor([[[0.0, -0.02, _PORTRAIT_END]]]), cameras.world_to_camera, cameras.intrinsics)[0, 0]
    return _ratios(photograph, dressed, float(end[1]), float(cameras.intrinsics[1, 1] / end[2]))[0]


def _dressed(body: HalfBody, identity: Identity, motion: Motion, cameras: Cameras) -> Tensor:
    """Return (H, W) bool: the trunk's clothes in a frame, without their outline; motion, cameras: one frame each."""
    part = render_guides(body, identity, motion, cameras).part[0, 0] - 1
    dressed = torch.isin(part.long(), torch.tensor([body.part_index[n] for n in ("torso", "hips")]))
    return -F.max_pool2d(-dressed[None, None].float(), 2 * _RIM + 1, 1, _RIM)[0, 0] > 0.5


def _ratios(picture: Tensor, dressed: Tensor, edge: float, metre: float) -> tuple[float, float]:
    """Return the gradient energy of the clothes below a row over that above it, of all pixels and of the calm ones.

    picture: (3, H, W); dressed: (H, W) bool; edge: the row; metre: pixels that are a metre there. NaN without either.
    """
    row = torch.arange(len(dressed))[:, None].expand_as(dressed)
    gap, band = _GAP * metre, _BAND * metre
    below = dressed & (row > edge + gap) & (row < edge + band)
    above = dressed & (row < edge - gap) & (row > edge - band)
    if min(int(below.sum()), int(above.sum())) < _FEW:
        return math.nan, math.nan
    (all_below, calm_below), (all_above, calm_above) = (_energy(picture, where) for where in (below, above))
    return all_below / max(all_above, 1e-9), calm_below / max(calm_above, 1e-9)


def _edge_row(identity: Identity, cameras) -> float:
    """Return the row of the canvas at which the photograph's bottom edge lies, at the depth of the body's axis."""
    axis = identity.world_to_camera.new_tensor([[[0.0, -0.02, 0.4]]])
    depth = float(project(axis, identity.world_to_camera[None], identity.intrinsics)[0, 0, 2])
    rows = identity.portrait.shape[-2]
    down = (rows - float(identity.intrinsics[1, 2])) / float(identity.intrinsics[1, 1]) * depth
    rotation, shift = identity.world_to_camera[:3, :3], identity.world_to_camera[:3, 3]
    point = (rotation.new_tensor([0.0, down, depth]) - shift) @ rotation
    return float(project(point[None, None], cameras.world_to_camera, cameras.intrinsics)[0, 0, 1])


def _energy(picture: Tensor, where: Tensor) -> tuple[float, float]:
    """Return the mean squared luma gradient (central differences) of some pixels, and of the calmest of them.

    picture: (3, H, W) in [-1, 1]; where: (H, W) bool, these pixels. The calmest are the fraction _CALM with the
        smallest gradients."""
    energy = squared_gradient(picture)[where[1:-1, 1:-1]].sort().values
    return float(energy.mean()), float(energy[: int(_CALM * len(energy))].mean())
