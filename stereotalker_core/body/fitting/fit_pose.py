"""Shape, pose, expression and camera from 2D keypoints: Levenberg-Marquardt on a model of the keypoints only.

The focal length is not observable from one portrait, so the distance is assumed (2.1 m, between a selfie and a studio
lens), and the focal length follows from the size of the face. The fit therefore does not depend on the picture's crop.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...perception.keypoints import Keypoints
from ..model import HalfBody, Posed
from ..shell_prior import ShellPrior
from .point_model import PointModel, camera_axes
from .pose_parameters import DISTANCE, Parameters

_ROBUST = 3.0  # residuals beyond this many sigmas count as outliers
_LEVEL = (("body.right_shoulder", "body.left_shoulder"), ("iris.R", "iris.L"))  # lines that are level in most pictures
_TILTED = 0.2  # radians from which a line counts as tilted


@dataclass(frozen=True)
class PoseFit:
    """The result of a pose fit.

    shape: (K,) coefficients; rotations: (49, 3) axis-angle; expression: (52,) coefficients.
    world_to_camera: (4, 4) and intrinsics: (3, 3) px, the portrait's camera.
    vector: these parameters as one vector (n,), see `Parameters`, from which a later fit continues.
    error: (N,) px, distance of each keypoint from the fitted one.
    coefficients, shell: (S,) of the `ShellPrior` and (V,) m, the thickness of hair and clothes that explains the
        silhouette best; None where no silhouette was fitted."""

    shape: Tensor
    rotations: Tensor
    expression: Tensor
    world_to_camera: Tensor
    intrinsics: Tensor
    vector: Tensor
    error: Tensor
    coefficients: Tensor | None = None
    shell: Tensor | None = None

    def posed(self, body: HalfBody, shell: Tensor | None = None) -> Posed:
        """Return the body in the portrait's pose (batch 1), wearing the shell (V,) in metres."""
        rest = body.rest(self.shape[None], None if shell is None else shell[None])
        return body.pose(rest, self.rotations[None], self.expression[None])


@dataclass(frozen=True)
class Pull:
    """The vertices (M,) to be pulled to lines in the image: normal (M, 2) . (pixel - target (M, 2)) = 0, with standard
    deviation sigma (M,) px."""

    vertices: Tensor
    target: Tensor
    normal: Tensor
    sigma: Tensor


@dataclass(frozen=True)
class Depth:
    """The vertices (M,) that must not lie further from the camera than limit (M,) m, with standard deviation sigma (M,)
    m."""

    vertices: Tensor
    limit: Tensor
    sigma: Tensor


def fit_pose(
    body: HalfBody,
    keypoints: Keypoints,
    size: tuple[int, int],
    start: PoseFit | None = None,
    pull: Pull | None = None,
    iterations: tuple[int, int] = (8, 20),
    hold: tuple[str, ...] = (),
    prior: ShellPrior | None = None,
    expression: Tensor | None = None,
    depth: Depth | None = None,
) -> PoseFit:
    """Fit the body to keypoints by Levenberg-Marquardt.

    body: the half body.
    keypoints: points in pixels of the image, with their sigmas.
    size: (H, W) of the image.
    start: the fit to continue from; None begins anew.
    pull: vertices to be pulled to the mask's edge (silhouette terms).
    iterations: at most this many for pose and coarse shape, then for all parameters.
    hold: groups of parameters that stay as in `start`, for example ("shape",) in the frames of a video.
    prior: the usual shape of hair and clothes; if given, they are fitted too, from the silhouette terms.
    expression: (52,) coefficients estimated by a network; the fit stays near them. None: near the neutral face.
    depth: vertices that must not lie too far from the camera."""
    with torch.inference_mode(False), torch.no_grad():
        return _fit_pose(body, keypoints, size, start, pull, iterations, hold, prior, expression, depth)


