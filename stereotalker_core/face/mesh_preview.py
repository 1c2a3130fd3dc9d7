"""Plain shaded pictures of a performing FLAME mesh, as in the paper's videos; without a trained renderer.

The mesh comes from the user's own FLAME file (`flame.Flame`). `video.writer.VideoWriter` writes the frames, with sound.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..body.rasterize import interpolate, rasterize
from ..geometry.projection import intrinsics_for, look_at, project
from .arkit_map import FaceMap, layout_map
from .flame import Flame
from .layout import Face

_CHUNK = 8  # frames drawn at a time: bounds the memory of long recordings
_MARGIN = 1.12  # height of the picture over the mesh's largest side
_DISTANCE = 5.0  # of the camera, in heights of the mesh: a long lens, as the paper's
_SKIN, _BEHIND = (0.78, 0.74, 0.70), 0.93
_LIGHT = (0.25, 0.0, 0.4)  # added to the direction of the camera: beside it, a little above


def flame_parameters(face: Face, sample: int, mapping: FaceMap | None = None) -> Tensor:
    """Return one performance (T, 53) in FLAME's own basis.

    face: performances.
    sample: which of them.
    mapping: fitted between ARKit and FLAME (`arkit_map.fit_map`); without it ValueError for the embedded model's faces,
        which are ARKit coefficients."""
    if face.basis == "flame":
        return face.sample(sample)
    if mapping is None:
        raise ValueError(
            "this face is in ARKit coefficients, the embedded model's; FLAME's mesh needs a fitted map between the two "
            "(python -m stereotalker_core.face.arkit_map makes one), or released weights, which speak FLAME's basis"
        )
    return mapping.face(layout_map().arkit(face.sample(sample)))


@torch.no_grad()
def mesh_frames(flame: Flame, parameters: Tensor, size: int = 320, yaw: float = 0.0) -> Iterator[Tensor]:
    """Draw N performances side by side -> chunks (t, 3, size, N * size) in [-1, 1].

    flame: the mesh.
    parameters: (N, T, 53) FLAME.
    size: px of a side of one picture.
    yaw: degrees, positive = the camera moves towards the subject's right side.

    ValueError for a triangle that names a vertex the mesh does not have."""
    if parameters.dim() != 3 or not len(parameters):
        raise ValueError(f"parameters of shape {tuple(parameters.shape)}; give (performances, frames, 53)")
    if flame.triangles.max() >= len(flame.template):
        raise ValueError(
            f"the mesh has {len(flame.template)} vertices, a triangle asks for {int(flame.triangles.max())}"
        )
    device = flame.template.device
    rest = _in_world_axes(flame.template)
    low, high = rest.amin(0), rest.amax(0)
    height = float((high - low).max()) * _MARGIN
    turn = torch.tensor([float(yaw)], device=device)
    camera = look_at((low + high) / 2, turn, torch.zeros_like(turn), torch.full_like(turn, _DISTANCE * height))
    lens = intrinsics_for(height, _DISTANCE * height, (size, size)).to(device)
    for start in range(0, parameters.shape[1], _CHUNK):
        part = parameters[:, start : start + _CHUNK].to(device)
        vertices = _in_world_axes(flame(part))  # (N, t, V, 3)
        drawn = [_shade(v, flame.triangles, camera, lens, size) for v in vertices]
        yield torch.cat(drawn, -1)


def _in_world_axes(points: Tensor) -> Tensor:
    """Map points (..., 3) from FLAME's axes (y up, facing +z) to ours (z up, facing -y)."""
    x, y, z = points.unbind(-1)
    return torch.stack([x, -z, y], -1)


def _shade(vertices: Tensor, triangles: Tensor, camera: Tensor, lens: Tensor, size: int) -> Tensor:
    """Draw vertices (t, V, 3) in world axes -> (t, 3, size, size) in [-1, 1], with one colour and one light, two-sided.

    triangles: (F, 3); camera: (t, 4, 4); lens: intrinsics (3, 3); size: px."""
    fragments = rasterize(project(vertices, camera, lens), triangles, (size, size), cull=False)
    normal = torch.nn.functional.normalize(
        interpolate(vertex_normals(vertices, triangles), triangles, fragments), dim=-1
    )
    towards = -camera[0, 2, :3]
    normal = torch.where((normal @ towards)[..., None] < 0, -normal, normal)
    light = torch.nn.functional.normalize(towards + torch.tensor(_LIGHT, device=towards.device), dim=-1)
    diffuse = (normal @ light).clamp_min(0)[..., None]
    colour = torch.tensor(_SKIN, device=normal.device) * (0.3 + 0.7 * diffuse)
    seen = (fragments.triangle >= 0)[..., None]
    return torch.where(seen, colour, torch.full_like(colour, _BEHIND)).permute(0, 3, 1, 2) * 2 - 1


def vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Map vertices (B, V, 3), triangles (F, 3) -> unit normals (B, V, 3), area-weighted over each vertex's triangles.
    """
    a, b, c = (vertices[:, triangles[:, i]] for i in range(3))
    face = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total.index_add_(1, triangles[:, corner], face)
    return torch.nn.functional.normalize(total, dim=-1)
