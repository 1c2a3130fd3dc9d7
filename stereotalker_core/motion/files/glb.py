"""GLB files (glTF 2.0, binary): a fitted person with skeleton, 52 morph targets and texture, performing a motion.

y up, metres, hips at the origin; the person faces +z with their left at +x, as three.js, Blender and Unreal expect it.
The rest pose is the A pose; joint axes are the world's axes, so that a node without rotation is at rest."""

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...body.model import HalfBody
from ...checkpoint import write_atomically
from ...geometry.skeleton import MOTION_JOINTS
from ...records import Identity, Motion

_AXES = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # ours (z up, -y front) -> glTF (y up, z front)
_FLOAT, _UNSIGNED_SHORT, _UNSIGNED_INT = 5126, 5123, 5125
_VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963
_LINEAR, _LINEAR_MIPMAP_LINEAR, _CLAMP_TO_EDGE = 9729, 9987, 33071
_LEAST_MOVE = 1e-6  # m: a morph target leaves out what moves less
_INFLUENCES = 4  # joints a vertex, as many as the asset has


class _Buffer:
    """The binary chunk under construction, with its buffer views and accessors."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, data: bytes, **more: int) -> int:
        """Append bytes, aligned to 4 -> index of their bufferView; more: further fields of it."""
        self.data += bytes(-len(self.data) % 4)
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data), **more})
        self.data += data
        return len(self.views) - 1

    def add(
        self, values: Tensor, kind: str, component: int = _FLOAT, limits: bool = False, target: int | None = None
    ) -> int:
        """Append values (N, ...) as an accessor -> its index.

        values: the data.
        kind: accessor type, such as "VEC3".
        component: component type of glTF.
        limits: also write min and max.
        target: of the bufferView, such as ARRAY_BUFFER; None for none."""
        array = _array(values, component)
        view = self.view(array.tobytes(), **({} if target is None else {"target": target}))
        row: dict[str, Any] = {"bufferView": view, "componentType": component, "type": kind}
        row["count"] = len(array)
        if limits:
            flat = array.reshape(len(array), -1)
            row |= {"min": flat.min(0).tolist(), "max": flat.max(0).tolist()}
        self.accessors.append(row)
        return len(self.accessors) - 1

    def add_sparse(self, offsets: Tensor) -> int:
        """Append offsets (R, 3), most of them zero, as a sparse accessor -> its index."""
        moved = (offsets.abs().amax(1) > _LEAST_MOVE).nonzero().squeeze(1)
        row: dict[str, Any] = {"componentType": _FLOAT, "type": "VEC3", "count": len(offsets)}
        kept = torch.zeros_like(offsets)
        kept[moved] = offsets[moved]
        row |= {"min": kept.amin(0).tolist(), "max": kept.amax(0).tolist()}
        if len(moved):
            indices = {
                "bufferView": self.view(_array(moved, _UNSIGNED_INT).tobytes()),
                "componentType": _UNSIGNED_INT,
            }
            values = {"bufferView": self.view(_array(offsets[moved], _FLOAT).tobytes())}
            row["sparse"] = {"count": len(moved), "indices": indices, "values": values}
        self.accessors.append(row)
        return len(self.accessors) - 1


def save_glb(
    identity: Identity,
    body: HalfBody,
    path: str | Path,
    motion: Motion | None = None,
    extras: dict[str, str] | None = None,
) -> None:
    """Write the person as a GLB file, with the motion (`Identity.performed`) as an animation.

    identity: a fitted person.
    body: the half body, on any device.
    path: the .glb file.
    motion: T frames; None leaves the person still, in the rest state of the portrait.
    extras: texts stored in the file's asset.extras, such as the notice of synthetic media.

    Joints have the names of the body asset, morph targets those of ARKit (mesh.extras.targetNames). The hips stay at
    the origin. ValueError for a motion without frames."""
    if motion is not None and not len(motion):
        raise ValueError("the motion has no frames")
    identity = identity.to("cpu")
    body = body if body.mean.device.type == "cpu" else HalfBody()
    buffer, joints = _Buffer(), _kept_bones(body)
    still = Motion(torch.zeros(1, len(MOTION_JOINTS), 3), torch.zeros(1, len(body.expression_names)))
    start = identity.performed(still)
    rest = body.rest(identity.shape[None], identity.shell[None])
    nodes = _nodes(body, joints, rest.bones[0] @ _AXES.T, start.rotations[0])
    nodes.append({"name": "person", "mesh": 0, "skin": 0})
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "ComfyUI-StereoTalker"} | ({"extras": extras} if extras else {}),
        "scene": 0,
        "scenes": [{"nodes": [0, len(joints)]}],
        "nodes": nodes,
        "meshes": [_mesh(buffer, body, identity, rest.vertices[0], joints, start.expression[0])],
        "skins": [_skin(buffer, joints, rest.bones[0])],
        **_material(buffer, identity.atlas),
    }
    if motion is not None:
        document["animations"] = [_animation(buffer, body, joints, identity.performed(motion.to("cpu")))]
    document |= {"accessors": buffer.accessors, "bufferViews": buffer.views}
    write_atomically(path, lambda name: _write(name, document, buffer.data))


def _kept_bones(body: HalfBody) -> list[int]:
    """Return the bones that carry vertices or joints of a motion, with their ancestors; parents first, the root at 0.
    """
    parents, depth = body.parent.tolist(), {}
    for level, bones in enumerate(body.levels):
        depth |= dict.fromkeys(bones, level)
    wanted: set[int] = set()
    for bone in [*(body.skin_weights > 0).any(0).nonzero().squeeze(1).tolist(), *body.motion_bones.tolist()]:
        while bone not in wanted:
            wanted.add(bone)
            bone = parents[bone]
    return sorted(wanted, key=lambda bone: (depth[bone], bone))


def _nodes(body: HalfBody, joints: list[int], heads: Tensor, rotations: Tensor) -> list[dict[str, Any]]:
    """Return the glTF nodes of the skeleton, [{"name", "translation", ...}] in the order of `joints`.

    joints: bone numbers; heads: (J, 3) in glTF axes; rotations: (49, 3) of the motion's joints at rest."""
    place = {bone: i for i, bone in enumerate(joints)}
    turned = dict(zip(body.motion_bones.tolist(), _quaternions(rotations).tolist(), strict=True))
    nodes: list[dict[str, Any]] = []
    for bone in joints:
        parent = int(body.parent[bone])
        offset = heads[bone] if bone == joints[0] else heads[bone] - heads[parent]
        node: dict[str, Any] = {"name": body.bone_names[bone], "translation": offset.tolist()}
        if bone in turned:
            node["rotation"] = turned[bone]
        nodes.append(node)
        if bone != joints[0]:
            nodes[place[parent]].setdefault("children", []).append(place[bone])
    return nodes


