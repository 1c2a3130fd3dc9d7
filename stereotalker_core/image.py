"""Picture files -> tensors: portraits with their alpha as a mask, masks, backgrounds. Only this file uses Pillow."""

import logging
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

logger = logging.getLogger(__name__)
LONGEST = 1536  # pixels kept of the longer side: more than any renderer shows, and the fit stays fast
SHORTEST = 128
KNOWN = "JPG, PNG or WebP"


class Portrait(NamedTuple):
    """The loaded portrait: image (3, H, W) in [-1, 1], mask (1, H, W) in [0, 1] or None, and source_size (H, W), the
    size of the file's picture before it was reduced."""

    image: Tensor
    mask: Tensor | None
    source_size: tuple[int, int]


def load_portrait(path: str | Path) -> Portrait:
    """Read a portrait: upright (EXIF), converted to RGB from any mode and depth, at most 1536 px a side.

    The alpha channel becomes the mask, and transparent pixels become grey. FileNotFoundError; ValueError where the file
    is no picture, damaged, has a side below 128 px, or is transparent everywhere."""
    picture, source = _open(path)
    height, width = source
    if min(source) < SHORTEST:
        raise ValueError(
            f"{path} is too small ({width} x {height} px); the shorter side needs {SHORTEST} px, better 512 or more"
        )
    alpha = _alpha(picture)
    image = _to_tensor(picture.convert("RGB"))
    if alpha is None:
        return Portrait(image, None, source)
    if float(alpha.max()) < 0.5:
        raise ValueError(f"{path} is transparent everywhere; export it with a visible person")
    return Portrait(image * alpha, alpha, source)


def load_mask(path: str | Path, size: tuple[int, int]) -> Tensor:
    """Read a mask of the person -> (1, H, W) in [0, 1], resized to `size` (H, W) of the portrait.

    White (or opaque) is the person. ValueError where its aspect ratio is not the portrait's, or it is empty."""
    picture, (height, width) = _open(path)
    rows, columns = size
    if abs(width / height - columns / rows) > 0.02 * columns / rows:
        raise ValueError(f"{path} is {width} x {height} px, another shape than the portrait ({columns} x {rows})")
    resized = picture.resize((columns, rows), _filter())
    alpha = _alpha(resized)
    mask = (_to_tensor(resized.convert("RGB")).mean(0, keepdim=True) + 1) / 2 if alpha is None else alpha
    if float(mask.max()) < 0.5:
        raise ValueError(f"{path} is black everywhere; the person must be white")
    return mask


def load_background(path: str | Path, size: tuple[int, int]) -> Tensor:
    """Read a picture, resized and cropped around its centre to fill `size` (H, W) -> (3, H, W) in [-1, 1]."""
    from PIL import ImageOps

    picture, _ = _open(path)
    return _to_tensor(ImageOps.fit(picture.convert("RGB"), (size[1], size[0]), _filter()))


def save_image(image: Tensor, path: str | Path) -> None:
    """Write an image (3, H, W) in [-1, 1] as PNG, JPG or WebP, by the suffix of the path."""
    from PIL import Image

    pixels = ((image.detach().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _filter():
    from PIL import Image

    return Image.Resampling.LANCZOS


def _open(path: str | Path):
    """Open a file as an upright 8-bit Pillow image of at most LONGEST px -> (image, its (H, W) before reduction)."""
    from PIL import Image, ImageOps

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no file at {path}; check the path of the picture")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give one picture ({KNOWN})")
    try:
        with Image.open(path) as file:
            width, height = file.size
            file.draft(None, (LONGEST, LONGEST))  # JPG: decode at a fraction of the size, 8k stays cheap
            file.load()
            picture = ImageOps.exif_transpose(_eight_bit(file))
    except (OSError, SyntaxError, struct.error, EOFError) as error:  # SyntaxError: Pillow's word for a broken PNG
        raise ValueError(f"{path} is no readable picture ({error}); give {KNOWN}") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} is too large ({error}); make it smaller, 8000 px is plenty") from error
    turned = (picture.width > picture.height) != (width > height)
    source = (width, height) if turned else (height, width)
    if max(picture.size) > LONGEST:
        factor = LONGEST / max(picture.size)
        small = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        picture = picture.resize(small, _filter(), reducing_gap=2.0)
        logger.info("%s was made smaller: %d x %d -> %d x %d", path.name, width, height, *small)
    return picture, source


def _eight_bit(picture):
    """Convert 16-bit and float grey to 8 bits (Pillow's own conversion clips them) and palettes to RGB(A)."""
    from PIL import Image

    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture, dtype=np.float64)
        top = 65535 if picture.mode.startswith("I") else 1.0 if values.max() <= 1 else 255.0
        grey = Image.fromarray((values / top * 255).clip(0, 255).round().astype(np.uint8))
        grey.info = dict(picture.info)
        return grey
    if picture.mode in ("P", "PA") or "transparency" in picture.info:
        return picture.convert("RGBA")
    return picture


def _alpha(picture) -> Tensor | None:
    """Return the alpha channel (1, H, W) in [0, 1]; None where the picture is opaque."""
    if "A" not in picture.getbands():
        return None
    alpha = torch.from_numpy(np.array(picture.getchannel("A"), dtype=np.float32) / 255)[None]
    return None if float(alpha.min()) > 0.99 else alpha


def _to_tensor(picture) -> Tensor:
    return torch.from_numpy(np.array(picture, dtype=np.float32)).permute(2, 0, 1).contiguous() / 127.5 - 1
