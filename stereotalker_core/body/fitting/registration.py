"""The last millimetres of a face: the fitted body's surface is moved onto the points detected in the photograph.

A body model with 64 shape coefficients leaves lids, lips and brows off by one to three pixels: enough to put a
photographed eye on a lid. The surface follows the points exactly; between and beyond them a Gaussian process
interpolates (Rasmussen and Williams 2006, chapter 2; Matern 3/2 kernel: smooth, and zero away from the points)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ...geometry.projection import project
from ..face_mesh import EYE_CONTOURS, FACE_OUTLINE, LIPS
from ..model import HalfBody, Posed
from .fit_pose import PoseFit
from .fit_shell import Contour, outer_contour

_REACH = 0.022  # m, length of the kernel: about a lid to a brow
_LARGEST = 0.005  # m, standard deviation of what the model leaves over
_JAW_APART = 0.012  # m by which the lower lip counts as away from the upper one, which it touches
_FINE, _COARSE, _OUTLINE = 0.0001, 0.0006, 0.003  # m, uncertainty of points of lids and lips, of others, of the outline
_OUTLINE_REACH, _OUTLINE_LARGEST = 0.05, 0.03  # m, kernel of what the outline moves
_EDGE = 0.004  # m, uncertainty of a mask's edge
# m; an edge further off skin is hair, off an arm it is another limb
_SKIN_REACH, _ARM_REACH, _BODY_REACH, _HAIR_REACH = 0.01, 0.02, 0.04, 0.15
_ASIDE = 0.25  # cosine between surface and camera below which a point tells nothing
_CLEAR = 0.0004  # m between eyeball and lids
_FOLDED = 0.5  # share of the way to the eye's centre that template lashes are pulled in: the photograph shows its own
_INNER_MOUTH = ("mouth", "tongue", "teeth.up", "teeth.low")


def register_face(body: HalfBody, fit: PoseFit, mesh: Tensor, shell: Tensor | None = None) -> Tensor:
    """Move the face's surface onto the points of the face that were detected in the picture.

    body: the half body.
    fit: shape, pose, expression and camera of the picture.
    mesh: (468, 2) pixels of MediaPipe's face mesh; NaN where a point is unknown.
    shell: (V,) m along the normals, the thickness of hair and clothes in this fit.

    Returns offsets (V, 3) in metres in the rest pose, to be added to the shell's. Nothing moves in depth."""
    posed = fit.posed(body, shell)
    rest = body.mean
    points = (rest[body.mesh_vertices] * body.mesh_weights[..., None]).sum(1)
    moves, facing = _wanted(body, fit, posed, mesh)
    seen = (facing > _ASIDE) & torch.isfinite(moves).all(1)
    if int(seen.sum()) < 60:
        return torch.zeros_like(rest)
    sigma = torch.full_like(facing, _COARSE)
    sigma[[*EYE_CONTOURS["L"], *EYE_CONTOURS["R"], *LIPS]] = _FINE
    sigma[list(FACE_OUTLINE)] = _OUTLINE
    sigma = sigma / facing.clamp(_ASIDE, 1)
    known, values, noise = points[seen], moves[seen], sigma[seen]
    jaw = _jaw_share(body)
    depth = (jaw[body.mesh_vertices] * body.mesh_weights).sum(1)[seen] * _JAW_APART
    if float(seen.float().mean()) < 0.9:  # a turned head: the hidden side does as the seen one
        flip = known.new_tensor([-1.0, 1, 1])
        known, values = torch.cat([known, known * flip]), torch.cat([values, values * flip])
        noise, depth = torch.cat([noise, noise + 0.003]), torch.cat([depth, depth])
    gram = _kernel(known, known, depth, depth) + torch.diag(noise.square())
    weight = torch.linalg.solve(gram.double(), values.double()).to(values.dtype)
    near = (torch.cdist(rest, known).amin(1) < 5 * _REACH).nonzero().squeeze(1)
    field = torch.zeros_like(rest)
    field[near] = _kernel(rest[near], known, jaw[near] * _JAW_APART, depth) @ weight
    return _with_eyes_and_mouth(body, field)


