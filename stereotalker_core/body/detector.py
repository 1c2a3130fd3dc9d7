"""The embedded keypoint detector: portrait -> keypoints, person mask, confidence; small enough to ship.

Two stages. The whole picture at 192 px gives head, shoulders, arms and the person's mask; the face is then cropped from
the original at twice that scale or more for the 68 face points and the irises. Trained on synthetic people only
(training/detector.py): keypoints of a DWPose node are better wherever they are at hand.
"""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import checkpoint
from ..perception.keypoints import HELP, Keypoints
from ..shapes import dims
from .face_points import INNER, mirror_order, mirrored, strangeness
from .matting import guided_filter

logger = logging.getLogger(__name__)
CHECKPOINT = checkpoint.NANO / "keypoint_detector.safetensors"
BODY_POINTS = (
    *("iris.R", "iris.L", "face.27", "face.30", "face.48", "face.54", "face.8", "body.right_ear", "body.left_ear"),
    *(f"body.{side}_{name}" for name in ("shoulder", "elbow", "wrist") for side in ("right", "left")),
)
FACE_POINTS = (*(f"face.{i}" for i in range(68)), "iris.R", "iris.L")
_HEAD_POINTS = BODY_POINTS[:7]  # these place the face crop
FACE_MARGIN = 1.9  # side of the face crop in face heights
_SURE = 0.40  # doubt up to which a face is where the network says
_FACTORS, _ANGLES = (1.0, 0.7, 1.4), (0, -22, 22)  # crops that are tried: of the side, degrees
_KEPT = 4  # of them that are followed further
_RIVAL = 0.1  # share of the first maximum that a second person's must reach


class Block(nn.Module):
    """Residual 3x3 convolutions with group norm; halves the resolution where stride is 2."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.GroupNorm(8, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.GroupNorm(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.first(x)))
        return F.relu(h + self.norm2(self.second(h)))


class HeatmapNet(nn.Module):
    """U-Net to a quarter of the input: one heatmap a point, and numbers of the whole picture; mask at half size."""

    def __init__(self, points: int, widths: tuple[int, ...], numbers: int, mask: bool):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 5, 2, 2, bias=False), nn.GroupNorm(8, widths[0]), nn.ReLU())
        self.down = nn.ModuleList(Block(a, b, 2) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.side = nn.ModuleList(nn.Conv2d(a, a, 1) for a in widths[1:-1])
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in zip(widths[1:-1], widths[2:], strict=True))
        self.merge = nn.ModuleList(Block(a, a) for a in widths[1:-1])
        self.heat = nn.Conv2d(widths[1], points, 1)
        self.numbers = nn.Sequential(nn.Linear(widths[-1], 64), nn.ReLU(), nn.Linear(64, numbers))
        nn.init.constant_(self.numbers[-1].bias[:points], math.log(0.05))  # uncertainty to begin with
        self.mask = nn.Conv2d(widths[0] + widths[1], 8, 3, 1, 1) if mask else None
        self.mask_out = nn.Conv2d(8, 1, 3, 1, 1) if mask else None

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """(B, 3, S, S) -> heatmap logits (B, N, S/4, S/4), numbers (B, M), mask logits (B, 1, S/2, S/2) or None."""
        first = self.stem(image)
        levels = [first]
        for block in self.down:
            levels.append(block(levels[-1]))
        h = levels[-1]
        numbers = self.numbers(h.mean((2, 3)))
        for i in reversed(range(len(self.up))):
            h = F.interpolate(self.up[i](h), scale_factor=2.0, mode="bilinear", align_corners=False)
            h = self.merge[i](h + self.side[i](levels[i + 1]))
        mask = None
        if self.mask is not None:
            up = F.interpolate(h, scale_factor=2.0, mode="bilinear", align_corners=False)
            mask = self.mask_out(F.relu(self.mask(torch.cat([first, up], 1))))
        return self.heat(h), numbers, mask


def soft_argmax(logits: Tensor) -> Tensor:
    """Heatmap logits (B, N, h, w) -> expected position (B, N, 2), x and y in 0..1 of the picture."""
    rows, columns = logits.shape[-2:]
    weight = logits.float().flatten(2).softmax(-1).view(logits.shape)
    x = (torch.arange(columns, device=logits.device) + 0.5) / columns
    y = (torch.arange(rows, device=logits.device) + 0.5) / rows
    return torch.stack([(weight.sum(2) * x).sum(-1), (weight.sum(3) * y).sum(-1)], -1)


Frame = tuple[Tensor, Tensor, float]  # of a face crop: centre (2,), side in px, tilt in radians


@dataclass(frozen=True)
class _View:
    """What the body network says of a picture or a window: points (N, 2) and sigma (N,) px of the picture, presence
    (N,) logits, person 0..1, mask logits, heatmaps (N, h, w); network pixel = pixel * scale + offset."""

    points: Tensor
    sigma: Tensor
    presence: Tensor
    person: float
    mask: Tensor
    heat: Tensor
    scale: float
    offset: Tensor

    def pixels_of(self, unit: Tensor) -> Tensor:
        """Points (N, 2) in 0..1 of the network's square -> pixels of the picture."""
        return (unit * 2 * self.mask.shape[-1] - self.offset) / self.scale


