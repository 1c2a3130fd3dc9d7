"""The compiled loops (`compiled`, `compiled_frames`) as calls on records and tensors: availability, compilation in
advance, threads."""

import functools
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from ...body.fine_mesh import FineMesh
from ...body.model import Posed
from ...body.texture.light import DARKEST, SKY_BELOW
from ...loops.available import array
from ...records import Cameras, Guides
from .layout import GUIDE_BLOCK, GuideLayout

logger = logging.getLogger(__name__)
PACKED = ("lift", "normal", "visibility")  # the maps that `compiled.pack_frame` writes, in its order


@functools.lru_cache(maxsize=1)
def _numba() -> ModuleType | None:
    """Import the module `compiled` without calling it; None where numba is missing or disabled."""
    try:
        from numba.core import config

        from . import compiled, compiled_frames  # noqa: F401
    except (ImportError, OSError) as error:  # OSError: a numba whose native library does not fit this system
        logger.info("guides are drawn without numba (%s)", error)
        return None
    return None if config.DISABLE_JIT else compiled


@functools.lru_cache(maxsize=1)
def _loops() -> ModuleType | None:
    """Return the module `compiled` with every function compiled; None where that fails."""
    compiled = _numba()
    if compiled is None:
        return None
    from pickle import PickleError

    from numba.core.errors import NumbaError

    try:
        _call_once(compiled)
    except (NumbaError, PickleError, ImportError, OSError, EOFError) as error:
        logger.warning("guides are drawn without numba, more slowly (%s: %s)", type(error).__name__, error)
        return None
    return compiled


_BUSY = threading.Lock()  # of the one compilation


def loops(device: torch.device) -> ModuleType | None:
    """Return the compiled functions for tensors on `device`, or None; waits while another thread compiles them."""
    if device.type != "cpu":
        return None
    with _BUSY:
        return _loops()


def warm_up() -> threading.Thread:
    """Start compiling the functions of `loops` in a thread, which takes seconds, once per machine."""
    _numba()  # imported here: no module is imported in two threads at once
    thread = threading.Thread(target=loops, args=(torch.device("cpu"),), name="compile guides", daemon=True)
    thread.start()
    return thread


def _call_once(compiled: ModuleType) -> None:
    """Call every function once on a triangle and a canvas of 4 x 4 pixels, to compile it for the types in use."""
    mesh = np.array([[0, 1, 2]], np.int32)
    corners = np.array([[0, 0, 1], [3, 0, 1], [0, 3, 1]], np.float32)
    one, three = np.zeros((1, 4, 4), np.float32), np.zeros((3, 4, 4), np.float32)
    eye, texture, light = np.eye(4, dtype=np.float32), np.zeros((2, 2, 4), np.float32), np.zeros(6, np.float32)
    compiled.edge_middles(corners.copy(), corners.copy(), mesh[:0, :2].copy())
    compiled.draw_frame(
        (mesh, mesh), corners[:, :2].copy(), np.ones(1, np.float32), texture, light, three, corners, corners,
        np.ones(3, np.float32), eye, eye[:3, :3].copy(), three, one, one, three, one,
    )  # fmt: skip
    compiled.pack_frame(three, one, three, one, np.zeros((1, 1, GuideLayout().channels), np.float32))
    region, maps = torch.zeros(1, dtype=torch.int64), torch.zeros(1, 1, 4, 4)
    silhouette(maps, region, 1)
    person(torch.zeros(1, 16, 1, 1), maps, region, 1, 0.0)
    restored(torch.zeros(1, 48, 1, 1), torch.zeros(1, 64, 1, 1), 0, 48, 0.0)
    pictures = torch.zeros(1, 4, 1, 1)
    steady_frames(pictures, pictures[:, :3].contiguous(), [0], (0, 1), (0.0, 0.0, 0.0, 0.0, 0.0), pictures)