def _wanted(body: HalfBody, fit: PoseFit, posed: Posed, mesh: Tensor) -> tuple[Tensor, Tensor]:
    """Return the displacements that bring the fitted mesh points onto the detected ones, and how frontal they are.

    mesh: (468, 2) detected points in px. Returns displacements (468, 3), m in the rest pose, parallel to the picture,
    and cosines (468,) between the normals and the direction to the camera."""
    rows, weights = body.mesh_vertices, body.mesh_weights[..., None]
    at = (posed.vertices[0][rows] * weights).sum(1)
    normal = F.normalize((body.normals(posed.vertices)[0][rows] * weights).sum(1), dim=1)
    pixel = project(at[None], fit.world_to_camera[None], fit.intrinsics)[0]
    rotation = fit.world_to_camera[:3, :3]
    ray = F.normalize(at @ rotation.T + fit.world_to_camera[:3, 3], dim=1) @ rotation
    across = (mesh - pixel[:, :2]) * pixel[:, 2:] / fit.intrinsics[0, 0]
    move = F.pad(across, (0, 1)) @ rotation  # metres in the world, parallel to the picture
    head = posed.rotations[0, body.bone_index["head"]]
    return move @ head, -(normal * ray).sum(1)


def _jaw_share(body: HalfBody) -> Tensor:
    """Return (V,) in [0, 1]: how far a vertex moves with the lower jaw."""
    delta = body.expression_deltas.view(len(body.expression_names), -1, 3)[body.expression_index["jawOpen"]].norm(dim=1)
    share = body.mean.new_zeros(body.n_vertices).index_copy(0, body.expression_vertices, delta)
    return (share / share.max().clamp_min(1e-9)).clamp(0, 1)


def _kernel(a: Tensor, b: Tensor, a_jaw: Tensor, b_jaw: Tensor) -> Tensor:
    """Return the Matern 3/2 covariances (A, B) in square metres of points a (A, 3) and b (B, 3).

    a_jaw, b_jaw: (A,), (B,) a fourth coordinate that separates the lower jaw from the upper face."""
    one, other = (torch.cat([points, jaw[:, None]], 1) for points, jaw in ((a, a_jaw), (b, b_jaw)))
    return _LARGEST**2 * _matern(one, other, _REACH)


def _with_eyes_and_mouth(body: HalfBody, field: Tensor) -> Tensor:
    """Return offsets `field` (V, 3) m changed so that eyeballs, teeth and the inside of the mouth move rigidly, and
    lids stay in front of the eyes."""
    field = field.clone()
    vertex_part = body.vertex_part
    at_mesh = (field[body.mesh_vertices] * body.mesh_weights[..., None]).sum(1)
    inner = body.vertices_in(*_INNER_MOUTH)
    field[inner] = at_mesh[list(LIPS)].mean(0)
    for side, contour in EYE_CONTOURS.items():
        eye = vertex_part == body.part_index[f"eye.{side}"]
        move = at_mesh[list(contour)].mean(0)
        field[eye] = move
        centre = body.bone_mean[body.bone_index[f"eye.{side}"]] + move
        radius = (body.mean[eye] + move - centre).norm(dim=1).median() + _CLEAR
        own = (body.mean[:, 0] > 0) == (side == "L")
        lashes = (vertex_part == body.part_index["lashes"]) & own
        away = body.mean + field - centre
        length = away.norm(dim=1)
        lids = (vertex_part != body.part_index[f"eye.{side}"]) & ~inner & (length < radius) & own
        field[lids] += (away * (radius / length.clamp_min(1e-6) - 1)[:, None])[lids]
        field[lashes] -= _FOLDED * away[lashes]
    return field


