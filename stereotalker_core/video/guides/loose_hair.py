"""Loose hair: what the matte holds beyond the outline of the fitted head, drawn behind the person in every frame.

The body's surface ends in a smooth line, as a helmet would; the photograph has strands, tufts and down there. They are
kept as a band of colour and opacity along the head's outline in the portrait (angle around the head's middle, distance
from the outline), and every frame bends that band along the outline that the head has in it. So the strands turn, nod
and come nearer with the head, and what lies inside of the outline stays hidden behind it."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody
from ...body.rasterize import rasterize
from ...geometry.projection import project
from ...pixels.dilation import largest_around
from ...records import Cameras, Identity, Motion
from ...shapes import size_of

_HEAD = ("scalp", "face")
_STEP = 0.005  # m between the points of the surface whose projections give the outline
_DIRECTIONS = 180  # in which the outline is known
_INSIDE, _OUTSIDE = 0.008, 0.040  # m of the band on either side of the outline
_ROWS, _COLUMNS = 96, 1536  # of the band: distances, angles
_LOOSE = 0.001  # m, and at least 1.5 px of the portrait, beyond the outline where hair counts as loose
OPAQUE = 0.5  # alpha of a person who hides what is behind
_BARE = 0.08  # opacity of the matte that counts as none: its noise on a plain backdrop
_NEIGHBOURS = 0.006  # m around clothes and neck where the matte is not the hair's
_GAP, _THIN = 12, 0.12  # columns on either side of a point, and the mean opacity there, below which a gap begins


@dataclass(frozen=True)
class _Heads:
    """The heads of T frames as their cameras see them.

    middle: (T, 2) px; scale: (T,) px a metre there; roll: (T,) radians from upright, clockwise; outline: (T,
    _DIRECTIONS) m from the middle to the outline, from the head's up clockwise."""

    middle: Tensor
    scale: Tensor
    roll: Tensor
    outline: Tensor


