"""The identity of a face as 128 numbers, by dlib's public network (CC0), if the optional `evaluation` extra is
installed."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .metrics import cropped, similarity

_CHIP = 150  # px of the network's input
_PADDING = 0.25
_FILE = "dlib_face_recognition_resnet_model_v1.dat"
_PLACES = (  # of dlib's five points in the unpadded chip, right and left as in the picture
    (0.8595674595992, 0.2134981538014),  # outer corner of the eye on the right
    (0.6460604764104, 0.2289674387677),  # its inner corner
    (0.1205750620789, 0.2137274526848),  # outer corner on the left
    (0.3340850613712, 0.2290642403242),  # its inner corner
    (0.4901123135679, 0.6277975316475),  # below the nose
)
_MESH = (263, 362, 33, 133, 2)  # the same points of the mesh


def load_embedder() -> Any | None:
    """Return dlib's face recognition network; None where dlib or the package with its weights is not installed."""
    if importlib.util.find_spec("dlib") is None:
        return None
    models = importlib.util.find_spec("face_recognition_models")
    if models is None or not models.submodule_search_locations:
        return None
    weights = Path(next(iter(models.submodule_search_locations))) / "models" / _FILE
    if not weights.is_file():
        return None
    import dlib

    return dlib.face_recognition_model_v1(str(weights))


def face_chip(image: Tensor, mesh: Tensor) -> Tensor:
    """Crop the face of (3, H, W), aligned, scaled and padded as dlib's network expects -> (3, 150, 150).

    mesh: (478, 2 or 3) px."""
    places = (torch.tensor(_PLACES) + _PADDING) / (2 * _PADDING + 1) * _CHIP
    matrix, shift = similarity(places, mesh[list(_MESH), :2])
    scale = float(matrix[0].norm())
    if scale > 1.5:  # several pixels of the picture in one of the chip: average them first
        rows, columns = (max(1, round(side / scale)) for side in image.shape[1:])
        image, factors = _resized_with_factors(image, (rows, columns))
        return face_chip(image, mesh[:, :2] * factors)
    centre = matrix @ torch.tensor([_CHIP / 2, _CHIP / 2]) + shift
    return cropped(image, centre, scale * _CHIP / 2, _CHIP, math.atan2(float(matrix[1, 0]), float(matrix[0, 0])))


def _resized_with_factors(image: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Resize a picture (3, H, W) without aliasing -> (1, 3, *size), and the scale factors (2,) of x and y."""
    small = torch.nn.functional.interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
    return small, torch.tensor([size[1] / image.shape[2], size[0] / image.shape[1]])


def embedding(embedder: Any, image: Tensor, mesh: Tensor) -> list[float]:
    """Return the embedding (128 numbers) of the face in image (3, H, W) in [-1, 1], with mesh (478, 2 or 3) px."""
    chip = ((face_chip(image, mesh).clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).contiguous().numpy()
    return [float(value) for value in embedder.compute_face_descriptor(chip)]


def cosine(one: list[float], other: list[float]) -> float:
    """Return the cosine of the angle between two embeddings."""
    return float(torch.nn.functional.cosine_similarity(torch.tensor(one), torch.tensor(other), dim=0))
