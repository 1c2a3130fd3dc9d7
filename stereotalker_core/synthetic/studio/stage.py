"""A portrait studio: every pixel knows its place on the body; a soft key light with shadows, a fill and a rim light.

Slower and more detailed than people/render.py, which draws the training pictures: nothing is read from an atlas, so
that pores and weave are as fine as the picture. For one picture at a time."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody, Posed
from ...body.rasterize import Fragments, rasterize
from ...geometry.projection import intrinsics_for, look_at, project
from ..people.template import Template

_LIGHT_FAR, _LIGHT_TALL, _LIGHT_SIZE = 5.0, 1.5, 1024  # m, m, px of the shadow map
_SOFT = 48  # places of the light's surface that are looked at
_WIDTH = 0.020  # m of the shadow's edge
_BIAS = 0.008  # m
_WRAP = (0.32, 0.16, 0.11)  # light goes on under skin, red the furthest (d'Eon and Luebke 2007, as wrapped light)


@dataclass(frozen=True)
class Lamp:
    """The lamp: yaw and pitch in degrees, as for a camera; linear colour (3,), which includes its strength."""

    yaw: float
    pitch: float
    colour: tuple[float, float, float]

    def direction(self) -> Tensor:
        """Return the unit vector (3,) from the person to the lamp."""
        camera = look_at(torch.zeros(3), torch.tensor([self.yaw]), torch.tensor([self.pitch]), torch.ones(1))[0]
        return -camera[2, :3]


@dataclass(frozen=True)
class Lighting:
    """The lights: a key lamp with shadows, fill and rim lamps without, and linear ambient light (3,) from above."""

    key: Lamp
    fill: Lamp
    rim: Lamp
    ambient: tuple[float, float, float]


class Pixels(Template):
    """The N pixels of a picture that show a person, which can be painted by functions that paint the texels of a
    `Template`.

    They have the coordinates of texels (point, part, arm and so on, see `Template`), and besides
    place: (N, 3) m and normal: (N, 3), both in the world; view: (N, 3) unit vectors to the camera; index: (N,) into the
        flattened picture."""

    def __init__(
        self,
        template: Template,
        posed: Posed,
        normals: Tensor,
        camera: Tensor,
        intrinsics: Tensor,
        size: tuple[int, int],
        without: tuple[str, ...] = (),
    ):
        self.__dict__.update(template.__dict__)
        body: HalfBody = template.body
        hidden = torch.tensor([body.part_index[name] for name in without], dtype=torch.long)
        kept = (~torch.isin(body.triangle_part, hidden)).nonzero().squeeze(1)
        # which triangle each covered pixel shows, and where on it
        pixels = project(posed.vertices, camera[None], intrinsics)
        found: Fragments = rasterize(pixels, body.triangles[kept], size)
        self.picture, self.depth = size, found.depth[0]
        self.index = (found.triangle[0] >= 0).flatten().nonzero().squeeze(1)
        triangle = kept[found.triangle.flatten()[self.index]]
        corner, weight = body.triangles[triangle], found.barycentric.reshape(-1, 3)[self.index][..., None]
        # point: on the body at rest, where painters think; place: where it is in the picture's pose
        self.point, self.place, normal = (
            (values[corner] * weight).sum(1) for values in (body.mean, posed.vertices[0], normals)
        )
        self.normal = F.normalize(normal, dim=1)
        self.view = F.normalize(-camera[:3, :3].T @ camera[:3, 3] - self.place, dim=1)
        self.part = body.triangle_part[triangle]
        # the texel under the pixel carries what the template knows: arm, ear, lips
        uv = (body.uv[body.uv_triangles[triangle]] * weight).sum(1)
        cell = (uv * self.size).long().clamp(0, self.size - 1)
        self.texel = cell[:, 1] * self.size + cell[:, 0]
        self.arm, self.ear = self._arm_coordinate(self.point), self._ear_distance(uv)
        self.head = self.is_part("face", "scalp", "lips", "mouth", "eyesocket")
        mask = body.lips_mask.float()[None, None]
        self.lips = F.grid_sample(mask, (uv * 2 - 1)[None, None], align_corners=False)[0, 0, 0] * self.head

    def onto(self, values: Tensor) -> Tensor:
        """Arrange values (N, C) as a picture (C, H, W), 0 off the person."""
        rows, columns = self.picture
        out = values.new_zeros(rows * columns, values.shape[1]).index_copy(0, self.index, values)
        return out.T.reshape(-1, rows, columns)


def shadows(template: Template, posed: Posed, place: Tensor, lamp: Lamp, rng: torch.Generator) -> Tensor:
    """Return (N,) in [0, 1]: the fraction of a wide lamp that is visible from points (N, 3), not hidden by the body."""
    middle = posed.vertices[0].mean(0)
    middle = middle + torch.tensor([0.0, 0.0, 0.25])
    size = (_LIGHT_SIZE, _LIGHT_SIZE)
    camera = look_at(middle, torch.tensor([lamp.yaw]), torch.tensor([lamp.pitch]), torch.tensor([_LIGHT_FAR]))
    intrinsics = intrinsics_for(_LIGHT_TALL, _LIGHT_FAR, size)
    depth = rasterize(project(posed.vertices, camera, intrinsics), template.body.triangles, size).depth[0]
    seen = project(place[None], camera, intrinsics)[0]
    spread = _WIDTH * _LIGHT_SIZE / _LIGHT_TALL
    free = torch.zeros(len(place))
    for shift in torch.randn(_SOFT, 2, generator=rng) * spread:
        cell = (seen[:, :2] + shift * torch.rand(len(place), 1, generator=rng).sqrt()).long().clamp(0, _LIGHT_SIZE - 1)
        blocker = depth[cell[:, 1], cell[:, 0]]
        free += ((blocker == 0) | (blocker > seen[:, 2] - _BIAS)).float()
    return free / _SOFT


def openness(depth: Tensor, pixel: float) -> Tensor:
    """Return (H, W) in [0, 1]: ambient visibility of every pixel of a depth picture (H, W), from its surroundings.

    pixel: metres per pixel."""
    covered = (depth > 0).float()[None, None]
    out = torch.ones_like(depth)
    for reach, strength in ((0.012, 0.30), (0.04, 0.35), (0.09, 0.25)):
        radius = max(1, round(reach / pixel))
        side = 2 * radius + 1
        total, weight = (F.avg_pool2d(v, side, 1, radius, count_include_pad=False) for v in (depth * covered, covered))
        hollow = (depth - (total / weight.clamp_min(1e-3))[0, 0]) / reach
        out = out * (1 - strength * hollow.clamp(0, 1))
    return out


def light_surface(
    pixels: Pixels,
    albedo: Tensor,
    gloss: Tensor,
    skin: Tensor,
    lighting: Lighting,
    free: Tensor,
    open_: Tensor,
) -> Tensor:
    """Shade linear albedo (N, 3) under a lighting -> linear colour (N, 3).

    pixels: their positions and normals.
    albedo: (N, 3) linear.
    gloss: (N, 2) strength and sharpness of the highlight.
    skin: (N,) in [0, 1], where light scatters under the surface.
    lighting: the lamps.
    free: (N,) in [0, 1], visibility of the key lamp.
    open_: (N,) in [0, 1], visibility of the sky."""
    normal, view = pixels.normal, pixels.view
    wrap = skin[:, None] * albedo.new_tensor(_WRAP)
    sky = 0.55 + 0.45 * normal[:, 2:]
    out = albedo * albedo.new_tensor(lighting.ambient) * sky * open_[:, None]
    for lamp, shade in ((lighting.key, free), (lighting.fill, open_), (lighting.rim, open_)):
        direction, colour = lamp.direction(), albedo.new_tensor(lamp.colour)
        facing = (normal @ direction)[:, None]
        diffuse = ((facing + wrap) / (1 + wrap)).clamp_min(0)
        soft = shade[:, None] + (1 - shade[:, None]) * wrap * 0.5  # blood in the edge of a shadow
        half = F.normalize(view + direction, dim=1)
        mirror = (normal * half).sum(1).clamp_min(0).pow(gloss[:, 1]) * gloss[:, 0] * (facing[:, 0] > 0)
        fresnel = 0.4 + 0.6 * (1 - (normal * view).sum(1).clamp(0, 1)).pow(3)
        out = out + colour * (albedo * diffuse * soft + (mirror * fresnel * shade)[:, None])
    return out


def developed(linear: Tensor) -> Tensor:
    """Map linear light (3, H, W) to display values in [0, 1], as a camera does: a soft shoulder, then gamma 2.2."""
    shoulder = linear * (1 + linear / 4) / (1 + linear * 0.62)
    return shoulder.clamp(0, 1).pow(1 / 2.2)
