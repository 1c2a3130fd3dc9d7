"""The tables of a `PointModel` for compiled loops: only the weights that are not zero, as lists.

Of a vertex's skinning weights four count, of the joints those above its bones, and most points are three vertices; the
tensor operations of `PointModel` go through all bones and joints instead."""

import numpy as np
import torch
from torch import Tensor

from ...geometry.rotations import left_jacobian
from ...loops.available import Loops, array
from ..model import HalfBody
from .pose_parameters import Parameters


class PointTables:
    """Compute the points of a `PointModel`, and their derivatives, in compiled loops.

    body: the half body.
    parameters: the layout of the parameter vector.
    sources: (row, source, weight), (S,) each: the sorted points and the used vertices, or U + bones, they are sums of.
    mean: (U, 3) used vertices at rest; skin: (U, B) their weights.
    basis: (U * 3, K) of the shape; deltas: (E, U * 3) of the expression; shell: (U * 3, C) of hair and clothes or None.
    below: (B, B), 1 where the bone of the row is that of the column or below it."""

    def __init__(
        self,
        body: HalfBody,
        parameters: Parameters,
        sources: tuple[Tensor, Tensor, Tensor],
        mean: Tensor,
        skin: Tensor,
        basis: Tensor,
        deltas: Tensor,
        shell: Tensor | None,
        below: Tensor,
    ):
        self.body, self.parameters, self.mean, self.basis, self.deltas = body, parameters, mean, basis, deltas
        self.shell, self.used = shell, len(mean)
        row, source, weight = sources
        self.sources = (_ends(row, int(row[-1]) + 1), array(source), array(weight))
        share, bone = skin.topk(int((skin > 0).sum(1).max()), dim=1)
        self.skin = array(bone), array(share)
        joints = body.motion_bones
        bones, above = below[:, joints].nonzero().unbind(1)
        self.above = (_ends(bones, body.n_bones), array(above), array(joints))
        self.order = array(torch.tensor([bone for level in body.levels for bone in level])), array(body.parent)
        moved = deltas.view(len(deltas), -1, 3).permute(1, 2, 0).contiguous()
        clothes = mean.new_zeros(self.used, 3, 0) if shell is None else shell.view(self.used, 3, -1)
        self.linear = (
            array(basis.view(self.used, 3, -1)),
            array(moved),
            array((moved != 0).flatten(1).any(1)),
            array(clothes),
        )
        angle, column = parameters.to_rotations.nonzero().unbind(1)
        factor = parameters.to_rotations[angle, column]
        self.ties = _ends(angle, len(parameters.to_rotations)), array(column), array(factor)
        groups = ("shape", "expression", "shell", "translation")
        self.starts = np.array([parameters.slices[name].start for name in groups], np.int64)

    def _posed(self, fast: Loops, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map parameters (n,) -> rest vertices (U, 3), rest heads (B, 3), world rotations (B, 3, 3), heads (B, 3)."""
        _, rotations, shape, expression = self.parameters.unpack(x)
        flat = self.mean.flatten() + self.basis @ shape + expression @ self.deltas
        if self.shell is not None:
            flat = flat + self.shell @ x[self.parameters.slices["shell"]]
        bones = self.body.bone_mean + self.body.bone_basis @ shape
        world, heads = torch.empty(len(bones), 3, 3), torch.empty(len(bones), 3)
        pose = array(rotations), self.above[2], *self.order, array(bones)
        fast.points.turn(*pose, world.numpy(), heads.numpy())
        return flat.view(-1, 3), bones, world, heads

    def points(self, fast: Loops, x: Tensor) -> Tensor:
        """Map parameters (n,) -> points (N, 3) in world axes, about the hips."""
        vertices, bones, world, heads = self._posed(fast, x)
        out = torch.empty(len(self.sources[0]) - 1, 3)
        pose = array(bones), world.numpy(), heads.numpy()
        fast.points.gathered(self.sources, array(vertices), *self.skin, *pose, out.numpy())
        return out

    def jacobian(self, fast: Loops, x: Tensor) -> Tensor:
        """Map parameters (n,) -> derivatives (N, 3, n) of the points in camera axes."""
        vertices, bones, world, heads = self._posed(fast, x)
        basis = array(self.body.bone_basis)
        lifted = np.empty(basis.shape, np.float32)
        fast.points.moved_heads(*self.order, basis, world.numpy(), lifted)
        joints = self.body.motion_bones
        parents = torch.where((joints == 0)[:, None, None], torch.eye(3), world[self.body.parent[joints]])
        axes = array(parents @ left_jacobian(self.parameters.unpack(x)[1]))
        model = (array(vertices), *self.skin, *self.linear, array(bones), basis, *self.above)
        out = torch.zeros(len(self.sources[0]) - 1, 3, len(x))
        pose = world.numpy(), heads.numpy()
        fast.points.derivatives(self.sources, model, pose, lifted, axes, self.ties, self.starts, out.numpy())
        return out


def _ends(sorted_rows: Tensor, count: int) -> np.ndarray:
    """Return (count + 1,): where the entries of each row begin in a sorted list of rows, and where the last ends."""
    return array(torch.searchsorted(sorted_rows.contiguous(), torch.arange(count + 1)))
