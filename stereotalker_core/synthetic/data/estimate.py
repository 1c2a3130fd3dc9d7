"""Avatars fitted like a user's portrait: from noisy keypoints and a blurred mask, with nothing else known."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.fitting.fit import fit_portrait
from ...body.model import HalfBody
from ...body.texture.texels import Lifter
from ...perception.keypoints import Keypoints, default_sigma
from ...records import Cameras, Identity
from ..people.portrait import AvatarPortrait
from ..people.render import rendered_keypoints

NOISE = 2.0  # px at a portrait of 512 px
_SHOWN = 0.55  # m below the head joint that half-body pictures show


def noisy_keypoints(body: HalfBody, portrait: AvatarPortrait, rng: torch.Generator, noise: float = NOISE) -> Keypoints:
    """Simulate a good detector -> keypoints of face, irises and visible points of the body, with Gaussian noise.

    body: the half body; portrait: holds the true keypoints; rng: random generator; noise: standard deviation in px of a
        portrait of 512 px."""
    names = [body.keypoint_names[i] for i in rendered_keypoints(body)]
    inside = ((portrait.keypoints > 0) & (portrait.keypoints < portrait.image.shape[-1])).all(1)
    rows = [
        i
        for i, name in enumerate(names)
        if bool(inside[i]) and (name.startswith(("face", "iris")) or name.startswith("body.") and "hip" not in name)
    ]
    sigma = noise * portrait.image.shape[-1] / 512
    xy = portrait.keypoints[rows] + sigma * torch.randn(len(rows), 2, generator=rng)
    chosen = tuple(names[i] for i in rows)
    height = Keypoints(chosen, xy, torch.ones(len(rows))).face_height()
    spread = torch.tensor([max(sigma, default_sigma(n, height)) for n in chosen])
    return Keypoints(chosen, xy, spread)


def estimated_identity(
    body: HalfBody, portrait: AvatarPortrait, seed: int, lifter: Lifter | None = None, shell_iterations: int = 5
) -> Identity:
    """Fit an avatar's portrait as a user's would be: from noisy keypoints and a blurred mask -> the identity found.

    body: the half body.
    portrait: the portrait to fit, with the true keypoints and mask.
    seed: determines the noise.
    lifter: table of the atlas's texels; None makes one.
    shell_iterations: steps in which the shell of hair and clothes is fitted."""
    rng = torch.Generator().manual_seed(seed)
    blurred = F.avg_pool2d(portrait.mask[None], 5, 1, 2, count_include_pad=False)[0]
    points = noisy_keypoints(body, portrait, rng)
    found = fit_portrait(body, portrait.image, points, blurred, lifter=lifter, shell_iterations=shell_iterations)
    return found.literal()  # the motions of the data are meant as they are


def aligned_cameras(body: HalfBody, truth: Identity, estimate: Identity, cameras: Cameras) -> Cameras:
    """Return cameras that show a fitted person at the size and position at which `cameras` show the true person.

    body: the half body; truth, estimate: the true identity and the fitted one; cameras: those of the true one.

    Only what one picture leaves undetermined is changed: the scale (metres per pixel at the head), the head's position
    in the picture, and the mean depth of the surface."""
    heads, scales, depths = [], [], []
    for identity in (truth, estimate):
        rest = body.rest(identity.shape[None], identity.shell[None])
        posed = body.pose(rest, identity.rotations[None])
        head = body.bone_index["head"]
        depth = (identity.world_to_camera[2, :3] @ posed.bones[0, head]) + identity.world_to_camera[2, 3]
        scales.append(float(depth / identity.intrinsics[0, 0]) * identity.portrait.shape[-1])
        heads.append(rest.bones[0, head])
        depths.append(_mean_depth(body, rest.vertices[0], float(rest.bones[0, head, 2]) - _SHOWN))
    ratio = scales[1] / scales[0]  # estimated metres per true metre
    matrix = cameras.world_to_camera.clone()
    moved = heads[1] - ratio * heads[0]
    moved[1] = depths[1] - ratio * depths[0]
    matrix[:, :3, 3] = ratio * matrix[:, :3, 3] - matrix[:, :3, :3] @ moved
    return replace(cameras, world_to_camera=matrix)


def _mean_depth(body: HalfBody, vertices: Tensor, lowest: float) -> Tensor:
    """Return the area-weighted mean depth y (m) of the surface above height z = lowest (m)."""
    corners = vertices[body.triangles]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1)
    middle = corners.mean(1)
    area = area * (middle[:, 2] > lowest)
    return (middle[:, 1] * area).sum() / area.sum()
