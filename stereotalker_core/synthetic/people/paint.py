"""Skin, face and eyes in template space, and the assembly of the albedo and region atlases."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .clothes import Clothes, clothes_paint
from .hair import Hair, hair_paint
from .template import Template, grain, pick, piecewise, uniform, waves

BODY, FACE, HANDS = 1, 2, 3  # shapes.REGIONS
_SKIN = torch.tensor([[244, 211, 190], [228, 184, 150], [198, 144, 104], [141, 91, 60], [84, 53, 38]]) / 255
_IRIS = ((60, 38, 22), (92, 62, 34), (70, 95, 60), (70, 105, 140), (95, 110, 120))


@dataclass(frozen=True)
class Complexion:
    """The colours and make-up of a face.

    feminine: no beard, sometimes painted lips; melanin: how dark skin and hair are, 0..1; skin, lips, iris: (3,) in [0,
    1]; beard, brow, blush, freckles: how much of each, 0..1."""

    feminine: bool
    melanin: float
    skin: Tensor
    lips: Tensor
    iris: Tensor
    beard: float
    brow: float
    blush: float
    freckles: float


def draw_look(rng: torch.Generator) -> Complexion:
    """Draw a random `Complexion`."""
    feminine = uniform(rng, 0, 1) < 0.5
    melanin = uniform(rng, 0.0, 0.92)
    level = torch.tensor([melanin]) * 4
    knots = (0.0, 1.0, 2.0, 3.0, 4.0)
    skin = torch.cat([piecewise(level, knots, tuple(_SKIN[:, c].tolist())) for c in range(3)])
    skin = (skin * (1 + 0.03 * torch.randn(3, generator=rng))).clamp(0.1, 0.97)
    lips = skin * torch.tensor([0.88, 0.60, 0.60])
    if feminine and uniform(rng, 0, 1) < 0.45:
        lips = torch.tensor([0.72, 0.20, 0.24]) * uniform(rng, 0.75, 1.1)
    iris = torch.tensor(pick(rng, _IRIS, (0.35, 0.3, 0.1, 0.15, 0.1) if melanin < 0.4 else (0.8, 0.2, 0, 0, 0))) / 255
    beard = uniform(rng, 0.2, 0.75) if not feminine and uniform(rng, 0, 1) < 0.4 else 0.0
    freckles = uniform(rng, 0, 1) if melanin < 0.4 and uniform(rng, 0, 1) < 0.3 else 0.0
    brow, blush = uniform(rng, 0.0, 1.0), uniform(rng, 0.2, 1)
    return Complexion(feminine, melanin, skin, lips, iris, beard, brow, blush, freckles)


def mix(colour: Tensor, other: Tensor | Sequence[float], weight: Tensor) -> Tensor:
    """Blend colours (N, 3) towards another, (3,) or (N, 3), by weight (N,) in [0, 1]."""
    other = other if isinstance(other, Tensor) else colour.new_tensor(other)
    return colour + (other - colour) * weight[:, None]


def bump(value: Tensor, centre: float, width: float) -> Tensor:
    """Return a bell curve of height 1 at `centre`, falling to 1 / e at distance `width`."""
    return torch.exp(-(((value - centre) / width) ** 2))


def skin_paint(template: Template, look: Complexion, hair: Hair, rng: torch.Generator) -> Tensor:
    """Paint skin everywhere, with cheeks, beard, lips and brows -> colours (N, 3) in [0, 1] of the template's texels.

    look: colours and make-up of the face; hair: gives brows and beard their colour."""
    points = template.point
    x, y, z = points.unbind(1)
    side, eye = x.abs(), template.bone("eye.L")
    up, head = z - eye[2], template.head.float()
    fine, soft = grain(template, template.size // 4, rng), waves(points, 60.0, rng, 5)
    colour = look.skin * (1 + 0.018 * fine + 0.015 * soft)[:, None]
    red = bump(side, 0.044, 0.02) * bump(up, -0.047, 0.019) * (y < -0.08)
    red = red + 0.7 * bump(x, 0, 0.016) * bump(up, -0.040, 0.014) * (y < -0.12)
    colour = colour * (1 - (red * look.blush * head)[:, None] * torch.tensor([0.0, 0.13, 0.13]))
    if look.freckles:
        spots = (waves(points, 900.0, rng, 8) > 1.5) * bump(up, -0.035, 0.03) * (y < -0.09)
        colour = mix(colour, look.skin * torch.tensor([0.72, 0.6, 0.5]), spots * 0.6 * look.freckles * head)
    shade = 1 - 0.14 * bump(z, 0.595, 0.03) * (y < 0.02)  # under the chin
    shade = shade - 0.10 * bump(side, 0.031, 0.022) * bump(up, 0.0, 0.014) * (y < -0.09)  # eye sockets
    shade = shade - 0.06 * bump(side, 0.016, 0.006) * bump(up, -0.045, 0.012) * (y < -0.12)  # beside the nose
    colour = colour * shade[:, None]
    if look.beard:
        where = ((-0.052 - up) / 0.02).clamp(0, 1) * ((z - 0.585) / 0.02).clamp(0, 1)
        where = where * ((-0.026 - y) / 0.03).clamp(0, 1)
        colour = mix(colour, hair.colour * 0.9, where * head * look.beard * (0.9 + 0.15 * fine).clamp(0, 1))
    colour = mix(colour, look.lips * (1 + 0.03 * fine)[:, None], template.lips.clamp(0, 1) * 0.92)
    offset = side - eye[0]
    arc = 0.0225 + 0.0045 * torch.cos((offset / 0.027).clamp(-1, 1) * 1.4) + uniform(rng, -0.0015, 0.003)
    height = (0.0020 + 0.0022 * look.brow) * piecewise(offset, (-0.02, -0.01, 0.03), (1.1, 1.0, 0.45))
    brow = (1.3 - (up - arc).abs() / height).clamp(0, 1) * ((offset + 0.021) / 0.004).clamp(0, 1)
    brow = brow * ((0.029 - offset) / 0.005).clamp(0, 1) * (y < -0.075) * head * (0.85 + 0.15 * fine).clamp(0, 1)
    colour = mix(colour, hair.colour * 0.8, brow * (0.9 if look.feminine else 1.0))
    ears = (template.ear < 1.0).float() * head
    return colour * (1 - ears[:, None] * torch.tensor([0.0, 0.07, 0.07]))


def face_details(template: Template, look: Complexion, hair: Hair, colour: Tensor) -> Tensor:
    """Paint the mouth's interior, eye sockets, eyes, teeth, tongue and lashes over colours (N, 3) -> (N, 3)."""
    out = colour.clone()
    mouth = template.is_part("mouth")
    depth = piecewise(template.point[:, 1], (-0.133, -0.095, -0.055), (1.0, 0.6, 0.25))
    out[mouth] = (torch.tensor([0.34, 0.08, 0.08]) * depth[:, None])[mouth]
    socket = template.is_part("eyesocket")
    front = ((-0.112 - template.point[:, 1]) / 0.006).clamp(0, 1)[:, None]
    lid = look.skin * torch.tensor([0.86, 0.76, 0.74])
    out[socket] = (look.skin * torch.tensor([0.6, 0.45, 0.42]) * (1 - front) + lid * front)[socket]
    for name in ("eye.L", "eye.R"):
        mask = template.is_part(name)
        # rings around the axis of the eye, by degrees: pupil, iris with a dark rim, white
        away = F.normalize(template.point[mask] - template.bone(name), dim=1)
        angle = torch.rad2deg(torch.acos((-away[:, 1]).clamp(-1, 1)))[:, None]
        white = torch.tensor([0.88, 0.86, 0.84])
        iris = look.iris * (0.75 + 0.6 * angle / 29)
        eye = torch.where(angle < 29, iris, white)
        eye = torch.where((angle > 25) & (angle < 29.5), look.iris * 0.45, eye)
        out[mask] = torch.where(angle < 11.5, torch.full_like(eye, 0.02), eye)
    out[template.is_part("tongue")] = torch.tensor([0.55, 0.22, 0.22])
    out[template.is_part("teeth.up", "teeth.low")] = torch.tensor([0.88, 0.85, 0.79])
    out[template.is_part("lashes")] = hair.colour * 0.3
    return out


def paint(
    template: Template, look: Complexion, hair: Hair, clothes: Clothes, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Paint a whole person -> albedo atlas (3, A, A) in [0, 1], and region atlas (A, A) uint8.

    template: the mean body; look, hair, clothes: of the person; rng: random generator. The region atlas holds labels of
        shapes.REGIONS, 0 off the body."""
    colour = skin_paint(template, look, hair, rng)
    colour = face_details(template, look, hair, colour)
    cloth, garment = clothes_paint(template, clothes, rng)
    colour = torch.where(cloth[:, None], garment, colour)
    cover, strands = hair_paint(template, hair, rng)
    colour = mix(colour, strands, cover)
    region = torch.full_like(template.part, BODY)
    inner = ("eye.L", "eye.R", "tongue", "teeth.up", "teeth.low", "lashes")
    region[(template.head | template.is_part(*inner)) & ~(cover > 0.5)] = FACE
    region[template.is_part("hand.L", "hand.R")] = HANDS
    labels = torch.zeros(template.size**2, dtype=torch.uint8)
    labels[template.texel] = region.to(torch.uint8)
    return template.image(colour).clamp(0, 1), labels.view(template.size, template.size)
