"""The person over a background: the meaning of a mask's alpha, and the possible backgrounds."""

import torch
from torch import Tensor

from ...pixels.dilation import largest_around
from ...records import Cameras, Identity
from ...shapes import dims
from ..guides.maps import background_plate


def composite(
    frames: Tensor, alpha: Tensor, background: Tensor, drawn: bool, strands: Tensor | None = None
) -> Tensor:
    """Composite frames (T, 3, H, W) over a background: opaque where alpha >= 1/2, transparent where it is at most 1/5.

    The networks draw edges already mixed with what is behind; mixing them again would make the person thinner.

    frames, alpha: (T, 3|1, H, W) of the person.
    background: (T|1, 3, H, W).
    drawn: the frames were drawn over this very background, so one more pixel around the mask is kept, which is smoother
        than the mask's edge.
    strands: (T, 4, H, W) premultiplied colour and opacity of loose hair between person and background; that one pixel
        would hide it."""
    opacity = coverage(alpha)
    if drawn:
        wide = coverage(largest_around(alpha, 1))
        opacity = wide if strands is None else torch.lerp(wide, opacity, (4 * strands[:, 3:]).clamp_max(1))
    if strands is not None:
        background = background * (1 - strands[:, 3:]) + strands[:, :3]
    return torch.lerp(background.expand_as(frames), frames, opacity)


def coverage(alpha: Tensor) -> Tensor:
    """Map a predicted mask (T, 1, H, W) -> the opacity of the person in a composite."""
    return ((alpha - 0.2) / 0.3).clamp(0, 1)


def with_strands(alpha: Tensor, strands: Tensor | None) -> Tensor:
    """Add loose hair to the person's alpha (T, 1, H, W), so that `coverage` includes it.

    strands: (T, 4, H, W), their last channel is the opacity; None for none."""
    if strands is None:
        return alpha
    opacity = 1 - (1 - coverage(alpha)) * (1 - strands[:, 3:])
    return torch.where(strands[:, 3:] > 0, torch.maximum(alpha, 0.2 + 0.3 * opacity), alpha)


def resolve_background(
    background: str | tuple[float, float, float] | Tensor, identity: Identity, cameras: Cameras
) -> Tensor:
    """Return the background as pictures for the canvas of these cameras: (1 or T, 3, H, W) in [-1, 1].

    background: "portrait" (that of the identity's photograph), an (r, g, b) in 0..1, or an image (3, H, W) / (T, 3, H,
        W) in [-1, 1]; ValueError for others."""
    if isinstance(background, str):
        if background != "portrait":
            raise ValueError(f"background must be 'portrait', an (r, g, b) or an image, got {background!r}")
        return background_plate(identity, cameras, continued=True)[None]
    if not isinstance(background, Tensor):
        if len(background) != 3 or not all(0 <= v <= 1 for v in background):
            raise ValueError(f"a background colour has three values in 0..1, got {background}")
        return torch.tensor(background, dtype=torch.float32).view(1, 3, 1, 1).expand(-1, -1, *cameras.size) * 2 - 1
    image = background if background.ndim == 4 else background[None]
    dims(image, "T 3 H W", H=cameras.size[0], W=cameras.size[1])
    if len(image) not in (1, len(cameras)):
        raise ValueError(f"{len(image)} background images for {len(cameras)} frames; give one, or one a frame")
    return image


def straight(frames: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Convert frames (T, 3, H, W) in [-1, 1] over black to straight alpha: own colours, and alpha (T, 1, H, W)."""
    alpha = coverage(masks)
    return ((frames + 1) / alpha.clamp_min(1 / 255) - 1).clamp(-1, 1), alpha