def _fit_pose(
    body: HalfBody,
    keypoints: Keypoints,
    size: tuple[int, int],
    start: PoseFit | None,
    pull: Pull | None,
    iterations: tuple[int, int],
    hold: tuple[str, ...],
    prior: ShellPrior | None,
    expression: Tensor | None,
    depth: Depth | None,
) -> PoseFit:
    hands, n_shell = any(n.startswith("hand.") for n in keypoints.names), 0 if prior is None else prior.basis.shape[1]
    parameters = Parameters(body, hands, n_shell, expression)
    if start is not None and len(start.vector) != parameters.slices["shell"].start:
        # the start has fingers and these keypoints lack them, or vice versa
        parameters = Parameters(body, not hands, n_shell, expression)
    device = body.mean.device
    keypoints = keypoints.to(device)
    none = torch.zeros(0, dtype=torch.long, device=device)
    vertices = torch.cat([none if term is None else term.vertices for term in (pull, depth)])
    model = PointModel(body, parameters, keypoints.names, vertices, prior)
    centre = torch.tensor([size[1] / 2, size[0] / 2], device=device)
    if start is None:
        x, focal = _initial(model, parameters, keypoints, centre)
    else:
        coefficients = start.vector.new_zeros(n_shell) if start.coefficients is None else start.coefficients[:n_shell]
        x, focal = torch.cat([start.vector, coefficients]), float(start.intrinsics[0, 0])
    problem = _Problem(model, keypoints, pull, depth, focal, centre)
    pose_first = torch.ones_like(x, dtype=torch.bool)  # pose and the largest shape components before the details
    pose_first[parameters.slices["expression"]] = False
    pose_first[parameters.slices["shape"].start + 12 : parameters.slices["shape"].stop] = False
    if start is None:
        x = _minimise(problem, x, parameters, pose_first, iterations[0])
    free = torch.ones_like(pose_first)
    for name in hold:
        free[parameters.slices[name]] = False
    x = _minimise(problem, x, parameters, free, iterations[1])
    error = problem.residual(x)[: len(keypoints)].norm(dim=1) * keypoints.sigma
    return _result(parameters, x, focal, centre, error, prior)


class _Problem:
    """The least-squares problem of a fit: residuals (N, 2) in units of sigma, as a function of the parameters (n,).

    model: gives points as a function of the parameters.
    keypoints: each gives one row of residuals, its errors in x and y.
    pull: each of its vertices gives a row: the distance along the normal, then 0; None for no vertices.
    depth: each of its vertices gives a row: the depth beyond the limit, then 0; None for no vertices.
    focal, centre: the camera's focal length and principal point (2,), px."""

    def __init__(
        self,
        model: PointModel,
        keypoints: Keypoints,
        pull: Pull | None,
        depth: Depth | None,
        focal: float,
        centre: Tensor,
    ):
        self.model, self.depth, self.focal, self.centre = model, depth, focal, centre
        target, rows = keypoints.xy, torch.eye(2, device=centre.device) / keypoints.sigma[:, None, None]
        if pull is not None:
            along = pull.normal / pull.sigma[:, None]
            target = torch.cat([target, pull.target])
            rows = torch.cat([rows, torch.stack([along, torch.zeros_like(along)], 1)])
        self.target, self.rows = target, rows  # (N, 2), (N, 2, 2): pixels to sigmas

    def residual(self, x: Tensor) -> Tensor:
        """Map parameters (n,) -> residuals (N, 2)."""
        points = self.model(x)
        seen, held = points[: len(self.target)], points[len(self.target) :, 2]
        pixel = seen[:, :2] / seen[:, 2:].clamp_min(0.1) * self.focal + self.centre
        found = (self.rows @ (pixel - self.target)[..., None])[..., 0]
        if self.depth is None:
            return found
        behind = (held - self.depth.limit).clamp_min(0) / self.depth.sigma
        return torch.cat([found, F.pad(behind[:, None], (0, 1))])

    def jacobian(self, x: Tensor) -> Tensor:
        """Map parameters (n,) -> derivatives of the residuals (N, 2, n)."""
        points, moves = self.model(x), self.model.jacobian(x)
        n = len(self.target)
        depth = points[:n, 2:].clamp_min(0.1)
        pixel = (moves[:n, :2] - (points[:n, :2] / depth)[..., None] * moves[:n, 2:]) * (self.focal / depth)[..., None]
        found = self.rows @ pixel
        if self.depth is None:
            return found
        behind = (points[n:, 2] > self.depth.limit) / self.depth.sigma
        return torch.cat([found, F.pad(moves[n:, 2:] * behind[:, None, None], (0, 0, 0, 1))])