def register_outline(
    body: HalfBody, fit: PoseFit, offsets: Tensor, mask: Tensor, intrinsics: Tensor, rounds: int = 3
) -> Tensor:
    """Move the silhouette the last bit to the mask's edge, the left and the right side independently.

    body: the half body.
    fit: shape, pose, expression and camera of the picture.
    offsets: (V, 3) m in the rest pose: the shell and the registered face.
    mask: (1, h, w) in [0, 1] of the person.
    intrinsics: (3, 3) of the camera in the mask's pixels.
    rounds: how often the edge is searched for.

    Returns new offsets (V, 3). The symmetric shell gives the volume; this adds what is asymmetric: a parting, a collar,
    one raised shoulder."""
    rest = body.mean
    fixed = body.vertices_in("hand.L", "hand.R", "eye.L", "eye.R", "lashes", *_INNER_MOUTH)
    reach = torch.full_like(rest[:, 0], _BODY_REACH)
    reach[body.vertices_in("scalp", "neck")] = _HAIR_REACH
    reach[body.vertices_in("arm.L", "arm.R")] = _ARM_REACH
    reach[body.vertices_in("face", "lips", "eyesocket")] = _SKIN_REACH
    for _ in range(rounds):
        posed = fit.posed(body, offsets)
        contour = outer_contour(body, posed, fit.world_to_camera, intrinsics, mask)
        # the drawn edge moves to the mask's, not every vertex near it: else the rim swells with every round
        metres = (contour.gap - contour.inset) * contour.metre
        use = contour.found & ~fixed[contour.vertices] & (metres.abs() < reach[contour.vertices])
        if int(use.sum()) < 8:
            return offsets
        offsets = offsets + spread_moves(body, fit, posed, contour, metres, use, fixed)
    return offsets


def spread_moves(
    body: HalfBody,
    fit: PoseFit,
    posed: Posed,
    contour: Contour,
    metres: Tensor,
    use: Tensor,
    fixed: Tensor,
) -> Tensor:
    """Spread the wanted displacements of silhouette vertices smoothly over their surroundings.

    body: the half body.
    fit: gives the camera.
    posed: the body as the picture shows it; displacements are rotated from this pose back to the rest pose.
    contour: the M vertices of `posed` on its silhouette.
    metres: (M,) how far these vertices should move along their normals.
    use: (M,) bool, the vertices of the contour whose displacement counts.
    fixed: (V,) bool, vertices of the body that stay.

    Returns offsets (V, 3), m in the rest pose."""
    rest = body.mean
    still = (rest[body.mesh_vertices] * body.mesh_weights[..., None]).sum(1)[::4]
    chosen = contour.vertices[use]
    across = F.pad(contour.normal[use] * metres[use, None], (0, 1)) @ fit.world_to_camera[:3, :3]
    turned = (body.skin_weights[chosen] @ posed.rotations[0].flatten(1)).view(-1, 3, 3)
    moves = (across[:, None] @ turned)[:, 0]  # back into the rest pose
    known = torch.cat([rest[chosen], still])
    values = torch.cat([moves, torch.zeros_like(still)])
    noise = torch.cat([torch.full_like(metres[use], _EDGE), torch.full_like(still[:, 0], _EDGE / 2)])
    gram = _matern(known, known, _OUTLINE_REACH) + torch.diag((noise / _OUTLINE_LARGEST).square())
    weight = torch.linalg.solve(gram.double(), values.double()).to(values.dtype)
    field = _matern(rest, known, _OUTLINE_REACH) @ weight
    return torch.where(fixed[:, None], torch.zeros_like(field), field)


def _matern(a: Tensor, b: Tensor, reach: float) -> Tensor:
    """Return the Matern 3/2 correlations (A, B) of points a (A, D) and b (B, D); reach: the length scale."""
    distance = torch.cdist(a, b).mul_(math.sqrt(3) / reach)
    faded = torch.neg(distance).exp_()  # in place: every new table of this size costs more than its exponentials
    return distance.add_(1).mul_(faded)
