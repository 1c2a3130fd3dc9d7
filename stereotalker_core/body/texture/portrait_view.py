"""The portrait's camera: the colour of the portrait at a surface point, and whether the point was really seen.

A point was seen if it faces the camera, is the nearest surface there, lies inside the person's mask and not on a depth
edge."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...geometry.projection import project
from ...pixels.dilation import largest_around
from ...shapes import dims
from ..model import HalfBody, Posed
from ..rasterize import Fragments, at_points, rasterize
from .light import relit, shade

_RAMP = (0.12, 0.15)  # cosine to the camera from which on surface is trusted, and over which trust grows
_HEAD_RAMP = 0.45  # the same growth on the head: a fit is off by a pixel, and beside the face is hair
_EXACT_RAMP = (0.06, 0.12)  # both where the surface was registered to the pixel
_FACING = 0.1  # cosine to the camera from which on the own view shows a point altogether
_LIMB_RAMP = (0.05, 0.35)  # both on arms and hands, whose depth nobody knows well
# m around hands in which nothing else shows itself: registered, located only, not located
_EXACT_MARGIN, _HAND_MARGIN, _HAND_DOUBT = 0.010, 0.005, 0.03
_ARM_BREADTH = 0.08  # m beside an arm in which its skin may be taken for the trunk
_TRUNK_BREADTH = 0.03  # m beside the trunk in which an arm may show the trunk behind it
_TOUCHING = 0.025  # m around arms in which their border with the trunk lies
_UPPER_ARM_BREADTH = 0.03  # the same beside an upper arm, which the outline holds
_NEAR, _EXACT_NEAR = 0.010, 0.004  # m behind the nearest surface that still count as it; where registered
_DEPTH_EDGE, _EXACT_EDGE = 0.04, 0.02  # m between neighbouring pixels; where registered
_LARGE_TEXEL, _LARGEST_TEXEL = 1.2, 8.0  # px: texels to take means over, and the most that is averaged
_LARGEST = 1536  # px; a larger portrait holds more than the atlas can


@dataclass(frozen=True)
class Trust:
    """The parts of a fit that are reliable.

    hands: the fingers were detected; otherwise hand pixels show clothes, and hands take the colour of the face.
    registered: the surface agrees with the photographed face and outline to a pixel.
    shut: whether the (left, right) eye is shut in the portrait, so that its lids are visible.
    absent: parts that are not in the picture and hide nothing, whatever the pose says: hands behind the back."""

    hands: bool = True
    registered: bool = False
    shut: tuple[bool, bool] = (False, False)
    absent: tuple[str, ...] = ()


class PortraitView:
    """The portrait as a function on the body's surface: colour and visibility at points; unshaded once `light` is set.
    """

    light: Tensor | None = None

    def __init__(
        self,
        body: HalfBody,
        image: Tensor,
        mask: Tensor,
        posed: Posed,
        camera: Tensor,
        intrinsics: Tensor,
        trust: Trust,
    ):
        """Rasterise the posed body from the portrait's camera.

        body: the half body.
        image: the portrait (3, H, W) in [-1, 1].
        mask: (1, H, W) in [0, 1], 1 = person.
        posed: the body in the portrait's pose with hair and clothes, batch 1.
        camera: world_to_camera (4, 4).
        intrinsics: (3, 3) in pixels of the image.
        trust: which parts of the fit are reliable."""
        known = dims(image, "3 H W")
        dims(mask, "1 H W", **known)
        dims(posed.vertices, "1 V 3", V=body.n_vertices)
        image, mask, intrinsics = _fit_size(image, mask, intrinsics)
        self.rows, self.columns = image.shape[-2:]
        self.image, self.trust = image, trust
        pixels = project(posed.vertices, camera[None], intrinsics)
        ids = body.triangle_part.new_tensor([body.part_index[n] for n in trust.absent])
        there = (~torch.isin(body.triangle_part, ids)).nonzero().squeeze(1)
        fragments = rasterize(pixels, body.triangles[there], (self.rows, self.columns))
        triangle = torch.where(fragments.triangle >= 0, there[fragments.triangle.clamp_min(0)], fragments.triangle)
        fragments = fragments._replace(triangle=triangle)
        depth = fragments.depth[0]
        rotation = camera[:3, :3]
        self.normal = body.normals(posed.vertices)[0]  # (V, 3) in world axes
        normal = self.normal @ rotation.T
        point = posed.vertices[0] @ rotation.T + camera[:3, 3]
        facing = -(normal * F.normalize(point, dim=1)).sum(1)
        self.vertex = torch.cat([point, facing[:, None]], 1)  # (V, 4)
        self.focal, self.centre = intrinsics.diagonal()[:2], intrinsics[:2, 2]
        covered = (depth > 0) & (mask[0] > 0.5)
        z = torch.where(depth > 0, depth, depth.new_full((), 99.0))[None, None]
        # a depth edge inside the person, not the outline, when the surface lies on it
        inner = torch.where(depth > 0, depth, depth.new_zeros(()))[None, None] if trust.registered else z
        spread = largest_around(inner, 1) + largest_around(-z, 1)
        inside = covered.float()[None, None]
        if not trust.registered:
            inside = -largest_around(-inside, 1)
        clear = 1 - self._near(body, fragments, ("hand.L", "hand.R"), self._margin(trust))
        self.arms = self._near(body, fragments, ("arm.L", "arm.R", "hand.L", "hand.R"), _ARM_BREADTH)[0, 0]
        self.forearms = self._near(body, fragments, ("hand.L", "hand.R"), _ARM_BREADTH, _fore(body))[0, 0]
        upper = self._near(body, fragments, ("arm.L", "arm.R"), _UPPER_ARM_BREADTH)[0, 0]
        self.limbs = torch.maximum(self.forearms, upper)
        self.trunk = self._near(body, fragments, ("torso", "hips"), _TRUNK_BREADTH)[0, 0]
        self.touching = self._near(body, fragments, ("arm.L", "arm.R", "hand.L", "hand.R"), _TOUCHING)[0, 0]
        trusted = inside * (spread < (_EXACT_EDGE if trust.registered else _DEPTH_EDGE))
        parts = torch.where(depth > 0, body.triangle_part[fragments.triangle[0].clamp_min(0)].to(z), -2)[None, None]
        free = 1 - self._near(body, fragments, (), self._margin(trust), _fore(body)) if trust.registered else clear
        # depth; trusted; no hand near; part in front; no forearm near
        self.maps = torch.cat([z, trusted, clear, parts, free], 1)[0]

    def doubt(self, pixels: Tensor) -> None:
        """Let marked pixels (H, W) bool count as unseen."""
        self.maps[1] = self.maps[1] * ~pixels

    @property
    def fineness(self) -> float:
        """Return the resolution of the body in the picture, px per metre."""
        return float(self.focal[0] / self.vertex[:, 2].median())

    @staticmethod
    def _margin(trust: Trust) -> float:
        if not trust.hands:
            return _HAND_DOUBT
        return _EXACT_MARGIN if trust.registered else _HAND_MARGIN

    def _near(
        self,
        body: HalfBody,
        fragments: Fragments,
        parts: tuple[str, ...],
        margin: float,
        also: Tensor | None = None,
    ) -> Tensor:
        """Return (1, 1, H, W): 1 within `margin` metres of the visible triangles of some parts, 0 elsewhere.

        fragments: the drawn body; parts: their names; also: (F,) bool, further triangles."""
        triangle = fragments.triangle[0]
        ids = torch.tensor([body.part_index[n] for n in parts], device=triangle.device)
        chosen = torch.isin(body.triangle_part, ids)
        found = (triangle >= 0) & (chosen if also is None else chosen | also)[triangle]
        if not bool(found.any()):
            return found.float()[None, None]
        radius = max(1, round(margin * float(self.focal[0] / fragments.depth[0][found].median())))
        return largest_around(found.to(torch.uint8), radius)[None, None].to(self.image)

    def beside_arms(self, corners: Tensor, weight: Tensor, where: Tensor, shoulders: Tensor) -> Tensor:
        """Return (N,) bool: surface points that the picture shows near an arm.

        corners: (N, 3) vertices of their triangles.
        weight: (N, 3) barycentric.
        where: (N,) bool, the points to test; the others are false.
        shoulders: (N,) bool, points above the armpits: tested against forearms and hands only, since an upper arm
            cannot hide them."""
        return self.marked(self.limbs, corners, weight, where & ~shoulders) | self.marked(
            self.forearms, corners, weight, where & shoulders
        )

    def beside_trunk(self, corners: Tensor, weight: Tensor, where: Tensor) -> Tensor:
        """Return (N,) bool: surface points that the picture shows near the trunk; arguments as in `beside_arms`."""
        return self.marked(self.trunk, corners, weight, where)

    def marked(self, marks: Tensor, corners: Tensor, weight: Tensor, where: Tensor) -> Tensor:
        """Return (N,) bool: points among `where` (N,) bool whose pixel is marked in `marks` (H, W).

        corners, weight: the surface points, as in `sample`."""
        out, where = torch.zeros_like(where), where.nonzero().squeeze(1)
        corners, weight = corners.index_select(0, where), weight.index_select(0, where)
        pixel, _ = self._seen_at(corners, weight)
        cell = pixel.long().clamp_min(0).minimum(pixel.new_tensor([self.columns - 1, self.rows - 1]).long())
        return out.index_copy(0, where, marks[cell[:, 1], cell[:, 0]] > 0.5)

    def _seen_at(self, corners: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pixels (N, 2) of surface points, and (N, 4): position in camera axes (m), cosine to the camera.

        corners, weight: as in `sample`."""
        value = at_points(self.vertex, corners, weight)
        return value[:, :2] / value[:, 2:3].clamp_min(1e-6) * self.focal + self.centre, value

    def place(self, corners: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the pixels (N, 2) of surface points, the cosine (N,) to the camera, and normals (N, 3) in world axes.

        corners, weight: as in `sample`."""
        pixel, value = self._seen_at(corners, weight)
        normal = at_points(self.normal, corners, weight)
        return pixel, value[:, 3], F.normalize(normal, dim=1)

    def outside(self, corners: Tensor, weight: Tensor) -> Tensor:
        """Return (N,) bool: surface points (corners (N, 3), barycentric weight (N, 3)) beyond the picture's edges."""
        pixel, _, _ = self.place(corners, weight)
        return ((pixel <= 1) | (pixel >= pixel.new_tensor([self.columns, self.rows]) - 1)).any(1)

    def sample(
        self,
        corners: Tensor,
        weight: Tensor,
        limb: Tensor | None = None,
        hand: Tensor | None = None,
        head: Tensor | None = None,
        inner: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Look up colour and visibility of surface points in the portrait.

        corners: (N, 3) vertices of their triangles.
        weight: (N, 3) barycentric.
        limb: (N,) bool, points of arms and hands.
        hand: (N,) bool, points of hands.
        head: (N,) bool, points of the head.
        inner: (N,) part index of points of eyes, teeth and mouth, -1 elsewhere; such a point may lie a lid's thickness
            behind the nearest surface, but counts as seen only where that surface is of the same part.

        Pixels near a hand may show the hand instead of what is behind it, so they count as unseen for all points but
        those of arms and hands, and with a registered surface (`Trust`) for all but those of hands; pixels near a
        forearm then count as unseen for all but those of arms and hands.

        Returns colours (N, 3) of the image and visibility (N,) in [0, 1]."""
        pixel, value = self._seen_at(corners, weight)
        size = pixel.new_tensor([self.columns, self.rows])
        colour = self._unlit(self._colour(pixel), corners, weight)
        inside = ((pixel > 1) & (pixel < size - 1)).all(1)
        cell = pixel.long().clamp_min(0).minimum(size.long() - 1)
        known = self.maps.flatten(1).index_select(1, cell[:, 1] * self.columns + cell[:, 0])
        depth, trusted, clear, part, free = known
        exact = self.trust.registered
        clothed = hand if exact else limb  # arms, too, are doubted near a hand where everything else is known
        if clothed is not None:
            trusted = trusted * torch.where(clothed, 1.0, clear)
        if limb is not None and exact:
            trusted = trusted * torch.where(limb, 1.0, free)
        if inner is not None and exact:
            trusted = trusted * ((inner < 0) | (inner == part))
        reach = value.new_full((), _EXACT_NEAR if exact else _NEAR)
        near = ((value[:, 2] - depth) < reach) & inside
        least, ramp = self._ramps(limb, head)
        return colour, ((value[:, 3] - least) / ramp).clamp(0, 1) * trusted * near

    def front(self, corners: Tensor, weight: Tensor) -> Tensor:
        """Return (N,) in [0, 1]: how far the portrait's own view shows surface points, whatever it shows there.

        corners, weight: as in `sample`. Points count that face the camera and have nothing before them; unlike in
        `sample`, also those near hands and at the edges of limbs."""
        pixel, value = self._seen_at(corners, weight)
        size = pixel.new_tensor([self.columns, self.rows])
        inside = ((pixel > 1) & (pixel < size - 1)).all(1)
        cell = pixel.long().clamp_min(0).minimum(size.long() - 1)
        depth = self.maps[0].flatten().index_select(0, cell[:, 1] * self.columns + cell[:, 0])
        return (value[:, 3] / _FACING).clamp(0, 1) * (inside & (value[:, 2] - depth < _EXACT_NEAR))

    def means(self, colour: Tensor, seen: Tensor, corners: Tensor, weight: Tensor, across: Tensor) -> Tensor:
        """Replace colours of seen texels that are larger than a pixel by means over the texel (N, 3).

        A sharp edge that is looked up at single points comes out as a saw: collars, ties, lapels.

        colour, seen: (N, 3) and (N,) from `sample` at the texels' middles.
        corners, weight: as in `sample`.
        across: (N, 2, 3) by how much the barycentric weights change to the next texel, in x and in y."""
        these = (seen > 0).nonzero().squeeze(1)
        ends = self.vertex[:, :2] / self.vertex[:, 2:3].clamp_min(1e-6) * self.focal  # (V, 2) px
        steps = torch.einsum("nak,nkc->nac", across[these], ends[corners[these]])  # (N, 2, 2) px
        large = steps.square().sum(2).amax(1) > _LARGE_TEXEL**2
        these, steps = these[large], steps[large].clamp(-_LARGEST_TEXEL, _LARGEST_TEXEL)
        pixel, _ = self._seen_at(corners[these], weight[these])
        total, places = torch.zeros_like(colour[these]), [(i / 3, j / 3) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        for x, y in places:
            total += self._colour(pixel + x * steps[:, 0] + y * steps[:, 1])
        return colour.index_copy(0, these, self._unlit(total / len(places), corners[these], weight[these]))

    def _colour(self, pixel: Tensor) -> Tensor:
        """Look up the image at pixels (N, 2) -> (N, 3)."""
        grid = (pixel / pixel.new_tensor([self.columns, self.rows]) * 2 - 1)[None, None]
        return F.grid_sample(self.image[None], grid, padding_mode="border", align_corners=False)[0, :, 0].T

    def _unlit(self, colour: Tensor, corners: Tensor, weight: Tensor) -> Tensor:
        """Remove the portrait's shading, if it is known, from colours (N, 3) at surface points."""
        if self.light is None:
            return colour
        normal = at_points(self.normal, corners, weight)
        return relit(colour, 1 / shade(F.normalize(normal, dim=1), self.light))

    def _ramps(self, limb: Tensor | None, head: Tensor | None) -> tuple[Tensor | float, Tensor | float]:
        """Return the least cosine to the camera at which points count as seen, and the interval over which visibility
        then rises to 1.

        limb, head: as in `sample`.

        Both results are numbers, or (N,) where parts differ."""
        if not self.trust.registered:
            return _RAMP[0], _RAMP[1] if head is None else torch.where(head, _HEAD_RAMP, _RAMP[1])
        if limb is None:
            return _EXACT_RAMP
        least, reach = (torch.where(limb, a, b) for a, b in zip(_LIMB_RAMP, _EXACT_RAMP, strict=True))
        return least, reach


def _fore(body: HalfBody) -> Tensor:
    """Return (F,) bool, true for triangles of the forearms."""
    bones = [body.bone_index[f"{bone}.{side}"] for bone in ("lowerarm01", "lowerarm02") for side in "LR"]
    return (body.skin_weights[:, bones].sum(1) > 0.5)[body.triangles].all(1)


def _fit_size(image: Tensor, mask: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows, columns = image.shape[-2:]
    if max(rows, columns) <= _LARGEST:
        return image, mask, intrinsics
    factor = _LARGEST / max(rows, columns)
    new = (max(1, round(rows * factor)), max(1, round(columns * factor)))
    both = F.interpolate(torch.cat([image, mask])[None], new, mode="bilinear", antialias=True, align_corners=False)[0]
    scale = intrinsics.new_tensor([new[1] / columns, new[0] / rows, 1.0])
    return both[:3], both[3:], intrinsics * scale[:, None]
