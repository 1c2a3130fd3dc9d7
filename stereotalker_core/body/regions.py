"""From the asset's part labels to the four regions of shapes.REGIONS."""

import torch
from torch import Tensor

FACE_PARTS = ("face", "lips", "mouth", "eyesocket", "eye.L", "eye.R", "tongue", "teeth.up", "teeth.low", "lashes")
HAND_PARTS = ("hand.L", "hand.R")


def region_of_part(part_names: list[str]) -> Tensor:
    """Return (1 + parts,) int64: the region of each guide label (0 = outside, 1 + index of a part)."""
    body, face, hands = 1, 2, 3
    regions = [0] + [face if n in FACE_PARTS else hands if n in HAND_PARTS else body for n in part_names]
    return torch.tensor(regions)
