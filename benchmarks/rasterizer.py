"""Time of the body and the rasteriser per frame, beside a plain loop over triangles that draws the same picture.

    python benchmarks/rasterizer.py [--device cpu] [--frames 8] [--repeats 5]

Random half bodies in random poses at the canonical framing; the best of the repeats on one thread. On the CPU it is
processor time, which other programs on the machine disturb little; on CUDA it is wall-clock time.
"""

import argparse
import os
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"  # processor time adds up over threads

import torch
from torch import Tensor

from stereotalker_core.body.model import HalfBody, Posed
from stereotalker_core.body.rasterize import interpolate, rasterize
from stereotalker_core.camera.trajectories import canonical_framing, orbit
from stereotalker_core.geometry.projection import project


def best_ms(work: Callable[[], object], repeats: int, device: str) -> float:
    """Return the time in ms of the fastest of some calls, after one to warm up.

    work: what is called; repeats: number of calls; device: on a CPU processor time is measured, on "cuda" the clock."""
    clock, times = time.perf_counter if device.startswith("cuda") else time.process_time, []
    for _ in range(repeats + 1):  # the first one warms up
        start = clock()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        times.append(clock() - start)
    return 1e3 * min(times[1:])


def plain_rasterize(points: Tensor, triangles: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Rasterise one triangle after the other over the pixels of its bounding box -> triangle, depth (H, W).

    points: (V, 3) pixel x, pixel y, depth m; triangles: (F, 3) vertex indices; side: px of the picture."""
    nearest, depth = torch.full((side, side), -1), torch.full((side, side), torch.inf)
    centre = torch.arange(side) + 0.5
    for index, corners in enumerate(points[triangles]):
        (xa, ya, za), (xb, yb, zb), (xc, yc, zc) = corners.tolist()
        area = (xb - xa) * (yc - ya) - (yb - ya) * (xc - xa)
        if area >= 0:
            continue
        left, right = max(int(min(xa, xb, xc)), 0), min(int(max(xa, xb, xc)) + 1, side)
        top, bottom = max(int(min(ya, yb, yc)), 0), min(int(max(ya, yb, yc)) + 1, side)
        if left >= right or top >= bottom:
            continue
        x, y = centre[None, left:right], centre[top:bottom, None]
        w0 = ((xb - x) * (yc - y) - (yb - y) * (xc - x)) / area
        w1 = ((xc - x) * (ya - y) - (yc - y) * (xa - x)) / area
        w2 = 1 - w0 - w1
        at = 1 / (w0 / za + w1 / zb + w2 / zc)
        before = depth[top:bottom, left:right]
        won = (w0 >= 0) & (w1 >= 0) & (w2 >= 0) & (at < before)
        before[won] = at[won]
        nearest[top:bottom, left:right][won] = index
    return nearest, depth


def scene(body: HalfBody, frames: int, device: str) -> tuple[Callable[[], Posed], Posed]:
    """Pose random half bodies, one per frame -> a function that poses them again, and the posed bodies.

    body: the half body; frames: how many; device: where they are posed."""
    g = torch.Generator().manual_seed(0)
    shape = torch.randn(frames, body.n_shape, generator=g).to(device)
    rotations = (0.2 * torch.randn(frames, 49, 3, generator=g)).to(device)
    expression = (0.5 * torch.rand(frames, 52, generator=g)).to(device)
    rest = body.rest(shape)

    def pose() -> Posed:
        return body.pose(rest, rotations, expression)

    return pose, pose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--frames", type=int, default=8, help="frames in a batch")
    parser.add_argument("--repeats", type=int, default=5)
    a = parser.parse_args()
    body = HalfBody().to(a.device)
    pose, posed = scene(body, a.frames, a.device)
    rows = {
        "pose (expression, kinematics, skinning)": best_ms(pose, a.repeats, a.device) / a.frames,
        "normals": best_ms(lambda: body.normals(posed.vertices), a.repeats, a.device) / a.frames,
    }
    framing = canonical_framing(float(body.bone_mean[body.bone_index["head"], 2]))
    for side in (256, 512):
        cameras = orbit(framing, a.frames, -60, 60, size=(side, side)).to(a.device)
        points = project(posed.vertices, cameras.world_to_camera, cameras.intrinsics)

        def draw(points: Tensor = points, side: int = side):
            return rasterize(points, body.triangles, (side, side))

        fragments = draw()
        rows[f"rasterise {side}"] = best_ms(draw, a.repeats, a.device) / a.frames
        rows[f"interpolate normals {side}"] = (
            best_ms(lambda f=fragments: interpolate(posed.vertices, body.triangles, f), a.repeats, a.device) / a.frames
        )
        start = time.process_time()
        nearest, _ = plain_rasterize(points[0].cpu(), body.triangles.cpu(), side)
        rows[f"plain loop {side}"] = 1e3 * (time.process_time() - start)
        same = (nearest == fragments.triangle[0].cpu())[nearest >= 0].float().mean()
        print(f"{side}: the same triangle in {same:.2%} of the person's pixels")
    for name, ms in rows.items():
        print(f"{name:42s} {ms:9.2f} ms/frame")
    for side in (256, 512):
        print(f"plain loop / rasterise at {side}: {rows[f'plain loop {side}'] / rows[f'rasterise {side}']:.0f} x")


if __name__ == "__main__":
    main()
