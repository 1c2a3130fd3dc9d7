"""The rendered training set: clips of avatars with guides, written identity by identity into memory-mapped arrays.

    python -m stereotalker_core synth avatars --split train --identities 300 --clips 8 --seed 1 --out data/avatars

writes <out>/<split>/<shard>/<array>.npy; a shard whose file DONE exists is complete, a killed one is resumed after the
last complete identity. ARRAYS lists the arrays.
"""

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody, Rest
from ...body.texture.texels import Lifter
from ...camera.trajectories import canonical_framing
from ...geometry.projection import intrinsics_for, look_at
from ...records import Cameras, Guides, Identity, Motion
from ...video.guides.maps import background_plate, render_guides
from ..movement.poses import joint_heads
from ..people.avatar import Avatar, make_avatar
from ..people.performance import random_motion
from ..people.portrait import AvatarPortrait, as_photographed, perturbed_identity, reference_portrait, true_identity
from ..people.render import AvatarFrames, render_avatar
from ..people.template import Template, uniform
from .avatar_frames import image_bytes, share_bytes
from .estimate import aligned_cameras, estimated_identity

log = logging.getLogger(__name__)
CLIP = 8  # consecutive rows of one identity and one smooth motion
ARRAYS = {  # name: (dtype, shape of a row in terms of the canvas S); rows are frames, of portrait* identities
    "rgb": ("u1", ("S", "S", 3)),
    "alpha": ("u1", ("S", "S")),
    "region": ("u1", ("S", "S")),
    "normal": ("u1", ("S", "S", 3)),
    "part": ("u1", ("S", "S")),
    "lift": ("u1", ("S", "S", 3)),
    "plain": ("u1", ("S", "S", 3)),  # the lift with the portrait's shading left on it
    "bare": ("u1", ("S", "S")),  # 255 where the body without its shell of hair and clothes is
    "visibility": ("u1", ("S", "S")),
    "yaw": ("f4", ()),
    "identity": ("i4", ()),
    "clip": ("i4", ()),
    "perturbed": ("u1", ()),
    "keypoints": ("f4", (125, 2)),
    "portrait": ("u1", ("S", "S", 3)),
    "portrait_mask": ("u1", ("S", "S")),
    "complete": ("u1", ()),  # one an identity: its rows are all written
}
_OF_IDENTITIES = ("portrait", "portrait_mask", "complete")
BASELINES = ("plain", "bare")  # what the renderer is compared with: validation only
_VALIDATION_SEED = 500_000
_PERTURBED, _TIGHT, _ORBIT = 0.5, 0.25, 0.3


