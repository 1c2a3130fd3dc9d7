"""The compiled guides (`compiled`) as calls on records: availability, compilation in advance, threads."""

import functools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from ...body.fine_mesh import FineMesh
from ...body.model import HalfBody, Posed
from ...body.texture.light import DARKEST, SKY_BELOW
from ...records import Cameras, Guides
from .layout import GUIDE_BLOCK, GuideLayout

logger = logging.getLogger(__name__)
PACKED = ("lift", "normal", "visibility")  # the maps that `compiled.pack_frame` writes, in its order


@functools.lru_cache(maxsize=1)
def _numba() -> ModuleType | None:
    """Import the module `compiled` without calling it; None where numba is missing or disabled."""
    try:
        from numba.core import config

        from . import compiled
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
    compiled.vertex_normals(corners, mesh, corners.copy())
    compiled.edge_middles(corners.copy(), corners.copy(), mesh[:0, :2].copy())
    compiled.draw_frame(
        (mesh, mesh), corners[:, :2].copy(), np.ones(1, np.float32), texture, light, three, corners, corners, eye,
        eye[:3, :3].copy(), three, one, one, three, one,
    )  # fmt: skip
    compiled.pack_frame(three, one, three, one, np.zeros((1, 1, GuideLayout().channels), np.float32))


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

    def __init__(
        self, body: HalfBody, texture: Tensor, mesh: FineMesh, uv: Tensor, plate: Tensor, light: Tensor | None
    ):
        """Convert the tensors to the arrays that `compiled.draw_frame` takes; arguments as in `maps.Skin`.

        body: the half body.
        texture: (1, 4, h, w) colour in [-1, 1] and visibility in [0, 1].
        mesh: the triangles that are drawn.
        uv: (S, 2) in [0, 1], the place in the texture of each of their render vertices (split at texture seams).
        plate: (3, H, W) background in [-1, 1].
        light: (4,) of the portrait, see `body.texture.light.shade`; None: the texture is drawn unshaded."""
        self.mesh = tuple(x.int().contiguous().numpy() for x in (mesh.triangles, mesh.uv_triangles))
        self.coarse, self.ends = (x.int().contiguous().numpy() for x in (body.triangles, mesh.ends))
        self.part = (mesh.triangle_part + 1).float().numpy()
        self.uv, self.plate = (x.detach().float().contiguous().numpy() for x in (uv, plate))
        self.texture = texture[0].detach().float().permute(1, 2, 0).contiguous().numpy()
        lit = torch.tensor([0.0, 0.0, 0.0, -1.0]) if light is None else light.float()
        self.light = torch.cat([lit, torch.tensor([SKY_BELOW, DARKEST])]).numpy()

    def draw(self, compiled: ModuleType, posed: Posed, cameras: Cameras, into: Guides) -> None:
        """Draw T posed bodies seen by T cameras, filling the maps of `into`."""
        vertices = posed.vertices.detach().contiguous().numpy()
        matrices = cameras.world_to_camera.contiguous().numpy()
        intrinsics = cameras.intrinsics.contiguous().numpy()
        maps = [x.numpy() for x in (into.normal, into.part, into.depth, into.lift, into.visibility)]

        def one(i: int) -> None:
            points, normals = np.empty((2, len(vertices[i]) + len(self.ends), 3), np.float32)
            points[: len(vertices[i])] = vertices[i]
            compiled.vertex_normals(points[: len(vertices[i])], self.coarse, normals[: len(vertices[i])])
            compiled.edge_middles(points, normals, self.ends)
            compiled.draw_frame(
                self.mesh, self.uv, self.part, self.texture, self.light, self.plate, points, normals, matrices[i],
                intrinsics, *(x[i] for x in maps),
            )  # fmt: skip

        in_threads(one, len(vertices))


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
