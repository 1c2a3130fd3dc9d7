"""Portraits of avatars, and the `Identity` that a perfect or an imperfect fit would give."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody, Posed
from ...body.texture.lift import lift_portrait, lift_unlit
from ...body.texture.portrait_view import Trust
from ...body.texture.texels import Lifter
from ...camera.trajectories import canonical_framing
from ...geometry.projection import intrinsics_for, look_at
from ...geometry.skeleton import ARM_JOINTS, HEAD_JOINTS, JOINT_INDEX
from ...pixels.inpaint_places import push_pull
from ...records import Cameras, Identity, Motion
from ..movement.poses import arm_pose, head_pose, joint_heads, rest_arms
from .avatar import Avatar
from .performance import random_arm, random_expression
from .render import render_avatar
from .template import Template, uniform

_LIFT_SIZE = 1024
_THIN = ("hand.L", "hand.R", "mouth", "tongue", "teeth.up", "teeth.low", "eye.L", "eye.R", "lashes")


@dataclass(frozen=True)
class AvatarPortrait:
    """The portrait of an avatar.

    image: (3, S, S) in [-1, 1].
    mask: (1, S, S) of the person.
    background: (3, S, S), the studio.
    motion, cameras: the pose and the camera, one frame each.
    keypoints: (125, 2) px; visible: (125,) bool, which of them are seen; both in the order of
    `render.rendered_keypoints`."""

    image: Tensor
    mask: Tensor
    background: Tensor
    motion: Motion
    cameras: Cameras
    keypoints: Tensor
    visible: Tensor


def canonical_cameras(body: HalfBody, shape: Tensor, yaw: Tensor, size: int, pitch: float = 0.0) -> Cameras:
    """Return the cameras, one per yaw, that frame a person from head to hips.

    body: the half body.
    shape: coefficients (K,) of the person.
    yaw: (T,) degrees; pitch: degrees.
    size: px of a side."""
    head_z = float(body.rest(shape[None]).bones[0, body.bone_index["head"], 2])
    framing = canonical_framing(head_z)
    angle = torch.as_tensor(yaw, dtype=torch.float32)
    matrix = look_at(
        torch.tensor(framing.target), angle, torch.full_like(angle, pitch), torch.full_like(angle, framing.distance)
    )
    return Cameras(matrix, intrinsics_for(framing.height, framing.distance, (size, size)), angle, (size, size))


def reference_portrait(body: HalfBody, avatar: Avatar, seed: int, size: int = 512) -> AvatarPortrait:
    """Return a near-frontal portrait: yaw within 15 degrees, arms hanging or gesturing, a slight expression.

    body: the half body; avatar: the person; seed: determines pose and camera; size: px of a side."""
    if size < 32:
        raise ValueError(f"a portrait needs at least 32 px, got {size}")
    rng = torch.Generator().manual_seed(seed)
    rest = body.rest(avatar.shape[None], avatar.shell[None])
    heads = joint_heads(body, rest)
    rotations = head_pose(uniform(rng, -4, 6), uniform(rng, -8, 8), uniform(rng, -3, 3))
    if uniform(rng, 0, 1) < 0.45:
        rotations = rotations + rest_arms(heads)
    else:
        rotations = rotations + sum(arm_pose(heads, side, random_arm(rng, 1)) for side in "LR")
    expression = random_expression(body, rng, 1) * 0.4
    for name, index in body.expression_index.items():
        if name.startswith("eyeBlink"):
            expression[:, index] = 0
        if name.startswith("mouthSmile"):
            expression[:, index] += uniform(rng, 0.08, 0.3)
    motion = Motion(rotations, expression.clamp(0, 1))
    yaw, pitch = torch.tensor([uniform(rng, -15, 15)]), uniform(rng, -3, 3)
    cameras = canonical_cameras(body, avatar.shape, yaw, size, pitch)
    frames = render_avatar(body, avatar, motion, cameras, background=avatar.background((size, size)), rest=rest)
    return AvatarPortrait(
        frames.rgb[0], frames.alpha[0], frames.background, motion, cameras, frames.keypoints[0], frames.visible[0]
    )


def true_identity(body: HalfBody, avatar: Avatar, portrait: AvatarPortrait, lifter: Lifter | None = None) -> Identity:
    """Return the result of a perfect fit: the avatar's own body, with the portrait projected onto it."""
    hidden = F.max_pool2d(portrait.mask[None], 9, 1, 4)
    seen = (hidden < 0.01).to(portrait.image.dtype)
    behind = push_pull(portrait.image[None], seen)[0]  # a fit cannot know what the person hides
    return _lifted(body, bare_identity(avatar, portrait, behind), lifter)


