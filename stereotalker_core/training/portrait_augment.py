"""Pictures for the keypoint detector: synthetic people in other crops, hair, glasses, clothes, light and places.

The avatars have tight hair and plain walls; real portraits do not. Everything here widens that: blobs of hair behind
the head count as person, patches on the clothes and before the face do not move the labels.
"""

import importlib.util
import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..synthetic.backgrounds import draw_background

_TEXTURES = (
    "brick",
    "grass",
    "gravel",
    "coffee",
    "chelsea",
    "rocket",
    "coins",
    "moon",
    "clock",
    "text",
    "hubble_deep_field",
)
_HAIR = (
    (0.05, 0.04, 0.04),
    (0.18, 0.11, 0.07),
    (0.35, 0.22, 0.12),
    (0.55, 0.40, 0.22),
    (0.75, 0.62, 0.40),
    (0.6, 0.6, 0.6),
)


def load_textures() -> list[Tensor]:
    """Real pictures without people, (3, H, W) in [0, 1], from scikit-image where it is installed."""
    if importlib.util.find_spec("skimage") is None:
        return []
    from skimage import data

    out = []
    for name in _TEXTURES:
        image = torch.from_numpy(np.ascontiguousarray(getattr(data, name)())).float() / 255
        image = image[None].expand(3, -1, -1) if image.ndim == 2 else image[..., :3].permute(2, 0, 1)
        factor = 420 / min(image.shape[1:])
        out.append(F.interpolate(image[None], scale_factor=factor, mode="bilinear", antialias=True)[0].clamp(0, 1))
    return out


def place(rng: np.random.Generator, size: int, textures: list[Tensor]) -> Tensor:
    """A background (3, size, size) in [0, 1]: a real texture, a studio wall or stripes, sharp or out of focus."""
    kind = rng.random()
    if textures and kind < 0.45:
        image = textures[int(rng.integers(len(textures)))]
        side = int(min(image.shape[1:]) * rng.uniform(0.35, 1.0))
        top, left = (int(rng.integers(0, n - side + 1)) for n in image.shape[1:])
        image = image[None, :, top : top + side, left : left + side]
        image = F.interpolate(image, (size, size), mode="bilinear", antialias=True, align_corners=False)[0]
        if rng.random() < 0.5:
            image = image.flip(-1)
        image = image[torch.from_numpy(rng.permutation(3))] if rng.random() < 0.3 else image
    elif kind < 0.85:
        seed = int(rng.integers(1 << 31))
        image = draw_background(torch.Generator().manual_seed(seed), (size, size))[0] / 2 + 0.5
    else:
        image = _stripes(rng, size)
    if rng.random() < 0.4:
        image = _blur(image, int(rng.choice([2, 4, 8])))
    return image


def _stripes(rng: np.random.Generator, size: int) -> Tensor:
    angle, period = rng.uniform(0, math.pi), rng.uniform(6, 60) * size / 256
    y, x = _grid(size)
    wave = torch.sin((x * math.cos(angle) + y * math.sin(angle)) * (2 * math.pi / period)) * rng.uniform(1, 8)
    a, b = torch.from_numpy(rng.random((2, 3, 1, 1), dtype=np.float32))
    return torch.lerp(a, b, wave.clamp(-1, 1)[None] / 2 + 0.5)


def _grid(size: int) -> tuple[Tensor, Tensor]:
    steps = torch.arange(size, dtype=torch.float32)
    return steps[:, None] + 0.5, steps[None] + 0.5


