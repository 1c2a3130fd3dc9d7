"""Clips -> the memory-mapped rows that the stage-2 trainers read, and their reader.

Guides do not change during a training, so they are rendered once: `prepare_rows` writes the arrays of
`synthetic/data/dataset.py` (and "drawing", the usual skeleton drawing, for renderers that are steered by it) for all
frames, one clip after the other. An interrupted preparation continues after the last finished clip. Every clip has its
own portrait, because it is framed as the clip's cameras frame the person, as in rendering."""

import copy
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody
from ...records import Cameras, Guides, Identity, Regions
from ...synthetic.data.avatar_frames import FRAME_ARRAYS, AvatarData, consecutive, image_bytes, share_bytes
from ...video.guides.maps import background_plate, render_guides
from .check import NEEDS, check_clips
from .clip import Clip, ClipInfo, ClipSet, present, save_json

logger = logging.getLogger(__name__)
_COLOUR = ("rgb", "normal", "lift", "drawing")
_CHUNK = 16  # frames whose guides are rendered at once


def prepare_rows(
    root: str | Path,
    out: str | Path,
    size: int,
    drawing: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Check all clips and render their guides -> the folder `out` with the arrays, one row per frame.

    A call that was interrupted is continued by the next one.
    root: folder of the clips.
    out: folder of the arrays.
    size: height of the pictures in px, a multiple of 8.
    drawing: also store skeleton drawings.
    progress: called with (clips done, clips in total).

    ValueError: faulty clips, pictures of several shapes, or arrays in `out` that were made from other clips."""
    if size % 8 or size < 32:
        raise ValueError(f"size must be a multiple of 8 from 32 on, got {size}")
    infos = check_clips(root, NEEDS["renderer"])
    shapes = sorted({present(i.size, "size") for i in infos})
    if len({round(w / h, 3) for h, w in shapes}) > 1:
        raise ValueError(f"the clips have pictures of several shapes {shapes}; crop them to one")
    height, width = shapes[0]
    canvas = (size, max(8, round(width * size / height / 8) * 8))
    out = Path(out)
    store = _Store(out, infos, canvas, drawing)
    clips, body = ClipSet(root), HalfBody()
    for index in range(len(infos)):
        if not store.arrays["complete"][index]:
            clip = clips.read(index, ("frames", "motion", "cameras", "regions"))
            store.write(index, clip, clips.identity(present(clip.info.identity, "identity")), body)
        if progress:
            progress(index + 1, len(infos))
    (out / "DONE").write_text("complete\n", encoding="utf-8")
    return out


class _Store:
    """The writer of the arrays in a folder, which hold one row per frame of all clips; existing arrays are continued.

    infos: the clips, in the order of their rows; canvas: (H, W) px of the pictures; drawing: also store skeleton
        drawings."""

    def __init__(self, folder: Path, infos: list[ClipInfo], canvas: tuple[int, int], drawing: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        people = sorted({present(i.identity, "identity") for i in infos})
        plan = {"canvas": canvas, "drawing": drawing, "clips": _digest(infos)}
        record = folder / "plan.json"
        if record.is_file() and json.loads(record.read_text(encoding="utf-8")) != json.loads(json.dumps(plan)):
            raise ValueError(f"{folder} was prepared from other clips or for another size; delete it or name another")
        save_json(plan, record)
        self.folder, self.canvas = folder, canvas
        self.first = np.concatenate([[0], np.cumsum([i.frames for i in infos])])
        rows, count = int(self.first[-1]), len(infos)
        frame_arrays = (*FRAME_ARRAYS, "drawing") if drawing else FRAME_ARRAYS
        shapes = {k: (rows, *canvas, 3) if k in _COLOUR else (rows, *canvas) for k in frame_arrays}
        shapes |= {"portrait": (count, *canvas, 3), "portrait_mask": (count, *canvas), "complete": (count,)}
        shapes |= {"perturbed": (rows,)}
        self.arrays = {name: self._open(name, shape, np.uint8) for name, shape in shapes.items()}
        self.arrays["yaw"] = self._open("yaw", (rows,), np.float32)
        for name, values in (
            ("identity", np.repeat(np.arange(count), np.diff(self.first))),
            ("person", np.array([people.index(present(i.identity, "identity")) for i in infos])),
        ):
            self.arrays[name] = self._open(name, values.shape, np.int32)
            self.arrays[name][:] = values

    def _open(self, name: str, shape: tuple[int, ...], dtype: type) -> np.memmap:
        path = self.folder / f"{name}.npy"
        if path.is_file():
            return np.lib.format.open_memmap(path, mode="r+")
        return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)

    @torch.no_grad()
    def write(self, index: int, clip: Clip, identity: Identity, body: HalfBody) -> None:
        """Write all rows of one clip, and mark it complete once they are on disk.

        index: number of the clip; clip: its parts; identity: the fit of its person; body: the half body."""
        cameras, moved = scaled(present(clip.cameras, "cameras"), self.canvas), present(clip.motion, "motion")
        rest = body.rest(identity.shape[None], identity.shell[None])
        for start in range(0, clip.info.frames, _CHUNK):
            part = slice(start, start + _CHUNK)
            guides = render_guides(body, identity, moved[part], cameras[part], rest)
            rows = slice(int(self.first[index]) + start, int(self.first[index]) + start + len(guides))
            self._pictures(rows, clip, part, guides)
            if "drawing" in self.arrays:
                self.arrays["drawing"][rows] = image_bytes(_drawing(body, rest, clip, part, cameras))
        self.arrays["portrait"][index] = image_bytes(_framed(identity, identity.portrait, cameras))
        mask = _framed(identity, identity.mask.expand(3, -1, -1) * 2 - 1, cameras)[:1]
        self.arrays["portrait_mask"][index] = share_bytes((mask + 1)[None] / 2)[0]
        for array in self.arrays.values():
            array.flush()
        self.arrays["complete"][index] = 1
        self.arrays["complete"].flush()

    def _pictures(self, rows: slice, clip: Clip, part: slice, guides: Guides) -> None:
        regions = Regions(_resized(present(clip.regions, "regions").masks[part], self.canvas))
        values = {
            "rgb": image_bytes(_resized(present(clip.frames, "frames")[part], self.canvas)),
            "alpha": share_bytes(regions.person),
            "region": regions.masks[:, 1:].argmax(1).add(1).mul(regions.person[:, 0] > 0).to(torch.uint8).numpy(),
            "normal": image_bytes(guides.normal),
            "part": guides.part[:, 0].to(torch.uint8).numpy(),
            "lift": image_bytes(guides.lift),
            "visibility": share_bytes(guides.visibility),
            "yaw": guides.yaw.numpy(),
        }
        for name, value in values.items():
            self.arrays[name][rows] = value


class ClipRows(AvatarData):
    """The reader of the arrays that `prepare_rows` wrote for clips of any length, with the methods of `AvatarData`.

    folder: where the arrays are; part_names: names of the body's parts.

    A row is one frame. `identity` (rows,) is the number of each row's clip, `person` (clips,) the number of the person
    in each clip."""

    def __init__(self, folder: str | Path, part_names: list[str]) -> None:
        folder = Path(folder)
        if not (folder / "DONE").is_file():
            raise ValueError(f"{folder} holds no prepared clips; prepare them with: train clips prepare")
        super().__init__([folder], part_names)
        self.person = np.load(folder / "person.npy")
        self.clips_of = [np.flatnonzero(self.person == p) for p in range(int(self.person.max()) + 1)]
        path = folder / "drawing.npy"
        self._drawing = np.load(path, mmap_mode="r") if path.is_file() else None

    @staticmethod
    def _written(load: dict[str, np.ndarray], whole: np.ndarray) -> np.ndarray:
        return np.ones(len(load["identity"]), bool)  # clips are of unequal length, all are complete

    def share(self, index: int, count: int) -> "ClipRows":
        """Return a reader of the same arrays that draws only from every `count`-th person, beginning with number
        `index`.

        ValueError where there are fewer than `count` people."""
        if len(self.clips_of) < count:
            raise ValueError(f"{len(self.clips_of)} people cannot be shared by {count} micro-batches; set fewer")
        found = copy.copy(self)  # the arrays are on the disk: what is not drawn is not read
        found.clips_of = self.clips_of[index::count]
        return found

    def some(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw (count,) random row indices, from the people of this share."""
        own = np.sort(np.concatenate([self.rows_of[clip] for clips in self.clips_of for clip in clips]))
        return own[rng.integers(0, len(own), count)]

    def drawings(self, rows: np.ndarray, flip: np.ndarray) -> Tensor:
        """Return the skeleton drawings (N, 3, H, W) in [-1, 1] of rows, mirrored where flip (N,) is true.

        Their colours tell left from right, so a mirrored drawing shows a mirrored person. ValueError where they were
        not prepared."""
        if self._drawing is None:
            raise ValueError("these rows were prepared without drawings; prepare them with drawing=True")
        image = torch.from_numpy(np.stack([self._drawing[r] for r in rows])).permute(0, 3, 1, 2).float() / 127.5 - 1
        return torch.where(torch.from_numpy(flip)[:, None, None, None], image.flip(-1), image)

    def _people(self, rng: np.random.Generator, count: int) -> Iterator[np.ndarray]:
        """Draw `count` random people and yield, for each, the row indices of one random clip of theirs.

        People repeat only where there are fewer than `count`."""
        for who in rng.choice(len(self.clips_of), count, replace=count > len(self.clips_of)):
            yield self.rows_of[rng.choice(self.clips_of[who])]

    def _in_a_row(self, rng: np.random.Generator, own: np.ndarray, frames: int, stride: int) -> np.ndarray:
        return own[consecutive(rng, len(own), frames, stride)]  # all rows are of one clip, of any length


def scaled(cameras: Cameras, canvas: tuple[int, int]) -> Cameras:
    """Return the same cameras for pictures resized to `canvas` (H, W)."""
    factor = cameras.intrinsics.new_tensor([canvas[1] / cameras.size[1], canvas[0] / cameras.size[0], 1.0])
    return Cameras(cameras.world_to_camera, cameras.intrinsics * factor[:, None], cameras.yaw, canvas)


def _framed(identity: Identity, image: Tensor, cameras: Cameras) -> Tensor:
    """Return `image` in the size of the clip's pictures, with the person where the clip's cameras show them -> (3, H',
    W').

    identity: the person; image: (3, H, W) in [-1, 1], their portrait or its mask; cameras: those of the clip."""
    return background_plate(replace(identity, background=image), cameras)


def _drawing(body: HalfBody, rest, clip: Clip, part: slice, cameras: Cameras) -> Tensor:
    from ...video.guides.skeleton_drawing import draw_skeleton

    motion = present(clip.motion, "motion")[part]
    return draw_skeleton(body, body.pose(rest, motion.rotations, motion.expression), cameras[part])


def _resized(x: Tensor, canvas: tuple[int, int]) -> Tensor:
    if tuple(x.shape[-2:]) == canvas:
        return x
    return F.interpolate(x, canvas, mode="bilinear", antialias=True, align_corners=False)


def _digest(infos: list[ClipInfo]) -> str:
    """Return a digest that tells sets of clips apart."""
    text = json.dumps([[i.name, i.frames, i.size, i.identity, i.source] for i in infos])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
