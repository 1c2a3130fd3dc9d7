"""The validation split as a user would get it: the same people, frames and cameras, guides from an estimated fit.

    python -m stereotalker_core.evaluation.estimated_fit --out data/avatars

reads the configuration of <out>/val and writes <out>/val_est in the same format. The fit sees the portrait, its
keypoints with 2 px of noise and a slightly blurred mask; neither shape, shell, pose, camera nor focal length. A single
picture does not tell the absolute size and place of a person: the cameras are aligned to the true ones in exactly
these (`aligned_cameras`), so that pictures can be compared pixel by pixel.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..body.fit import fit_portrait
from ..body.keypoints import Keypoints, default_sigma
from ..body.lift import Lifter
from ..body.model import HalfBody
from ..records import Cameras, Guides, Identity
from ..synthetic.dataset import CLIP, ClipMaker, DatasetConfig, Shard, _write_identity
from ..synthetic.portrait import Portrait, as_photographed
from ..synthetic.render import AvatarFrames, render_avatar, rendered_keypoints
from ..synthetic.template import Template
from ..video.guides import background_plate, render_guides

logger = logging.getLogger(__name__)
NOISE = 2.0  # px at a portrait of 512 px
_HIDDEN = 0.01


def noisy_keypoints(body: HalfBody, portrait: Portrait, rng: torch.Generator, noise: float = NOISE) -> Keypoints:
    """What a good detector would give: face, irises and the visible body points, with Gaussian noise (px at 512)."""
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
    body: HalfBody, portrait: Portrait, seed: int, lifter: Lifter | None = None, shell_iterations: int = 5
) -> Identity:
    """Fit an avatar's portrait from noisy keypoints and a blurred true mask."""
    rng = torch.Generator().manual_seed(seed)
    blurred = F.avg_pool2d(portrait.mask[None], 5, 1, 2, count_include_pad=False)[0]
    points = noisy_keypoints(body, portrait, rng)
    return fit_portrait(body, portrait.image, points, blurred, lifter=lifter, shell_iterations=shell_iterations)


def aligned_cameras(body: HalfBody, truth: Identity, estimate: Identity, cameras: Cameras) -> Cameras:
    """Cameras that see the estimated person at the size and place at which `cameras` see the true one.

    Gauge freedoms of one picture only: the scale (metres per pixel at the head) and the head's position.
    """
    heads, scales = [], []
    for identity in (truth, estimate):
        rest = body.rest(identity.shape[None])
        posed = body.pose(rest, identity.rotations[None])
        head = body.bone_index["head"]
        depth = (identity.world_to_camera[2, :3] @ posed.bones[0, head]) + identity.world_to_camera[2, 3]
        scales.append(float(depth / identity.intrinsics[0, 0]) * identity.portrait.shape[-1])
        heads.append(rest.bones[0, head])
    ratio = scales[1] / scales[0]  # estimated metres per true metre
    matrix = cameras.world_to_camera.clone()
    moved = heads[1] - ratio * heads[0]
    matrix[:, :3, 3] = ratio * matrix[:, :3, 3] - matrix[:, :3, :3] @ moved
    return replace(cameras, world_to_camera=matrix)


class EstimatedClips(ClipMaker):
    """Frames of the avatar as in the validation split, guides from the estimated identity."""

    def __init__(self, body: HalfBody, seed: int, config: DatasetConfig, template: Template, lifter: Lifter):
        super().__init__(body, seed, config, template, lifter)
        self.estimate = estimated_identity(body, self.portrait, seed, lifter)
        self.plain = as_photographed(body, self.estimate, lifter, trust_hands=False)  # no finger was located

    def clip(self, clip: int) -> tuple[AvatarFrames, Guides, bool, Tensor | None]:
        cameras, motion = self.cameras(clip), self.motion()
        wall = background_plate(replace(self.identity, background=self.portrait.background), cameras)
        frames = render_avatar(self.body, self.avatar, motion, cameras, background=wall, rest=self.rest)
        seen = aligned_cameras(self.body, self.identity, self.estimate, cameras)
        guides = render_guides(self.body, self.estimate, motion, seen)
        return frames, guides, True, render_guides(self.body, self.plain, motion, seen).lift


def lift_psnr(rgb: Tensor, lift: Tensor, weight: Tensor) -> Tensor:
    """PSNR (T,) in dB of images in [-1, 1] over pixels with weight (T, 1, H, W)."""
    error = ((rgb - lift).square() * weight).sum((1, 2, 3)) / (3 * weight.sum((1, 2, 3)).clamp_min(1))
    return -10 * torch.log10(error / 4 + 1e-10)


@torch.inference_mode()
def generate(out: str | Path) -> list[Path]:
    """Write <out>/val_est beside <out>/val with the same configuration -> its folders."""
    out, folders = Path(out), []
    shards = sorted(p for p in (out / "val").iterdir() if (p / "config.json").is_file())
    if not shards:
        raise ValueError(f"{out / 'val'} holds no shards; make the validation split first")
    body = HalfBody()
    template, lifter = Template(body), Lifter(body)
    for source in shards:
        config = DatasetConfig(**json.loads((source / "config.json").read_text()))
        seeds = config.seeds(int(source.name))
        shard = Shard(out / "val_est" / source.name, len(seeds), config)
        for place, seed in enumerate(seeds):
            if not shard.is_complete(place):
                _write_identity(shard, place, EstimatedClips(body, seed, config, template, lifter))
            logger.info("%s: identity %d of %d (%d frames)", source.name, place + 1, len(seeds), config.clips * CLIP)
        shard.finish()
        folders.append(shard.folder)
    return folders


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="data/avatars", help="the folder that holds the split val")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    generate(options.out)


if __name__ == "__main__":
    main()