def _blur(image: Tensor, factor: int) -> Tensor:
    size = image.shape[-2:]
    small = F.interpolate(image[None], [max(2, s // factor) for s in size], mode="bilinear", antialias=True)
    return F.interpolate(small, size, mode="bilinear", align_corners=False)[0]


def _ellipse(
    size: int, centre: Tensor, radii: tuple[float, float], angle: float = 0.0, wobble: Tensor | None = None
) -> Tensor:
    """Signed "distance" (size, size): negative inside; wobble (k,) are harmonics of the outline."""
    y, x = _grid(size)
    dx, dy = x - float(centre[0]), y - float(centre[1])
    u = (dx * math.cos(angle) + dy * math.sin(angle)) / radii[0]
    v = (dy * math.cos(angle) - dx * math.sin(angle)) / radii[1]
    r = (u * u + v * v).sqrt()
    if wobble is None:
        return r - 1
    phase = torch.atan2(v, u)
    return r - 1 - sum(float(w) * torch.sin((k + 2) * phase + 7 * float(w) * 40) for k, w in enumerate(wobble))


def add_hair(
    rng: np.random.Generator, rgb: Tensor, alpha: Tensor, head: Tensor, height: float
) -> tuple[Tensor, Tensor]:
    """Hair behind the head (2,) (middle of the eyes), face of `height` px; rgb (3, S, S) premultiplied by alpha."""
    size = rgb.shape[-1]
    colour = torch.tensor(_HAIR[int(rng.integers(len(_HAIR)))]) * float(rng.uniform(0.6, 1.3))
    if rng.random() < 0.6:  # the avatar's own hair, found above the forehead
        x, y = int(head[0]), int(head[1] - 0.5 * height)
        if 0 <= x < size and 0 <= y < size and float(alpha[0, y, x]) > 0.9:
            colour = rgb[:, y, x]
    wobble = torch.from_numpy(rng.normal(0, 0.03, 5))
    top = head + height * torch.tensor([rng.uniform(-0.06, 0.06), rng.uniform(-0.25, 0.0)])
    width = float(rng.uniform(0.48, 0.85))
    shape = _ellipse(size, top, (width * height, float(rng.uniform(0.5, 0.85)) * height), 0.0, wobble)
    if rng.random() < 0.45:  # long hair, down to the shoulders or further
        low = head + height * torch.tensor([rng.uniform(-0.1, 0.1), rng.uniform(0.25, 0.8)])
        fall = (width * float(rng.uniform(0.8, 1.15)) * height, float(rng.uniform(0.7, 1.2)) * height)
        shape = torch.minimum(shape, _ellipse(size, low, fall, 0.0, wobble.flip(0)))
    cover = (0.5 - shape * height * 0.4 / float(rng.uniform(1, 4))).clamp(0, 1)[None]
    strands = torch.from_numpy(rng.normal(0, 1, (1, 1, size // 8, size // 2)).astype(np.float32))
    strands = F.interpolate(strands, (size, size), mode="bilinear", align_corners=False)[0]
    hair = (colour[:, None, None] * (1 + 0.2 * strands)).clamp(0, 1) * cover
    return rgb + hair * (1 - alpha), alpha + cover * (1 - alpha)


def add_glasses(rng: np.random.Generator, rgb: Tensor, alpha: Tensor, eyes: Tensor, height: float) -> Tensor:
    """Dark or light frames around the eyes (2, 2), drawn over premultiplied rgb."""
    size = rgb.shape[-1]
    colour = torch.from_numpy(rng.uniform(0, 0.35 if rng.random() < 0.8 else 0.9, 3).astype(np.float32))[:, None, None]
    radii = (float(rng.uniform(0.12, 0.18)) * height, float(rng.uniform(0.09, 0.15)) * height)
    thick = float(rng.uniform(0.01, 0.035)) * height
    angle = float(torch.atan2(eyes[1, 1] - eyes[0, 1], eyes[1, 0] - eyes[0, 0]))
    line = torch.zeros(1, size, size)
    for eye in eyes:
        ring = _ellipse(size, eye + torch.tensor([0.0, 0.02 * height]), radii, angle)
        line = torch.maximum(line, (1 - (ring.abs() * radii[1] - thick / 2)).clamp(0, 1)[None])
    cover = line * alpha
    return rgb * (1 - cover) + colour * cover


def add_patch(
    rng: np.random.Generator, rgb: Tensor, alpha: Tensor, centre: Tensor, radius: float, inside: bool
) -> Tensor:
    """A textured patch: on the clothes (inside the person) or an object before them; rgb stays premultiplied."""
    size = rgb.shape[-1]
    shape = _ellipse(
        size, centre, (radius * float(rng.uniform(0.4, 1)), radius * float(rng.uniform(0.4, 1))), rng.uniform(0, 3.1)
    )
    cover = (0.5 - shape * radius * 0.5).clamp(0, 1)[None] * float(rng.uniform(0.7, 1))
    return rgb * (1 - cover) + _stripes(rng, size) * cover * (alpha if inside else 1)


def camera_effects(rng: np.random.Generator, image: Tensor) -> Tensor:
    """Colour, gamma, contrast, blur, noise and JPEG of a picture (3, S, S) in [0, 1]."""
    image = image.clamp(0, 1) ** float(rng.uniform(0.6, 1.6))
    gain = torch.from_numpy(rng.uniform(0.8, 1.2, (3, 1, 1)).astype(np.float32)) * float(rng.uniform(0.75, 1.25))
    grey = image.mean(0, keepdim=True)
    image = grey + (image - grey) * (0.0 if rng.random() < 0.08 else float(rng.uniform(0.4, 1.4)))
    image = ((image - 0.5) * float(rng.uniform(0.7, 1.3)) + 0.5) * gain + float(rng.uniform(-0.08, 0.08))
    if rng.random() < 0.35:
        image = _blur(image, int(rng.choice([2, 2, 3])))
    elif rng.random() < 0.3:  # sharper than the renderer
        image = image + float(rng.uniform(0.3, 1.2)) * (image - _blur(image, 2))
    if rng.random() < 0.4:
        image = image + torch.from_numpy(rng.normal(0, rng.uniform(0.005, 0.05), image.shape).astype(np.float32))
    image = image.clamp(0, 1)
    return _jpeg(image, int(rng.integers(20, 85))) if rng.random() < 0.25 else image


def _jpeg(image: Tensor, quality: int) -> Tensor:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=quality)
    return torch.from_numpy(np.asarray(Image.open(buffer)).copy()).permute(2, 0, 1).float() / 255
