"""Find when somebody speaks, from the encoder's probability of silence (set to 1 where its voice detector hears
nobody)."""

import torch.nn.functional as F
from torch import Tensor

from ..shapes import FPS
from .phones import PHONE_INDEX

SURE = 0.65  # mean probability of any phone, over a fifth of a second, from which on somebody speaks
EARLY, LATE = 3, 2  # frames that the mouth may move before and after the sound
NOBODY = 0.05  # activity below which nobody speaks
IDLE_SECONDS = 1.6  # without speech, after which arms are lowered


def voice_activity(phones: Tensor) -> Tensor:
    """Map phone log-probabilities (T, 40) -> (T,) in 0..1: how much the speaker's mouth is in use, smoothed over a few
    frames."""
    return mouth_in_use(1 - phones[:, PHONE_INDEX["sil"]].exp())


def mouth_in_use(spoken: Tensor) -> Tensor:
    """Map the probability (T,) that anything is being said -> mouth activity (T,) in 0..1, as `voice_activity` does."""
    if len(spoken) == 0:
        return spoken
    steady = F.avg_pool1d(F.pad(spoken[None], (2, 2), "replicate"), 5, 1)[0]
    active = (steady > SURE).float()
    wide = F.max_pool1d(F.pad(active[None], (LATE, EARLY)), EARLY + LATE + 1, 1)[0]
    return _averaged_in_time(wide, 1)


def idleness(activity: Tensor) -> Tensor:
    """Map mouth activity (T,) -> idleness (T,): 1 inside pauses longer than `IDLE_SECONDS`, else 0, with soft edges of
    a second."""
    silent = speechless(activity)
    reach = round(IDLE_SECONDS * FPS / 2)
    whole = dilated(~dilated(~silent, reach), reach)  # only long stretches are left
    inner = ~dilated(~whole, 14)  # hands are up again when the next word begins
    return _averaged_in_time(_averaged_in_time(inner.float(), 8), 6)


def _averaged_in_time(x: Tensor, radius: int) -> Tensor:
    return F.avg_pool1d(F.pad(x[None], (radius, radius), "replicate"), 2 * radius + 1, 1)[0] if len(x) else x


def dilated(flags: Tensor, radius: int) -> Tensor:
    """Map flags (T,) bool -> true within `radius` frames of a true one."""
    return F.max_pool1d(flags.float()[None], 2 * radius + 1, 1, radius)[0] > 0 if len(flags) else flags


def speechless(activity: Tensor) -> Tensor:
    """Return (T,) bool: frames in which nobody speaks."""
    return activity < NOBODY
