"""Some points of the body (keypoints, then vertices) as a function of a fit's parameters, with their derivatives.

A fit needs a few hundred points of 11,138 vertices, and their Jacobian dozens of times. The derivatives are analytic: a
rotation of joint j by omega moves a dependent point x by omega x (x - head of j), and shape, expression and shell are
linear before skinning. The tests compare with `jacfwd` of `PointModel.__call__`, which is ten times slower."""

import torch
from torch import Tensor

from ...geometry.rotations import left_jacobian
from ...loops.available import loops_for
from ..model import HalfBody
from ..shell_prior import ShellPrior
from .point_tables import PointTables
from .pose_parameters import Parameters


def camera_axes(like: Tensor) -> Tensor:
    """Return (3, 3), whose rows are the axes of a camera in front of the person (x right, y down, z forward).

    like: gives dtype and device."""
    return like.new_tensor([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])


class PointModel:
    """Compute some points of the body in camera space, as a function of the parameters of a fit.

    body: the half body.
    parameters: the layout of the parameter vector x (n,).
    names: keypoints of the body, or "mesh.0".."mesh.467" of the face mesh.
    vertices: (M,) indices of vertices that follow the keypoints in the output.
    prior: the usual shape of hair and clothes, or None; it moves vertices along the normals of the mean body, an
        approximation that is good enough to find the coefficients."""

    def __init__(
        self,
        body: HalfBody,
        parameters: Parameters,
        names: tuple[str, ...],
        vertices: Tensor,
        prior: ShellPrior | None = None,
    ):
        self.body, self.parameters, self.n = body, parameters, len(names) + len(vertices)
        # a point is a weighted sum of vertices and bone heads; all their sources lie end to end, row says whose
        rows = [body.point_row(name) for name in names]
        source = torch.cat([*(row[0] for row in rows), vertices])
        self.weight = torch.cat([*(row[1] for row in rows), torch.ones_like(vertices, dtype=torch.float32)])
        lengths = torch.tensor([len(row[0]) for row in rows] + [1] * len(vertices), device=source.device)
        self.row = torch.repeat_interleave(torch.arange(self.n, device=source.device), lengths)
        # keep only the vertices that are used: source counts them first, then the bones
        is_vertex = source < body.n_vertices
        used, inverse = torch.unique(source[is_vertex], return_inverse=True)
        self.source = torch.where(is_vertex, torch.zeros_like(source), len(used) + source - body.n_vertices)
        self.source[is_vertex] = inverse
        self.mean, self.skin = body.mean[used], body.skin_weights[used]
        normal = body.normals(body.mean[None])[0][used]
        self.shell_basis: Tensor | None = None
        if prior is not None:
            self.mean = self.mean + normal * prior.mean[used, None]
            self.shell_basis = (normal[:, :, None] * prior.basis[used, None]).flatten(0, 1)
        self.basis = body.basis.view(body.n_vertices, 3, -1)[used].flatten(0, 1)
        # the expression moves few vertices: slot finds them among the used ones
        slot = torch.full((body.n_vertices,), -1, device=used.device)
        slot[body.expression_vertices] = torch.arange(len(body.expression_vertices), device=used.device)
        moved = slot[used]
        deltas = body.expression_deltas.view(len(body.expression_names), -1, 3)[:, moved.clamp_min(0)]
        self.deltas = (deltas * (moved >= 0)[:, None]).flatten(1)
        self.below = _descendants(body)
        self.tables: PointTables | None = None
        if loops_for(self.mean) is not None and self.n:
            sources = self.row, self.source, self.weight
            linear = self.mean, self.skin, self.basis, self.deltas, self.shell_basis
            self.tables = PointTables(body, parameters, sources, *linear, self.below)

    def _posed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map parameters (n,) -> rest vertices (U, 3), rest heads (B, 3), world rotations (B, 3, 3), posed heads (B,
        3)."""
        body = self.body
        _, rotations, shape, expression = self.parameters.unpack(x)
        flat = self.mean.flatten() + self.basis @ shape + expression @ self.deltas
        if self.shell_basis is not None:
            flat = flat + self.shell_basis @ x[self.parameters.slices["shell"]]
        bones = body.bone_mean + body.bone_basis @ shape
        world, heads = body.forward_kinematics(body.bone_rotations(rotations[None]), bones[None])
        return flat.view(-1, 3), bones, world[0], heads[0]

    def _gathered(self, values: Tensor) -> Tensor:
        """Map values (U + B, ...) of the used vertices and bone heads -> (N, ...) of the points, by the points'
        weights."""
        picked = values.index_select(0, self.source) * self.weight.view(-1, *[1] * (values.ndim - 1))
        return values.new_zeros(self.n, *values.shape[1:]).index_add(0, self.row, picked)

    def __call__(self, x: Tensor) -> Tensor:
        """Map parameters (n,) -> camera-space points (N, 3)."""
        if self.tables is not None and (fast := loops_for(x)) is not None:
            points = self.tables.points(fast, x)
            return points @ camera_axes(points).T + x[self.parameters.slices["translation"]]
        vertices, bones, world, heads = self._posed(x)
        shift = heads - (world @ bones[..., None])[..., 0]
        blended = (self.skin @ torch.cat([world, shift[..., None]], -1).flatten(1)).view(-1, 3, 4)
        posed = (blended[..., :3] * vertices[:, None, :]).sum(-1) + blended[..., 3]
        points = self._gathered(torch.cat([posed, heads]))
        return points @ camera_axes(points).T + x[self.parameters.slices["translation"]]

    def jacobian(self, x: Tensor) -> Tensor:
        """Map parameters (n,) -> derivatives (N, 3, n) of `__call__`."""
        if self.tables is not None and (fast := loops_for(x)) is not None:
            return self.tables.jacobian(fast, x)
        part = self.parameters.slices
        vertices, bones, world, heads = self._posed(x)
        blended = (self.skin @ world.flatten(1)).view(-1, 3, 3)  # of every used vertex
        moves = x.new_zeros(len(vertices) + len(heads), 3, len(x))
        shaped, lifted = self._by_shape(world)
        u = len(vertices)
        moves[:u, :, part["shape"]] = blended @ self.basis.view(u, 3, -1) + (self.skin @ shaped.flatten(1)).view(
            u, 3, -1
        )
        moves[u:, :, part["shape"]] = lifted
        moves[:u, :, part["expression"]] = blended @ self.deltas.view(-1, u, 3).permute(1, 2, 0)
        if self.shell_basis is not None:
            moves[:u, :, part["shell"]] = blended @ self.shell_basis.view(u, 3, -1)
        by_angle = self._by_rotation(x, vertices, bones, world, heads)  # (U + B, 3, 147)
        moves += (by_angle.flatten(0, 1) @ self.parameters.to_rotations).view_as(moves)
        out = camera_axes(x) @ self._gathered(moves)
        out[:, :, part["translation"]] += torch.eye(3, device=x.device)
        return out

    def _by_shape(self, world: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivatives with respect to the K shape coefficients, each (B, 3, K): of the bones' translations
        (head - world rotation @ head at rest), and of the bones' heads.

        world: (B, 3, 3) rotations of the bones."""
        body = self.body
        rest = body.bone_basis
        step = rest - rest[body.parent]
        heads = [rest[i] for i in range(len(rest))]
        for level in body.levels[1:]:
            for bone in level:
                parent = int(body.parent[bone])
                heads[bone] = heads[parent] + world[parent] @ step[bone]
        lifted = torch.stack(heads)
        return lifted - world @ rest, lifted

    def _by_rotation(self, x: Tensor, vertices: Tensor, bones: Tensor, world: Tensor, heads: Tensor) -> Tensor:
        """Return the derivatives (U + B, 3, J * 3) of the used vertices and heads with respect to the joints'
        axis-angles.

        x: (n,) parameters.
        vertices, bones: (U, 3) used vertices and (B, 3) bone heads at rest.
        world, heads: (B, 3, 3) rotations and (B, 3) heads of the posed bones."""
        body = self.body
        theta = self.parameters.unpack(x)[1]
        # (U, B, 3): where every bone alone would carry the vertex
        places = torch.einsum("bij,ubj->ubi", world, vertices[:, None] - bones) + heads
        joints = body.motion_bones
        below = self.below[:, joints]  # (B, J)
        share = torch.cat([self.skin @ below, below])  # (U + B, J): how much of a point hangs on the joint
        carried = torch.einsum("ub,ubk,bj->ujk", self.skin, places, below)
        carried = torch.cat([carried, below[..., None] * heads[:, None]])
        arm = carried - share[..., None] * heads[joints]  # (U + B, J, 3)
        parents = torch.where((joints == 0)[:, None, None], torch.eye(3, device=x.device), world[body.parent[joints]])
        a, b, c = (parents @ left_jacobian(theta)).unbind(1)  # (J, k) each: the axis of the joint's k-th angle
        x, y, z = (v[..., None] for v in arm.unbind(-1))  # (U + B, J, 1) each
        return torch.stack([b * z - c * y, c * x - a * z, a * y - b * x], 1).flatten(2)


def _descendants(body: HalfBody) -> Tensor:
    """Return (B, B): 1 where the bone of the row is the bone of the column or a descendant of it."""
    below = torch.eye(body.n_bones, device=body.mean.device)
    for level in body.levels[1:]:
        for bone in level:
            below[bone] += below[int(body.parent[bone])]
    return below.clamp(max=1)
