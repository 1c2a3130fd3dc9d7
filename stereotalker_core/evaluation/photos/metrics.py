"""The similarity of a drawn frame to its photograph: pure functions of face points and pictures.

Face points are those of MediaPipe's mesh, (478, 2 or 3) px of their picture with pixel centres at .5. Pictures are (3,
H, W) in [-1, 1]. Where the photograph itself gives no reference (closed eyes, dark glasses) a figure is NaN and the
photograph does not count for it."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...shapes import size_of
from ..video.render import ssim_map

EYES = {  # the contour of each eye: outer corner, upper lid, inner corner, lower lid
    "R": (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    "L": (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
}
IRISES = {"R": (468, 469, 470, 471, 472), "L": (473, 474, 475, 476, 477)}  # the centre, then four points of the rim
_LIDS = {"R": ((160, 144), (159, 145), (158, 153)), "L": ((387, 373), (386, 374), (385, 380))}  # upper, lower
BROWS = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46, 300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
NOSE = (168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 97, 326, 327, 64, 294, 48, 278)
JAW = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454)
COMPARED = (*EYES["R"], *EYES["L"], *BROWS, *NOSE, *JAW)
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
_INNER_LIPS = ((82, 87), (13, 14), (312, 317))  # upper, lower
_MOUTH = (61, 291)
CHEEKS = ((50, 205, 187, 123), (280, 425, 411, 352))  # polygons of plain skin
_OPEN = 0.12  # height over width from which an eye of a photograph counts as open
_CONTRAST = 0.06  # luma between white and iris that a photograph must show to be compared with
_EYE_SIDE = 96  # px at which an eye is looked at


def similarity(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the similarity transform, matrix (2, 2) and shift (2,), that maps points source (N, 2) to target (N, 2)
    best in least squares."""
    a, b = (points.double() - points.double().mean(0) for points in (source, target))
    power = a.square().sum().clamp_min(1e-12)
    cos = (a * b).sum() / power
    sin = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / power
    matrix = torch.stack([torch.stack([cos, -sin]), torch.stack([sin, cos])])
    shift = target.double().mean(0) - matrix @ source.double().mean(0)
    return matrix.float(), shift.float()


def eye_distance(mesh: Tensor) -> float:
    """Return the pixels between the middles of the two eyes, about .7 of the distance between their outer corners."""
    middles = [mesh[[contour[0], contour[8]], :2].mean(0) for contour in EYES.values()]
    return float((middles[0] - middles[1]).norm())


def landmark_error(drawn: Tensor, photographed: Tensor) -> float:
    """Return the mean distance of eyes, brows, nose and jaw line after the best similarity transform, over
    `eye_distance`."""
    rows = list(COMPARED)
    ours, theirs = drawn[rows, :2], photographed[rows, :2]
    matrix, shift = similarity(ours, theirs)
    return float((ours @ matrix.T + shift - theirs).norm(dim=1).mean()) / eye_distance(photographed)


def lid_opening(mesh: Tensor) -> float:
    """Return the height over width of the opening between the lids, averaged over both eyes (about .3 for an open eye).
    """
    ratios = []
    for side, contour in EYES.items():
        width = (mesh[contour[0], :2] - mesh[contour[8], :2]).norm()
        heights = torch.stack([(mesh[a, :2] - mesh[b, :2]).norm() for a, b in _LIDS[side]])
        ratios.append(float(heights.mean() / width.clamp_min(1e-6)))
    return sum(ratios) / len(ratios)


def eye_opening(drawn: Tensor, photographed: Tensor) -> float:
    """Return the opening of the drawn eyes relative to the photograph's; NaN where the photograph's eyes are shut."""
    own = lid_opening(photographed)
    return lid_opening(drawn) / own if own >= _OPEN else math.nan


def lip_opening(mesh: Tensor) -> float:
    """Return the height between the inner lips over the width of the mouth."""
    gaps = torch.stack([(mesh[a, :2] - mesh[b, :2]).norm() for a, b in _INNER_LIPS])
    width = (mesh[_MOUTH[0], :2] - mesh[_MOUTH[1], :2]).norm()
    return float(gaps.mean() / width.clamp_min(1e-6))