class LooseHair:
    """The loose hair of a person, for the frames of one video."""

    def __init__(self, body: HalfBody, identity: Identity):
        """Cut the band out of the portrait.

        body: the half body; identity: the person, with a matte at the portrait's resolution."""
        self.body, self.identity = body, identity
        self.bone = body.bone_index["head"]
        self.rest = body.rest(identity.shape[None], identity.shell[None])
        self._points(body)
        motion = Motion(identity.rotations[None], identity.expression[None])
        self.band, self.busy = self._cut(motion, Cameras(
            identity.world_to_camera[None], identity.intrinsics, torch.zeros(1), size_of(identity.portrait)
        ))  # fmt: skip

    def layer(self, motion: Motion, cameras: Cameras, alpha: Tensor | None = None) -> Tensor | None:
        """Draw the loose hair of T frames -> premultiplied colour in [-1, 1] and opacity (T, 4, H, W), to be laid over
        what is behind the person; None for a person without any.

        motion: as the person performs it, `Identity.performed`.
        cameras: one a frame.
        alpha: (T, 1, H, W) of the person; what it hides (`composite.coverage`) is not drawn then, which saves time."""
        if self.band is None:
            return None
        heads, (rows, columns) = self._seen(motion, cameras), cameras.size
        layer = self.band.new_zeros(len(motion), 4, rows * columns)
        for i in range(len(motion)):
            free = layer.new_ones(rows, columns, dtype=torch.bool) if alpha is None else alpha[i, 0] < OPAQUE
            pixel, colour = self._drawn(self.band, heads, i, free)
            layer[i, :, pixel] = colour
        return layer.unflatten(-1, (rows, columns))

    def _points(self, body: HalfBody) -> None:
        """Lay points along the edges of the head's triangles, a few millimetres apart."""
        chosen = torch.isin(body.triangle_part, body.triangle_part.new_tensor([body.part_index[n] for n in _HEAD]))
        triangles = body.triangles[chosen]
        edges = torch.stack([triangles, triangles.roll(-1, 1)], -1).flatten(0, 1).sort(1).values
        edges = torch.unique(edges, dim=0)
        self.vertices, edges = torch.unique(edges, return_inverse=True)
        ends = self.rest.vertices[0, self.vertices][edges]
        count = ((ends[:, 0] - ends[:, 1]).norm(dim=1) / _STEP).ceil().long().clamp(1, 12)
        which = torch.repeat_interleave(torch.arange(len(edges), device=count.device), count)
        start = (count.cumsum(0) - count)[which]
        self.share = ((torch.arange(len(which), device=count.device) - start) / count[which])[:, None]
        self.edges = edges[which]
        place = self.rest.vertices[0, self.vertices]
        self.middle = (place.amax(0) + place.amin(0)) / 2 - self.rest.bones[0, self.bone]

    def _seen(self, motion: Motion, cameras: Cameras) -> _Heads:
        """Find the heads of T frames in the pictures of T cameras."""
        body, rest = self.body, self.rest
        rotations, bones = body.forward_kinematics(body.bone_rotations(motion.rotations), rest.bones)
        shift = bones - (rotations @ rest.bones.expand_as(bones)[..., None])[..., 0]
        transform = torch.cat([rotations, shift[..., None]], -1).flatten(2)
        blended = (body.skin_weights[self.vertices] @ transform).unflatten(-1, (3, 4))
        points = (blended[..., :3] * rest.vertices[:, self.vertices, None]).sum(-1) + blended[..., 3]
        turn = rotations[:, self.bone]
        middle = bones[:, self.bone] + turn @ self.middle
        ends = torch.stack([middle, middle + turn[:, :, 2] * 0.1], 1)
        ends = project(ends, cameras.world_to_camera, cameras.intrinsics)
        scale = cameras.intrinsics[0, 0] / ends[:, 0, 2]
        up = ends[:, 1, :2] - ends[:, 0, :2]
        roll = torch.atan2(up[:, 0], -up[:, 1])
        pixels = project(points, cameras.world_to_camera, cameras.intrinsics)[..., :2]
        away = torch.lerp(pixels[:, self.edges[:, 0]], pixels[:, self.edges[:, 1]], self.share)
        away = (away - ends[:, :1, :2]) / scale[:, None, None]
        return _Heads(ends[:, 0, :2], scale, roll, _outlines(away, roll))

    def _drawn(self, band: Tensor, heads: _Heads, i: int, free: Tensor) -> tuple[Tensor, Tensor]:
        """Draw the loose hair of frame i -> N flat indices of pixels, and colour and opacity there (4, N).

        band: (4, _ROWS, _COLUMNS), from `_cut`.
        free: (H, W) bool, where the person does not hide it."""
        middle, scale, outline = heads.middle[i], heads.scale[i], heads.outline[i]
        down = (torch.arange(free.shape[0], device=free.device) + 0.5 - middle[1]) / scale
        right = (torch.arange(free.shape[1], device=free.device) + 0.5 - middle[0]) / scale
        square = (down * down)[:, None] + right * right
        low, high = outline.min() - _INSIDE, outline.max() + _OUTSIDE
        pixel = (free & (square > low * low) & (square < high * high)).flatten().nonzero().squeeze(1)
        row = torch.div(pixel, free.shape[1], rounding_mode="floor")
        angle = _turns(torch.atan2(right[pixel - row * free.shape[1]], -down[row]) - heads.roll[i])
        distance = square.flatten()[pixel].sqrt() - _around(outline, angle)
        busy = self.busy[(angle * _COLUMNS).long().clamp_max(_COLUMNS - 1)]
        near = (busy & (distance > -_INSIDE) & (distance < _OUTSIDE)).nonzero().squeeze(1)
        angle, distance = angle[near], distance[near]
        grid = torch.stack([angle * 2 - 1, (distance + _INSIDE) / (_INSIDE + _OUTSIDE) * 2 - 1], -1)
        colour = F.grid_sample(band[None], grid[None, None], padding_mode="border", align_corners=False)[0, :, 0]
        return pixel[near], colour

    def _cut(self, motion: Motion, camera: Cameras) -> tuple[Tensor | None, Tensor]:
        """Cut the band (4, _ROWS, _COLUMNS) of premultiplied colour and opacity out of the portrait, None where nothing
        is loose; and tell in which columns something is."""
        heads, picture = self._seen(motion, camera), self._hair(motion, camera)
        angle = (torch.arange(_COLUMNS, device=picture.device) + 0.5) / _COLUMNS
        distance = (torch.arange(_ROWS, device=picture.device) + 0.5) / _ROWS * (_INSIDE + _OUTSIDE) - _INSIDE
        radius = (_around(heads.outline[0], angle) + distance[:, None]) * heads.scale[0]
        turned = angle * 2 * math.pi + heads.roll[0]
        place = torch.stack([turned.sin().expand_as(radius), -turned.cos().expand_as(radius)], -1) * radius[..., None]
        rows, columns = size_of(picture)
        grid = (place + heads.middle[0]) / place.new_tensor([columns, rows]) * 2 - 1
        band = F.grid_sample(picture[None], grid[None], align_corners=False)[0]
        band = band * (_attached(band[3]) * ((_OUTSIDE - distance) / (0.3 * _OUTSIDE)).clamp(0, 1)[:, None])
        most = band[3, distance > max(_LOOSE, 1.5 / float(heads.scale))].amax(0)
        busy = F.max_pool1d(F.pad(most[None], (2, 2), mode="circular"), 5, 1)[0] > _BARE
        return band if bool(most.amax() > 0.3) else None, busy

    def _hair(self, motion: Motion, camera: Cameras) -> Tensor:
        """Return the portrait without its background, clothes and neck: premultiplied colour and opacity (4, H, W)."""
        body, identity = self.body, self.identity
        alpha = ((identity.mask - _BARE) / (1 - _BARE)).clamp(0, 1)
        behind = identity.background
        if size_of(behind) != size_of(alpha):
            behind = F.interpolate(behind[None], size_of(alpha), mode="bilinear", align_corners=False)[0]
        own = (identity.portrait - (1 - identity.mask) * behind) / identity.mask.clamp_min(0.2)
        head = body.triangle_part.new_tensor([body.part_index[n] for n in _HEAD])
        others = body.triangles[~torch.isin(body.triangle_part, head)]
        posed = body.pose(self.rest, motion.rotations, motion.expression)
        points = project(posed.vertices, camera.world_to_camera, camera.intrinsics)
        covered = (rasterize(points, others, camera.size).triangle >= 0).float()
        scale = float(camera.intrinsics[0, 0] / points[0, self.vertices, 2].mean())
        alpha = alpha * (1 - largest_around(covered, max(1, round(_NEIGHBOURS * scale)))[0])
        return torch.cat([own.clamp(-1, 1) * alpha, alpha])


