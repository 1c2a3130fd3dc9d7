"""Shape, pose, expression and camera from 2D keypoints: Levenberg-Marquardt on a model of the keypoints only.

The focal length is not observable from one portrait, so the distance is assumed (2.1 m, between a selfie and a studio
lens) and the focal length follows from the size of the face; that makes the fit independent of how the picture was cut.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.func import jacfwd

from ..perception.keypoints import Keypoints
from .model import HalfBody, Posed
from .shell_prior import ShellPrior
from .skeleton import JOINT_INDEX, N_JOINTS, NECK_SHARE, SHOULDER_SHARE

DISTANCE = 2.1  # m, assumed distance of the portrait's camera
_LOOSE = 1.5  # sigmas of shape and shell where an outline is followed: one, as people differ, wins over cautious points
_ROBUST = 3.0  # residuals beyond this many sigmas count as outliers
_TIMID = ("tongueOut", "cheekPuff", "jawForward", "mouthRollLower", "mouthRollUpper", "noseSneerLeft", "noseSneerRight")
_BOLD = ("jawOpen", "mouthSmileLeft", "mouthSmileRight")
_SIDEWAYS = ("jawLeft", "jawRight", "mouthLeft", "mouthRight")


@dataclass(frozen=True)
class PoseFit:
    """shape (K,), rotations (49, 3), expression (52,), world_to_camera (4, 4), intrinsics (3, 3), error (N,) pixels.

    vector: all parameters but the shell's; coefficients (S,) and shell (V,): hair and clothes as the prior explains the
    silhouette, None where no silhouette was fitted.
    """

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
        """The body in the portrait's pose, batch 1; shell (V,) in metres."""
        rest = body.rest(self.shape[None], None if shell is None else shell[None])
        return body.pose(rest, self.rotations[None], self.expression[None])


@dataclass(frozen=True)
class Pull:
    """Vertices (M,) that should move to a line in the image: normal (M, 2) . (pixel - target (M, 2)) = 0, sigma (M,)
    px."""

    vertices: Tensor
    target: Tensor
    normal: Tensor
    sigma: Tensor