@dataclass(frozen=True)
class DatasetConfig:
    """The configuration of a split ("train" or "val"). Validation uses cameras on a fixed yaw grid and true fits only.

    identities: number of people; clips: clips of each person, CLIP frames long; seed: first seed of the people.
    size: side of the pictures, px; shards: folders that the people are divided into.
    fits: the source of the guides in about half of the training clips, "perturbed" true fits or "estimated" ones."""

    split: str = "train"
    identities: int = 300
    clips: int = 8
    seed: int = 1
    size: int = 256
    shards: int = 6
    fits: str = "perturbed"

    def __post_init__(self) -> None:
        if self.split not in ("train", "val"):
            raise ValueError(f"split must be 'train' or 'val', got {self.split!r}")
        if self.fits not in ("perturbed", "estimated"):
            raise ValueError(f"fits must be 'perturbed' or 'estimated', got {self.fits!r}")
        for name in ("identities", "clips", "shards"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.size % 4 or self.size < 32:
            raise ValueError(f"size must be a multiple of 4 from 32 on, got {self.size}")

    def seeds(self, shard: int) -> list[int]:
        """Return the avatar seeds of a shard; training and validation share none."""
        base = self.seed * 1_000_000 + (_VALIDATION_SEED if self.split == "val" else 0)
        return [base + i for i in range(self.identities)][shard :: self.shards]


class Shard:
    """The folder of arrays of one shard: opened, resumed or created. ValueError where sizes disagree."""

    def __init__(self, folder: Path, identities: int, config: DatasetConfig):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.per_identity = folder, config.clips * CLIP
        record = folder / "config.json"
        text = json.dumps(asdict(config), sort_keys=True)
        before = record.read_text(encoding="utf-8") if record.exists() else text
        if before != text:
            raise ValueError(f"{folder} was written with {before}, not {text}; choose another folder")
        self.arrays = {
            name: self._open(name, identities if name in _OF_IDENTITIES else identities * self.per_identity, config)
            for name in ARRAYS
            if name not in BASELINES or config.split == "val"
        }
        record.write_text(text, encoding="utf-8")

    def _open(self, name: str, rows: int, config: DatasetConfig) -> np.memmap:
        dtype, tail = ARRAYS[name]
        shape = (rows, *(config.size if n == "S" else n for n in tail))
        path = self.folder / f"{name}.npy"
        if path.exists():
            array = np.lib.format.open_memmap(path, mode="r+")
            if array.shape != shape:
                raise ValueError(f"{path} has shape {array.shape}, expected {shape}; choose another folder")
            return array
        return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)

    def is_complete(self, identity: int) -> bool:
        return bool(self.arrays["complete"][identity])

    def write(self, name: str, start: int, values: Tensor) -> None:
        self.arrays[name][start : start + len(values)] = values.numpy()

    def finish_identity(self, identity: int) -> None:
        """Mark an identity as complete, after flushing all arrays to disk."""
        for array in self.arrays.values():
            array.flush()
        self.arrays["complete"][identity] = 1
        self.arrays["complete"].flush()

    def finish(self) -> None:
        (self.folder / "DONE").write_text("complete\n", encoding="utf-8")


class Person(Protocol):
    """The avatar with its body at rest, its portrait and its true fit, as `true_frames` needs them."""

    body: HalfBody
    avatar: Avatar
    rest: Rest
    portrait: AvatarPortrait
    identity: Identity


