"""Hair: a cap pushed out along the normals, and its colour. Kinds: buzz, short, full, bob, long (down the back)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .template import Template, grain, pick, piecewise, uniform, waves

KINDS = ("buzz", "short", "full", "bob", "long")
_COLOURS = ((20, 16, 14), (45, 30, 22), (88, 56, 34), (150, 105, 60), (196, 160, 100), (110, 48, 28), (130, 128, 126))
# height of the hair line above the eyes over the depth of the head (front to back), metres
_LINE_Y = (-0.155, -0.11, -0.07, -0.046, -0.038, -0.006, 0.001, 0.036, 0.056, 0.096)
_LINE_Z = (0.084, 0.080, 0.066, 0.047, 0.001, -0.004, 0.006, -0.036, -0.068, -0.095)


@dataclass(frozen=True)
class Hair:
    """The hair of an avatar.

    kind: cut; thickness: m; lift: m of the hair line; colour: (3,) in [0, 1]; strand: contrast; parting: -1..1 (0 =
    none)."""

    kind: str
    thickness: float
    lift: float
    colour: Tensor
    strand: float
    parting: float


def draw_hair(rng: torch.Generator, feminine: bool, melanin: float) -> Hair:
    """Draw a random hair style; feminine makes longer kinds more likely, melanin in 0..1 darker colours."""
    kind = pick(rng, KINDS, (0.06, 0.25, 0.2, 0.27, 0.22) if feminine else (0.22, 0.43, 0.25, 0.06, 0.04))
    low, high = {
        "buzz": (0.003, 0.005),
        "short": (0.010, 0.017),
        "full": (0.016, 0.026),
        "bob": (0.018, 0.028),
        "long": (0.014, 0.024),
    }[kind]
    fair = (3, 3, 2, 1.2, 1, 0.7, 0.7) if melanin < 0.35 else (5, 2, 0.3, 0.02, 0.02, 0.02, 0.4)
    colour = torch.tensor(pick(rng, _COLOURS, fair)) / 255 * uniform(rng, 0.85, 1.15)
    parting = uniform(rng, -1, 1) if uniform(rng, 0, 1) < 0.4 else 0.0
    return Hair(kind, uniform(rng, low, high), uniform(rng, -0.006, 0.010), colour, uniform(rng, 0.08, 0.22), parting)


def hair_height(template: Template, points: Tensor, hair: Hair) -> Tensor:
    """Return about how many metres template points (N, 3) lie above the hair line; > 0 carries hair."""
    x, y, z = points.unbind(-1)
    eye = float(template.bone("eye.L")[2])
    height = z - eye - piecewise(y, _LINE_Y, _LINE_Z) - hair.lift
    # an arched forehead: the line is highest in the middle of the face
    height = height - torch.where(y < -0.08, 0.010 * (1 - (x.abs() / 0.05) ** 2).clamp(0, 1) - 0.004, 0.0)
    if hair.kind in ("bob", "long"):
        bottom = {"bob": eye - 0.150, "long": 0.44}[hair.kind]
        back = piecewise(z, (0.44, 0.56, 0.64, 0.70), (0.045, 0.020, -0.002, -0.012))
        width = 0.115 if hair.kind == "long" else 0.10
        behind = torch.minimum(torch.minimum(y - back, z - bottom), width - x.abs())
        height = torch.maximum(height, behind)
    return height


def hair_shell(template: Template, hair: Hair, rng: torch.Generator) -> Tensor:
    """Return the thickness of the hair (V,) in metres."""
    points = template.body.mean
    height = hair_height(template, points, hair)
    inner = template.vertex_is("mouth", "eyesocket", "eye.L", "eye.R", "lashes", "tongue", "teeth.up", "teeth.low")
    outer = template.vertex_is("scalp", "face", "neck", "torso") & ~inner & ~(template.vertex_arm > 0.25)
    ears = ((template.vertex_ear - 1.0) / 0.55).clamp(0, 1)
    ramp = (height / (0.008 if hair.kind == "buzz" else 0.022)).clamp(0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    volume = 1 + 0.12 * waves(points, 70.0, rng, 4)
    if hair.parting and hair.kind != "buzz":  # a groove along the top
        volume = volume - 0.35 * torch.exp(-(((points[:, 0] - 0.04 * hair.parting) / 0.008) ** 2))
    top = 1 + (0.35 if hair.kind == "full" else 0.1) * ((points[:, 2] - 0.78) / 0.06).clamp(0, 1)
    shell = hair.thickness * ramp * ears * volume * top * outer
    return template.smooth(shell[:, None], outer.float()[:, None] * (ears > 0)[:, None], 4)[:, 0]


def hair_paint(template: Template, hair: Hair, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the coverage (N,) in [0, 1] and colour (N, 3) of the hair at the texels."""
    points = template.point
    height = hair_height(template, points, hair)
    fine = grain(template, template.size // 4, rng)
    where = template.is_part("scalp", "face", "neck") | (template.is_part("torso") & (hair.kind == "long"))
    soft = 0.003 if hair.kind == "buzz" else 0.005
    cover = (height / soft + 0.3 + 0.3 * fine).clamp(0, 1) * (where & (template.ear > 1.03))
    if hair.kind == "buzz":
        cover = cover * 0.8
    angle = torch.atan2(points[:, 0], -points[:, 1] - 0.03)  # strands fall around the head
    strands = torch.sin(angle * 90 + 3 * waves(points, 40.0, rng, 4)) * 0.5 + 0.5 * fine
    tone = 1 + hair.strand * strands + 0.08 * waves(points, 50.0, rng, 3)
    return cover, hair.colour * tone.clamp(0.4, 1.7)[:, None]
