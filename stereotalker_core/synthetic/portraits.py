"""Portraits of many avatars on transparent ground, with keypoints: what the keypoint detector learns from.

Folder: rgb u8 (N, H, W, 3) premultiplied by alpha u8 (N, H, W), keypoints f32 (N, 125, 2) pixels, person i32 (N,).
"""

import json
import logging
from pathlib import Path

import numpy as np
import torch

from ..body.model import HalfBody
from ..camera.projection import intrinsics_for, look_at
from ..camera.trajectories import canonical_framing
from ..records import Cameras
from .avatar import make_avatar
from .performance import random_motion
from .poses import joint_heads
from .render import render_avatar, rendered_keypoints
from .template import Template, uniform

logger = logging.getLogger(__name__)
SIZE = (352, 416)  # px; wider than the canonical canvas, so that arms seldom end at the border
_ATLAS = 512
_YAW = 45.0  # degrees to each side


def portrait_keypoint_names(body: HalfBody) -> list[str]:
    """Names of the stored keypoints, in order."""
    return [body.keypoint_names[i] for i in rendered_keypoints(body)]


def make_portraits(body: HalfBody, folder: str | Path, people: int, views: int = 3, first_seed: int = 500_000) -> None:
    """Write people x views portraits; the seeds first_seed.. are disjoint from those of the training sets."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows, n = SIZE, people * views
    shapes = {"rgb": (n, *rows, 3), "alpha": (n, *rows)}
    maps = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.uint8, shape) for name, shape in shapes.items()
    }
    points = np.lib.format.open_memmap(
        folder / "keypoints.npy", "w+", np.float32, (n, len(rendered_keypoints(body)), 2)
    )
    template = Template(body, _ATLAS)
    for i in range(people):
        rgb, alpha, keypoints = _portraits(body, template, first_seed + i, views)
        span = slice(i * views, (i + 1) * views)
        maps["rgb"][span], maps["alpha"][span], points[span] = rgb, alpha, keypoints
        if (i + 1) % 100 == 0:
            logger.info("portraits of %d/%d people", i + 1, people)
    np.save(folder / "person.npy", np.repeat(np.arange(people, dtype=np.int32), views))
    meta = {"first_seed": first_seed, "views": views, "names": portrait_keypoint_names(body)}
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def _portraits(body: HalfBody, template: Template, seed: int, views: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = torch.Generator().manual_seed(seed)
    avatar = make_avatar(body, seed, template)
    bare = body.rest(avatar.shape[None])
    motion = random_motion(body, joint_heads(body, bare), views * 24, rng)
    frames = list(range(0, views * 24, 24))  # about a second apart: other poses
    motion = type(motion)(motion.rotations[frames], motion.expression[frames], motion.fps)
    yaw = torch.tensor([uniform(rng, -_YAW, _YAW) * uniform(rng, 0.1, 1) for _ in range(views)])
    pitch = torch.tensor([uniform(rng, -12, 12) for _ in range(views)])
    framing = canonical_framing(float(bare.bones[0, body.bone_index["head"], 2]))
    distance = uniform(rng, 1.1, 2.6)  # selfies to studio portraits
    cameras = Cameras(
        look_at(torch.tensor(framing.target), yaw, pitch, torch.full_like(yaw, distance)),
        intrinsics_for(framing.height, distance, SIZE),
        yaw,
        SIZE,
    )
    black = -torch.ones(3, *SIZE)
    frames = render_avatar(body, avatar, motion, cameras, 1, black, body.rest(avatar.shape[None], avatar.shell[None]))
    rgb = ((frames.rgb + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    alpha = (frames.alpha[:, 0] * 255).round().byte().numpy()
    return rgb, alpha, frames.keypoints.numpy()
