"""Masks of single persons: the segmentation network marks everybody, the body network says who is who."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .bodies import Body
from .faces import Face
from .networks import Perception
from .squares import Pyramid, Square, paste


def person_masks(
    networks: Perception,
    picture: Pyramid,
    faces: Sequence[Face],
    bodies: Sequence[Body | None],
) -> list[Tensor]:
    """(1, H, W) in [0, 1] for each face's person, on the CPU."""
    marked = [_with_closeup(networks, picture, _whole(networks, picture, _turn(f)), f) for f in faces]
    if len(faces) < 2:
        return marked
    claims = torch.stack([_claim(picture, f, b) for f, b in zip(faces, bodies, strict=True)])
    share = claims / claims.sum(0).clamp_min(1e-6)
    return [mask * own for mask, own in zip(marked, share, strict=True)]


def _turn(face: Face) -> float:
    """The network wants heads upright, give or take 30 degrees."""
    return face.turn if abs(face.turn) > math.radians(30) else 0.0


def _whole(networks: Perception, picture: Pyramid, turn: float) -> Tensor:
    """The whole picture, squeezed into the network's square as it was trained; turned upright where it is not."""
    size = networks.size("selfie_segmentation")
    if turn:
        corners = abs(math.cos(turn)) + abs(math.sin(turn))  # the turned square holds the picture's corners
        square = picture.whole(corners, turn)
        (mask,) = networks.run("selfie_segmentation", picture.crops([square], size))
        return paste(mask[0].clamp(0, 1).cpu(), square, picture.height, picture.width)
    small = F.interpolate(picture.levels[0], (size, size), mode="bilinear", antialias=True)
    (mask,) = networks.run("selfie_segmentation", small)
    full = F.interpolate(mask, (picture.height, picture.width), mode="bilinear", align_corners=False)
    return full[0].clamp(0, 1).cpu()


def _with_closeup(networks: Perception, picture: Pyramid, everybody: Tensor, face: Face) -> Tensor:
    """A closer look at head and chest where the head is small; it fades out towards its square's border."""
    side = 4.5 * face.height
    if side > 0.8 * max(picture.height, picture.width):
        return everybody
    centre = (face.mesh[10, :2] + face.mesh[152, :2]) / 2
    square = Square(*centre.tolist(), side, _turn(face)).moved(0.0, 0.4 / 4.5)
    size = networks.size("selfie_segmentation")
    (near,) = networks.run("selfie_segmentation", picture.crops([square], size))
    near = near[0].clamp(0, 1).cpu()
    unit = (torch.arange(size) + 0.5) / size
    edge = torch.minimum(unit, 1 - unit)
    weight = (torch.minimum(edge[:, None], edge[None]) / 0.125).clamp(0, 1)[None]
    pasted = paste(torch.cat([near * weight, weight]), square, picture.height, picture.width)
    return everybody * (1 - pasted[1:]) + pasted[:1]


def _claim(picture: Pyramid, face: Face, body: Body | None) -> Tensor:
    """(1, H, W) how much a pixel is this person's: by the body's mask, faintly by nearness to face and chest."""
    y, x = torch.meshgrid(torch.arange(picture.height) + 0.5, torch.arange(picture.width) + 0.5, indexing="ij")
    head = (face.mesh[10, :2] + face.mesh[152, :2]) / 2
    chest = head + torch.tensor([0.0, 1.6 * face.height]) if body is None else body.points[[11, 12]].mean(0)
    away = [((x - c[0]) ** 2 + (y - c[1]) ** 2).sqrt() / face.height for c in (head, chest)]
    near = torch.exp(-2 * torch.minimum(away[0], 0.7 * away[1]))[None]
    if body is None:
        return near
    return paste(body.mask, body.square, picture.height, picture.width) + 0.05 * near