def _skin(buffer: _Buffer, joints: list[int], heads: Tensor) -> dict[str, Any]:
    """Return the glTF skin {"joints", "skeleton", "inverseBindMatrices"}; heads: (J, 3) of all bones, in our axes."""
    inverse = torch.eye(4).repeat(len(joints), 1, 1)
    inverse[:, 3, :3] = -(heads[joints] @ _AXES.T)  # the matrices are stored column by column
    return {"joints": list(range(len(joints))), "skeleton": 0, "inverseBindMatrices": buffer.add(inverse, "MAT4")}


def _mesh(
    buffer: _Buffer, body: HalfBody, identity: Identity, vertices: Tensor, joints: list[int], expression: Tensor
) -> dict[str, Any]:
    """Return the glTF mesh {"name", "primitives", "weights", "extras"}: surface, skinning weights, UVs, morph targets.

    buffer: receives the data.
    body: the half body.
    identity: the person.
    vertices: (V, 3) in the A pose, in our axes.
    joints: bone numbers of the skin.
    expression: (52,) at rest."""
    corner = body.render_vertex
    influence, joint = body.skin_weights[:, joints].topk(_INFLUENCES, 1)
    influence = influence / influence.sum(1, keepdim=True)
    joint = torch.where(influence > 0, joint, 0)  # an unused slot names joint 0
    uv = body.uv_in(identity.atlas_layout)
    attributes = {
        "POSITION": buffer.add((vertices @ _AXES.T)[corner], "VEC3", limits=True, target=_VERTEX_BUFFER),
        "NORMAL": buffer.add((body.normals(vertices[None])[0] @ _AXES.T)[corner], "VEC3", target=_VERTEX_BUFFER),
        "TEXCOORD_0": buffer.add(uv, "VEC2", target=_VERTEX_BUFFER),
        "JOINTS_0": buffer.add(joint[corner], "VEC4", _UNSIGNED_SHORT, target=_VERTEX_BUFFER),
        "WEIGHTS_0": buffer.add(influence[corner], "VEC4", target=_VERTEX_BUFFER),
    }
    triangles = buffer.add(body.uv_triangles.flatten(), "SCALAR", _UNSIGNED_INT, target=_INDEX_BUFFER)
    moved = torch.zeros(len(body.expression_names), body.n_vertices, 3)
    moved[:, body.expression_vertices] = body.expression_deltas.view(len(moved), -1, 3)
    targets = [{"POSITION": buffer.add_sparse((offsets @ _AXES.T)[corner])} for offsets in moved]
    primitive = {"attributes": attributes, "indices": triangles, "material": 0, "targets": targets}
    names = {"targetNames": body.expression_names}
    return {"name": "person", "primitives": [primitive], "weights": expression.tolist(), "extras": names}


