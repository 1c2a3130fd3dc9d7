"""Example people for pictures and demos: nobody who exists, each made from a few numbers.

`EXAMPLES[name]` describes a person, `example_portrait(name)` takes their picture in the studio of stage.py."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody, Posed
from ..movement.poses import head_pose, joint_heads, rest_arms
from ..people.clothes import Clothes, clothes_shell
from ..people.hair import Hair, hair_height
from ..people.portrait import canonical_cameras
from ..people.template import Template
from .paint import Colour, Outfit, StudioFace, brow_density, drawn_room, dressed, inner_parts, skin
from .stage import Lamp, Lighting, Pixels, developed, light_surface, openness, shadows
from .strands import HairStyle, StrandSurface, drawn, followed, grow_strands, sown, thinned

_OVERSIZE = 2  # samples a side of a pixel
_GRAIN, _CORNERS = 0.006, 0.16  # of a camera: noise, and how much darker the corners are
_SKIN_LIT = ("face", "lips", "neck", "scalp", "torso", "arm.L", "arm.R", "hand.L", "hand.R", "eyesocket")


@dataclass(frozen=True)
class StudioPerson:
    """The description of an example person.

    seed, spread: of the body's random shape, and how far it differs from the mean.
    face, outfit: colours of the face, and clothes; style, line, hair: how hair is worn, kind of hair line, sRGB colour.
    lighting, room: the lamps, and the kind of room behind; turn: pitch, yaw, roll of the head, degrees."""

    seed: int
    spread: float
    face: StudioFace
    style: HairStyle
    line: str
    hair: Colour
    outfit: Outfit
    lighting: Lighting
    room: str
    turn: tuple[float, float, float]


_DAY = Lighting(
    Lamp(38, 32, (1.75, 1.66, 1.52)),
    Lamp(-55, 8, (0.30, 0.34, 0.40)),
    Lamp(-150, 28, (0.9, 0.95, 1.05)),
    (0.30, 0.32, 0.35),
)
_SOFT = Lighting(
    Lamp(28, 36, (1.6, 1.56, 1.5)),
    Lamp(-45, 12, (0.42, 0.45, 0.5)),
    Lamp(160, 35, (0.8, 0.9, 1.0)),
    (0.34, 0.35, 0.37),
)
_LONG = HairStyle(0.34, 0.20, 0.10, 0.24, (0.0, 0.45, 0.0), 0.022, 2400, 9, 0.0065)
_SWEPT = HairStyle(0.032, 0.4, 0.40, 0.04, (-0.3, 0.60, 0.15), 0.036, 3000, 8, 0.004)
EXAMPLES = {
    "mira": StudioPerson(
        4,
        0.45,
        StudioFace((0.87, 0.68, 0.57), (0.72, 0.38, 0.37), (0.36, 0.25, 0.14), 0.8, 0.0, 0.0, 0.35),
        _LONG,
        "full",
        (0.26, 0.16, 0.10),
        Outfit("knit", "crew", 1.93, (0.62, 0.30, 0.20), (0.9, 0.9, 0.9)),
        _DAY,
        "window",
        (2, -4, -1),
    ),
    "jonas": StudioPerson(
        21,
        0.45,
        StudioFace((0.86, 0.67, 0.55), (0.68, 0.43, 0.39), (0.32, 0.42, 0.50), 0.7, 0.0, 0.5, 0.25),
        _SWEPT,
        "short",
        (0.20, 0.13, 0.085),
        Outfit("blazer", "crew", 1.93, (0.15, 0.19, 0.27), (0.88, 0.88, 0.86)),
        _SOFT,
        "studio",
        (1, 5, 1),
    ),
}


@dataclass(frozen=True)
class ExamplePortrait:
    """The picture of an example person: image (3, S, S) in [-1, 1] and mask (1, S, S) in [0, 1]."""

    image: Tensor
    mask: Tensor


def example_portrait(name: str, size: int = 768, body: HalfBody | None = None) -> ExamplePortrait:
    """Return the picture of an example person, deterministic. ValueError for an unknown name or a size below 128 px."""
    if name not in EXAMPLES:
        raise ValueError(f"example person {name!r} is unknown; use one of {', '.join(EXAMPLES)}")
    if size < 128:
        raise ValueError(f"an example portrait needs at least 128 px, got {size}")
    person, body = EXAMPLES[name], body if body is not None else HalfBody()
    rng, template = torch.Generator().manual_seed(person.seed), Template(body)
    shape = (person.spread * torch.randn(body.n_shape, generator=rng)).clamp(-1.2, 1.2)
    posed, normals, bare = _posed_and_dressed(template, person, shape)
    whole = size * _OVERSIZE
    camera = canonical_cameras(body, shape, torch.tensor([0.0]), whole, 2.0)
    view = (camera.world_to_camera[0], camera.intrinsics)
    picture, cover, depth = _photographed(template, person, posed, normals, view, whole, rng)
    for strands, colour, samples in _hairs(template, person, posed, normals, bare, rng):
        lights = _lights(person.lighting)
        hair, there = drawn(strands, colour, depth, view, lights, max(8, round(samples * whole)))
        picture, cover = picture * (1 - there) + hair, torch.maximum(cover, there)
    room = drawn_room((whole, whole), person.room, rng)
    picture = picture + room * (1 - cover)
    picture, cover = F.avg_pool2d(torch.cat([picture, cover])[None], _OVERSIZE)[0].split([3, 1])
    place = torch.linspace(-1, 1, size)
    corners = 1 - _CORNERS * (place[:, None].square() + place.square()) / 2
    image = developed(picture * corners) + _GRAIN * torch.randn(1, size, size, generator=rng)
    return ExamplePortrait((image.clamp(0, 1) * 2 - 1).contiguous(), cover.clamp(0, 1))


def _posed_and_dressed(template: Template, person: StudioPerson, shape: Tensor) -> tuple[Posed, Tensor, Tensor]:
    """Pose and dress a person -> the posed body in its clothes, normals (V, 3) for its shading, and the shell (V,) of
    the clothes in m.

    template: the mean body; person: their pose and outfit; shape: (K,) coefficients of their body."""
    body, outfit = template.body, person.outfit
    clothes = Clothes(outfit.collar, outfit.sleeve, "plain", 20.0, outfit.thickness, *torch.zeros(3, 3))
    rest = body.rest(shape[None]).vertices
    shell = clothes_shell(template, clothes, rest[0], body.normals(rest)[0])
    rest = body.rest(shape[None], shell[None])
    expression = torch.zeros(1, 52)
    for side in ("Left", "Right"):
        expression[:, body.expression_index[f"mouthSmile{side}"]] = person.face.smile
        expression[:, body.expression_index[f"cheekSquint{side}"]] = 0.3 * person.face.smile
    pose = head_pose(*person.turn) + rest_arms(joint_heads(body, rest))
    posed = body.pose(rest, pose, expression)
    normals = body.normals(posed.vertices)[0]
    trunk = template.vertex_is("torso", "hips").float()[:, None] * (body.mean[:, 2:] < 0.50)
    return posed, F.normalize(template.smooth(normals, trunk, 24), dim=1), shell


def _photographed(
    template: Template,
    person: StudioPerson,
    posed: Posed,
    normals: Tensor,
    view: tuple[Tensor, Tensor],
    size: int,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the person without hair -> linear premultiplied colour (3, S, S), coverage (1, S, S), depth (S, S) m.

    template: the mean body; person: whom to draw; posed, normals: from `_posed_and_dressed`; view: (world_to_camera,
    intrinsics); size: px of a side; rng: random generator."""
    pixels = Pixels(template, posed, normals, *view, (size, size), ("lashes",))
    lashes = Pixels(template, posed, normals, *view, (size, size))
    colour, shine = skin(pixels, person.face, rng)
    gloss = torch.stack([shine, torch.full_like(shine, 22.0)], 1)
    colour, gloss = inner_parts(pixels, person.face, colour, gloss, rng)
    colour, cover, normal, shade = dressed(pixels, person.outfit, colour, rng)
    gloss = torch.where(cover[:, None] > 0.5, gloss.new_tensor([0.015, 8.0]), gloss)
    pixels.normal = normal
    free = shadows(template, posed, pixels.place, person.lighting.key, rng)
    wide = openness(pixels.depth, 0.86 / size).flatten()[pixels.index]
    warm = pixels.is_part(*_SKIN_LIT).float() * (1 - cover)
    linear = light_surface(pixels, colour.pow(2.2), gloss, warm, person.lighting, free, wide) * shade[:, None]
    picture = pixels.onto(linear)
    thin = lashes.onto(lashes.is_part("lashes").float()[:, None])
    picture = picture * (1 - 0.72 * thin) + 0.72 * thin * picture.new_tensor([0.018, 0.013, 0.010])[:, None, None]
    return picture, (pixels.depth > 0).float()[None], pixels.depth


