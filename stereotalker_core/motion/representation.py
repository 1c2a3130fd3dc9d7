"""Motion <-> the normalised tensor that the network works on.

A frame is [19 body joints as 6D rotations | a linear basis for the 30 finger joints | 52 expressions], standardised.
Everything but the finger basis is exactly invertible."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.rotations import axis_angle_to_matrix, matrix_from_6d, matrix_to_6d, matrix_to_axis_angle
from ..geometry.skeleton import HAND_JOINTS, MOTION_JOINTS, N_JOINTS
from ..records import Motion
from ..shapes import FPS, N_EXPRESSIONS, dims
from .arkit import MOUTH

N_FINGER_JOINTS = len(HAND_JOINTS["L"]) + len(HAND_JOINTS["R"])  # 30, the last joints of MOTION_JOINTS
N_BODY_JOINTS = N_JOINTS - N_FINGER_JOINTS  # 19
_FINGER_VALUES = 3 * N_FINGER_JOINTS



def smooth_time(x: Tensor, sigma: float) -> Tensor:
    """Smooth values (T, ...) over the first axis by a Gaussian of `sigma` frames; the ends are repeated."""
    if sigma <= 0:
        return x
    kernel = gaussian(sigma).to(x)
    radius = len(kernel) // 2
    flat = x.reshape(len(x), -1)
    padded = torch.cat([flat[:1].expand(radius, -1), flat, flat[-1:].expand(radius, -1)])
    return F.conv1d(padded.T[:, None], kernel[None, None])[:, 0].T.reshape(x.shape)


def gaussian(sigma: float) -> Tensor:
    """Return the weights (2 r + 1,) of a Gaussian filter, r = 3 sigma frames; they sum to one."""
    radius = max(1, round(3 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    return kernel / kernel.sum()


class MotionCodec(nn.Module):
    """The conversion of a motion to (B, T, D) and back, as buffers; part of the denoiser, so of its checkpoint."""

    mean: Tensor
    std: Tensor
    finger_mean: Tensor
    finger_basis: Tensor

    @dataclass(frozen=True)
    class Config:
        fingers: int = 16  # numbers that describe both hands

        def __post_init__(self) -> None:
            if not 1 <= self.fingers <= _FINGER_VALUES:
                raise ValueError(f"fingers must be 1..{_FINGER_VALUES}, got {self.fingers}")

        @property
        def width(self) -> int:
            return 6 * N_BODY_JOINTS + self.fingers + N_EXPRESSIONS

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = config or self.Config()
        width, fingers = self.config.width, self.config.fingers
        rest = matrix_to_6d(torch.eye(3)).repeat(N_BODY_JOINTS)
        self.register_buffer("mean", torch.cat([rest, torch.zeros(width - len(rest))]))  # (D,)
        self.register_buffer("std", torch.ones(width))  # (D,)
        self.register_buffer("finger_mean", torch.zeros(_FINGER_VALUES))
        self.register_buffer("finger_basis", torch.eye(_FINGER_VALUES)[:fingers].clone())  # (K, 90), orthonormal rows

    @property
    def width(self) -> int:
        return self.config.width

    def slices(self) -> dict[str, slice]:
        """Return the slices of body, fingers and expression in the last axis."""
        body, fingers = 6 * N_BODY_JOINTS, self.config.fingers
        return {
            "body": slice(0, body),
            "fingers": slice(body, body + fingers),
            "expression": slice(body + fingers, self.width),
        }

    def mouth_channels(self) -> list[int]:
        """Return the channels of the jaw, lip and tongue coefficients."""
        start = self.slices()["expression"].start
        return [start + i for i in MOUTH]

    def encode(self, rotations: Tensor, expression: Tensor) -> Tensor:
        """Map axis-angles (..., 49, 3) and coefficients (..., 52) -> normalised motion (..., D)."""
        body = matrix_to_6d(axis_angle_to_matrix(rotations[..., :N_BODY_JOINTS, :])).flatten(-2)
        fingers = (rotations[..., N_BODY_JOINTS:, :].flatten(-2) - self.finger_mean) @ self.finger_basis.T
        return (torch.cat([body, fingers, expression], -1) - self.mean) / self.std

    def decode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map normalised motion (..., D) -> rotations (..., 49, 3) and expression (..., 52), clamped to [0, 1]."""
        x = x * self.std + self.mean
        parts = {name: x[..., where] for name, where in self.slices().items()}
        body = matrix_to_axis_angle(matrix_from_6d(parts["body"].unflatten(-1, (N_BODY_JOINTS, 6))))
        fingers = (parts["fingers"] @ self.finger_basis + self.finger_mean).unflatten(-1, (N_FINGER_JOINTS, 3))
        return torch.cat([body, fingers], -2), parts["expression"].clamp(0, 1)

    def encode_motion(self, motion: Motion) -> Tensor:
        """Map a motion of T frames -> normalised (T, D)."""
        return self.encode(motion.rotations, motion.expression)

    def decode_motion(self, x: Tensor, fps: float = FPS) -> Motion:
        """Map normalised (T, D) -> Motion."""
        dims(x, "T D", D=self.width)
        return Motion(*self.decode(x), fps)

    def expression(self, x: Tensor) -> Tensor:
        """Map normalised motion (..., D) -> coefficients (..., 52), not clamped (for losses)."""
        where = self.slices()["expression"]
        return x[..., where] * self.std[where] + self.mean[where]

    @torch.no_grad()
    def fit(self, rotations: Tensor, expression: Tensor, floor: float = 0.02) -> "MotionCodec":
        """Set finger basis, mean and deviation from frames (N, 49, 3) and (N, 52); deviations below `floor` are raised
        to it."""
        n = dims(rotations, f"N {N_JOINTS} 3")["N"]
        dims(expression, f"N {N_EXPRESSIONS}", N=n)
        if n < 2:
            raise ValueError(f"at least 2 frames are needed to measure a spread, got {n}")
        fingers = rotations[:, N_BODY_JOINTS:].flatten(1)
        self.finger_mean.copy_(fingers.mean(0))
        covariance = torch.cov((fingers - self.finger_mean).double().T)
        self.finger_basis.copy_(torch.linalg.eigh(covariance)[1].flip(1).T[: self.config.fingers])
        self.mean.zero_()
        self.std.fill_(1)
        x = self.encode(rotations, expression)
        self.mean.copy_(x.mean(0))
        self.std.copy_(x.std(0).clamp_min(floor))
        return self


assert MOTION_JOINTS[N_BODY_JOINTS].startswith("finger"), "fingers are the last joints"