class ClipMaker:
    """The maker of all clips of one synthetic person: `clip(number)` renders one; person, portrait and fits are made
    once.

    body: the half body.
    seed: of the person.
    config: settings of the set.
    template, lifter: tables of the mean body and of the atlas, shared by all people."""

    def __init__(self, body: HalfBody, seed: int, config: DatasetConfig, template: Template, lifter: Lifter):
        self.body, self.config = body, config
        self.rng = torch.Generator().manual_seed(seed * 13 + 5)
        self.avatar = make_avatar(body, seed, template)
        self.portrait = reference_portrait(body, self.avatar, seed * 11 + 1, size=2 * config.size)
        self.identity = true_identity(body, self.avatar, self.portrait, lifter)
        self.wrong: Identity | None = None
        if config.split == "train":
            self.wrong = self._imperfect(seed, template, lifter)
        else:
            self.plain = as_photographed(body, self.identity, lifter)
        self.rest: Rest = body.rest(self.avatar.shape[None], self.avatar.shell[None])
        self.heads = joint_heads(body, self.rest)

    def _imperfect(self, seed: int, template: Template, lifter: Lifter) -> Identity:
        if self.config.fits == "estimated":
            try:
                self._estimated = True
                return estimated_identity(self.body, self.portrait, seed, lifter)
            except ValueError as error:  # keypoints that no body fits: rare, and no reason to stop
                log.warning("avatar %d: %s; its true fit is perturbed instead", seed, error)
        self._estimated = False
        return perturbed_identity(self.body, self.identity, self.rng, template, lifter)

    def cameras(self, clip: int) -> Cameras:
        """Return the random cameras of a training clip, or the clip's part of the fixed validation grid."""
        rng, size = self.rng, (self.config.size, self.config.size)
        framing = canonical_framing(float(self.rest.bones[0, self.body.bone_index["head"], 2]))
        target, height, pitch = torch.tensor(framing.target), framing.height, 0.0
        if self.config.split == "val":
            frames = self.config.clips * CLIP
            yaw = torch.linspace(-87.5, 87.5, frames)[clip * CLIP : (clip + 1) * CLIP]
        else:
            start, sweep = uniform(rng, -95, 95), 0.0
            if uniform(rng, 0, 1) < _ORBIT:
                sweep = uniform(rng, 10, 40) * (-1 if start > 0 else 1)
            yaw, pitch = start + torch.linspace(0, 1, CLIP) * sweep, uniform(rng, -8, 8)
            if uniform(rng, 0, 1) < _TIGHT:
                height = uniform(rng, 0.5, 0.75)
                target[2] += uniform(rng, 0.02, 0.20)
            height *= uniform(rng, 0.95, 1.05)
            target += 0.05 * framing.height * 0.5 * (2 * torch.rand(3, generator=rng) - 1)
        distance = torch.full((CLIP,), framing.distance)
        matrix = look_at(target, yaw, torch.full((CLIP,), pitch), distance)
        return Cameras(matrix, intrinsics_for(height, framing.distance, size), yaw, size)

    def motion(self) -> Motion:
        stride = int(torch.randint(1, 5, (), generator=self.rng))
        motion = random_motion(self.body, self.heads, CLIP * stride, self.rng)
        return motion[::stride]

    def clip(self, clip: int) -> tuple[AvatarFrames, Guides, bool, dict[str, Tensor]]:
        """Render one clip of CLIP frames -> (true frames, guides, whether these come from a wrong fit, baselines).

        clip: its number. The last is the dictionary of `baselines` in a validation split, else {}."""
        cameras, motion = self.cameras(clip), self.motion()
        frames = true_frames(self, motion, cameras)
        wrong = self.wrong is not None and uniform(self.rng, 0, 1) < _PERTURBED
        fit, view = self.identity, cameras
        if wrong and self.wrong is not None:
            fit = self.wrong
            view = aligned_cameras(self.body, self.identity, fit, cameras) if self._estimated else cameras
        guides = render_guides(self.body, fit, motion, view)
        extra = baselines(self.body, self.plain, motion, cameras) if self.config.split == "val" else {}
        return frames, guides, wrong, extra


def true_frames(person: "Person", motion: Motion, cameras: Cameras) -> AvatarFrames:
    """Render a motion of a synthetic person, seen by cameras, in front of the wall of their portrait."""
    wall = background_plate(replace(person.identity, background=person.portrait.background), cameras)
    return render_avatar(person.body, person.avatar, motion, cameras, background=wall, rest=person.rest)


def baselines(body: HalfBody, plain: Identity, motion: Motion, cameras: Cameras) -> dict[str, Tensor]:
    """Draw two pictures that the renderer's output is compared with -> {"plain": (T, H, W, 3), "bare": (T, H, W)}, both
    uint8.

    body: the half body.
    plain: the identity whose texture keeps the portrait's shading, from `as_photographed`.
    motion, cameras: T frames each.

    "plain" shows this texture on the posed body; "bare" is 255 where the body is without its shell of hair and clothes,
    else 0."""
    bare = render_guides(body, replace(plain, shell=torch.zeros_like(plain.shell)), motion, cameras)
    lift = render_guides(body, plain, motion, cameras).lift
    return {"plain": image_bytes(lift), "bare": share_bytes((bare.part > 0).float())}