def bare_identity(avatar: Avatar, portrait: AvatarPortrait, background: Tensor) -> Identity:
    """Return the true fit of an avatar's portrait without a texture: its atlas is one black texel.

    avatar: the person; portrait: their picture, with pose and camera; background: (3, S, S) in [-1, 1], what is behind
        them."""
    return Identity(
        shape=avatar.shape,
        shell=avatar.shell,
        rotations=portrait.motion.rotations[0],
        expression=portrait.motion.expression[0],
        world_to_camera=portrait.cameras.world_to_camera[0],
        intrinsics=portrait.cameras.intrinsics,
        portrait=portrait.image,
        mask=portrait.mask,
        background=background,
        atlas=portrait.image.new_zeros(3, 1, 1),
        visibility=portrait.image.new_zeros(1, 1, 1),
    )


def _posed(body: HalfBody, identity: Identity) -> Posed:
    rest = body.rest(identity.shape[None], identity.shell[None])
    return body.pose(rest, identity.rotations[None], identity.expression[None])


def _lifted(body: HalfBody, identity: Identity, lifter: Lifter | None) -> Identity:
    view = (identity.portrait, identity.mask, _posed(body, identity), identity.world_to_camera, identity.intrinsics)
    atlas, visibility, light, _ = lift_unlit(body, *view, size=_LIFT_SIZE, lifter=lifter)
    return replace(identity, atlas=atlas, visibility=visibility, light=light, atlas_layout=2)


def as_photographed(
    body: HalfBody, identity: Identity, lifter: Lifter | None = None, trust_hands: bool = True
) -> Identity:
    """Return the identity with a texture of the portrait's unchanged pixels: the light of the photograph stays painted
    on it.

    body: the half body.
    identity: the person with their portrait.
    lifter: table of the atlas's texels; None makes one.
    trust_hands: whether the pixels of the hands are used."""
    view = (identity.portrait, identity.mask, _posed(body, identity), identity.world_to_camera, identity.intrinsics)
    atlas, visibility = lift_portrait(body, *view, size=_LIFT_SIZE, lifter=lifter, trust=Trust(hands=trust_hands))
    return replace(identity, atlas=atlas, visibility=visibility, light=None, atlas_layout=2)


def perturbed_identity(
    body: HalfBody,
    identity: Identity,
    rng: torch.Generator,
    template: Template | None = None,
    lifter: Lifter | None = None,
) -> Identity:
    """Return the identity with a real fit's errors in shape, shell, arm pose and depth, and the portrait projected onto
    it.

    body: the half body.
    identity: a true fit.
    rng: draws the errors.
    template: the mean body's texels and vertices (`Template`); None makes one.
    lifter: texel table of the atlas; None makes one."""
    template = template if template is not None else Template(body)
    amount = uniform(rng, 0.3, 1.0)
    shape = identity.shape + 0.22 * amount * torch.randn(identity.shape.shape, generator=rng)
    shell = identity.shell[:, None]
    everywhere = torch.ones_like(shell)
    noise = template.smooth(torch.randn(shell.shape, generator=rng), everywhere, 40)
    noise = noise / noise.std().clamp_min(1e-6)
    shell = template.smooth(shell, everywhere, int(uniform(rng, 0, 12)))
    shell = shell * (1 + 0.25 * amount * (2 * uniform(rng, 0, 1) - 1)) + 0.0022 * amount * noise
    # thin parts turn inside out under a shell that is not theirs
    fine = template.vertex_is(*_THIN)
    shell = torch.where(fine[:, None], identity.shell[:, None], shell)[:, 0].clamp(-0.03, 0.06)
    wrong = replace(
        identity,
        shape=shape,
        shell=shell,
        rotations=_pose_error(identity.rotations, rng, amount),
        expression=(identity.expression + 0.06 * amount * torch.randn(52, generator=rng)).clamp(0, 1),
        world_to_camera=_camera_error(identity.world_to_camera, rng, amount),
        quality=1 - 0.5 * amount,
    )
    return _lifted(body, wrong, lifter)


def _pose_error(rotations: Tensor, rng: torch.Generator, amount: float) -> Tensor:
    out = rotations.clone()
    for names, degrees in ((HEAD_JOINTS, 0.8), (ARM_JOINTS["L"][2:], 3.0), (ARM_JOINTS["R"][2:], 3.0)):
        index = [JOINT_INDEX[name] for name in names]
        out[index] += torch.deg2rad(torch.randn(len(index), 3, generator=rng) * degrees * amount)
    return out


def _camera_error(world_to_camera: Tensor, rng: torch.Generator, amount: float) -> Tensor:
    out = world_to_camera.clone()
    depth = out[2, 3] * (1 + 0.012 * amount * float(torch.randn((), generator=rng)))
    sideways = 0.002 * amount * torch.randn(2, generator=rng)
    out[:2, 3] += sideways
    out[2, 3] = depth
    return out