class Parameters:
    """Layout of the parameter vector with Gaussian priors: translation, joint angles, shape, expression, shell."""

    def __init__(self, body: HalfBody, hands: bool, n_shell: int = 0):
        self.device = body.mean.device
        self._mean: list[float] = []
        self._sigma: list[float] = []
        self.slices: dict[str, slice] = {}
        loose = _LOOSE if n_shell else 1.0
        rows: list[tuple[int, int, float]] = []  # (row of the flat rotations, parameter, factor)
        self._add("translation", (0, 0, 0), (30, 30, 30))
        self._add_joints(rows, body, hands)
        self._add("shape", [0] * body.n_shape, [loose] * body.n_shape)
        self._add("expression", [0] * len(body.expression_names), [self._freedom(n) for n in body.expression_names])
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

        joint("root", {"root": 1}, (5, 8, 60))  # people who stand or sit for a portrait hardly lean
        joint("spine", {"spine03": 0.5, "spine01": 0.5}, (5, 10, 15))
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
    def _freedom(name: str) -> float:
        if name in _TIMID:
            return 0.08
        if name in _BOLD:
            return 0.5
        return 0.15 if name.startswith("eyeLook") or name in _SIDEWAYS else 0.25

    def unpack(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """translation (3,), rotations (49, 3), shape (K,), expression (52,)."""
        part = self.slices
        rotations = (self.to_rotations @ x).view(N_JOINTS, 3)
        return x[part["translation"]], rotations, x[part["shape"]], x[part["expression"]]


class PointModel:
    """Some points of the body (keypoints, then vertices) as a function of the parameters, in camera space.

    The shell of `prior` moves vertices along the normals of the mean body: exact enough to find its coefficients.
    """

    def __init__(
        self,
        body: HalfBody,
        parameters: Parameters,
        names: tuple[str, ...],
        vertices: Tensor,
        prior: ShellPrior | None = None,
    ):
        self.body, self.parameters, self.n = body, parameters, len(names) + len(vertices)
        source, weight, row = [], [], []
        for i, name in enumerate(names):
            k = body.keypoint_index[name]
            span = slice(int(body.keypoint_pointer[k]), int(body.keypoint_pointer[k + 1]))
            source.append(body.keypoint_source[span])
            weight.append(body.keypoint_weight[span])
            row.append(torch.full_like(source[-1], i))
        source.append(vertices)
        weight.append(torch.ones_like(vertices, dtype=torch.float32))
        row.append(torch.arange(len(names), self.n, device=vertices.device))
        source = torch.cat(source)
        self.weight, self.row = torch.cat(weight), torch.cat(row)
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
        slot = torch.full((body.n_vertices,), -1, device=used.device)
        slot[body.expression_vertices] = torch.arange(len(body.expression_vertices), device=used.device)
        moved = slot[used]
        deltas = body.expression_deltas.view(len(body.expression_names), -1, 3)[:, moved.clamp_min(0)]
        self.deltas = (deltas * (moved >= 0)[:, None]).flatten(1)

    def __call__(self, x: Tensor) -> Tensor:
        """Parameters (n,) -> camera-space points (N, 3)."""
        body = self.body
        translation, rotations, shape, expression = self.parameters.unpack(x)
        flat = self.mean.flatten() + self.basis @ shape + expression @ self.deltas
        if self.shell_basis is not None:
            flat = flat + self.shell_basis @ x[self.parameters.slices["shell"]]
        vertices = flat.view(-1, 3)
        bones = body.bone_mean + body.bone_basis @ shape
        world, heads = body.forward_kinematics(body.bone_rotations(rotations[None]), bones[None])
        shift = heads[0] - (world[0] @ bones[..., None])[..., 0]
        transform = torch.cat([world[0], shift[..., None]], -1).flatten(1)
        blended = (self.skin @ transform).view(-1, 3, 4)
        posed = (blended[..., :3] * vertices[:, None, :]).sum(-1) + blended[..., 3]
        values = torch.cat([posed, heads[0]])[self.source] * self.weight[:, None]
        points = values.new_zeros(self.n, 3).index_add(0, self.row, values)
        return points @ camera_axes(points).T + translation


def camera_axes(like: Tensor) -> Tensor:
    """(3, 3) rows: axes of a camera in front of the person (x right, y down, z forward)."""
    return like.new_tensor([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])


def fit_pose(
    body: HalfBody,
    keypoints: Keypoints,
    size: tuple[int, int],
    start: PoseFit | None = None,
    pull: Pull | None = None,
    iterations: tuple[int, int] = (8, 20),
    hold: tuple[str, ...] = (),
    prior: ShellPrior | None = None,
) -> PoseFit:
    """Fit the body to keypoints in an image of size (H, W). start: continue from a fit; pull: silhouette terms.

    hold: groups of parameters that stay as in `start`, for example ("shape",) in the frames of a video.
    prior: hair and clothes are fitted too, as far as the pulled outline shows them.
    """
    with torch.inference_mode(False), torch.no_grad():  # forward-mode derivatives refuse inference tensors
        return _fit_pose(body, keypoints, size, start, pull, iterations, hold, prior)


def _fit_pose(
    body: HalfBody,
    keypoints: Keypoints,
    size: tuple[int, int],
    start: PoseFit | None,
    pull: Pull | None,
    iterations: tuple[int, int],
    hold: tuple[str, ...],
    prior: ShellPrior | None,
) -> PoseFit:
    hands, n_shell = any(n.startswith("hand.") for n in keypoints.names), 0 if prior is None else prior.basis.shape[1]
    parameters = Parameters(body, hands, n_shell)
    if start is not None and len(start.vector) != parameters.slices["shell"].start:
        # the start has fingers and these keypoints lack them, or vice versa
        parameters = Parameters(body, not hands, n_shell)
    device = body.mean.device
    keypoints = keypoints.to(device)
    vertices = pull.vertices if pull is not None else torch.zeros(0, dtype=torch.long, device=device)
    model = PointModel(body, parameters, keypoints.names, vertices, prior)
    centre = torch.tensor([size[1] / 2, size[0] / 2], device=device)
    if start is None:
        x, focal = _initial(model, parameters, keypoints, centre)
    else:
        coefficients = start.vector.new_zeros(n_shell) if start.coefficients is None else start.coefficients[:n_shell]
        x, focal = torch.cat([start.vector, coefficients]), float(start.intrinsics[0, 0])
    n = len(keypoints)

    def residual(x: Tensor) -> Tensor:
        points = model(x)
        pixel = points[:, :2] / points[:, 2:].clamp_min(0.1) * focal + centre
        out = (pixel[:n] - keypoints.xy) / keypoints.sigma[:, None]
        if pull is None:
            return out
        along = ((pixel[n:] - pull.target) * pull.normal).sum(1, keepdim=True) / pull.sigma[:, None]
        return torch.cat([out, torch.cat([along, torch.zeros_like(along)], 1)])

    pose_first = torch.ones_like(x, dtype=torch.bool)  # pose and the largest shape components before the details
    pose_first[parameters.slices["expression"]] = False
    pose_first[parameters.slices["shape"].start + 12 : parameters.slices["shape"].stop] = False
    if start is None:
        x = _minimise(residual, x, parameters, pose_first, iterations[0])
    free = torch.ones_like(pose_first)
    for name in hold:
        free[parameters.slices[name]] = False
    x = _minimise(residual, x, parameters, free, iterations[1])
    error = residual(x)[:n].norm(dim=1) * keypoints.sigma
    return _result(parameters, x, focal, centre, error, prior)


def _initial(model: PointModel, parameters: Parameters, keypoints: Keypoints, centre: Tensor) -> tuple[Tensor, float]:
    """Parameters and focal length (px) from the similarity that puts the mean face on the face points."""
    face = [i for i, n in enumerate(keypoints.names) if n.startswith(("face.", "iris.")) or n.endswith(("eye", "nose"))]
    x = parameters.mean.clone()
    points, pixels = model(x)[face], keypoints.xy[face]
    here, there = points[:, :2] - points[:, :2].mean(0), pixels - pixels.mean(0)
    scale = float(there.square().sum().sqrt() / here.square().sum().sqrt().clamp_min(1e-6))  # pixels per metre
    offset = (pixels.mean(0) - centre) / scale - points[:, :2].mean(0)
    x[parameters.slices["translation"]] = torch.cat([offset, (DISTANCE - points[:, 2].mean())[None]])
    return x, DISTANCE * scale


def _minimise(
    residual: Callable[[Tensor], Tensor], x: Tensor, parameters: Parameters, active: Tensor, iterations: int
) -> Tensor:
    """Levenberg-Marquardt with log-robust weights and the Gaussian priors, inside the box of the parameters."""
    jacobian = jacfwd(residual)
    columns = active.nonzero().squeeze(1)
    precision = 1 / parameters.sigma.square()
    limit = _ROBUST**2

    def cost(x: Tensor, r: Tensor) -> float:
        robust = limit * torch.log1p(r.square().sum(1) / limit)
        return float(robust.sum() + ((x - parameters.mean).square() * precision).sum())

    r = residual(x)
    current, damping, stalled = cost(x, r), 1e-2, 0
    for _ in range(iterations):
        j = jacobian(x)[..., columns].flatten(0, 1)
        weight = (1 / (1 + r.square().sum(1) / limit)).repeat_interleave(2)
        prior = precision[columns]
        normal = ((j * weight[:, None]).T @ j + torch.diag(prior)).double()
        gradient = (j.T @ (weight * r.flatten()) + (x - parameters.mean)[columns] * prior).double()
        while damping < 1e6:
            step = torch.linalg.solve(normal + damping * torch.diag(normal.diagonal()), -gradient).to(x.dtype)
            trial = x.index_add(0, columns, step).clamp(parameters.lower, parameters.upper)
            trial_r = residual(trial)
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