def _material(buffer: _Buffer, atlas: Tensor) -> dict[str, Any]:
    """Return {"materials", "textures", "samplers", "images"} for a rough, non-metallic glTF material.

    buffer: receives the data; atlas: (3, A, A) in [-1, 1], stored as an sRGB PNG."""
    from PIL import Image

    pixels = ((atlas.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(file, "PNG")
    surface = {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": 0.9}
    clamped = {"wrapS": _CLAMP_TO_EDGE, "wrapT": _CLAMP_TO_EDGE}
    return {
        "materials": [{"name": "person", "pbrMetallicRoughness": surface}],
        "textures": [{"sampler": 0, "source": 0}],
        "samplers": [{"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAP_LINEAR, **clamped}],
        "images": [{"name": "atlas", "mimeType": "image/png", "bufferView": buffer.view(file.getvalue())}],
    }


def _animation(buffer: _Buffer, body: HalfBody, joints: list[int], motion: Motion) -> dict[str, Any]:
    """Return the glTF animation {"name", "samplers", "channels"}: joint rotations and morph weights, a key per
    frame."""
    times = buffer.add(torch.arange(len(motion)) / motion.fps, "SCALAR", limits=True)
    place = {bone: i for i, bone in enumerate(joints)}
    samplers, channels = [], []
    turned = _quaternions(motion.rotations)
    for k, bone in enumerate(body.motion_bones.tolist()):
        samplers.append({"input": times, "output": buffer.add(_continuous(turned[:, k]), "VEC4")})
        channels.append({"sampler": k, "target": {"node": place[bone], "path": "rotation"}})
    samplers.append({"input": times, "output": buffer.add(motion.expression.flatten(), "SCALAR")})
    channels.append({"sampler": len(channels), "target": {"node": len(joints), "path": "weights"}})
    return {"name": "motion", "samplers": samplers, "channels": channels}


def _quaternions(rotations: Tensor) -> Tensor:
    """Map axis-angle (..., 3) in our axes -> unit quaternions (..., 4) x, y, z, w in glTF's."""
    vector = rotations.double() @ _AXES.double().T
    angle = vector.norm(dim=-1, keepdim=True)
    return torch.cat([vector * torch.sinc(angle / (2 * torch.pi)) / 2, torch.cos(angle / 2)], -1).float()


def _continuous(quaternions: Tensor) -> Tensor:
    """Flip the signs of quaternions (T, 4) so that they are continuous over time; the rotations are unchanged."""
    step = (quaternions[1:] * quaternions[:-1]).sum(-1).sign()
    sign = torch.cat([step.new_ones(1), torch.where(step < 0, -1.0, 1.0)]).cumprod(0)
    return quaternions * sign[:, None]


def _array(values: Tensor, component: int) -> np.ndarray:
    kind = {_FLOAT: "<f4", _UNSIGNED_SHORT: "<u2", _UNSIGNED_INT: "<u4"}[component]
    return values.detach().cpu().contiguous().numpy().astype(kind)


def _write(path: str, document: dict[str, Any], data: bytearray) -> None:
    """Write the GLB container: header, JSON chunk, binary chunk; chunks are padded to 4 bytes with spaces and zeros."""
    document["buffers"] = [{"byteLength": len(data)}]
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    text, data = text + b" " * (-len(text) % 4), data + bytes(-len(data) % 4)
    with open(path, "wb") as file:
        file.write(struct.pack("<III", 0x46546C67, 2, 12 + 8 + len(text) + 8 + len(data)))
        file.write(struct.pack("<II", len(text), 0x4E4F534A) + text)
        file.write(struct.pack("<II", len(data), 0x004E4942) + data)