def _attached(opacity: Tensor) -> Tensor:
    """Tell of a band's opacity (_ROWS, _COLUMNS) what hangs together with the head: in [0, 1], 0 beyond a gap.

    Means over a few millimetres decide, because strands do not grow straight away from the head."""
    round_about = F.pad(opacity[None], (_GAP, _GAP), mode="circular")[None]
    mean = F.avg_pool2d(round_about, (_GAP // 2 + 1, 2 * _GAP + 1), 1, (_GAP // 4, 0), count_include_pad=False)[0, 0]
    return (mean.cummin(0).values / _THIN).clamp(0, 1)


def _turns(radians: Tensor) -> Tensor:
    """Map angles to [0, 1)."""
    return torch.remainder(radians / (2 * math.pi), 1.0)


def _around(outline: Tensor, angle: Tensor) -> Tensor:
    """Look up an outline (_DIRECTIONS,) at angles in [0, 1), linearly between its directions."""
    at = angle * len(outline) - 0.5
    low = at.floor()
    before, after = (outline[torch.remainder(low + i, len(outline)).long()] for i in (0, 1))
    return torch.lerp(before, after, at - low)


def _outlines(away: Tensor, roll: Tensor) -> Tensor:
    """Return how far the outermost of points (T, N, 2) lies in every direction, (T, _DIRECTIONS), smoothed.

    away: from the head's middle; roll: (T,) radians, of the direction from which they are counted."""
    angle = _turns(torch.atan2(away[..., 0], -away[..., 1]) - roll[:, None])
    found = away.new_zeros(len(away), _DIRECTIONS)
    found.scatter_reduce_(1, (angle * _DIRECTIONS).long().clamp_max(_DIRECTIONS - 1), away.norm(dim=2), "amax")
    found = torch.where(found > 0, found, (found.roll(1, 1) + found.roll(-1, 1)) / 2)
    return found / 2 + (found.roll(-1, 1) + found.roll(1, 1)) / 4
