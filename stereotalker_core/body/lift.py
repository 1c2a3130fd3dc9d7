"""Texture lift: the portrait's pixels carried to the body's texture atlas, with the visibility of every texel.

A texel was seen where its surface point faces the portrait's camera, is the nearest surface there, lies inside the
person's mask and not on a depth edge. Unseen texels take the mirrored point's colour, then that of the seen surface
most like them (near, same part, turned the same way), so that sleeves end where they end and hair stays hair.
Eyes, mouth interior, teeth, tongue and lashes come from template colours: photo pixels stretched over them look torn.
Lids take the colour of the skin around them, and clothes near a hand that of the mirrored place: neither shows itself.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..camera.projection import project
from ..shapes import dims
from .light import UNLIT, find_light, relit, shade
from .model import HalfBody, Posed
from .rasterize import Fragments, rasterize

_TEMPLATE = {  # colours in [0, 1] under a bright even light
    "mouth": (0.30, 0.10, 0.10),
    "tongue": (0.60, 0.28, 0.27),
    "teeth.up": (0.86, 0.82, 0.76),
    "teeth.low": (0.80, 0.76, 0.70),
    "lashes": (0.14, 0.11, 0.09),
    "eye.L": (0.86, 0.84, 0.82),
    "eye.R": (0.86, 0.84, 0.82),
}
_HEAD_RAMP = 0.45  # cosine over which head surface gains trust: a fit is off by a pixel, and beside the face is hair
_SKIN = ("face", "lips", "eyesocket", "hand.L", "hand.R")  # an unseen hand looks like the face, not like the sleeve
# metres that a difference counts for when unseen surface looks for the seen surface most like it
_OTHER_SIDE, _OTHER_PART, _OTHER_MATERIAL = 0.05, 0.03, 2.0
# a usual hair line: metres behind and above the eyes, from the forehead over the temple to the nape
_HAIR_LINE = ((-0.02, 0.080), (0.06, 0.050), (0.073, 0.0), (0.11, 0.004), (0.145, -0.036), (0.165, -0.060))
_ANCHORS = 1500  # seen vertices that are compared
_STRIDE = 3  # texels skipped when colours are collected at the vertices
_IRIS_ANGLE, _PUPIL_ANGLE = 0.42, 0.17  # radians from the optical axis of the asset's eyeball
_UNFOLDS = 0.35  # share of the largest movement of a blink from which skin counts as lid
_LARGEST = 1024  # px; a larger portrait holds more than the atlas can


def _vertex_part(body: HalfBody) -> Tensor:
    """(V,) index of the highest part among the triangles of a vertex: an order that threads cannot change."""
    part = torch.zeros(body.n_vertices, dtype=torch.long, device=body.mean.device)
    corners, parts = body.triangles.flatten(), body.triangle_part.repeat_interleave(3)
    return part.scatter_reduce(0, corners, parts, "amax", include_self=False)


def _hairy(body: HalfBody, part: Tensor) -> Tensor:
    """(V,) in [0, 1]: how much a vertex of the scalp lies above a usual hair line, which falls towards the nape."""
    behind, above = (body.mean - body.bone_mean[body.bone_index["eye.L"]])[:, 1:].unbind(1)
    line = torch.full_like(above, _HAIR_LINE[0][1])
    for (start, high), (end, low) in zip(_HAIR_LINE, _HAIR_LINE[1:], strict=False):
        line = torch.where(behind >= start, high + (low - high) * ((behind - start) / (end - start)).clamp(0, 1), line)
    return ((above - line) / 0.02 + 0.5).clamp(0, 1) * (part == body.part_index["scalp"])


def grow(area: Tensor, radius: int) -> Tensor:
    """(B, C, H, W): the largest value of the square of `radius` pixels around each, one direction after the other."""
    rows = F.max_pool2d(area, (2 * radius + 1, 1), 1, (radius, 0))
    return F.max_pool2d(rows, (1, 2 * radius + 1), 1, (0, radius))


def push_pull(values: Tensor, weight: Tensor) -> Tensor:
    """Fill values (B, C, H, W) where weight (B, 1, H, W) in [0, 1] is low from coarser and coarser averages."""
    rows, columns = values.shape[-2:]
    if min(rows, columns) <= 2:
        mean = (values * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True).clamp_min(1e-6)
        return mean.expand_as(values)
    both = F.pad(torch.cat([values * weight, weight], 1), (0, columns % 2, 0, rows % 2))
    small = F.avg_pool2d(both, 2)
    coarse = push_pull(small[:, :-1] / small[:, -1:].clamp_min(1e-6), (4 * small[:, -1:]).clamp(max=1))
    low = F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)[..., :rows, :columns]
    return torch.lerp(low, values, weight)


class Lifter(nn.Module):
    """Which surface point every texel of a (size, size) atlas shows; computed once for a body and reused.

    Moves between devices like any module.
    """

    def __init__(self, body: HalfBody, size: int = 768):
        super().__init__()
        if not 16 <= size <= 4096:
            raise ValueError(f"atlas size must be 16..4096, got {size}")
        self.size = size
        points = torch.cat([body.uv * size, torch.ones_like(body.uv[:, :1])], 1)[None]
        fragments = rasterize(points, body.uv_triangles, (size, size), cull=False)
        texel = (fragments.triangle[0] >= 0).flatten().nonzero().squeeze(1)
        triangle = fragments.triangle.flatten()[texel]
        corners = body.triangles[triangle]
        weight = fragments.barycentric.reshape(-1, 3)[texel]
        part = body.triangle_part[triangle]
        template, templated = self._template(body, corners, weight, part)
        eyes = torch.isin(part, torch.tensor([body.part_index["eye.L"], body.part_index["eye.R"]], device=part.device))
        hands = torch.isin(part, torch.tensor([body.part_index[n] for n in ("hand.L", "hand.R")], device=part.device))
        arms = torch.isin(part, torch.tensor([body.part_index[n] for n in ("arm.L", "arm.R")], device=part.device))
        limbs = hands | arms
        head = torch.isin(part, torch.tensor([body.part_index[n] for n in ("face", "scalp")], device=part.device))
        buffers = {
            "texel": texel,  # (N,) flat index into the atlas
            "corners": corners,  # (N, 3) vertices
            "weight": weight,  # (N, 3) barycentric
            "part": part,  # (N,)
            "template": template,  # (N, 3) colour in [0, 1]
            "templated": templated,  # (N,) bool
            "eyes": eyes,  # (N,) bool
            "hands": hands,  # (N,) bool
            "head": head,  # (N,) bool: face and scalp
            "limbs": limbs,  # (N,) bool: arms and hands
            "eyelids": self._eyelids(body, corners, weight, part),  # (N,) bool
            "iris": self._eye_angle < _IRIS_ANGLE,
            "pupil": self._eye_angle < _PUPIL_ANGLE,
            "vertex_part": _vertex_part(body),  # (V,) the highest part of the triangles around it
            "likeness": self._likeness(body),  # (V, features) whose distance in metres says how unlike two vertices are
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    def _template(self, body: HalfBody, corners: Tensor, weight: Tensor, part: Tensor) -> tuple[Tensor, Tensor]:
        colour = torch.zeros(len(part), 3, device=part.device)
        templated = torch.zeros_like(part, dtype=torch.bool)
        for name, value in _TEMPLATE.items():
            mask = part == body.part_index[name]
            colour[mask] = torch.tensor(value, device=part.device)
            templated |= mask
        point = (body.mean[corners] * weight[..., None]).sum(1)
        self._eye_angle = torch.full_like(weight[:, 0], 10.0)
        for name in ("eye.L", "eye.R"):
            mask = part == body.part_index[name]
            away = F.normalize(point[mask] - body.bone_mean[body.bone_index[name]], dim=1)
            self._eye_angle[mask] = torch.acos((-away[:, 1]).clamp(-1, 1))  # the gaze of the A pose is -y
        return colour, templated

    @staticmethod
    def _eyelids(body: HalfBody, corners: Tensor, weight: Tensor, part: Tensor) -> Tensor:
        """(N,) bool: skin that a blink unfolds. Over an open eye the photo shows the eye there, not the lid."""
        blink = [body.expression_index[n] for n in ("eyeBlinkLeft", "eyeBlinkRight")]
        delta = body.expression_deltas.view(len(body.expression_names), -1, 3)[blink].norm(dim=2).amax(0)
        moved = torch.zeros(body.n_vertices, device=part.device).index_copy(0, body.expression_vertices, delta)
        skin = torch.isin(part, torch.tensor([body.part_index[n] for n in ("face", "eyesocket")], device=part.device))
        return skin & ((moved[corners] * weight).sum(1) > _UNFOLDS * moved.max())

    @staticmethod
    def _likeness(body: HalfBody) -> Tensor:
        part = _vertex_part(body)
        skin = torch.isin(part, torch.tensor([body.part_index[n] for n in _SKIN], device=part.device))
        templated = torch.isin(part, torch.tensor([body.part_index[n] for n in _TEMPLATE], device=part.device))
        normal = body.normals(body.mean[None])[0]
        features = [
            body.mean,
            normal * _OTHER_SIDE / 2,
            F.one_hot(part, len(body.part_names)) * _OTHER_PART / 2**0.5,
            skin[:, None] * _OTHER_MATERIAL,
            (part == body.part_index["scalp"])[:, None] * _OTHER_MATERIAL,
            _hairy(body, part)[:, None] * _OTHER_MATERIAL,
            templated[:, None] * 10.0,  # teeth lend their colour to nothing
        ]
        return torch.cat([f.to(body.mean.dtype) for f in features], 1)


def lift_portrait(
    body: HalfBody,
    image: Tensor,
    mask: Tensor,
    posed: Posed,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    size: int = 768,
    lifter: Lifter | None = None,
    trust_hands: bool = True,
) -> tuple[Tensor, Tensor]:
    """Portrait (3, H, W) in [-1, 1] + mask (1, H, W) on a posed body -> atlas (3, A, A), visibility (1, A, A).

    posed: the portrait's pose with its shell (batch 1); camera (4, 4) and (3, 3) in pixels of the image. The atlas is
    filled everywhere; visibility in [0, 1] is of texels really seen (symmetric and template colours count as unseen).
    trust_hands=False leaves the hands to the colour of the face: where no finger was located, they show the clothes.
    """
    lifter = lifter if lifter is not None else Lifter(body, size)
    return _lift(body, lifter, _view(body, image, mask, posed, world_to_camera, intrinsics, trust_hands), trust_hands)


def lift_unlit(
    body: HalfBody,
    image: Tensor,
    mask: Tensor,
    posed: Posed,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    size: int = 768,
    lifter: Lifter | None = None,
    trust_hands: bool = True,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """As `lift_portrait`, but the atlas is free of the portrait's shading -> atlas, visibility, light (4,).

    `light.relit(texel, light.shade(normal, light))` shades it for any pose. Holes are filled before the shading, so
    that an arm's unlit side does not lend its darkness. Where no light is found (None) the atlas is lift_portrait's.
    """
    lifter = lifter if lifter is not None else Lifter(body, size)
    view = _view(body, image, mask, posed, world_to_camera, intrinsics, trust_hands)
    vertex = torch.arange(body.n_vertices, device=image.device)[:, None].expand(-1, 3)
    colour, seen = view.sample(vertex, body.mean.new_tensor([1.0, 0.0, 0.0]).expand(len(vertex), 3))
    unlit = torch.zeros(len(body.part_names), dtype=torch.bool, device=image.device)
    unlit[[body.part_index[name] for name in UNLIT]] = True
    light = find_light(colour, seen, view.normal, body.mean, lifter.vertex_part, body.mirror, unlit)
    view.light = light
    return *_lift(body, lifter, view, trust_hands), light


def _view(
    body: HalfBody,
    image: Tensor,
    mask: Tensor,
    posed: Posed,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    trust_hands: bool,
) -> "_View":
    known = dims(image, "3 H W")
    dims(mask, "1 H W", **known)
    dims(posed.vertices, "1 V 3", V=body.n_vertices)
    image, mask, intrinsics = _fit_size(image, mask, intrinsics)
    return _View(body, image, mask, posed, world_to_camera, intrinsics, 0.005 if trust_hands else 0.03)


def _lift(body: HalfBody, lifter: Lifter, view: "_View", trust_hands: bool) -> tuple[Tensor, Tensor]:
    colour, seen = view.sample(lifter.corners, lifter.weight, lifter.limbs, lifter.head)
    photo = seen * (~lifter.templated | lifter.eyes & (seen > 0.9)) * ~lifter.eyelids
    if not trust_hands:
        photo = photo * ~lifter.hands
    filled, confidence = colour.clone(), photo.clone()
    hole = ((photo < 0.99) & ~lifter.templated).nonzero().squeeze(1)
    there = body.mirror[lifter.corners[hole]]
    mirrored, seen_there = view.sample(there, lifter.weight[hole], lifter.limbs[hole], lifter.head[hole])
    own = photo[hole]
    other = seen_there * (1 - own) * (trust_hands | ~lifter.hands[hole]) * ~lifter.eyelids[hole]
    filled[hole] = (colour[hole] * own[:, None] + mirrored * other[:, None]) / (own + other).clamp_min(1e-4)[:, None]
    confidence[hole] = own + other
    if not trust_hands:
        filled[lifter.hands], confidence[lifter.hands] = _skin_colour(body, lifter, colour, photo), 1.0
    filled, confidence = _add_priors(lifter, body.n_vertices, colour, photo, filled, confidence)
    return _to_atlas(lifter, filled, confidence, photo)


def _fit_size(image: Tensor, mask: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows, columns = image.shape[-2:]
    if max(rows, columns) <= _LARGEST:
        return image, mask, intrinsics
    factor = _LARGEST / max(rows, columns)
    new = (max(1, round(rows * factor)), max(1, round(columns * factor)))
    both = F.interpolate(torch.cat([image, mask])[None], new, mode="bilinear", antialias=True, align_corners=False)[0]
    scale = intrinsics.new_tensor([new[1] / columns, new[0] / rows, 1.0])
    return both[:3], both[3:], intrinsics * scale[:, None]


class _View:
    """The portrait's camera: samples colour and visibility at surface points; free of shading once `light` is set."""

    light: Tensor | None = None

    def __init__(
        self,
        body: HalfBody,
        image: Tensor,
        mask: Tensor,
        posed: Posed,
        camera: Tensor,
        intrinsics: Tensor,
        hand_margin: float,
    ):
        """hand_margin: metres around the hands in which nothing else is trusted to show itself."""
        self.rows, self.columns = image.shape[-2:]
        self.image = image
        pixels = project(posed.vertices, camera[None], intrinsics)
        fragments = rasterize(pixels, body.triangles, (self.rows, self.columns))
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
        spread = F.max_pool2d(z, 3, 1, 1) + F.max_pool2d(-z, 3, 1, 1)
        inside = -F.max_pool2d(-covered.float()[None, None], 3, 1, 1)
        clear = 1 - self._hands(body, fragments, hand_margin)
        self.maps = torch.cat([z, inside * (spread < 0.04), clear], 1)[0]  # depth; 1: trusted; 1: no hand near

    def _hands(self, body: HalfBody, fragments: Fragments, margin: float) -> Tensor:
        """(1, 1, H, W): 1 within `margin` metres of a hand."""
        triangle = fragments.triangle[0]
        ids = torch.tensor([body.part_index[n] for n in ("hand.L", "hand.R")], device=triangle.device)
        hand = (triangle >= 0) & torch.isin(body.triangle_part, ids)[triangle]
        if not bool(hand.any()):
            return hand.float()[None, None]
        radius = max(1, round(margin * float(self.focal[0] / fragments.depth[0][hand].median())))
        return grow(hand.float()[None, None], radius)

    def sample(
        self, corners: Tensor, weight: Tensor, limb: Tensor | None = None, head: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Surface points (N, 3) vertices, (N, 3) barycentric -> colours (N, 3) of the image, visibility (N,).

        limb (N,) bool: points of arms and hands; all others are not trusted near a hand. head (N,) bool: points of the
        head, trusted by degrees where they turn away: the other side, or surface nearby, tells better there.
        """
        value = sum(self.vertex.index_select(0, corners[:, i]) * weight[:, i : i + 1] for i in range(3))
        pixel = value[:, :2] / value[:, 2:3].clamp_min(1e-6) * self.focal + self.centre
        size = pixel.new_tensor([self.columns, self.rows])
        colour = F.grid_sample(
            self.image[None], (pixel / size * 2 - 1)[None, None], padding_mode="border", align_corners=False
        )[0, :, 0].T
        if self.light is not None:
            normal = sum(self.normal.index_select(0, corners[:, i]) * weight[:, i : i + 1] for i in range(3))
            colour = relit(colour, 1 / shade(F.normalize(normal, dim=1), self.light))
        inside = ((pixel > 1) & (pixel < size - 1)).all(1)
        cell = pixel.long().clamp_min(0).minimum(size.long() - 1)
        depth, trusted, clear = self.maps.flatten(1).index_select(1, cell[:, 1] * self.columns + cell[:, 0])
        if limb is not None:
            trusted = trusted * torch.where(limb, 1.0, clear)
        near = ((value[:, 2] - depth) < 0.010) & inside
        reach = 0.15 if head is None else torch.where(head, _HEAD_RAMP, 0.15)
        return colour, ((value[:, 3] - 0.12) / reach).clamp(0, 1) * trusted * near


def _add_priors(
    lifter: Lifter, n_vertices: int, colour: Tensor, photo: Tensor, filled: Tensor, confidence: Tensor
) -> tuple[Tensor, Tensor]:
    """Give holes the colour of the seen surface most like them, weakly, and templated parts their template."""
    prior = _alike(lifter, n_vertices, filled, confidence)
    weak = 0.05 * (1 - confidence)
    filled = (filled * confidence[:, None] + prior * weak[:, None]) / (confidence + weak).clamp_min(1e-6)[:, None]
    confidence = confidence + weak
    sums = torch.cat([colour * photo[:, None], photo[:, None]], 1)
    light = _light(sums)
    template = torch.where(lifter.iris[:, None], _iris(lifter, colour, photo) / 2 + 0.5, lifter.template * light)
    template = torch.where(lifter.pupil[:, None], template.new_full((), 0.05), template) * 2 - 1
    keep = photo[:, None]
    layered = colour * keep + template * (1 - keep)
    filled = torch.where(lifter.templated[:, None], layered, filled)
    return filled, torch.where(lifter.templated, torch.ones_like(confidence), confidence)


def _skin_colour(body: HalfBody, lifter: Lifter, colour: Tensor, photo: Tensor) -> Tensor:
    """Median (3,) of the well-seen face, of everything seen where there is no face."""
    seen = photo > 0.9
    face = seen & (lifter.part == body.part_index["face"])
    chosen = colour[face if bool(face.any()) else seen]
    return chosen.median(0).values if len(chosen) else colour.new_zeros(3)


def _alike(lifter: Lifter, n_vertices: int, colour: Tensor, confidence: Tensor) -> Tensor:
    """Colour (N, 3) of every texel from the vertices that were seen and are most like its own vertices."""
    some = slice(None, None, _STRIDE)
    weight = confidence[some] * ~lifter.templated[some]
    values = torch.cat([colour[some] * weight[:, None], weight[:, None]], 1)
    sums = values.new_zeros(n_vertices, 4)
    for i in range(3):
        sums.index_add_(0, lifter.corners[some, i], values * lifter.weight[some, i : i + 1])
    seen = (sums[:, 3] > 0.5).nonzero().squeeze(1)
    if not len(seen):
        return torch.zeros_like(colour)
    anchors = seen[:: -(-len(seen) // _ANCHORS)]
    vertex = sums[:, :3] / sums[:, 3:].clamp_min(1e-6)
    unseen = (sums[:, 3] <= 0.5).nonzero().squeeze(1)
    distance = torch.cdist(lifter.likeness[unseen], lifter.likeness[anchors])
    spread = 0.008 + 0.2 * distance.amin(1, keepdim=True)  # the further away, the more of them have a say
    vertex[unseen] = (-distance / spread).softmax(1) @ vertex[anchors]
    return sum(vertex.index_select(0, lifter.corners[:, i]) * lifter.weight[:, i : i + 1] for i in range(3))


def _light(values: Tensor) -> Tensor:
    """Exposure of the portrait from premultiplied texels (N, 4): mean brightness, as a factor in 0.35..1."""
    sums = values.sum(0)
    mean = sums[:3] / sums[3].clamp_min(1e-6)
    return ((mean.mean() / 2 + 0.5) * 1.7).clamp(0.35, 1.0)


def _iris(lifter: Lifter, colour: Tensor, photo: Tensor) -> Tensor:
    """Mean colour of the iris texels that were seen, darkened brown where none was; (3,) in [-1, 1]."""
    weight = photo * (lifter.iris & ~lifter.pupil)
    brown = colour.new_tensor([-0.55, -0.68, -0.75])
    return ((colour * weight[:, None]).sum(0) + brown * 8) / (weight.sum() + 8)


def _to_atlas(lifter: Lifter, filled: Tensor, confidence: Tensor, photo: Tensor) -> tuple[Tensor, Tensor]:
    size = lifter.size
    values = torch.cat([filled, confidence[:, None], photo[:, None], torch.ones_like(photo[:, None])], 1)
    atlas = values.new_zeros(size * size, 6).index_copy(0, lifter.texel, values).T.reshape(1, 6, size, size)
    colour = push_pull(atlas[:, :3], atlas[:, 3:4].clamp(0, 1))
    island = atlas[:, 5:]
    gutter = F.avg_pool2d(atlas[:, 4:], 5, 1, 2)  # bilinear look-ups at island borders must not see zeros
    visibility = torch.where(island > 0, atlas[:, 4:5], gutter[:, :1] / gutter[:, 1:].clamp_min(1e-6))
    return colour[0].clamp(-1, 1), visibility[0].clamp(0, 1)