@dataclass(frozen=True)
class _Face:
    """points (70, 2) and sigma (70,) in px; frame of the crop that they ask for; doubt: blurred heatmaps, mirror images
    that disagree, no face's proportions, a crop that still moves."""

    points: Tensor
    sigma: Tensor
    doubt: float
    frame: Frame

    def certainty(self) -> float:
        """0..1; of real portraits nearly all with a doubt below 0.4 were found, of those above 0.6 none."""
        return 1 / (1 + math.exp((self.doubt - 0.5) / 0.05))


class KeypointDetector(nn.Module):
    """Keypoints, person mask and confidence of a portrait."""

    @dataclass(frozen=True)
    class Config:
        """Channels from half the resolution down; sizes of the two inputs in pixels."""

        widths: tuple[int, ...] = (16, 32, 56, 80, 96)
        face_widths: tuple[int, ...] = (16, 32, 56, 80)
        size: int = 192
        face_size: int = 128

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = config or self.Config()
        n, f = len(BODY_POINTS), len(FACE_POINTS)
        self.body = HeatmapNet(n, self.config.widths, 2 * n + 1, mask=True)  # scale, presence, person
        self.face = HeatmapNet(f, self.config.face_widths, f, mask=False)  # scale

    def locate(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(B, 3, 192, 192) in [-1, 1] -> xy (B, N, 2) in 0..1, log_scale (B, N), presence logits (B, N),
        person logit (B,), mask logits (B, 1, 96, 96), heatmap logits."""
        heat, numbers, mask = self.body(image)
        log_scale, presence = numbers[:, :-1].float().chunk(2, 1)
        return soft_argmax(heat), log_scale, presence, numbers[:, -1].float(), mask.float(), heat

    def locate_face(self, crop: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, 128, 128) in [-1, 1] -> xy (B, 70, 2) in 0..1, log_scale (B, 70), heatmap logits."""
        heat, numbers, _ = self.face(crop)
        return soft_argmax(heat), numbers.float(), heat

    @torch.no_grad()
    def detect(self, image: Tensor) -> tuple[Keypoints, Tensor, float]:
        """Portrait (3, H, W) in [-1, 1] -> keypoints in its pixels, mask (1, H, W) in [0, 1], confidence 0..1.

        The picture and its mirror image are averaged; where they disagree about the face, it is looked for again in
        other windows and at other tilts. ValueError where no person is found; a warning where there are several.
        """
        known = dims(image, "3 H W")
        view = self._look(image, None)
        if view.person < 0.5:
            raise ValueError(f"no person found in the portrait (confidence {view.person:.2f}); {HELP}")
        face = self._find_face(image, view)
        for head in _two_heads(view.heat) or ():
            self._warn_of_others(image, view.pixels_of(head), face)
        kept = {n: (view.points[i], view.sigma[i]) for i, n in enumerate(BODY_POINTS) if float(view.presence[i]) > 0}
        kept |= {name: (face.points[i], face.sigma[i]) for i, name in enumerate(FACE_POINTS)}
        keypoints = Keypoints(
            tuple(kept),
            torch.stack([point for point, _ in kept.values()]),
            torch.stack([sigma for _, sigma in kept.values()]).clamp_min(1e-3 * known["H"]),
        )
        mask = self._refined_mask(image, view.mask, view.scale, view.offset)
        return keypoints, mask, view.person * face.certainty()

    @torch.no_grad()
    def person_mask(self, image: Tensor) -> Tensor:
        """Soft mask (1, H, W) of the people in a portrait (3, H, W)."""
        view = self._look(image, None)
        return self._refined_mask(image, view.mask, view.scale, view.offset)

    def _look(self, image: Tensor, window: tuple[float, float, float] | None) -> "_View":
        """The body network on the whole picture, or on a window (x, y, side in px), averaged with the mirror image."""
        size = self.config.size
        if window is None:
            square, scale, offset = _pad_square(image, size)
        else:
            x, y, side = window
            square = crop_square(image, image.new_tensor([x, y]) + side / 2, image.new_tensor(side), size)
            scale = size / side
            offset = -scale * image.new_tensor([x, y])
        xy, log_scale, presence, person, mask, heat = self.locate(torch.stack([square, square.flip(-1)]))
        swap = mirror_order(BODY_POINTS)
        xy = (xy[0] + mirrored(xy[1], swap)) / 2
        log_scale, presence = ((v[0] + v[1, swap]) / 2 for v in (log_scale, presence))
        points = (xy * size - offset) / scale
        mask = (mask[:1] + mask[1:].flip(-1)) / 2
        probability = float(person.sigmoid().mean())
        return _View(points, log_scale.exp() * size / scale, presence, probability, mask, heat[0], scale, offset)

    def _find_face(self, image: Tensor, view: "_View") -> "_Face":
        """The face of a view; where there is doubt about it, the best of many attempts."""
        head = view.points[: len(_HEAD_POINTS)]
        best = self._faces(image, [face_frame(head)])[0]
        if best.doubt < _SURE:
            return best
        frames = []
        for seen in [head, *self._other_heads(image)]:
            centre, side, turn = face_frame(seen)
            frames += [(centre, side * f, turn + math.radians(a)) for f in _FACTORS for a in _ANGLES]
        tried = sorted(self._faces(image, frames, passes=2), key=lambda f: f.doubt)[:_KEPT]
        return min([best, *self._faces(image, [f.frame for f in tried])], key=lambda f: f.doubt)

    def _other_heads(self, image: Tensor) -> list[Tensor]:
        """Head points (7, 2) as the body network sees them in parts of the picture."""
        rows, columns = image.shape[-2:]
        heads = []
        for share in (0.75, 0.5):
            side = share * max(rows, columns)
            for x, y in ((0.5, 0.0), (0.0, 0.0), (1.0, 0.0), (0.5, 0.5)):
                look = self._look(image, (x * (columns - side), max(0.0, y * (rows - side)), side))
                if look.person > 0.5:
                    heads.append(look.points[: len(_HEAD_POINTS)])
        return heads

    def _faces(self, image: Tensor, frames: "list[Frame]", passes: int = 3) -> "list[_Face]":
        """The face network on upright crops and their mirror images; every pass centres and turns the crops anew."""
        swap = mirror_order(FACE_POINTS)
        rows = [FACE_POINTS.index(n) for n in _HEAD_POINTS]
        drift = [1.0] * len(frames)
        for _ in range(passes):
            crops = torch.stack([crop_square(image, c, side, self.config.face_size, turn) for c, side, turn in frames])
            both, log_scale, heat = self.locate_face(torch.cat([crops, crops.flip(-1)]))
            here, other = both[: len(frames)], mirrored(both[len(frames) :], swap)
            unit = (here + other) / 2
            points = [
                (xy - 0.5) * side @ _rotation(turn, xy).T + c for xy, (c, side, turn) in zip(unit, frames, strict=True)
            ]
            moved = [face_frame(p[rows]) for p in points]
            drift = [
                float((m[0] - f[0]).norm() / f[1] + (m[1] / f[1]).log().abs())
                for m, f in zip(moved, frames, strict=True)
            ]
            last, frames = frames, moved
        log_scale = (log_scale[: len(last)] + log_scale[len(last) :, swap]) / 2
        unrest = (here - other).norm(dim=2)[:, INNER].mean(1)
        blur = 1 - _peaks(heat[: len(last)])[0][:, INNER].mean(1)
        doubt = (blur + 10 * unrest + strangeness(unit)).tolist()
        return [
            _Face(points[i], log_scale[i].exp() * last[i][1], doubt[i] + 0.3 * drift[i], frames[i])
            for i in range(len(last))
        ]

    def _warn_of_others(self, image: Tensor, head: Tensor, face: "_Face") -> None:
        """A warning where `head` is another one than `face` and holds up under the face network."""
        second = self._faces(image, [face_frame(head)])[0]
        apart = float((second.frame[0] - face.frame[0]).norm() / face.frame[1])
        if second.doubt < _SURE and apart > 0.4 and float(second.frame[1]) > 0.3 * float(face.frame[1]):
            logger.warning("there are several people in the portrait; the most prominent is taken")

    def _refined_mask(self, image: Tensor, logits: Tensor, scale: float, offset: Tensor) -> Tensor:
        """Mask logits of the padded square -> (1, H, W), its edge moved to the picture's edges by a guided filter."""
        rows, columns = image.shape[-2:]
        size = self.config.size
        x = ((torch.arange(columns, device=image.device) + 0.5) * scale + offset[0]) / size * 2 - 1
        y = ((torch.arange(rows, device=image.device) + 0.5) * scale + offset[1]) / size * 2 - 1
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[None]
        soft = F.grid_sample(logits.sigmoid(), grid, padding_mode="border", align_corners=False)
        radius = max(2, round(4 / scale))
        fine = guided_filter(image[None], soft, radius, 1e-3)
        return ((fine[0] - 0.5) * 2.5 + 0.5).clamp(0, 1)


def face_box(head: Tensor) -> tuple[Tensor, Tensor]:
    """Head points (7, 2) in the order of BODY_POINTS -> centre (2,) and side of the square face crop, in pixels."""
    right_eye, left_eye, bridge, nose, right_mouth, left_mouth, chin = head
    eyes, mouth = (right_eye + left_eye) / 2, (right_mouth + left_mouth) / 2
    height = torch.stack(
        [(bridge - chin).norm() * 1.45, (left_eye - right_eye).norm() * 2.4, (eyes - mouth).norm() * 2.4]
    )
    return (eyes + chin + nose) / 3, height.median().clamp_min(8.0) * FACE_MARGIN


def face_frame(head: Tensor) -> Frame:
    """Head points (7, 2) -> centre (2,), side and tilt of the face crop: radians from the picture's upright."""
    right_eye, left_eye, bridge, _, right_mouth, left_mouth, chin = head
    across = (left_eye - right_eye) + (left_mouth - right_mouth)
    down = (right_mouth + left_mouth) / 2 - (right_eye + left_eye) / 2 + chin - bridge
    axis = across + torch.stack([down[1], -down[0]])  # x axis of the face, from both directions
    turn = math.atan2(float(axis[1]), float(axis[0]))
    return *face_box(head), turn


def crop_square(image: Tensor, centre: Tensor, side: Tensor, size: int, turn: float = 0.0) -> Tensor:
    """Resample a square of (3, H, W) around centre (x, y), side in pixels, turned by radians, to (3, size, size)."""
    rows, columns = image.shape[-2:]
    factor = float(side) / size
    source = image[None]
    if factor > 1.5:  # average before sampling, or thin lines flicker
        small = (max(1, round(rows / factor)), max(1, round(columns / factor)))
        source = F.interpolate(source, small, mode="bilinear", antialias=True, align_corners=False)
    steps = ((torch.arange(size, device=image.device) + 0.5) / size - 0.5) * side
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij")[::-1], -1)
    grid = (grid @ _rotation(turn, grid).T + centre) / grid.new_tensor([columns, rows]) * 2 - 1
    return F.grid_sample(source, grid[None], padding_mode="border", align_corners=False)[0]


def _rotation(turn: float, like: Tensor) -> Tensor:
    """(2, 2) from the axes of a turned crop to those of the picture."""
    return like.new_tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])