def _lights(lighting: Lighting) -> tuple[Tensor, Tensor]:
    lamps = (lighting.key, lighting.fill, lighting.rim)
    return torch.stack([lamp.direction() for lamp in lamps]), torch.tensor([lamp.colour for lamp in lamps])


def _hairs(
    template: Template,
    person: StudioPerson,
    posed: Posed,
    normals: Tensor,
    shell: Tensor,
    rng: torch.Generator,
) -> list[tuple[Tensor, Tensor, float]]:
    """Grow the hair of the head and of the brows -> two entries (strands (n, steps, 3) m, linear colours (n, 3),
    samples).

    "samples" is the number of points to draw per strand, as a fraction of the picture's side in px.
    template: the mean body.
    person: whose hair it is.
    posed, normals, shell: from `_posed_and_dressed`.
    rng: random generator."""
    body, vertices = template.body, posed.vertices[0]
    line = Hair(person.line, 0.01, 0.002, torch.zeros(3), 0.1, 0.0)
    # hair grows on the scalp up to the line, away from the ears, and slides on the head, neck and trunk
    scalp = template.vertex_is("scalp", "face") & ~template.vertex_is("eyesocket", "mouth", "lips")
    scalp &= template.vertex_ear > 1.02
    outer = template.vertex_is("scalp", "face", "neck", "torso") & ~template.vertex_is("eyesocket", "mouth")
    surface: StrandSurface = thinned(vertices[outer], normals[outer], rng)
    middle = (posed.bones[0, body.bone_index["eye.L"]] + posed.bones[0, body.bone_index["eye.R"]]) / 2
    root, normal = sown(
        body,
        vertices,
        normals,
        lambda p: (hair_height(template, p, line) / 0.010).clamp(0, 1),
        scalp,
        person.style.guides,
        rng,
    )
    guides = grow_strands(root, normal, middle, person.style, surface, rng)
    strands = followed(guides, normal, person.style, rng)
    # each strand a little lighter or darker than the person's own colour
    own = torch.tensor(person.hair).pow(2.2)
    tone = (1 + 0.22 * torch.randn(len(strands), 1, generator=rng)).clamp(0.45, 1.8)
    out = [(strands, own * tone, 0.9 * person.style.length / 0.86)]
    # brows: short hairs, outwards and a little up, that lie nearly flat on the skin
    eye, front = template.bone("eye.L"), template.vertex_is("face", "scalp") & (body.mean[:, 1] < -0.06)
    root, normal = sown(body, vertices, normals, lambda p: brow_density(p, eye), front, 900, rng)
    aside = (root[:, :1] - middle[0]).sign()
    way = torch.cat([0.9 * aside, torch.full_like(aside, 0.15), torch.full_like(aside, 0.45)], 1)
    way = F.normalize(way + 0.25 * torch.randn(way.shape, generator=rng), dim=1)
    way = F.normalize(way - (way * normal).sum(1, keepdim=True) * normal + 0.10 * normal, dim=1)
    along = torch.linspace(0, 1, 12)[None, :, None] * (0.0045 + 0.003 * torch.rand(len(root), 1, 1, generator=rng))
    hairs = root[:, None] + 0.0004 * normal[:, None] + along * way[:, None]
    out.append((hairs, (own * 0.6).clamp_max(0.10).expand(len(hairs), 3), 0.02))
    return out
