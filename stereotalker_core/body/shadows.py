"""The soft shadows of arms, hands and trunk on each other: how much of its surroundings each vertex of a pose sees.

A photograph's texture holds the shading of the photographed pose. When an arm moves, the trunk behind it and the arm
itself keep the brightness that they had, and limbs look cut out and laid on. Under soft light a surface is as bright as
the share of its surroundings that is open (ambient occlusion). Limbs and trunk are capsules here, whose shares have a
closed form (after Quilez, "Sphere occlusion"); drawn is the ratio between the new pose and the photographed one."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..records import Identity
from .model import HalfBody, Posed

# capsules that hide the surroundings: bones at both ends, radius in m; the trunk is two, beside each other
_ARMS = (("upperarm01", "lowerarm01", 0.046), ("lowerarm01", "wrist", 0.034), ("wrist", "finger3-2", 0.036))
_TRUNK = ("spine05", "spine02", 0.105)
_BESIDE = 0.065  # m by which the trunk's capsules lie beside its axis
_ABOVE = 0.45  # how much more the surroundings above count than those below: light comes from above
_DEPTH = 0.75  # of the occlusion that is drawn; the rest is the direct light and what surfaces throw back
_LIMITS = (0.42, 1.0)  # of the factor: nothing brightens, because a photograph's darkness is not always a shadow
_FLAT, _TURNED = 0.70, 0.46  # brightness of an unseen limb's surface that faces away from the usual light, and towards
_LAMP = (0.0, -0.78, 0.63)  # the usual light: in front and above
_BARE = 0.5  # visibility from which a texel counts as seen


class Shadows(NamedTuple):
    """The input of `factors` that is the same for all poses of a person.

    reference: (V,) openness in the photographed pose, 1 where the photograph did not show the vertex.
    unseen: (V,) in 0..1, limbs that the photograph did not show: their texture holds no shading at all."""

    reference: Tensor
    unseen: Tensor


def shadows_of(body: HalfBody, identity: Identity) -> Shadows:
    """Return what is needed to draw the shadows of a person in any pose.

    body: the half body; identity: the person, with the photographed pose and the visibility of the texture."""
    rest = body.rest(identity.shape[None], identity.shell[None])
    posed = body.pose(rest, identity.rotations[None], identity.expression[None])
    seen = (vertex_visibility(body, identity) / _BARE).clamp(0, 1)
    reference = torch.lerp(torch.ones_like(seen), openness(body, posed.vertices, posed)[0], seen)
    limbs = body.vertices_in("arm.L", "arm.R", "hand.L", "hand.R")
    return Shadows(reference, (1 - seen) * limbs)


def vertex_visibility(body: HalfBody, identity: Identity) -> Tensor:
    """Return (V,) in [0, 1]: the mean visibility of the texture where a vertex lies in it."""
    uv = body.uv_in(identity.atlas_layout)
    grid = uv[None, None].to(identity.visibility) * 2 - 1
    seen = F.grid_sample(identity.visibility[None], grid, align_corners=False).flatten()
    total = torch.zeros(2, body.n_vertices, device=seen.device)
    total.index_add_(1, body.render_vertex, torch.stack([seen, torch.ones_like(seen)]))
    return total[0] / total[1].clamp_min(1)


def factors(body: HalfBody, shadows: Shadows, posed: Posed, normals: Tensor) -> Tensor:
    """Return the factors (T, V) on the linear brightness of the texture in T poses.

    body: the half body; shadows: of the person; posed: T poses; normals: (T, V, 3) unit vectors of its vertices."""
    ratio = openness(body, posed.vertices, posed, normals) / shadows.reference
    turned = _FLAT + _TURNED * (normals @ normals.new_tensor(_LAMP)).clamp_min(0)
    return ratio.clamp(*_LIMITS) * torch.lerp(torch.ones_like(turned), turned, shadows.unseen)


def openness(body: HalfBody, vertices: Tensor, posed: Posed, normals: Tensor | None = None) -> Tensor:
    """Return the share (T, V) of their surroundings that vertices see past arms, hands and trunk; 1 for head and neck.

    body: the half body.
    vertices: (T, V, 3) m.
    posed: the bones of the T poses.
    normals: (T, V, 3), if already computed."""
    normals = body.normals(vertices) if normals is None else normals
    share = torch.ones(vertices.shape[:2], device=vertices.device)
    for chosen, start, end, radius in _capsules(body, posed):
        hidden = _hidden(vertices[:, chosen], normals[:, chosen], start, end, radius)
        share[:, chosen] *= (1 - _DEPTH * hidden).prod(1)
    return share


def _capsules(body: HalfBody, posed: Posed) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Return for the trunk, the left and the right arm: their vertices (n,), and the capsules that hide from them, as
    ends (T, C, 3) and radii (C,)."""
    index, bones = body.bone_index, posed.bones
    arms = {
        side: [(bones[:, index[f"{a}.{side}"]], bones[:, index[f"{b}.{side}"]], r) for a, b, r in _ARMS]
        for side in "LR"
    }
    low, high = (bones[:, index[name]] for name in _TRUNK[:2])
    across = posed.rotations[:, index[_TRUNK[1]], :, 0] * _BESIDE
    trunk = [(low + sign * across, high + sign * across, _TRUNK[2]) for sign in (-1, 1)]
    groups = [(("torso", "hips"), arms["L"] + arms["R"])]
    groups += [((f"arm.{a}", f"hand.{a}"), trunk + arms[b][1:]) for a, b in ("LR", "RL")]
    found = []
    for parts, capsules in groups:
        starts, ends, radii = zip(*capsules, strict=True)
        radius = torch.tensor(radii, device=bones.device)
        found.append((body.vertices_in(*parts).nonzero()[:, 0], torch.stack(starts, 1), torch.stack(ends, 1), radius))
    return found


def _hidden(points: Tensor, normals: Tensor, start: Tensor, end: Tensor, radius: Tensor) -> Tensor:
    """Return the share (T, C, n) of the surroundings of points (T, n, 3) that capsules hide.

    normals: (T, n, 3) unit vectors; start, end: (T, C, 3) m; radius: (C,) m."""
    axis = end - start
    length = axis.square().sum(-1).clamp_min(1e-8)  # squared
    # squared distances and scalar products by planes: rows of three numbers take several times as long
    along = (axis @ points.transpose(1, 2) - (axis * start).sum(-1)[..., None]) / length[..., None]
    along = along.clamp_(0, 1)
    toward = square = height = torch.zeros_like(along)
    for c in range(3):
        height = torch.addcmul(start[..., c, None], along, axis[..., c, None]) - points[:, None, :, c]  # at last z
        toward = toward + height * normals[:, None, :, c]
        square = square + height * height
    away = square.clamp_min(1e-8).sqrt()
    facing = (toward / away).clamp(0, 1)
    near = (radius[:, None] / away).clamp(max=1)
    size = near * near.sqrt()  # the power would be 2 for a sphere, 1 for an endless cylinder
    return (facing * size * (1 - _ABOVE + 2 * _ABOVE * (0.5 + 0.5 * height / away))).clamp(0, 1)
