"""Playback: guides, masks and the guided decoder for every frame, nothing else.

The portrait's texture, completed once per person (`Identity.atlas`), holds the person's appearance; the guides project
it to the frame, and the guided decoder restores the detail lost in two resamplings. The denoiser adds no measurable
quality to that (docs/experiments.md), so a network that generates unseen parts belongs before the first frame, where it
changes the atlas. Frames are independent here: no windows, no noise."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ...body.model import HalfBody
from ...records import Cameras, Identity, Motion
from ..guides.maps import background_plate, render_guides, skin_of
from .renderer import Renderer
from .steady import PASSES

TOGETHER = 4  # at most so many frames at once: more only cost memory, and its peak then depends on the length
_PIXELS = 2**19  # of all frames at once: beyond, what one operation writes has left the cache before the next one reads


def portions(count: int, size: tuple[int, int]) -> list[slice]:
    """Divide `count` frames of size (H, W) into slices of a few frames each.

    The first ones end where `steadied` can yield a frame."""
    together = max(1, min(TOGETHER, _PIXELS // (size[0] * size[1])))
    ahead = min(count, PASSES + 1)
    pieces = max(1, math.ceil(ahead / together))
    starts = [ahead * i // pieces for i in range(pieces)] + [*range(ahead, count, together)]
    return [slice(*pair) for pair in zip(starts, [*starts[1:], count], strict=True)]


def played(
    body: HalfBody, renderer: Renderer, identity: Identity, motion: Motion, cameras: Cameras, frames: tuple[int, int],
    predicted: bool, plate: Tensor | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
    """Yield the finished frames from first to stop - 1: picture and alpha (t, 4, H, W), lift (t, 3, H, W).

    body: the half body.
    renderer: the networks.
    identity: the person.
    motion, cameras: those of the whole clip; sides of the canvas are multiples of 8.
    frames: (first, stop), which of them are drawn.
    predicted: alpha by the mask predictor, else of the fitted body.
    plate: (3, H, W) the photograph's background behind the person on this canvas, if already computed."""
    if plate is None:
        plate = background_plate(identity, cameras, continued=True)
    motion, cameras = motion[slice(*frames)], cameras[slice(*frames)]
    with torch.no_grad():
        rest = body.rest(identity.shape[None], identity.shell[None])
        skin = skin_of(body, identity, cameras, plate)
    for few in portions(len(motion), cameras.size):
        with torch.no_grad():
            guides = render_guides(body, identity, motion[few], cameras[few], rest, skin)
            guide = renderer.guide(body, rest, identity.performed(motion[few]), cameras[few], guides)
            person = renderer.alpha(guides, guide, predicted)
            values = torch.cat([renderer.restore(guides, guide), person], 1), guides.lift
        yield values