def _write_clip(shard: Shard, row: int, frames: AvatarFrames, guides: Guides, extra: dict[str, Tensor]) -> None:
    shard.write("rgb", row, image_bytes(frames.rgb))
    shard.write("alpha", row, share_bytes(frames.alpha))
    shard.write("region", row, frames.region)
    shard.write("normal", row, image_bytes(guides.normal))
    shard.write("part", row, guides.part[:, 0].to(torch.uint8))
    shard.write("lift", row, image_bytes(guides.lift))
    shard.write("visibility", row, share_bytes(guides.visibility))
    for name, values in extra.items():
        shard.write(name, row, values)
    shard.write("yaw", row, guides.yaw)
    shard.write("keypoints", row, frames.keypoints)


def _write_identity(shard: Shard, place: int, maker: ClipMaker) -> None:
    clips = maker.config.clips
    image = F.avg_pool2d(maker.portrait.image[None], 2)
    shard.write("portrait", place, image_bytes(image))
    shard.write("portrait_mask", place, share_bytes(F.avg_pool2d(maker.portrait.mask[None], 2)))
    for clip in range(clips):
        frames, guides, wrong, extra = maker.clip(clip)
        row = (place * clips + clip) * CLIP
        _write_clip(shard, row, frames, guides, extra)
        shard.write("identity", row, torch.full((CLIP,), place, dtype=torch.int32))
        shard.write("clip", row, torch.full((CLIP,), place * clips + clip, dtype=torch.int32))
        shard.write("perturbed", row, torch.full((CLIP,), int(wrong), dtype=torch.uint8))
    shard.finish_identity(place)


@torch.inference_mode()
def generate(
    out: str | Path,
    config: DatasetConfig,
    shards: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    body: HalfBody | None = None,
    template: Template | None = None,
) -> list[Path]:
    """Write, or resume writing, shards of a split -> their folders.

    out: parent folder.
    config: what the split holds.
    shards: numbers of those to write; None for all.
    progress: progress(identities done, total) after each.
    body: the half body; None makes one.
    template: its atlas size is used, and its body must be `body`; None makes one of the default size."""
    chosen = list(range(config.shards)) if shards is None else list(shards)
    if wrong := [s for s in chosen if not 0 <= s < config.shards]:
        raise ValueError(f"shards {wrong} do not exist; there are {config.shards}, numbered from 0")
    body = body if body is not None else HalfBody()
    template, lifter = template if template is not None else Template(body), Lifter(body)
    total, done, folders = sum(len(config.seeds(s)) for s in chosen), 0, []
    for index in chosen:
        seeds = config.seeds(index)
        shard = Shard(Path(out) / config.split / f"{index:02d}", len(seeds), config)
        for place, seed in enumerate(seeds):
            if not shard.is_complete(place):
                _write_identity(shard, place, ClipMaker(body, seed, config, template, lifter))
            done += 1
            if progress is not None:
                progress(done, total)
        shard.finish()
        folders.append(shard.folder)
        log.info("shard %s is complete", shard.folder)
    return folders


def _parse_shards(text: str) -> tuple[list[int] | None, int]:
    """Parse shards: "0,2/6" -> ([0, 2], 6); "6" -> (None, 6), all of them."""
    chosen, slash, count = text.rpartition("/")
    return ([int(s) for s in chosen.split(",")] if slash else None), int(count)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `synth avatars`."""
    parser.add_argument("--split", default="train", choices=("train", "val"))
    parser.add_argument("--identities", type=int, default=300)
    parser.add_argument("--clips", type=int, default=8, help="clips of 8 frames an identity")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--fits", default="perturbed", choices=("perturbed", "estimated"))
    parser.add_argument("--out", default="data/avatars")
    parser.add_argument("--shard", default="6", help="count of shards, or K,L/N: only shards K and L of N")


def run(options: argparse.Namespace) -> None:
    """Render the chosen shards of a split."""
    chosen, count = _parse_shards(options.shard)
    numbers = (options.identities, options.clips, options.seed, options.size, count)
    config = DatasetConfig(options.split, *numbers, options.fits)
    generate(options.out, config, chosen, lambda done, total: log.info("identity %d of %d", done, total))