def luma(image: Tensor) -> Tensor:
    """Map (3, H, W) in [-1, 1] -> (H, W) in 0..1, Rec. 709 weights on the stored values."""
    weights = image.new_tensor([0.2126, 0.7152, 0.0722])[:, None, None]
    return ((image.clamp(-1, 1) + 1) / 2 * weights).sum(0)


def white_minus_iris(image: Tensor, mesh: Tensor) -> float:
    """Return the luma of the eye's white minus that of iris and pupil, averaged over the eyes that are open enough.

    image: (3, H, W) in [-1, 1].
    mesh: (478, 2 or 3) px, the face points.

    Each of the two is a mean over pixels between the lids: for iris and pupil those within .6 of the iris's radius, for
    the white those beyond 1.15 of it, whatever covers them (a black lash, a lid's shadow, skin). NaN where no eye shows
    both."""
    found = [_one_eye(image, mesh, side) for side in EYES]
    told = [value for value in found if not math.isnan(value)]
    return sum(told) / len(told) if told else math.nan


def _one_eye(image: Tensor, mesh: Tensor, side: str) -> float:
    """Return `white_minus_iris` of one eye, in a square crop of _EYE_SIDE px around it; NaN if it is not open enough.
    """
    contour = mesh[list(EYES[side]), :2]
    iris = mesh[list(IRISES[side]), :2]
    centre, reach = contour.mean(0), float((contour[0] - contour[8]).norm()) * 0.7
    patch = cropped(image, centre, reach, _EYE_SIDE)
    contour, iris = ((points - centre) / (2 * reach) * _EYE_SIDE + _EYE_SIDE / 2 for points in (contour, iris))
    radius = float((iris[1:] - iris[0]).norm(dim=1).mean())
    open_ = inside(contour, (_EYE_SIDE, _EYE_SIDE))
    away = distance_to(iris[0], (_EYE_SIDE, _EYE_SIDE))
    dark, white = open_ & (away < 0.6 * radius), open_ & (away > 1.15 * radius)
    if int(dark.sum()) < 12 or int(white.sum()) < 12:
        return math.nan
    value = luma(patch)
    return float(value[white].mean() - value[dark].mean())


def iris_contrast(drawn: Tensor, drawn_mesh: Tensor, photograph: Tensor, photographed_mesh: Tensor) -> float:
    """Return `white_minus_iris` of the drawing relative to the photograph, resized to the drawn face's scale.

    drawn, photograph: pictures; *_mesh: their face points. NaN where the photograph has too little contrast between
    white and iris; 0 where only the drawing shows no eye."""
    photograph, photographed_mesh = at_scale_of(photograph, photographed_mesh, drawn_mesh)
    own = white_minus_iris(photograph, photographed_mesh)
    if math.isnan(own) or own < _CONTRAST:
        return math.nan
    ours = white_minus_iris(drawn, drawn_mesh)
    return 0.0 if math.isnan(ours) else ours / own


def face_detail(drawn: Tensor, drawn_mesh: Tensor, photograph: Tensor, photographed_mesh: Tensor) -> float:
    """Return the mean squared luma gradient inside the drawn face relative to the photograph at the drawn face's scale.

    drawn, photograph: pictures; *_mesh: their face points."""
    photograph, photographed_mesh = at_scale_of(photograph, photographed_mesh, drawn_mesh)
    return gradient_energy(drawn, drawn_mesh) / max(gradient_energy(photograph, photographed_mesh), 1e-9)


def gradient_energy(image: Tensor, mesh: Tensor) -> float:
    """Return the mean squared length of the luma's gradient (central differences) inside the face's outline."""
    energy = squared_gradient(image)
    face = inside(mesh[list(OVAL), :2], size_of(image))[1:-1, 1:-1]
    return float(energy[face].mean()) if bool(face.any()) else 0.0


