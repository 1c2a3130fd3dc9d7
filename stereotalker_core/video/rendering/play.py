"""Playback: guides, masks and the guided decoder of every frame, nothing else.

The portrait's texture, completed once for a person (`Identity.atlas`), holds what they look like; the guides carry it
to the frame and the guided decoder restores what two resamplings took. The denoiser adds nothing to that which can be
measured (docs/experiments.md), so that a network that draws what the portrait never showed belongs before the first
frame: whatever changes the atlas is what is played. Frames do not depend on each other here: no windows, no noise.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ...body.model import HalfBody
from ...records import Cameras, Identity, Motion
from ...shapes import frames_together
from ..guides.maps import background_plate, render_guides, skin_of
from .renderer import Renderer
from .steady import PASSES

TOGETHER = 8  # at most so many frames at once: more only cost memory


def portions(count: int, size: tuple[int, int]) -> list[slice]:
    """Cut `count` frames of size (H, W) into slices of a few: the first so few that one leaves `steadied` at once."""
    together = min(TOGETHER, frames_together(*size))
    first = min(together, PASSES + 1)
    starts = [0, *range(first, count, together)]
    return [slice(*pair) for pair in zip(starts, [*starts[1:], count], strict=True)]


def played(
    body: HalfBody, renderer: Renderer, identity: Identity, motion: Motion, cameras: Cameras, frames: tuple[int, int],
    predicted: bool, plate: Tensor | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
    """Yield the finished frames from first to stop - 1: picture and alpha (t, 4, H, W), lift (t, 3, H, W).

    The canvas's sides are multiples of 8. predicted: the alpha is the mask predictor's, else the fitted body's own.
    plate (3, H, W): the photograph's background behind the person on this canvas, where it is known already.
    """
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
            person = renderer.predict_regions(guides, guide, predicted).person.float()
            values = torch.cat([renderer.restore(guides, guide), person], 1), guides.lift
        yield values
