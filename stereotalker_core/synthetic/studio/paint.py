"""Skin, eyes and clothes of example people, painted for every pixel in the body's template space (metres)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..people.clothes import below_collar
from ..people.paint import bump, mix
from ..people.template import piecewise, uniform
from .stage import Pixels

Colour = tuple[float, float, float]
_BUMP = 0.0006  # m between the places that tell a slope
_TEETH, _TONGUE, _WHITE = (0.86, 0.83, 0.77), (0.55, 0.24, 0.24), (0.86, 0.83, 0.80)
_IRIS, _PUPIL = 28.0, 10.5  # degrees from the optical axis


@dataclass(frozen=True)
class StudioFace:
    """The colours of a face in sRGB 0..1: skin, lips, iris; blush, freckles, stubble and smile in 0..1."""

    skin: Colour
    lips: Colour
    iris: Colour
    blush: float
    freckles: float
    stubble: float
    smile: float


@dataclass(frozen=True)
class Outfit:
    """The outfit: kind "knit", "shirt" or "blazer"; collar and sleeve as in `clothes.Clothes`; colour and inner (what
    is worn under a blazer) in sRGB 0..1; thickness of the cloth, m."""

    kind: str
    collar: str
    sleeve: float
    colour: Colour
    inner: Colour
    thickness: float = 0.008


class Noise:
    """The smooth noise in space, of about unit variance: called with points (N, 3), it returns values (N,).

    rng: draws it; frequency: rad/m; waves: number of plane waves it is made of; stretch: (3,) scales the axes."""

    def __init__(self, rng: torch.Generator, frequency: float, waves: int = 7, stretch: Colour = (1.0, 1.0, 1.0)):
        direction = F.normalize(torch.randn(3, waves, generator=rng), dim=0)
        self.wave = direction * frequency * (0.5 + torch.rand(waves, generator=rng)) * torch.tensor(stretch)[:, None]
        self.phase = 6.2832 * torch.rand(waves, generator=rng)

    def __call__(self, points: Tensor) -> Tensor:
        return torch.sin(points @ self.wave + self.phase).sum(1) * (2 / len(self.phase)) ** 0.5


def bumped(pixels: Pixels, height, amount: Tensor) -> Tensor:
    """Return the normals (N, 3) of the surface after displacement by a height field (bump mapping).

    height: points (N, 3) -> metres; amount: (N,) factor."""
    base = height(pixels.point)
    slope = [
        (height(pixels.point + _BUMP * torch.eye(3)[k]) - base) / _BUMP for k in range(3)
    ]  # the pose turns the body little
    slope = torch.stack(slope, 1)
    slope = slope - (slope * pixels.normal).sum(1, keepdim=True) * pixels.normal
    return F.normalize(pixels.normal - amount[:, None] * slope, dim=1)


def skin(pixels: Pixels, face: StudioFace, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Paint skin everywhere -> sRGB colours (N, 3) of the pixels, and the strength (N,) of their highlight."""
    x, y, z = pixels.point.unbind(1)
    side, eye = x.abs(), pixels.bone("eye.L")
    up, head = z - eye[2], pixels.head.float()
    # unevenness at four scales, from blotches of centimetres to pores
    blotches, mottle, pores = (Noise(rng, f, 9)(pixels.point) for f in (70.0, 260.0, 3200.0))
    fine = torch.randn(len(x), generator=rng)
    own = torch.tensor(face.skin)
    colour = own * (1 + 0.020 * blotches + 0.016 * mottle + 0.014 * pores + 0.010 * fine)[:, None]
    front = ((-0.075 - y) / 0.02).clamp(0, 1) * head
    # blood: cheeks and nose, then chin and forehead
    red = bump(side, 0.043, 0.018) * bump(up, -0.044, 0.017) + 0.8 * bump(x, 0, 0.013) * bump(up, -0.036, 0.014)
    red = (
        red
        + 0.25 * bump(up, -0.098, 0.012) * bump(x, 0, 0.02)
        + 0.3 * bump(side, 0.05, 0.03) * bump(up, 0.05, 0.03)
    )
    colour = colour * (1 - (red * face.blush * front * (1 + 0.25 * mottle))[:, None] * torch.tensor([0.02, 0.17, 0.15]))
    # around the eyes: shadow below, the crease above, darker lids
    under = bump(side - float(eye[0]), 0.0, 0.015) * bump(up, -0.0155, 0.007) * front
    colour = colour * (1 - under[:, None] * torch.tensor([0.09, 0.12, 0.10]))
    crease = bump(up, 0.0125, 0.0016) * bump(side - float(eye[0]), 0.002, 0.014) * front
    lids = bump(side - float(eye[0]), 0.0, 0.017) * bump(up, 0.007, 0.007) * front
    colour = colour * (1 - crease[:, None] * 0.20) * (1 - lids[:, None] * torch.tensor([0.05, 0.11, 0.10]))
    if face.freckles:
        spots = (Noise(rng, 1100.0, 12)(pixels.point) > 1.5).float() * bump(up, -0.033, 0.03) * front
        colour = mix(colour, own * torch.tensor([0.74, 0.60, 0.50]), 0.55 * face.freckles * spots)
    if face.stubble:
        where = ((-0.058 - up + 0.15 * (side - 0.03).clamp_min(0)) / 0.015).clamp(0, 1) * ((z - 0.585) / 0.02).clamp(
            0, 1
        )
        where = where * ((-0.03 - y) / 0.03).clamp(0, 1) * head * (1 - bump(up, -0.092, 0.008) * bump(x, 0, 0.02))
        dots = (0.62 + 0.38 * (Noise(rng, 4200.0, 12)(pixels.point) > 0.2)) * where
        colour = mix(colour, own * torch.tensor([0.42, 0.40, 0.42]), face.stubble * dots)
    # lips with fine vertical lines and a dark parting, reddish ears, shine on the T of the face
    lines = 1 + 0.05 * torch.sin(x * 5200 + 2 * Noise(rng, 300.0)(pixels.point)) + 0.05 * mottle
    lips = (pixels.lips * 1.4 - 0.2).clamp(0, 1)
    part = bump(up, -0.0765, 0.0022) * (y < -0.12)
    colour = mix(colour, torch.tensor(face.lips) * lines[:, None], lips * 0.9) * (1 - 0.30 * (part * lips)[:, None])
    ears = (pixels.ear < 1.0).float() * head
    colour = colour * (1 - ears[:, None] * torch.tensor([0.0, 0.08, 0.07]))
    oily = bump(x, 0, 0.018) * bump(up, 0.0, 0.07) * front
    gloss = 0.045 + 0.045 * oily + 0.13 * lips + 0.012 * pores
    return colour.clamp(0, 1), gloss.clamp_min(0.01)