def in_threads(work: Callable[[int], None], count: int) -> None:
    """Run work(0), work(1), ... on as many threads as torch uses; the first error is raised."""
    threads = min(count, torch.get_num_threads())
    if threads < 2:
        for i in range(count):
            work(i)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, i) for i in range(count)]:
            done.result()


class Surface:
    """The input of the compiled loop that is the same for all frames of a person's video."""

    def __init__(self, texture: Tensor, mesh: FineMesh, uv: Tensor, plate: Tensor, light: Tensor | None):
        """Convert the tensors to the arrays that `compiled.draw_frame` takes; arguments as in `maps.Skin`.

        texture: (1, 4, h, w) colour in [-1, 1] and visibility in [0, 1].
        mesh: the triangles that are drawn.
        uv: (S, 2) in [0, 1], the place in the texture of each of their render vertices (split at texture seams).
        plate: (3, H, W) background in [-1, 1].
        light: (4,) of the portrait, see `body.texture.light.shade`; None: the texture is drawn unshaded."""
        self.mesh = tuple(x.int().contiguous().numpy() for x in (mesh.triangles, mesh.uv_triangles))
        self.ends = mesh.ends.int().contiguous().numpy()
        self.part = (mesh.triangle_part + 1).float().numpy()
        self.uv, self.plate = (x.detach().float().contiguous().numpy() for x in (uv, plate))
        self.texture = _in_rows(texture)
        lit = torch.tensor([0.0, 0.0, 0.0, -1.0]) if light is None else light.float()
        self.light = torch.cat([lit, torch.tensor([SKY_BELOW, DARKEST])]).numpy()

    def draw(
        self,
        compiled: ModuleType,
        posed: Posed,
        normals: Tensor,
        cameras: Cameras,
        into: Guides,
        shadow: Tensor | None = None,
        drawn: Sequence[Tensor | None] | None = None,
    ) -> None:
        """Draw T posed bodies seen by T cameras, filling the maps of `into`.

        compiled: the compiled functions; normals: (T, V, 3) of the vertices, unit vectors; shadow: (T, W) factors on
            the linear brightness of the finer mesh's, None for 1; drawn: the texture (1, 4, h, w) of each frame, None
            (also for one frame) for the person's.
        """
        vertices = posed.vertices.detach().contiguous().numpy()
        whole = np.ones((1, vertices.shape[1] + len(self.ends)), np.float32)
        shadows = np.broadcast_to(whole, (len(vertices), whole.shape[1])) if shadow is None else array(shadow)
        outward, matrices = array(normals), cameras.world_to_camera.contiguous().numpy()
        intrinsics = cameras.intrinsics.contiguous().numpy()
        textures = [self.texture if x is None else _in_rows(x) for x in drawn or [None] * len(vertices)]
        maps = [x.numpy() for x in (into.normal, into.part, into.depth, into.lift, into.visibility)]

        def one(i: int) -> None:
            points, upright = np.empty((2, len(vertices[i]) + len(self.ends), 3), np.float32)
            points[: len(vertices[i])], upright[: len(vertices[i])] = vertices[i], outward[i]
            compiled.edge_middles(points, upright, self.ends)
            compiled.draw_frame(
                self.mesh, self.uv, self.part, textures[i], self.light, self.plate, points, upright, shadows[i],
                matrices[i], intrinsics, *(x[i] for x in maps),
            )  # fmt: skip

        in_threads(one, len(vertices))


def _in_rows(texture: Tensor) -> np.ndarray:
    """Return a texture (1, 4, h, w) as an array (h, w, 4)."""
    return texture[0].detach().float().permute(1, 2, 0).contiguous().numpy()


def packs(layout: GuideLayout) -> bool:
    """Tell whether the compiled loop can pack this layout: its maps are PACKED, in that order."""
    return tuple(found.name for found in layout.maps) == PACKED


