"""Thumbnails of the example graphs, made of what the graphs themselves produced."""

from pathlib import Path

import numpy as np
import torch

SIDE, LIMIT = 400, 60_000  # pixels, bytes


def result_frames(done: dict) -> torch.Tensor:
    """Return the IMAGE (T, H, W, 3) that a finished graph saved, through Save Video or as a file.

    done: {node id: (node, its outputs)}."""
    for instance, outputs in done.values():
        if hasattr(instance, "received") and "video" in instance.received:
            return instance.received["video"]["images"]
        if type(instance).__name__ == "RenderToFile":
            import av

            with av.open(outputs[0]) as container:
                frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            return torch.from_numpy(np.stack(frames)).float() / 255
    raise ValueError("the graph saved no video")


def write_thumbnail(path: Path, done: dict) -> Path:
    """Write a thumbnail of a graph as a JPEG of at most 60 kB: two moments side by side, or one where the picture is a
    grid.

    path: the file; done: {node id: (node, its outputs)} of the finished graph."""
    from PIL import Image

    frames = result_frames(done)
    single = frames.shape[1] == frames.shape[2] <= 2 * 256
    moments = [len(frames) // 6, len(frames) * 3 // 5] if single else [len(frames) // 2]
    picture = torch.cat([frames[i] for i in moments], 1)
    image = Image.fromarray((picture * 255).round().byte().numpy())
    image.thumbnail((2 * SIDE, SIDE))
    for quality in range(88, 30, -6):
        image.save(path, quality=quality)
        if path.stat().st_size <= LIMIT:
            return path
    raise ValueError(f"{path} cannot be made smaller than {LIMIT} bytes")