def inner_parts(
    pixels: Pixels, face: StudioFace, colour: Tensor, gloss: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Paint eyes, mouth, teeth and sockets over the skin -> colours (N, 3) sRGB and highlights (N, 2) of all N pixels.

    pixels: the pixels that show the person; face: the colours of the face.
    colour: (N, 3) sRGB so far; gloss: (N, 2) strength and sharpness of the highlight so far.
    rng: random generator."""
    colour, gloss = colour.clone(), gloss.clone()
    own = torch.tensor(face.skin)
    mouth = pixels.is_part("mouth")
    depth = piecewise(pixels.point[:, 1], (-0.133, -0.095, -0.055), (1.0, 0.5, 0.2))
    colour[mouth] = (torch.tensor([0.36, 0.13, 0.12]) * depth[:, None])[mouth]
    # the socket: dark inside, skin towards its rim
    socket = pixels.is_part("eyesocket")
    front = ((-0.112 - pixels.point[:, 1]) / 0.006).clamp(0, 1)[:, None]
    inside, rim = own * torch.tensor([0.72, 0.50, 0.46]), own * torch.tensor([0.80, 0.66, 0.62])
    colour[socket] = (inside * (1 - front) + rim * front)[socket]
    colour[pixels.is_part("tongue")] = torch.tensor(_TONGUE)
    colour[pixels.is_part("teeth.up", "teeth.low")] = torch.tensor(_TEETH)
    fibres = torch.randn(512, generator=rng)
    for name in ("eye.L", "eye.R"):
        at = pixels.is_part(name)
        # degrees from the axis of the eye, and around it: the iris is drawn in these
        away = F.normalize(pixels.point[at] - pixels.bone(name), dim=1)
        angle = torch.rad2deg(torch.acos((-away[:, 1]).clamp(-1, 1)))
        around = torch.atan2(away[:, 2], away[:, 0])
        fibre = fibres[((around / 6.2832 + 0.5) * 511).long().clamp(0, 511)]
        iris = torch.tensor(face.iris) * (0.75 + 0.35 * (angle / _IRIS) + 0.14 * fibre)[:, None]
        iris = mix(
            iris, torch.tensor(face.iris) * 1.5, 0.5 * bump(angle, 14.0, 4.0) * (0.7 + 0.3 * fibre).clamp(0, 1)
        )
        iris = iris * (1 - 0.65 * ((angle - 23.5) / 4).clamp(0, 1))[:, None]  # the dark ring around it
        white = torch.tensor(_WHITE) * (1 - 0.10 * ((angle - 38) / 25).clamp(0, 1))[:, None]
        eye = mix(iris, white, ((angle - _IRIS + 1.2) / 2.4).clamp(0, 1))
        eye = mix(eye, (0.015, 0.012, 0.012), ((_PUPIL - angle) / 2).clamp(0, 1))
        lid = ((away[:, 2] - 0.10) / 0.30).clamp(0, 1)  # the upper lid shades the eye
        colour[at] = eye * (1 - 0.45 * lid)[:, None]
        gloss[at] = torch.tensor([2.6, 900.0])
    return colour.clamp(0, 1), gloss


def dressed(
    pixels: Pixels,
    outfit: Outfit,
    colour: Tensor,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Paint clothes over the skin -> sRGB colours (N, 3), coverage (N,) in [0, 1], normals (N, 3), and a factor (N,) on
    the light.

    pixels: the pixels that show the person.
    outfit: what is worn.
    colour: (N, 3) sRGB of the skin.
    rng: random generator."""
    points = pixels.point
    x, y, z = points.unbind(1)
    body = pixels.is_part("torso", "neck", "arm.L", "arm.R", "hips") & ~pixels.is_part("hand.L", "hand.R")
    edge = below_collar(points, outfit.collar)
    cover = (edge / 0.0015).clamp(0, 1) * body * (pixels.arm <= outfit.sleeve) * (z < 0.63)
    folds, drape = Noise(rng, 46.0, 9, (1.3, 1.3, 0.45)), Noise(rng, 24.0, 7)
    crumple = Noise(rng, 110.0, 9, (1.0, 1.0, 1.6))
    arm = pixels.is_part("arm.L", "arm.R")

    def height(p: Tensor) -> Tensor:
        low = ((0.30 - p[:, 2]) / 0.25).clamp(0, 1)
        out = 0.0028 * drape(p) + (0.0009 + 0.0015 * low) * folds(p)
        return out + 0.0006 * crumple(p) * (0.4 + 0.6 * low) + (_ribs(p) if outfit.kind == "knit" else 0.0)

    normal = bumped(pixels, height, cover * 1.0)
    weave = 1 + 0.03 * torch.randn(len(x), generator=rng) + 0.03 * crumple(points) + 0.02 * folds(points)
    outer, inner = torch.tensor(outfit.colour), torch.tensor(outfit.inner)
    cloth = outer.expand(len(x), 3).clone()
    shade = torch.ones(len(x))
    if outfit.kind == "knit":
        rib = ((edge < 0.020) | (pixels.arm > outfit.sleeve - 0.10)) & ~pixels.head
        stripes = torch.sin(torch.atan2(x, -y - 0.02) * 150) * rib * ~arm
        shade = (1 - 0.10 * stripes.clamp(0, 1)) * (1 - 0.25 * bump(edge, 0.021, 0.0014))
    if outfit.kind == "shirt":
        cloth, shade = _shirt(points, edge, cloth, arm)
    if outfit.kind == "blazer":
        cloth, shade = _blazer(points, edge, cloth, inner, arm)
    hem = 1 - 0.35 * bump(edge, 0.0, 0.003) * body
    return mix(colour * hem[:, None], (cloth * weave[:, None]).clamp(0, 1), cover), cover, normal, shade


def _ribs(p: Tensor) -> Tensor:
    """Return the height (N,) in metres of knitted stitches at points (N, 3)."""
    return 0.00022 * torch.sin(p[:, 0] * 980) * (1 + 0.4 * torch.sin(p[:, 2] * 1400))


def _front(points: Tensor, arm: Tensor) -> Tensor:
    return (points[:, 1] < 0.02) & ~arm


def _shirt(points: Tensor, edge: Tensor, cloth: Tensor, arm: Tensor) -> tuple[Tensor, Tensor]:
    """Paint a button placket and a collar -> cloth (N, 3), and a factor (N,) on its light.

    points: (N, 3) m in template space; edge: (N,) m below the neck line; cloth: (N, 3) colours; arm: (N,) arm
    coordinate (1 elbow, 2 wrist)."""
    x, _, z = points.unbind(1)
    front = _front(points, arm).float()
    shade = 1 - 0.22 * front * (bump(x, 0.016, 0.0010) + bump(x, -0.016, 0.0010))
    for k in range(7):
        away = ((x + 0.002).square() + (z - 0.43 + 0.085 * k).square()).sqrt()
        button = ((0.0055 - away) / 0.001).clamp(0, 1) * front
        shade = shade * (1 - 0.35 * bump(away, 0.0058, 0.0011) * front)
        cloth = mix(cloth, cloth.new_tensor([0.92, 0.90, 0.86]), 0.8 * button)
    collar = 0.034 + 0.022 * (1 - (x.abs() / 0.05)).clamp(0, 1)
    return cloth, shade * (1 - 0.38 * bump(edge, 0.0, 0.001)) * (1 - 0.34 * bump(edge - collar, 0.0, 0.0022))


def _blazer(points: Tensor, edge: Tensor, cloth: Tensor, inner: Tensor, arm: Tensor) -> tuple[Tensor, Tensor]:
    """Paint lapels over plain inner cloth, a button and a breast pocket -> cloth (N, 3), and a factor (N,) on its
    light.

    points: (N, 3) m in template space; edge: (N,) m below the neck line; cloth, inner: (N, 3) colours of the blazer and
    of what is worn under it; arm: (N,) arm coordinate (1 elbow, 2 wrist)."""
    x, _, z = points.unbind(1)
    front, side = _front(points, arm).float(), x.abs()
    up = ((z - 0.20) / 0.33).clamp(0, 1)
    gap = 0.002 + 0.088 * up
    inside = ((gap - side) / 0.0012).clamp(0, 1) * front * (z > 0.20)
    lapel = gap + 0.012 + 0.060 * (up * (1.35 - up) * 1.6).clamp(0, 1)
    notch = (z - 0.445 - 0.35 * (side - 0.09)).abs()
    on = front * (z > 0.20)
    shade = 1 - 0.45 * on * bump(side, 0.0, 1e3) * torch.exp(-(((side - lapel) / 0.0018) ** 2))
    shade = shade * (1 - 0.40 * on * (side > gap) * (side < lapel) * torch.exp(-((notch / 0.0014) ** 2)))
    shade = shade * (1 + 0.18 * on * torch.exp(-(((side - gap - 0.002) / 0.0016) ** 2)))
    under = 1 - 0.55 * torch.exp(-((gap - side).clamp_min(0) / 0.010)) * inside
    cloth = mix(cloth, inner.expand_as(cloth), inside)
    closed = front * (z <= 0.20) * bump(x, 0.004, 0.0014)
    shade = shade * (1 - 0.5 * closed) * under
    for height in (0.185, 0.085):
        away = ((x + 0.012).square() + (z - height).square()).sqrt()
        button = ((0.0075 - away) / 0.001).clamp(0, 1) * front
        cloth = mix(cloth, cloth * 0.45, button)
    pocket = front * bump(z - 0.12 * (x - 0.1), 0.335, 0.0016) * ((x > 0.085) & (x < 0.155))
    return cloth, shade * (1 - 0.4 * pocket) * (1 - 0.3 * bump(edge, 0.0, 0.004))


def brow_density(points: Tensor, eye: Tensor) -> Tensor:
    """Return the density of the brows (V,) in [0, 1] at template points (V, 3); eye: (3,) position of the left eye."""
    x, y, z = points.unbind(1)
    offset, up = x.abs() - eye[0], z - eye[2]
    arc = 0.0205 + 0.0045 * torch.cos((offset / 0.027).clamp(-1, 1) * 1.4)
    height = 0.0036 * piecewise(offset, (-0.02, -0.01, 0.03), (1.1, 1.0, 0.45))
    inside = ((offset + 0.021) / 0.004).clamp(0, 1) * ((0.030 - offset) / 0.006).clamp(0, 1)
    return (1.6 - (up - arc).abs() / height).clamp(0, 1) * inside * (y < -0.07)


def drawn_room(size: tuple[int, int], kind: str, rng: torch.Generator) -> Tensor:
    """Return an out-of-focus room (3, H, W), linear; kind: "window" or "studio"."""
    rows, columns = size
    y, x = torch.meshgrid(torch.linspace(0, 1, 96), torch.linspace(0, columns / rows, 96), indexing="ij")
    wall, light = {
        "window": ((0.20, 0.23, 0.25), (0.95, 0.93, 0.86)),
        "studio": ((0.10, 0.135, 0.15), (0.40, 0.50, 0.52)),
    }[kind]
    wall, light = torch.tensor(wall)[:, None, None], torch.tensor(light)[:, None, None]
    image = wall * (1.15 - 0.5 * y) + 0.5 * light * torch.exp(-((x - 0.25) ** 2 + (y - 0.3) ** 2) / 0.18) * 0.4
    if kind == "window":
        panes = ((x - 0.16).abs() < 0.15) & (y < 0.62) & ((x - 0.16).abs() > 0.008) & ((y - 0.30).abs() > 0.010)
        image = image + 0.9 * light * panes
        shelf = ((x > 0.72) & (((y * 6.2) % 1) < 0.16)).float()
        image = image * (1 - 0.5 * shelf)
        for _ in range(26):
            cx, cy = uniform(rng, 0.72, 1.02), uniform(rng, 0.0, 0.9)
            book = ((x - cx).abs() < uniform(rng, 0.008, 0.02)) & ((y - cy).abs() < uniform(rng, 0.03, 0.06))
            tint = torch.rand(3, generator=rng)[:, None, None] * 0.35 + 0.05
            image = torch.where(book[None], tint, image)
    image = _blurred(image, 5 if kind != "studio" else 12)
    return F.interpolate(image[None], size, mode="bicubic", align_corners=False)[0].clamp_min(0)


def _blurred(image: Tensor, radius: int) -> Tensor:
    side = 2 * radius + 1
    for _ in range(2):
        image = F.avg_pool2d(F.pad(image[None], (radius,) * 4, mode="replicate"), side, 1)[0]
    return image