def squared_gradient(image: Tensor) -> Tensor:
    """Map picture (3, H, W) -> squared length of the luma's gradient by central differences (H - 2, W - 2)."""
    value = luma(image)
    across, down = (value[1:-1, 2:] - value[1:-1, :-2]) / 2, (value[2:, 1:-1] - value[:-2, 1:-1]) / 2
    return across.square() + down.square()


def at_scale_of(image: Tensor, mesh: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Resize a picture and its face points (without aliasing) to the eye distance of the reference face points."""
    factor = eye_distance(reference) / max(eye_distance(mesh), 1e-6)
    size = tuple(max(16, round(side * factor)) for side in image.shape[1:])
    resized = F.interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
    scale = mesh.new_tensor([size[1] / image.shape[2], size[0] / image.shape[1]])
    return resized, mesh[:, :2] * scale


def self_likeness(drawn: Tensor, photograph: Tensor, matte: Tensor) -> tuple[float, float]:
    """Return the PSNR (dB) and SSIM of two pictures (3, H, W) where matte (1, H, W) exceeds one half; NaN for too few
    px."""
    ours, theirs = ((image.clamp(-1, 1) + 1) / 2 for image in (drawn, photograph))
    person = matte > 0.5
    if int(person.sum()) < 64:
        return math.nan, math.nan
    error = float((ours - theirs).square().mean(0, keepdim=True)[person].mean())
    likeness = ssim_map(ours[None], theirs[None])[0]
    middle = person[:, 5:-5, 5:-5]  # where the window of 11 px lies inside the picture
    ssim = float(likeness[middle].mean()) if bool(middle.any()) else math.nan
    return -10 * math.log10(error + 1e-10), ssim


def lab(image: Tensor) -> Tensor:
    """Map (3, ...) sRGB in [-1, 1] -> CIE L*a*b* (D65), (3, ...)."""
    srgb = (image.clamp(-1, 1) + 1) / 2
    linear = torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    matrix = image.new_tensor(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = torch.tensordot(matrix, linear, 1)
    white = image.new_tensor([0.95047, 1.0, 1.08883]).view(3, *[1] * (image.ndim - 1))
    t = xyz / white
    f = torch.where(t > (6 / 29) ** 3, t.clamp_min(1e-9) ** (1 / 3), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return torch.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def skin_lab(image: Tensor, polygons: Sequence[Tensor]) -> Tensor | None:
    """Return the median L*a*b* (3,) inside polygons (N, 2) px; None where they hold fewer than 16 px of the picture."""
    area = torch.stack([inside(points, size_of(image)) for points in polygons]).any(0)
    return lab(image[:, area]).median(1).values if int(area.sum()) >= 16 else None


def intersection_over_union(ours: Tensor, theirs: Tensor) -> float:
    """Return the intersection over union of two masks, thresholded at one half."""
    a, b = ours > 0.5, theirs > 0.5
    return float((a & b).sum()) / max(float((a | b).sum()), 1.0)


def inside(polygon: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (H, W) bool: pixels whose centres lie inside a polygon (N, 2) px, by the even-odd rule."""
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    found = torch.zeros(size, dtype=torch.bool)
    points = polygon[:, :2].tolist()
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if y0 == y1:
            continue
        crosses = (y0 > y) != (y1 > y)
        found ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return found


def distance_to(point: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the distance (H, W) in px from every pixel's centre to a point (2,)."""
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    return ((x - point[0]) ** 2 + (y - point[1]) ** 2).sqrt()


def cropped(image: Tensor, centre: Tensor, reach: float, side: int, turn: float = 0.0) -> Tensor:
    """Crop the square of 2 * reach px around centre (2,), rotated clockwise by `turn` radians -> (3, side, side),
    bicubic."""
    unit = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(unit, unit, indexing="ij")
    cos, sin = math.cos(turn), math.sin(turn)
    across, down = (cos * x - sin * y) * reach + float(centre[0]), (sin * x + cos * y) * reach + float(centre[1])
    grid = torch.stack([across / image.shape[2], down / image.shape[1]], -1) * 2 - 1
    return F.grid_sample(image[None], grid[None], mode="bicubic", padding_mode="border", align_corners=False)[0]