def _pad_square(image: Tensor, size: int) -> tuple[Tensor, float, Tensor]:
    """Resize (3, H, W) into (3, size, size) by edge padding; new pixel = old * scale + offset (2,)."""
    rows, columns = image.shape[-2:]
    scale = size / max(rows, columns)
    new = (max(1, round(rows * scale)), max(1, round(columns * scale)))
    small = F.interpolate(image[None], new, mode="bilinear", antialias=True, align_corners=False)
    left, top = (size - new[1]) // 2, (size - new[0]) // 2
    padded = F.pad(small, (left, size - new[1] - left, top, size - new[0] - top), mode="replicate")
    return padded[0], scale, image.new_tensor([left, top])


def _peaks(heat: Tensor) -> tuple[Tensor, Tensor]:
    """Heatmaps (..., h, w) of logits -> share of the mass in the best 5x5 cells (...), and of that around each cell."""
    rows, columns = heat.shape[-2:]
    weight = heat.float().flatten(-2).softmax(-1).view(-1, 1, rows, columns)
    mass = (F.avg_pool2d(weight, 5, 1, 2) * 25).view(heat.shape)
    return mass.flatten(-2).amax(-1), mass + 1e-3 * weight.view(heat.shape)  # of equal ones, the one in the middle


def _places(mass: Tensor) -> tuple[Tensor, Tensor]:
    """Maps (N, h, w) -> maxima (N,) and the middles of their cells (N, 2), x and y."""
    height, place = mass.flatten(1).max(1)
    return height, torch.stack([place % mass.shape[2], place // mass.shape[2]], 1).float() + 0.5


def _two_heads(heat: Tensor) -> tuple[Tensor, Tensor] | None:
    """Head points (7, 2) in 0..1 of the first and of a second person in heatmaps (N, h, w) of logits, if there is one.

    A second maximum of one point alone is a pattern; a head has most of its points there, eyes above the chin.
    """
    size = heat.new_tensor([heat.shape[2], heat.shape[1]])
    top, mass = _peaks(heat[: len(_HEAD_POINTS)])
    cells = (torch.arange(n, device=heat.device) + 0.5 for n in heat.shape[1:])
    grid = torch.stack(torch.meshgrid(*cells, indexing="ij")[::-1], -1)
    most = _places(mass)[1].median(0).values  # two heads alike share the maxima: that of most points
    near = (grid - most).norm(dim=-1) < 0.25 * float(size.max())
    first = _places(mass * near)[1]
    reach = max(5.0, 0.4 * float(face_box(first)[1]))
    height, second = _places(mass * ((grid - first.mean(0)).norm(dim=-1) > reach))
    spread = (second - second.median(0).values).norm(dim=1)
    together = (height > _RIVAL * top) & (spread < 0.5 * max(reach, 8.0))
    if int(together.sum()) < 5 or float(second[:2, 1].mean()) >= float(second[6, 1]):
        return None
    return first / size, second / size


def load_detector(device: str | torch.device = "cpu", path: str | Path = CHECKPOINT) -> KeypointDetector:
    """The embedded detector with its trained weights."""
    return checkpoint.load(KeypointDetector, path, str(device))