def _initial(model: PointModel, parameters: Parameters, keypoints: Keypoints, centre: Tensor) -> tuple[Tensor, float]:
    """Return the initial parameters (n,) and focal length (px), from a 2D similarity of the mean face to the face
    points.

    model: gives points as a function of the parameters.
    parameters: their layout and prior means.
    keypoints: the points to fit.
    centre: (2,) px, the middle of the picture."""
    face = [
        i
        for i, n in enumerate(keypoints.names)
        if n.startswith(("face.", "mesh.", "iris.")) or n.endswith(("eye", "nose"))
    ]
    x = parameters.mean.clone()
    x[parameters.slices["translation"]] = 0
    shoulders, eyes = (_tilt(keypoints, *pair) for pair in _LEVEL)
    x[parameters.slices["root"].start + 1] = shoulders or 0.0
    x[parameters.slices["neck"].start + 1] = (eyes or 0.0) - (shoulders or 0.0)
    points, pixels = model(x)[face], keypoints.xy[face]
    here, there = points[:, :2] - points[:, :2].mean(0), pixels - pixels.mean(0)
    scale = float(there.square().sum().sqrt() / here.square().sum().sqrt().clamp_min(1e-6))  # pixels per metre
    offset = (pixels.mean(0) - centre) / scale - points[:, :2].mean(0)
    x[parameters.slices["translation"]] = torch.cat([offset, (DISTANCE - points[:, 2].mean())[None]])
    return x, DISTANCE * scale


def _tilt(keypoints: Keypoints, right: str, left: str) -> float | None:
    """Return the angle (radians) by which the line from the right to the left point slopes down.

    None where a point is missing or the angle is negligible."""
    if right not in keypoints or left not in keypoints:
        return None
    x, y = (keypoints.point(left) - keypoints.point(right)).tolist()
    angle = math.atan2(y, x)
    return angle if _TILTED < abs(angle) < math.pi / 2 else None


def _minimise(problem: _Problem, x: Tensor, parameters: Parameters, active: Tensor, iterations: int) -> Tensor:
    """Minimise by Levenberg-Marquardt with log-robust weights and the Gaussian priors, within the parameters' limits.

    problem: the residuals.
    x: (n,) start.
    parameters: their priors and limits.
    active: (n,) bool, those that may change.
    iterations: the most steps.

    Returns (n,)."""
    columns = active.nonzero().squeeze(1)
    precision = 1 / parameters.sigma.square()
    limit = _ROBUST**2

    def cost(x: Tensor, r: Tensor) -> float:
        robust = limit * torch.log1p(r.square().sum(1) / limit)
        return float(robust.sum() + ((x - parameters.mean).square() * precision).sum())

    r = problem.residual(x)
    current, damping, stalled = cost(x, r), 1e-2, 0
    for _ in range(iterations):
        j = problem.jacobian(x)[..., columns].flatten(0, 1)
        weight = (1 / (1 + r.square().sum(1) / limit)).repeat_interleave(2)
        prior = precision[columns]
        normal = ((j * weight[:, None]).T @ j + torch.diag(prior)).double()
        gradient = (j.T @ (weight * r.flatten()) + (x - parameters.mean)[columns] * prior).double()
        while damping < 1e6:
            step = torch.linalg.solve(normal + damping * torch.diag(normal.diagonal()), -gradient).to(x.dtype)
            trial = x.index_add(0, columns, step).clamp(parameters.lower, parameters.upper)
            trial_r = problem.residual(trial)
            value = cost(trial, trial_r)
            if value < current:
                break
            damping *= 5
        else:
            return x
        stalled = stalled + 1 if current - value < 1e-3 * current else 0
        x, r, current, damping = trial, trial_r, value, max(damping / 4, 1e-5)
        if stalled >= 2:
            break
    return x


def _result(
    parameters: Parameters, x: Tensor, focal: float, centre: Tensor, error: Tensor, prior: ShellPrior | None
) -> PoseFit:
    translation, rotations, shape, expression = parameters.unpack(x)
    camera = torch.eye(4, device=x.device)
    camera[:3, :3], camera[:3, 3] = camera_axes(x), translation
    intrinsics = torch.eye(3, device=x.device)
    intrinsics[0, 0] = intrinsics[1, 1] = focal
    intrinsics[:2, 2] = centre
    first = parameters.slices["shell"].start
    fit = PoseFit(shape, rotations, expression, camera, intrinsics, x[:first], error)
    return fit if prior is None else replace(fit, coefficients=x[first:], shell=prior.offsets(x[first:]))
