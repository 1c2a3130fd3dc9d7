"""The reader of the rendered avatar frames (synthetic/data/dataset.py): random rows as tensors, flipped consistently.

Frames of all given shards form one index space; so do the identities. Only identities marked complete are used, so that
training may start while later shards are still being written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...records import Guides
from ...shapes import REGIONS
from ...video.guides.maps import guide_tensor

CLIP = 8  # consecutive rows of one identity
_BASELINES = ("plain", "bare")  # in validation sets
FRAME_ARRAYS = ("rgb", "alpha", "region", "normal", "part", "lift", "visibility")
_ARRAYS = (*FRAME_ARRAYS, "yaw", "identity", "perturbed", "portrait", "portrait_mask", "complete")
FACE, HANDS = REGIONS.index("face"), REGIONS.index("hands")


def find_shards(folder: str | Path, unfinished: bool = False) -> list[Path]:
    """Return the shards in the folder of a split, sorted. ValueError where there are none.

    folder: of the split; unfinished: True to return also shards that are still being written."""
    folder = Path(folder)
    marker = "complete.npy" if unfinished else "DONE"
    shards = sorted(path.parent for path in folder.glob(f"*/{marker}"))
    if not shards:
        raise ValueError(f"no complete shard in {folder}; make one with python -m stereotalker_core synth avatars")
    return shards


def swap_labels(part_names: Sequence[str]) -> Tensor:
    """Return (1 + parts,): the label that each guide label gets in a mirrored picture; left parts become right parts.
    """
    swap = {"L": "R", "R": "L"}
    names = list(part_names)
    mirrored = [f"{n[:-1]}{swap[n[-1]]}" if n.endswith((".L", ".R")) else n for n in names]
    return torch.tensor([0] + [1 + names.index(m) for m in mirrored])


@dataclass(frozen=True)
class Rows:
    """The N stored frames as network input.

    rgb: (N, 3, H, W) in [-1, 1]; alpha: (N, 1, H, W) of the person; region: (N, H, W) int64, labels of shapes.REGIONS;
    guides: maps of the posed body; identity: (N,) index of the person."""

    rgb: Tensor
    alpha: Tensor
    region: Tensor
    guides: Guides
    identity: Tensor

    def guide(self, n_parts: int) -> Tensor:
        """Return the guide tensor (N, G, H/4, W/4) of these rows, for a body with n_parts parts; see `guide_tensor`."""
        return guide_tensor(self.guides, n_parts)

    def weight(self, face: float = 2.5, hands: float = 0.0, background: float = 0.5) -> Tensor:
        """Return the loss weight (N, 1, H, W): `background` everywhere, 1 more on the person, and there `face` more on
        the face and `hands` more on the hands."""
        more = face * (self.region == FACE) + hands * (self.region == HANDS)
        return background + self.alpha + more[:, None]


class AvatarData:
    """The reader of rendered frames; one frame is called a row, and rows of all shards are numbered together.

    shards: folders, from `find_shards`; part_names: names of the body's parts. `identity`, `yaw` and `perturbed` are
        arrays with one entry per row: number of the person, camera yaw in degrees, whether the guides come from a wrong
        fit."""

    def __init__(self, shards: Sequence[Path], part_names: Sequence[str]) -> None:
        self.part_names, self._swap = list(part_names), swap_labels(part_names)
        self._frames: list[dict[str, np.ndarray]] = []
        self._where: list[np.ndarray] = []
        tables: dict[str, list[np.ndarray]] = {k: [] for k in ("identity", "yaw", "perturbed")}
        portraits, masks, self.sources = [], [], []
        for number, shard in enumerate(shards):
            load = {name: np.load(Path(shard) / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
            # only identities that are written to their end; their numbers go on from the shards before
            whole = np.flatnonzero(load["complete"])
            row = np.flatnonzero(np.isin(load["identity"], whole) & self._written(load, whole))
            first = sum(map(len, portraits))
            tables["identity"].append(first + np.searchsorted(whole, load["identity"][row]))
            for name in ("yaw", "perturbed"):
                tables[name].append(load[name][row])
            portraits.append(load["portrait"][whole])
            masks.append(load["portrait_mask"][whole])
            extra = {k: np.load(f, mmap_mode="r") for k in _BASELINES if (f := Path(shard) / f"{k}.npy").is_file()}
            self._frames.append({k: load[k] for k in FRAME_ARRAYS} | extra)
            self._where.append(np.stack([np.full(len(row), number), row], 1))
            self.sources.append((Path(shard), row))
        self.identity, self.yaw, self.perturbed = (np.concatenate(v) for v in tables.values())
        self.where = np.concatenate(self._where)
        self.portraits, self.masks = np.concatenate(portraits), np.concatenate(masks)
        self.rows_of = [np.flatnonzero(self.identity == i) for i in range(len(self.portraits))]

    @staticmethod
    def _written(load: dict[str, np.ndarray], whole: np.ndarray) -> np.ndarray:
        # rows that nobody wrote yet hold identity 0: only the block of an identity's own rows counts
        per = len(load["identity"]) // len(load["portrait"])
        return np.isin(np.arange(len(load["identity"])) // per, whole)

    def __len__(self) -> int:
        return len(self.where)

    @property
    def n_parts(self) -> int:
        return len(self.part_names)

    def _raw(self, name: str, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(np.stack([self._frames[s][name][r] for s, r in self.where[rows]]))

    def rows(self, rows: np.ndarray, flip: np.ndarray | None = None) -> Rows:
        """Read frames by their row indices -> images, masks, guides and person of each.

        rows: (N,) indices; flip: (N,) bool, which of them are mirrored, with normals, yaw and left and right parts
            changed to match; None: none."""
        rows = np.asarray(rows)
        image = {k: _from_bytes(self._raw(k, rows).permute(0, 3, 1, 2)) for k in ("rgb", "lift", "normal")}
        share = {k: self._raw(k, rows)[:, None].float() / 255 for k in ("alpha", "visibility")}
        part, region = self._raw("part", rows).long(), self._raw("region", rows).long()
        image["normal"] = image["normal"] * (part > 0)[:, None]
        yaw = torch.from_numpy(self.yaw[rows].astype(np.float32))
        if flip is not None and flip.any():
            f = torch.from_numpy(flip)
            for maps in (image, share):
                for k, v in maps.items():
                    maps[k] = torch.where(f[:, None, None, None], v.flip(-1), v)
            image["normal"][f, 0] *= -1
            part = torch.where(f[:, None, None], self._swap[part.flip(-1)], part)
            region = torch.where(f[:, None, None], region.flip(-1), region)
            yaw = torch.where(f, -yaw, yaw)
        depth = torch.zeros_like(share["alpha"])  # the networks do not read it, the set does not store it
        guides = Guides(image["normal"], part[:, None].float(), depth, image["lift"], share["visibility"], yaw)
        return Rows(image["rgb"], share["alpha"], region, guides, torch.from_numpy(self.identity[rows]))

    def baselines(self, rows: np.ndarray) -> tuple[Tensor, Tensor] | None:
        """Read two pictures that the renderer's output is compared with, for N rows; None where a shard was written
        without them.

        rows: (N,) indices. Returns the portrait's pixels on the posed body, with the shading of the portrait left on
            them, (N, 3, H, W) in [-1, 1], and the silhouette of the body without hair and clothes, (N, 1, H, W) in [0,
            1]."""
        if not all(set(_BASELINES) <= set(frames) for frames in self._frames):
            return None
        plain = _from_bytes(self._raw("plain", rows).permute(0, 3, 1, 2))
        return plain, self._raw("bare", rows)[:, None].float() / 255

    def portrait(self, identities: np.ndarray, flip: np.ndarray | None = None) -> Tensor:
        """Return the portraits (I, 3, H, W) in [-1, 1], mirrored where flip (I,) is true."""
        image = _from_bytes(torch.from_numpy(self.portraits[np.asarray(identities)]).permute(0, 3, 1, 2))
        if flip is None:
            return image
        return torch.where(torch.from_numpy(flip)[:, None, None, None], image.flip(-1), image)

    def some(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw (count,) random row indices, from all people."""
        return rng.integers(0, len(self), count)

    def draw(
        self, rng: np.random.Generator, identities: int, frames: int, clips: bool = False, stride: int = 1,
        likely: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Draw random people, and `frames` rows of each -> (identities * frames,) row indices.

        rng: random generator.
        identities: number of people.
        frames: rows of each.
        clips: consecutive frames instead of random ones, `stride` apart, or less where a clip is too short.
        likely: relative probability of each row within its identity, positive; not with clips.

        ValueError where a clip has fewer than `frames` frames."""
        picked = []
        for own in self._people(rng, identities):
            if clips:
                picked.append(self._in_a_row(rng, own, frames, stride))
            else:
                share = None if likely is None else likely[own] / likely[own].sum()
                picked.append(rng.choice(own, frames, replace=frames > len(own), p=share))
        return np.concatenate(picked)

    def _people(self, rng: np.random.Generator, count: int) -> Iterator[np.ndarray]:
        """Draw `count` random people and yield, for each, the indices of all rows that show them.

        People repeat only where there are fewer than `count`."""
        for who in rng.choice(len(self.rows_of), count, replace=count > len(self.rows_of)):
            yield self.rows_of[who]

    def _in_a_row(self, rng: np.random.Generator, own: np.ndarray, frames: int, stride: int) -> np.ndarray:
        """Draw rows of successive frames, `stride` apart, from one random clip of a person -> row indices (frames,).

        rng: random generator; own: indices of all rows of the person, CLIP per clip, one clip after the other; frames:
            how many to draw."""
        clip = int(rng.integers(0, len(own) // CLIP)) * CLIP
        return own[clip + consecutive(rng, CLIP, frames, stride)]


def consecutive(rng: np.random.Generator, length: int, frames: int, stride: int) -> np.ndarray:
    """Draw positions (frames,) in a clip of `length` frames, `stride` apart, or less in a short clip.

    ValueError where the clip is shorter than `frames`."""
    if length < frames:
        raise ValueError(f"a clip has {length} frames, {frames} in a row are asked; use longer clips or fewer")
    step = min(stride, (length - 1) // max(1, frames - 1)) if frames > 1 else 1
    start = int(rng.integers(0, length - (frames - 1) * step))
    return start + step * np.arange(frames)


def crop_rows(rows: Rows, size: int, rng: np.random.Generator) -> Rows:
    """Crop each frame, with all its maps, to a random window of `size` px; in half of the frames it lies near the head.

    The windows begin at multiples of 8 px."""
    height, width = rows.rgb.shape[-2:]
    corners = []
    for _ in range(len(rows.rgb)):
        top, left = (int(rng.integers(0, (n - size) // 8 + 1)) * 8 for n in (height, width))
        if rng.random() < 0.5:
            top = int(rng.integers(0, (height - size) // 24 + 1)) * 8
            left = int(np.clip(rng.integers(width // 8, width * 3 // 8) // 8 * 8, 0, width - size))
        corners.append((top, left))

    def cut(x: Tensor) -> Tensor:
        return torch.stack([v[..., y : y + size, z : z + size] for v, (y, z) in zip(x, corners, strict=True)])

    g = rows.guides
    guides = Guides(*(cut(x) for x in (g.normal, g.part, g.depth, g.lift, g.visibility)), yaw=g.yaw)
    return Rows(cut(rows.rgb), cut(rows.alpha), cut(rows.region), guides, rows.identity)


def without_lift(guides: Guides) -> Guides:
    """Return the guides without the portrait's colours."""
    return replace(guides, lift=torch.zeros_like(guides.lift), visibility=torch.zeros_like(guides.visibility))


def _from_bytes(image: Tensor) -> Tensor:
    return image.float() / 127.5 - 1


def pooled(x: Tensor, size: int) -> Tensor:
    """Average (N, C, H, W) over blocks of `size` px."""
    return F.avg_pool2d(x, size)


def image_bytes(image: Tensor) -> Tensor:
    """Map images (..., C, H, W) in [-1, 1] -> (..., H, W, C) uint8, the format of the arrays."""
    return (image * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).movedim(-3, -1).contiguous()


def share_bytes(mask: Tensor) -> Tensor:
    """Map masks (T, 1, H, W) in [0, 1] -> (T, H, W) uint8, the format of the arrays."""
    return (mask[:, 0] * 255).round().clamp(0, 255).to(torch.uint8)
