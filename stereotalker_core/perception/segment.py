"""Masks of single people: the segmentation network marks everybody, the body network tells people apart."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..pixels.dilation import largest_around
from .bodies import Body
from .faces import FoundFace
from .hands import Hand
from .networks import Perception
from .squares import Pyramid, Square, paste, square_around

_CLOSE = 0.65  # of the longer side: a face this high fills the picture


def person_masks(
    networks: Perception,
    picture: Pyramid,
    faces: Sequence[FoundFace],
    bodies: Sequence[Body | None],
) -> list[Tensor]:
    """Return for each face the mask (1, H, W) in [0, 1] of its person, on the CPU.

    networks: the perception networks; picture: the photograph; faces: all that were found; bodies: the body of each
        face, None where none was found."""
    marked = [_with_closeup(networks, picture, _segment_whole(networks, picture, f), f) for f in faces]
    marked = [torch.maximum(mask, _oval(picture, f)) for mask, f in zip(marked, faces, strict=True)]
    claims = [_claim(picture, f, b) for f, b in zip(faces, bodies, strict=True)]
    together = torch.stack(claims).sum(0).clamp_min(1e-6) if faces else None
    masks = []
    for k, mask in enumerate(marked):
        share = claims[k] / together if together is not None and len(faces) > 1 else 1.0
        masks.append(connected(mask * share, (claims[k] > 0.5).float()))
    return masks


def connected(mask: Tensor, seed: Tensor, longest: int = 128) -> Tensor:
    """Remove the parts of a mask (1, H, W) that do not touch a seed (1, H, W): other people's arms, pictures on the
    wall.

    Computed by growing the seed on a grid of at most `longest` cells a side; unchanged where the seed is empty."""
    scale = longest / max(mask.shape[1:])
    rows, columns = (max(1, round(n * scale)) for n in mask.shape[1:])
    size = (rows, columns)
    inside = F.adaptive_max_pool2d(mask[None], size) > 0.3
    reached = inside & (F.adaptive_avg_pool2d(seed[None], size) > 0.5)
    count = int(reached.sum())
    if not count:
        return mask
    while True:
        reached = inside & (largest_around(reached.to(torch.uint8), 4) > 0)  # thin gaps of a coarse mask do not part
        if int(reached.sum()) == count:
            break
        count = int(reached.sum())
    grown = largest_around(reached.float(), 1)  # soft edges lie outside of what counts as inside
    return mask * F.interpolate(grown, mask.shape[1:], mode="bilinear", align_corners=False)[0]


def with_hands(mask: Tensor, body: Body, hands: Sequence[Hand]) -> Tensor:
    """Add the body network's mask around detected hands, which the segmentation network sometimes misses.

    mask: (1, H, W) of the person, to add to. Elsewhere the segmentation network's outline is the better one."""
    added = mask
    for hand in hands:
        reach = 0.35 * hand.size
        low = (hand.points.amin(0) - reach).floor().long().clamp_min(0).tolist()
        high = (hand.points.amax(0) + reach).ceil().long().clamp_min(0).tolist()
        rows, columns = slice(low[1], high[1]), slice(low[0], high[0])
        region = mask[0, rows, columns]
        if not region.numel():
            continue
        height, width = region.shape
        y, x = torch.meshgrid(torch.arange(height) + low[1], torch.arange(width) + low[0], indexing="ij")
        at = torch.stack([x, y], -1).reshape(-1, 2) + 0.5
        near = (torch.cdist(at, hand.points).amin(1) / reach).reshape(region.shape)
        unit = body.square.to_unit(at).reshape(1, *region.shape, 2) * 2 - 1
        own = F.grid_sample(body.mask[None], unit, align_corners=False)[0, 0]
        added = added.clone() if added is mask else added
        added[0, rows, columns] = torch.maximum(region, own * (2 - 2 * near).clamp(0, 1))
    return added


def _upright_turn(face: FoundFace) -> float:
    """Return the angle (radians) to rotate by for the network, which expects heads within about 30 degrees of upright.
    """
    return face.turn if abs(face.turn) > math.radians(30) else 0.0


