"""The parameters of a fit: translation, joint angles (coupled as in recorded motions), shape, expression, shell.

Every group has a Gaussian prior; `to_rotations` maps the joint angles to a motion's rotations."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...geometry.skeleton import JOINT_INDEX, N_JOINTS, NECK_SHARE, SHOULDER_SHARE
from ..model import HalfBody

DISTANCE = 2.1  # m, assumed distance of the portrait's camera from the face
_BEHIND, _SPREAD = 0.05, 0.15  # m by which the root lies further away, and its spread; people get their size from it
_LOOSE = 1.5  # sigmas of shape and shell where an outline is followed: one, as people differ, wins over cautious points
_TIMID = ("tongueOut", "cheekPuff", "jawForward", "mouthRollLower", "mouthRollUpper", "noseSneerLeft", "noseSneerRight")
_BOLD = ("jawOpen", "mouthSmileLeft", "mouthSmileRight")
_SEEN, _SEEN_SHARE = 0.05, 0.25  # sigma of a coefficient that a network has seen, and its growth with the coefficient
_SIDEWAYS = ("jawLeft", "jawRight", "mouthLeft", "mouthRight")


class Parameters:
    """The layout of a fit's parameter vector (n,): translation, joint angles, shape, expression, shell; and their
    priors.

    body: the half body; hands: fit the fingers as well; n_shell: coefficients of hair and clothes, 0 = none.
    expression: (52,) estimated by a network, the mean of its prior; None: the neutral face."""

    def __init__(self, body: HalfBody, hands: bool, n_shell: int = 0, expression: Tensor | None = None):
        self.device = body.mean.device
        self._mean: list[float] = []
        self._sigma: list[float] = []
        self.slices: dict[str, slice] = {}
        loose = _LOOSE if n_shell else 1.0
        rows: list[tuple[int, int, float]] = []  # (row of the flat rotations, parameter, factor)
        self._add("translation", (0, 0, DISTANCE + _BEHIND), (30, 30, _SPREAD))
        self._add_joints(rows, body, hands)
        self._add("shape", [0] * body.n_shape, [loose] * body.n_shape)
        self._add("expression", *self._expression_prior(body.expression_names, expression))
        self._add("shell", [0] * n_shell, [loose] * n_shell)
        self.mean = torch.tensor(self._mean, dtype=torch.float32, device=self.device)
        self.sigma = torch.tensor(self._sigma, dtype=torch.float32, device=self.device)
        to_rotations = torch.zeros(N_JOINTS * 3, len(self._mean))
        for row, column, factor in rows:
            to_rotations[row, column] = factor
        self.to_rotations = to_rotations.to(self.device)
        self.lower, self.upper = torch.full_like(self.mean, -1e9), torch.full_like(self.mean, 1e9)
        self.lower[self.slices["shape"]], self.upper[self.slices["shape"]] = -3, 3
        self.lower[self.slices["expression"]], self.upper[self.slices["expression"]] = 0, 1
        self.lower[self.slices["shell"]], self.upper[self.slices["shell"]] = -3, 3

    def _add(self, name: str, mean, sigma) -> int:
        start = len(self._mean)
        self.slices[name] = slice(start, start + len(mean))
        self._mean.extend(map(float, mean))
        self._sigma.extend(map(float, sigma))
        return start

    def _add_joints(self, rows: list[tuple[int, int, float]], body: HalfBody, hands: bool) -> None:
        def joint(name: str, shares: dict[str, float], sigma_degrees, mean_degrees=(0, 0, 0)) -> int:
            radians = [[math.radians(v) for v in t] for t in (mean_degrees, sigma_degrees)]
            start = self._add(name, *radians)
            rows.extend((JOINT_INDEX[j] * 3 + k, start + k, share) for j, share in shares.items() for k in range(3))
            return start

        def hinge(name: str, joints: tuple[str, ...], axis: Tensor, sigma_degrees: float) -> None:
            start = self._add(name, [0], [math.radians(sigma_degrees)])
            rows.extend((JOINT_INDEX[j] * 3 + k, start, float(axis[k])) for j in joints for k in range(3))

        joint("root", {"root": 1}, (3, 8, 60))  # people who stand or sit for a portrait hardly lean
        joint("spine", {"spine03": 0.5, "spine01": 0.5}, (3, 10, 15))
        joint("neck", NECK_SHARE, (12, 10, 25))
        joint("head", {"head": 1}, (4, 4, 6))  # by which it departs from the neck
        for side, sign in (("L", 1), ("R", -1)):
            joint(f"clavicle.{side}", {f"clavicle.{side}": 1}, (2, 3, 2))
            start = joint(f"upperarm.{side}", {f"upperarm01.{side}": 1}, (30, 22, 30), (0, 28 * sign, 0))
            rows.append((JOINT_INDEX[f"shoulder01.{side}"] * 3 + 1, start + 1, SHOULDER_SHARE))
            upper, elbow, wrist = (
                body.bone_mean[body.bone_index[f"{n}.{side}"]] for n in ("upperarm01", "lowerarm01", "wrist")
            )
            fore = (wrist - elbow) / (wrist - elbow).norm()
            across = torch.linalg.cross(elbow - upper, fore)
            hinge(f"elbow.{side}", (f"lowerarm01.{side}",), across / across.norm(), 45)
            joint(f"lowerarm.{side}", {f"lowerarm01.{side}": 1}, (4, 4, 4))  # elbows are hinges, nearly
            hinge(f"twist.{side}", (f"lowerarm02.{side}", f"wrist.{side}"), fore, 20)
            joint(f"wrist.{side}", {f"wrist.{side}": 1}, (18, 18, 18))
            for name in [f"finger{f}-{k}.{side}" for f in range(1, 6) for k in range(1, 4)] if hands else []:
                joint(name, {name: 1}, (20, 20, 20))

    @staticmethod
    def _expression_prior(names: Sequence[str], seen: Tensor | None) -> tuple[list[float], list[float]]:
        """Return the prior means and sigmas of the expression coefficients of these names.

        seen: (52,) coefficients estimated by a network, the means; None: the neutral face."""
        free = [Parameters._freedom(n) for n in names]
        if seen is None:
            return [0.0] * len(names), free
        mean = [0.0 if n.startswith("eyeLook") else min(float(v), 0.95) for n, v in zip(names, seen, strict=True)]
        near = [_SEEN + _SEEN_SHARE * m for m in mean]  # a jaw that a network sees shut stays shut
        return mean, [f if n.startswith("eyeLook") else min(f, s) for n, f, s in zip(names, free, near, strict=True)]

    @staticmethod
    def _freedom(name: str) -> float:
        if name in _TIMID:
            return 0.08
        if name in _BOLD:
            return 0.5
        return 0.15 if name.startswith("eyeLook") or name in _SIDEWAYS else 0.25

    def unpack(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Split parameters (n,) into translation (3,), rotations (49, 3), shape (K,) and expression (52,)."""
        part = self.slices
        rotations = (self.to_rotations @ x).view(N_JOINTS, 3)
        return x[part["translation"]], rotations, x[part["shape"]], x[part["expression"]]
