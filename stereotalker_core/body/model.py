"""Compact parametric half body: identity -> expression -> forward kinematics -> linear blend skinning, in pure torch.

The asset (`assets/halfbody.safetensors`, built by tools/body/build_body.py from CC0 data) holds a PCA of body shapes in
the A pose, 52 sparse ARKit deltas, four skinning weights per vertex, UVs, part labels and keypoint regressors. Metres;
z up, -y front, +x the person's LEFT; hips at the origin."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoint import load_tensors
from ..geometry.rotations import axis_angle_to_matrix
from ..geometry.skeleton import MOTION_JOINTS
from ..loops.available import array, loops_for

ASSET = Path(__file__).parent / "assets" / "halfbody.safetensors"
ATLAS = Path(__file__).parent / "assets" / "atlas.safetensors"  # tools/body/pack_atlas.py
FACE_MESH = Path(__file__).parent / "assets" / "face_mesh.safetensors"  # where MediaPipe's 468 face points lie on it


class Rest(NamedTuple):
    """The body in its A pose: vertices (B, V, 3) and bone heads (B, J, 3), metres."""

    vertices: Tensor
    bones: Tensor


@dataclass(frozen=True)
class Posed:
    """The posed body: vertices (B, V, 3), bone heads (B, J, 3), world rotations of the bones (B, J, 3, 3)."""

    vertices: Tensor
    bones: Tensor
    rotations: Tensor


class HalfBody(nn.Module):
    """The parametric half body: the asset's tensors as buffers, and methods that shape, pose and measure it.

    path: the asset. V vertices, J bones, K shape coefficients, R render vertices (vertices split at texture seams), F
    triangles; `part_names`, `keypoint_names` and so on are lists from the asset's metadata."""

    atlas_uv: Tensor
    mean: Tensor
    basis: Tensor
    bone_mean: Tensor
    bone_basis: Tensor
    skin_weights: Tensor
    skin_bone: Tensor
    skin_share: Tensor
    expression_vertices: Tensor
    expression_deltas: Tensor
    uv: Tensor
    render_vertex: Tensor
    uv_triangles: Tensor
    triangles: Tensor
    triangle_part: Tensor
    mirror: Tensor
    vertex_part: Tensor
    incident: Tensor
    parent: Tensor
    motion_bones: Tensor
    keypoint_pointer: Tensor
    keypoint_source: Tensor
    keypoint_weight: Tensor
    keypoint_row: Tensor
    mesh_vertices: Tensor
    mesh_weights: Tensor
    lips_mask: Tensor
    eyelids_mask: Tensor
    ears_mask: Tensor

    def __init__(self, path: str | Path = ASSET):
        super().__init__()
        tensors, meta = load_tensors(path)
        self.bone_names: list[str] = json.loads(meta["bones"])
        self.part_names: list[str] = json.loads(meta["parts"])
        self.expression_names: list[str] = json.loads(meta["expr"])
        self.keypoint_names: list[str] = json.loads(meta["kp"])
        self.bone_index = {name: i for i, name in enumerate(self.bone_names)}
        self.part_index = {name: i for i, name in enumerate(self.part_names)}
        self.expression_index = {name: i for i, name in enumerate(self.expression_names)}
        self.keypoint_index = {name: i for i, name in enumerate(self.keypoint_names)}
        self._register_shape(tensors)
        self._register_expressions(tensors)
        self._register_surface(tensors)
        self._register_skeleton(tensors)
        self._register_keypoints(tensors)
        self._register_face_mesh(load_tensors(FACE_MESH)[0])
        self._buffer("atlas_uv", load_tensors(ATLAS)[0]["uv"].float() / 65535)  # (R, 2) in the atlas of a photograph

    # ---------------------------------------------------------------- loading
    def _buffer(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.contiguous(), persistent=False)

    def _register_shape(self, t: dict[str, Tensor]) -> None:
        self._buffer("mean", t["v_mean"].float())  # (V, 3)
        self._buffer("basis", t["v_basis"].float().flatten(0, 1))  # (V*3, K), unit-variance scores
        self._buffer("bone_mean", t["j_mean"].float())  # (J, 3)
        self._buffer("bone_basis", t["j_basis"].float())  # (J, 3, K)
        self.n_vertices, self.n_shape, self.n_bones = len(self.mean), self.basis.shape[1], len(self.bone_mean)
        weights = torch.zeros(self.n_vertices, self.n_bones)
        w = t["skin_w"].float()
        weights.scatter_add_(1, t["skin_i"].long(), w / w.sum(1, keepdim=True))
        self._buffer("skin_weights", weights)  # (V, J)
        self._buffer("skin_bone", t["skin_i"].long())  # (V, 4)
        self._buffer("skin_share", w / w.sum(1, keepdim=True))  # (V, 4), the same weights as a list

    def _register_expressions(self, t: dict[str, Tensor]) -> None:
        pointer, vertex, delta = t["expr_ptr"].tolist(), t["expr_vid"].long(), t["expr_d"].float()
        moved = torch.unique(vertex)
        slot = torch.full((self.n_vertices,), -1).index_copy(0, moved, torch.arange(len(moved)))
        dense = torch.zeros(len(pointer) - 1, len(moved), 3)
        for i, (start, end) in enumerate(zip(pointer[:-1], pointer[1:], strict=True)):
            dense[i, slot[vertex[start:end]]] = delta[start:end]
        self._buffer("expression_vertices", moved)  # (M,)
        self._buffer("expression_deltas", dense.flatten(1))  # (52, M*3)

    def _register_surface(self, t: dict[str, Tensor]) -> None:
        self._buffer("uv", t["uv"].float() / 65535)  # (R, 2) of render vertices (split at UV seams); v downwards
        self._buffer("render_vertex", t["rv"].long())  # (R,) -> vertex
        self._buffer("uv_triangles", t["tri"].long())  # (F, 3) over render vertices
        self._buffer("triangles", self.render_vertex[self.uv_triangles])  # (F, 3) over vertices
        self._buffer("triangle_part", t["part"].long())  # (F,)
        self._buffer("mirror", t["mirror"].long())  # (V,) left-right counterpart
        for name in ("lips_mask", "eyelids_mask", "ears_mask"):  # (256, 256) UV maps in [0, 1]; older files lack them
            if name in t:
                self._buffer(name, t[name].float() / 255)
        corner = self.triangles.flatten()
        part = torch.zeros(self.n_vertices, dtype=torch.long)
        parts = self.triangle_part.repeat_interleave(3)
        # (V,) the highest part of the triangles around a vertex: an order that threads cannot change
        self._buffer("vertex_part", part.scatter_reduce(0, corner, parts, "amax", include_self=False))
        order = torch.argsort(corner, stable=True)
        count = torch.bincount(corner, minlength=self.n_vertices)
        rank = torch.arange(len(order)) - (count.cumsum(0) - count)[corner[order]]
        around = torch.full((self.n_vertices, int(count.max())), len(self.triangles))  # the pad index is a zero normal
        around[corner[order], rank] = torch.div(order, 3, rounding_mode="floor")
        self._buffer("incident", around)  # (V, A) triangles around a vertex

    def _register_skeleton(self, t: dict[str, Tensor]) -> None:
        parent = t["parent"].long().tolist()
        depth = [0] * self.n_bones
        for i, p in enumerate(parent):
            depth[i] = 0 if p < 0 else depth[p] + 1
        self.levels = [[i for i in range(self.n_bones) if depth[i] == k] for k in range(max(depth) + 1)]
        self._buffer("parent", torch.tensor([max(p, 0) for p in parent]))
        self._buffer("motion_bones", torch.tensor([self.bone_index[n] for n in MOTION_JOINTS]))  # (49,)

    def _register_keypoints(self, t: dict[str, Tensor]) -> None:
        pointer = t["kp_ptr"].long()
        self._buffer("keypoint_pointer", pointer)
        self._buffer("keypoint_source", t["kp_id"].long())  # over [vertices; bones]
        self._buffer("keypoint_weight", t["kp_w"].float())
        self._buffer("keypoint_row", torch.repeat_interleave(torch.arange(len(pointer) - 1), pointer.diff()))

    def _register_face_mesh(self, t: dict[str, Tensor]) -> None:
        self._buffer(
            "mesh_vertices", t["vertices"].long()
        )  # (468, 3) corners of the triangle that a mesh point lies on
        self._buffer("mesh_weights", t["weights"].float())  # (468, 3) barycentric

    def point_row(self, name: str) -> tuple[Tensor, Tensor]:
        """Return the linear combination that gives a point: indices into the rows of [vertices; bones], and their
        weights.

        name: a keypoint, or "mesh.0".."mesh.467"."""
        group, _, index = name.partition(".")
        if group == "mesh":
            return self.mesh_vertices[int(index)], self.mesh_weights[int(index)]
        k = self.keypoint_index[name]
        span = slice(int(self.keypoint_pointer[k]), int(self.keypoint_pointer[k + 1]))
        return self.keypoint_source[span], self.keypoint_weight[span]

    def uv_in(self, layout: int) -> Tensor:
        """Return the place of each render vertex (R, 2) in [0, 1] in an atlas of this layout (`Identity.atlas_layout`).
        """
        return self.uv if layout == 1 else self.atlas_uv

    def vertices_in(self, *names: str) -> Tensor:
        """Return (V,) bool, true for vertices of the named parts."""
        return torch.isin(self.vertex_part, self.vertex_part.new_tensor([self.part_index[n] for n in names]))

    # ---------------------------------------------------------------- evaluation
    def rest(self, shape: Tensor, shell: Tensor | None = None) -> Rest:
        """Return the neutral body in its A pose.

        shape: PCA coefficients (B, K).
        shell: metres along the normals (B|1, V), or offsets in metres (B|1, V, 3)."""
        vertices = (shape @ self.basis.T).view(-1, self.n_vertices, 3) + self.mean
        bones = torch.einsum("bk,jdk->bjd", shape, self.bone_basis) + self.bone_mean
        if shell is not None:
            vertices = vertices + (shell if shell.ndim == 3 else self.normals(vertices) * shell[..., None])
        return Rest(vertices, bones)

    def express(self, vertices: Tensor, expression: Tensor) -> Tensor:
        """Add the ARKit deltas of expression coefficients (B, 52) to vertices (B|1, V, 3) -> (B, V, 3)."""
        out = vertices.expand(len(expression), -1, -1).clone()
        out[:, self.expression_vertices] += (expression @ self.expression_deltas).view(len(expression), -1, 3)
        return out

    def bone_rotations(self, rotations: Tensor) -> Tensor:
        """Map motion rotations (B, 49, 3) axis-angle -> local rotation matrices of all bones (B, J, 3, 3); the identity
        for bones that no joint moves."""
        full = torch.eye(3, device=rotations.device, dtype=rotations.dtype).repeat(len(rotations), self.n_bones, 1, 1)
        return full.index_copy(1, self.motion_bones, axis_angle_to_matrix(rotations))

    def forward_kinematics(self, local: Tensor, bones: Tensor) -> tuple[Tensor, Tensor]:
        """Map local rotations (B, J, 3, 3) and rest heads (B|1, J, 3) -> world rotations (B, J, 3, 3) and heads (B, J,
        3)."""
        bones = bones.expand(len(local), -1, -1)
        if (fast := loops_for(local, bones)) is not None:
            turned, moved = torch.empty(local.shape), torch.empty(bones.shape)
            order = array(torch.tensor([bone for level in self.levels for bone in level])), array(self.parent)
            for own, rest, *out in zip(local, bones, turned, moved, strict=True):
                fast.points.chained(array(own), *order, array(rest), *(x.numpy() for x in out))
            return turned, moved
        offset = bones - bones[:, self.parent]
        world: list[Tensor] = [local[:, i] for i in range(self.n_bones)]
        heads: list[Tensor] = [bones[:, i] for i in range(self.n_bones)]
        for level in self.levels[1:]:
            parents = self.parent[level].tolist()
            rotation = torch.stack([world[p] for p in parents], 1)
            turned = rotation @ local[:, level]
            moved = torch.stack([heads[p] for p in parents], 1) + (rotation @ offset[:, level, :, None])[..., 0]
            for k, bone in enumerate(level):
                world[bone], heads[bone] = turned[:, k], moved[:, k]
        return torch.stack(world, 1), torch.stack(heads, 1)

    def skin(self, vertices: Tensor, rest_bones: Tensor, rotations: Tensor, heads: Tensor) -> Tensor:
        """Apply linear blend skinning: vertices (B|1, V, 3) in the A pose -> posed (B, V, 3).

        rest_bones: bone heads in the A pose (B|1, J, 3); rotations: (B, J, 3, 3) and heads: (B, J, 3), those of the
        posed bones."""
        shift = heads - (rotations @ rest_bones.expand_as(heads)[..., None])[..., 0]
        if (fast := loops_for(vertices, rotations, heads)) is not None:
            out, skin = torch.empty(len(heads), self.n_vertices, 3), (array(self.skin_bone), array(self.skin_share))
            for k, own in enumerate(vertices.expand_as(out)):
                fast.surfaces.skinned(array(own), *skin, array(rotations[k]), array(shift[k]), out[k].numpy())
            return out
        transform = torch.cat([rotations, shift[..., None]], -1).flatten(2).transpose(1, 2)  # (B, 12, J)
        blended = (transform @ self.skin_weights.T).unflatten(1, (3, 4))  # planes of V: rows of three are slow
        moved = (blended[:, :, :3] * vertices.transpose(1, 2)[:, None]).sum(2) + blended[:, :, 3]
        return moved.transpose(1, 2).contiguous()

    def pose(self, rest: Rest, rotations: Tensor, expression: Tensor | None = None) -> Posed:
        """Pose a person: rest body of batch B or 1, motion rotations (B, 49, 3) and expression (B, 52)."""
        vertices = rest.vertices if expression is None else self.express(rest.vertices, expression)
        world, heads = self.forward_kinematics(self.bone_rotations(rotations), rest.bones)
        return Posed(self.skin(vertices, rest.bones, world, heads), heads, world)

    def normals(self, vertices: Tensor) -> Tensor:
        """Map vertices (B, V, 3) -> area-weighted unit normals (B, V, 3)."""
        if (fast := loops_for(vertices)) is not None:
            out, corners = torch.empty(vertices.shape), array(self.triangles)
            for own, found in zip(vertices, out, strict=True):
                fast.surfaces.normals(array(own), corners, found.numpy())
            return out
        a, b, c = (vertices[:, self.triangles[:, i]] for i in range(3))
        face = torch.linalg.cross(b - a, c - a)
        face = F.pad(face, (0, 0, 0, 1))
        total = face.index_select(1, self.incident.flatten()).view(len(vertices), self.n_vertices, -1, 3).sum(2)
        return total * torch.rsqrt((total * total).sum(-1, keepdim=True).clamp_min(1e-20))

    def keypoints(self, vertices: Tensor, bones: Tensor) -> Tensor:
        """Map vertices (B, V, 3) and bone heads (B, J, 3) -> keypoints (B, N, 3) in the order of `keypoint_names`."""
        source = torch.cat([vertices, bones], 1)[:, self.keypoint_source] * self.keypoint_weight[:, None]
        out = torch.zeros(len(vertices), len(self.keypoint_names), 3, device=vertices.device, dtype=vertices.dtype)
        return out.index_add_(1, self.keypoint_row, source)
