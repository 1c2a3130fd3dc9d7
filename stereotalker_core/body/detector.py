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
from ..shapes import dims
from .keypoints import HELP, Keypoints
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

        ValueError where no person is found; a warning where there may be several.
        """
        known = dims(image, "3 H W")
        square, scale, offset = _pad_square(image, self.config.size)
        xy, log_scale, presence, person, logits, heat = self.locate(square[None])
        confidence = float(person.sigmoid())
        if confidence < 0.5:
            raise ValueError(f"no person found in the portrait (confidence {confidence:.2f}); {HELP}")
        if _second_peak(heat[0, BODY_POINTS.index("face.30")]):
            logger.warning("there may be several people in the portrait; the most prominent is taken")
        pixels = (xy[0] * self.config.size - offset) / scale
        sigma = log_scale[0].exp() * self.config.size / scale
        kept = {name: (pixels[i], sigma[i]) for i, name in enumerate(BODY_POINTS) if float(presence[0, i]) > 0}
        kept |= self._face_points(image, pixels)
        names = tuple(kept)
        keypoints = Keypoints(
            names,
            torch.stack([kept[n][0] for n in names]),
            torch.stack([kept[n][1] for n in names]).clamp_min(1e-3 * known["H"]),
        )
        return keypoints, self._refined_mask(image, logits, scale, offset), confidence

    @torch.no_grad()
    def person_mask(self, image: Tensor) -> Tensor:
        """Soft mask (1, H, W) of the people in a portrait (3, H, W)."""
        square, scale, offset = _pad_square(image, self.config.size)
        return self._refined_mask(image, self.locate(square[None])[4], scale, offset)

    def _face_points(self, image: Tensor, pixels: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        centre, side = face_box(pixels[: len(_HEAD_POINTS)])
        for _ in range(2):  # the first pass centres the crop
            crop = crop_square(image, centre, side, self.config.face_size)
            xy, log_scale, _ = self.locate_face(crop[None])
            points = (xy[0] - 0.5) * side + centre
            head = torch.stack([points[FACE_POINTS.index(n)] for n in _HEAD_POINTS])
            previous = side
            centre, side = face_box(head)
        sigma = log_scale[0].exp() * previous
        return {name: (points[i], sigma[i]) for i, name in enumerate(FACE_POINTS)}

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


def crop_square(image: Tensor, centre: Tensor, side: Tensor, size: int) -> Tensor:
    """Resample a square of (3, H, W) around centre (x, y), side in pixels, to (3, size, size)."""
    rows, columns = image.shape[-2:]
    factor = float(side) / size
    source = image[None]
    if factor > 1.5:  # average before sampling, or thin lines flicker
        small = (max(1, round(rows / factor)), max(1, round(columns / factor)))
        source = F.interpolate(source, small, mode="bilinear", antialias=True, align_corners=False)
    steps = ((torch.arange(size, device=image.device) + 0.5) / size - 0.5) * side
    x, y = (centre[0] + steps) / columns * 2 - 1, (centre[1] + steps) / rows * 2 - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[None]
    return F.grid_sample(source, grid, padding_mode="border", align_corners=False)[0]


def _pad_square(image: Tensor, size: int) -> tuple[Tensor, float, Tensor]:
    """Resize (3, H, W) into (3, size, size) by edge padding; new pixel = old * scale + offset (2,)."""
    rows, columns = image.shape[-2:]
    scale = size / max(rows, columns)
    new = (max(1, round(rows * scale)), max(1, round(columns * scale)))
    small = F.interpolate(image[None], new, mode="bilinear", antialias=True, align_corners=False)
    left, top = (size - new[1]) // 2, (size - new[0]) // 2
    padded = F.pad(small, (left, size - new[1] - left, top, size - new[0] - top), mode="replicate")
    return padded[0], scale, image.new_tensor([left, top])


def _second_peak(heat: Tensor) -> bool:
    """Whether a heatmap (h, w) of logits has a second maximum, far from the first and nearly as high."""
    weight = heat.float().flatten().softmax(0).view(heat.shape)
    mass = F.avg_pool2d(weight[None, None], 5, 1, 2)[0, 0] * 25
    top = int(mass.argmax())
    row, column = divmod(top, heat.shape[1])
    far = mass.clone()
    far[max(0, row - 8) : row + 9, max(0, column - 8) : column + 9] = 0
    return float(far.max()) > 0.25 * float(mass.flatten()[top])


def load_detector(device: str | torch.device = "cpu", path: str | Path = CHECKPOINT) -> KeypointDetector:
    """The embedded detector with its trained weights."""
    return checkpoint.load(KeypointDetector, path, str(device))
