"""The axis letters of the project, and the one check that uses them.

B batch, T frames, S audio samples, J joints, V views, H W pixels, h w latents, N tokens, D width, E experts, P regions,
C channels, K shape coefficients. Noise levels are `sigma`, never `t`.
"""

from collections.abc import Sequence

from torch import Tensor

FPS = 25.0
SAMPLE_RATE = 16_000
N_EXPRESSIONS = 52
REGIONS = ("background", "body", "face", "hands")


def dims(x: Tensor, spec: str, **known: int) -> dict[str, int]:
    """Bind the axes of x to the names in spec ("B T J 3"); raise ValueError where they disagree."""
    names = spec.split()
    ok = x.ndim == len(names)
    for name, size in zip(names, x.shape, strict=False):
        ok = ok and size == (int(name) if name.isdigit() else known.setdefault(name, size))
    if not ok:
        raise ValueError(f"expected ({', '.join(names)}) with {known}, got {tuple(x.shape)}")
    return known


def size_of(picture: Tensor) -> tuple[int, int]:
    """Return the height and width of pictures (..., H, W)."""
    height, width = picture.shape[-2:]
    return height, width


def frames_together(rows: int, columns: int) -> int:
    """Return how many frames to process at once by a network without temporal layers; more would only delay cancelling.
    """
    return max(1, 2**21 // (rows * columns))


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Return `torch.cat(parts)`, copied in pieces of a few megabytes, so that cancelling between operations is quick.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    whole = first.new_empty(sum(map(len, parts)), *first.shape[1:])
    rows, done = max(1, 2**23 // max(1, first[:1].numel())), 0
    for part in parts:
        for few in part.split(rows):
            whole[done : done + len(few)] = few
            done += len(few)
    return whole


def frame_count(seconds: float, fps: float = FPS) -> int:
    """Return the number of frames that cover `seconds` of sound: ceil(seconds * fps), robust to float rounding."""
    import math

    return math.ceil(round(seconds * fps, 6))