def _oval(picture: Pyramid, face: FoundFace) -> Tensor:
    """Return (1, H, W), 1 on the inner face, which always belongs to the person, even where the network misses it."""
    square = square_around(face.mesh[:468, :2], 1.0, face.turn)
    unit = (torch.arange(64) + 0.5) / 64
    width = float((face.mesh[454, :2] - face.mesh[234, :2]).norm()) / square.side
    height = face.height / square.side
    across, down = (unit - 0.5) / (0.5 * max(width, 0.3)), (unit - 0.5) / (0.5 * height)
    radius = (across[None, :] ** 2 + down[:, None] ** 2).sqrt()
    return paste(((0.9 - radius) / 0.1).clamp(0, 1)[None], square, picture.height, picture.width)


def _segment_whole(networks: Perception, picture: Pyramid, face: FoundFace) -> Tensor:
    """Segment the whole picture -> (1, H, W), resized to the network's square as in its training.

    The picture is rotated if the head is not upright, and padded if a face fills it, because the network expects a
    whole head."""
    size, turn = networks.size("selfie_segmentation"), _upright_turn(face)
    close = face.height > _CLOSE * max(picture.height, picture.width)
    if turn or close:
        corners = abs(math.cos(turn)) + abs(math.sin(turn))  # the turned square holds the picture's corners
        square = picture.whole(corners * (1.6 if close else 1.0), turn)
        (mask,) = networks.run("selfie_segmentation", picture.crops([square], size))
        return paste(mask[0].clamp(0, 1).cpu(), square, picture.height, picture.width)
    small = F.interpolate(picture.levels[0], (size, size), mode="bilinear", antialias=True)
    (mask,) = networks.run("selfie_segmentation", small)
    full = F.interpolate(mask, (picture.height, picture.width), mode="bilinear", align_corners=False)
    return full[0].clamp(0, 1).cpu()


def _with_closeup(networks: Perception, picture: Pyramid, everybody: Tensor, face: FoundFace) -> Tensor:
    """Refine a mask by a closer look at head and chest where the head is small, blended in at its borders -> (1, H, W).

    everybody: (1, H, W) the mask, from `_segment_whole`; face: of the person; networks, picture: as in `person_masks`.
    """
    side = 4.5 * face.height
    if side > 0.8 * max(picture.height, picture.width):
        return everybody
    centre = (face.mesh[10, :2] + face.mesh[152, :2]) / 2
    square = Square.around(centre, side, _upright_turn(face)).moved(0.0, 0.4 / 4.5)
    size = networks.size("selfie_segmentation")
    (near,) = networks.run("selfie_segmentation", picture.crops([square], size))
    near = near[0].clamp(0, 1).cpu()
    unit = (torch.arange(size) + 0.5) / size
    edge = torch.minimum(unit, 1 - unit)
    weight = (torch.minimum(edge[:, None], edge[None]) / 0.125).clamp(0, 1)[None]
    pasted = paste(torch.cat([near * weight, weight]), square, picture.height, picture.width)
    return everybody * (1 - pasted[1:]) + pasted[:1]


def _claim(picture: Pyramid, face: FoundFace, body: Body | None) -> Tensor:
    """Return (1, H, W): how far a pixel belongs to this person, by the body's mask, and weakly by distance to face and
    chest."""
    y, x = torch.meshgrid(torch.arange(picture.height) + 0.5, torch.arange(picture.width) + 0.5, indexing="ij")
    head = (face.mesh[10, :2] + face.mesh[152, :2]) / 2
    chest = head + torch.tensor([0.0, 1.6 * face.height]) if body is None else body.points[[11, 12]].mean(0)
    away = [((x - c[0]) ** 2 + (y - c[1]) ** 2).sqrt() / face.height for c in (head, chest)]
    near = torch.exp(-2 * torch.minimum(away[0], 0.7 * away[1]))[None]
    if body is None:
        return near
    return paste(body.mask, body.square, picture.height, picture.width) + 0.05 * near
