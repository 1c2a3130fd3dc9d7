"""The lip gap, linear in the ARKit coefficients: lip closure is measured and trained by it.

`shut_lips` closes the lips on p, b and m, `part_lips` opens them on other sounds."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from ..audio.phones import CLOSURES, PHONE_INDEX
from ..body.model import HalfBody
from ..records import Motion
from .arkit import ARKIT, ARKIT_INDEX, MOUTH

_UPPER = ("face.61", "face.62", "face.63")  # inner lip line, from the 68-point layout
_LOWER = ("face.67", "face.66", "face.65")
CLOSED_MM = 2.5  # gap below which the lips touch to the eye; the neutral, shut mouth of the body has 2.1 mm


def lip_gap_weights(body: HalfBody) -> tuple[Tensor, Tensor]:
    """Return the body's lip gap in mm as a linear function: neutral gap (), change per unit of each expression (52,).
    """
    rest = body.rest(torch.zeros(1, body.n_shape, device=body.mean.device))
    n = len(body.expression_names)
    basis = torch.cat([torch.zeros(1, n), torch.eye(n)]).to(body.mean.device)
    vertices = body.express(rest.vertices, basis)
    points = body.keypoints(vertices, rest.bones.expand(n + 1, -1, -1))[..., 2]
    upper = points[:, [body.keypoint_index[name] for name in _UPPER]]
    lower = points[:, [body.keypoint_index[name] for name in _LOWER]]
    gap = (upper - lower).mean(1) * 1000
    return gap[0], gap[1:] - gap[0]


def lip_gap(expression: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
    """Map coefficients (..., 52) -> (...) mm between the inner lips; negative where they press together.

    weights: the gap as a linear function, from `lip_gap_weights`."""
    neutral, change = weights
    return neutral + expression @ change


# probability of p, b or m from which the lips begin to close, and at which they are shut: in any frame, and in one
# that is the likeliest within NEAR frames; a p that is heard faintly is a short peak, a doubt about a vowel is not
FAINT, CERTAIN = 0.4, 0.8
PEAK_FAINT, PEAK_CERTAIN, NEAR = 0.035, 0.05, 2
# how surely phones are usually heard, in people; where they are heard less surely (rooms, music, mumbling) a peak is
# lower, where more surely (clear voices) a doubt is higher: the peak's thresholds follow the square of it
USUAL, AROUND = 0.62, 100  # mean probability of the likeliest phone; frames on either side that tell it
SELDOM, MOST = 0.6, 1.5  # of the usual, beyond which the thresholds follow no further
UNHEARD = 0.1  # probability of p, b, m, f or v below which speaking lips are apart
PARTED_MM = 3.5  # as far as they are then at least
_CLOSURES = [PHONE_INDEX[name] for name in sorted(CLOSURES)]
_TOUCHING = [*_CLOSURES, PHONE_INDEX["f"], PHONE_INDEX["v"]]
_SILENCE = PHONE_INDEX["sil"]
_JAW, _CLOSE = ARKIT_INDEX["jawOpen"], ARKIT_INDEX["mouthClose"]
_PARTING = [  # what holds the lips apart while the jaw is shut
    ARKIT_INDEX[name]
    for name in (
        *("mouthFunnel", "mouthShrugUpper", "mouthUpperUpLeft", "mouthUpperUpRight"),
        *("mouthLowerDownLeft", "mouthLowerDownRight"),
    )
]
_MOOD = ("mouthSmile", "mouthFrown", "mouthDimple")
_SPEAKING = [i for i in MOUTH if not ARKIT[i].startswith(_MOOD)]


def clearness(phones: Tensor) -> Tensor:
    """Map phone probabilities (T, 40) -> (T,) how certain the encoder is around each frame, 1 = as for usual
    recordings."""
    spoken = (phones[:, _SILENCE] < 0.5).to(phones)
    sure = phones.max(1).values * spoken
    window = 2 * AROUND + 1
    total, count = (F.avg_pool1d(F.pad(x[None], (AROUND, AROUND)), window, 1)[0] * window for x in (sure, spoken))
    return torch.where(count > 0.5, total / count.clamp_min(1) / USUAL, 1.0)


def closing(phones: Tensor) -> Tensor:
    """Map phone probabilities (T, 40) -> (T,) in 0..1: how far p, b or m requires shut lips."""
    heard = phones[:, _CLOSURES].sum(1)
    if len(heard) == 0:
        return heard
    peak = heard >= F.max_pool1d(heard[None], 2 * NEAR + 1, 1, NEAR)[0]
    sure = ((heard - FAINT) / (CERTAIN - FAINT)).clamp(0, 1)
    level = clearness(phones).clamp(SELDOM, MOST).square()
    found = ((heard / level - PEAK_FAINT) / (PEAK_CERTAIN - PEAK_FAINT)).clamp(0, 1)
    return torch.where(peak, torch.maximum(found, sure), sure)


def parting(phones: Tensor, shut: Tensor) -> Tensor:
    """Return (T,) bool: frames where the lips should be apart: no p, b, m, f or v is heard, and neither the frame nor
    its two neighbours ask for shut lips.

    phones: (T, 40) probabilities; shut: (T,) from `closing`."""
    if len(shut) == 0:
        return shut > 0
    beside = F.max_pool1d(shut[None], 3, 1, 1)[0]
    return (phones[:, _TOUCHING].sum(1) < UNHEARD) & (beside < 0.5)


@functools.cache
def mean_gap_weights() -> tuple[Tensor, Tensor]:
    """Return `lip_gap_weights` of the mean body, computed once."""
    return lip_gap_weights(HalfBody())


def part_lips(expression: Tensor, amount: Tensor) -> Tensor:
    """Open the jaw of expressions (T, 52) where the lips are closer than `PARTED_MM`.

    amount: (T,) in 0..1, the fraction of the missing distance by which they are opened.

    A denoiser that confuses t with p shuts the lips on a t; where no such sound is heard this opens them again."""
    neutral, change = (x.to(expression) for x in mean_gap_weights())
    missing = (PARTED_MM - lip_gap(expression, (neutral, change))).clamp_min(0)
    out = expression.clone()
    out[:, _JAW] = (expression[:, _JAW] + amount.to(expression) * missing / change[_JAW]).clamp(max=1)
    return out


def shut_speechless(expression: Tensor, activity: Tensor) -> Tensor:
    """Return expressions (T, 52) with the mouth at rest where activity (T,) in 0..1 is low; 1 leaves a frame unchanged.

    The corners of the mouth (a smile, a frown) stay, because they express a mood rather than speech."""
    out = expression.clone()
    out[:, _SPEAKING] = out[:, _SPEAKING] * activity.to(expression)[:, None]
    return out


def shut_lips(expression: Tensor, amount: Tensor) -> Tensor:
    """Return expressions (T, 52) with the lips closed by amount (T,) in 0..1, the jaw as it is; 0 leaves a frame
    unchanged.

    Where a sound is uncertain the denoiser averages open and shut lips, and viewers notice a p with open lips."""
    out, amount = expression.clone(), amount.to(expression)[:, None]
    out[:, _PARTING] = out[:, _PARTING] * (1 - amount)
    shut = torch.maximum(expression[:, _JAW], expression[:, _CLOSE])
    out[:, _CLOSE] = torch.lerp(expression[:, _CLOSE], shut, amount[:, 0])
    return out


def lips_closed(motion: Motion, shut: Tensor, apart: Tensor, active: Tensor, amount: float) -> Motion:
    """Shut the lips of a motion on p, b, m and silence (`shut`, `active`) and part them on other sounds (`apart`).

    shut: (T,) in 0..1, from `closing`; apart: (T,) 0 or 1, from `parting`; active: (T,) in 0..1, how much the mouth is
    in use (`voice_activity`); amount: 0..1, how far lips are moved, 0 = not at all."""
    if amount == 0:
        return motion
    expression = shut_lips(part_lips(motion.expression, amount * apart), amount * shut)
    expression = shut_speechless(expression, 1 - amount * (1 - active))
    return Motion(motion.rotations, expression, motion.fps)