def pack(compiled: ModuleType, guides: Guides, layout: GuideLayout) -> Tensor:
    """Pack guides as `GuideLayout.pack` does, by the compiled loop -> (T, G, H/4, W/4), channels last in memory."""
    rows, columns = guides.part.shape[-2:]
    out = torch.empty(len(guides), rows // GUIDE_BLOCK, columns // GUIDE_BLOCK, layout.channels)
    maps = [x.contiguous().numpy() for x in (guides.normal, guides.part, guides.lift, guides.visibility)]
    whole = out.numpy()
    in_threads(lambda i: compiled.pack_frame(*(x[i] for x in maps), whole[i]), len(guides))
    return out.permute(0, 3, 1, 2)


def _last(x: Tensor) -> np.ndarray:
    """Return (T, C, h, w) as a contiguous array (T, h, w, C) of float32."""
    return x.detach().float().permute(0, 2, 3, 1).contiguous().numpy()


def silhouette(part: Tensor, region: Tensor, regions: int) -> Tensor:
    """Return the fitted body's regions in blocks, (T, 16 * regions, H/4, W/4) bfloat16, channels last in memory.

    part: (T, 1, H, W) labels of the guides; region: (labels,) the region of each; regions: how many there are."""
    from .compiled_frames import silhouette_frame

    frames, _, rows, columns = part.shape
    out = torch.empty(frames, rows // GUIDE_BLOCK, columns // GUIDE_BLOCK, 16 * regions, dtype=torch.int16)
    labels, table, whole = part.contiguous().numpy(), region.numpy(), out.numpy()
    in_threads(lambda i: silhouette_frame(labels[i], table, regions, whole[i]), frames)
    return out.view(torch.bfloat16).permute(0, 3, 1, 2)


def person(logits: Tensor, part: Tensor, region: Tensor, regions: int, prior: float) -> Tensor:
    """Return the person's alpha (T, 1, H, W) by the mask predictor's logits (T, 16 * regions, H/4, W/4).

    part, region, regions: as in `silhouette`; prior: logit that is added to the region of the fitted body."""
    from .compiled_frames import person_frame

    alpha, blocks = torch.empty(part.shape), _last(logits)
    labels, table, whole = part.contiguous().numpy(), region.numpy(), alpha.numpy()
    added = np.float32(prior)
    in_threads(lambda i: person_frame(blocks[i], labels[i], table, regions, added, whole[i]), len(part))
    return alpha


def restored(change: Tensor, guide: Tensor, lift_at: int, seen_at: int, sharpen: float) -> Tensor:
    """Return the pictures (T, 3, H, W) of the guided decoder, as its `forward` does by tensor operations.

    change: (T, 48, H/4, W/4) what its last convolution gives; guide: (T, G, H/4, W/4).
    lift_at, seen_at, sharpen: as in `compiled_frames.restore_frame`."""
    from .compiled_frames import restore_frame

    frames, _, rows, columns = change.shape
    image, blocks, maps = torch.empty(frames, 3, 4 * rows, 4 * columns), _last(change), _last(guide)
    whole, factor = image.numpy(), np.float32(sharpen)
    in_threads(lambda i: restore_frame(blocks[i], maps[i], lift_at, seen_at, factor, whole[i]), frames)
    return image


def steady_frames(
    values: Tensor, lift: Tensor, slots: list[int], work: tuple[int, int], limits: tuple[float, ...], out: Tensor
) -> None:
    """Filter consecutive frames over time as `steady.steady` does, by the compiled loop.

    values: (S, 4, H, W), lift: (S, 3, H, W), both contiguous; slots: where in them consecutive frames lie.
    work: first frame of interest, and number of passes.
    limits: as in `compiled_frames.shares`.
    out: (t, 4, H, W), filled with the t frames from the first on."""
    from .compiled_frames import steady_rows

    arrays, filled, rows = (values.numpy(), lift.numpy(), np.array(slots)), out.numpy(), out.shape[2]
    bands = max(1, min(rows, torch.get_num_threads()))
    edges, numbers = [rows * i // bands for i in range(bands + 1)], np.array(limits, np.float32)
    in_threads(lambda i: steady_rows(*arrays, edges[i], edges[i + 1], work[1], numbers, work[0], filled), bands)
