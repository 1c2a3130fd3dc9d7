"""Mouth shapes of speech: phones with times -> ARKit mouth coefficients, with co-articulation and complete closures.

Each phone pulls the mouth to its own shape with a dominance that fades with the distance in time (after Cohen and
Massaro, 1993), separately for jaw, rounding, spreading and lip detail. Lip closures (p b m), lip-teeth contacts (f v)
and the tongue (th dh) are imposed on top, because they must be reached whatever the neighbouring phones are."""

import torch
from torch import Tensor

from ...motion.arkit import ARKIT, ARKIT_INDEX
from ...shapes import FPS, N_EXPRESSIONS, dims
from ..speech.phones import CLOSURES, SILENCE, VISEME_CLASSES, VOWELS
from ..speech.utterance import Phone

CHANNELS = ("jawOpen", "mouthFunnel", "mouthPucker", "mouthStretch", "mouthSmile", "mouthLowerDown", "mouthUpperUp")
_GROUPS = ("jaw", "round", "round", "spread", "spread", "lip", "lip")
# Shapes in the order of CHANNELS. jawOpen 0.1 parts the lips by 3.4 mm; a clear "ah" is 15 mm.
_SHAPES: dict[str, tuple[float, ...]] = {
    "sil": (0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00),
    "p": (0.08, 0.00, 0.05, 0.00, 0.00, 0.00, 0.00),
    "f": (0.08, 0.00, 0.00, 0.10, 0.00, 0.00, 0.25),
    "th": (0.13, 0.00, 0.00, 0.10, 0.00, 0.15, 0.10),
    "t": (0.10, 0.00, 0.00, 0.10, 0.05, 0.15, 0.05),
    "l": (0.14, 0.00, 0.00, 0.08, 0.05, 0.12, 0.05),
    "s": (0.06, 0.00, 0.00, 0.28, 0.08, 0.22, 0.12),
    "sh": (0.08, 0.35, 0.20, 0.00, 0.00, 0.20, 0.12),
    "k": (0.14, 0.00, 0.00, 0.08, 0.00, 0.10, 0.05),
    "r": (0.11, 0.15, 0.32, 0.00, 0.00, 0.05, 0.00),
    "w": (0.06, 0.10, 0.75, 0.00, 0.00, 0.00, 0.00),
    "uw": (0.10, 0.18, 0.65, 0.00, 0.00, 0.00, 0.00),
    "uh": (0.17, 0.15, 0.35, 0.00, 0.00, 0.05, 0.00),
    "ow": (0.27, 0.25, 0.32, 0.00, 0.00, 0.05, 0.00),
    "ao": (0.36, 0.25, 0.20, 0.00, 0.00, 0.08, 0.00),
    "aa": (0.45, 0.00, 0.00, 0.05, 0.00, 0.15, 0.05),
    "ae": (0.40, 0.00, 0.00, 0.25, 0.10, 0.20, 0.15),
    "ah": (0.30, 0.00, 0.00, 0.08, 0.00, 0.12, 0.05),
    "er": (0.18, 0.18, 0.30, 0.00, 0.00, 0.08, 0.00),
    "eh": (0.30, 0.00, 0.00, 0.22, 0.10, 0.15, 0.10),
    "ih": (0.20, 0.00, 0.00, 0.22, 0.12, 0.12, 0.08),
    "iy": (0.13, 0.00, 0.00, 0.30, 0.30, 0.18, 0.10),
}
_LIKE = {
    "b": "p", "m": "p", "v": "f", "dh": "th", "d": "t", "n": "t", "z": "s", "zh": "sh", "ch": "sh", "jh": "sh",
    "g": "k", "ng": "k", "hh": "k", "y": "iy",
}  # fmt: skip
_GLIDES = {"ay": ("aa", "iy"), "aw": ("aa", "uw"), "ey": ("eh", "iy"), "oy": ("ao", "iy"), "ow": ("ow", "uw")}
_EMOTION_JAW = {
    "neutral": 1.0, "happy": 1.05, "sad": 0.85, "angry": 1.12, "surprised": 1.08, "fear": 0.95, "disgusted": 0.95,
    "contempt": 0.92,
}  # fmt: skip
_STYLE_JAW = {"neutral": 1.0, "lively": 1.12, "calm": 0.88}
_FADE = 0.048  # s, time constant of the dominance
_RAMP = 0.075  # s, the lips travel to and from a closure

# Opening of the lips per unit of each coefficient, relative to jawOpen, measured on the inner lip line of the mean body
_LIP_OPENING = {
    "jawOpen": 1.0, "mouthClose": -1.0, "mouthFunnel": 0.36, "mouthLowerDownLeft": 0.06, "mouthLowerDownRight": 0.06,
    "mouthUpperUpLeft": 0.07, "mouthUpperUpRight": 0.07, "mouthPressLeft": -0.04, "mouthPressRight": -0.04,
    "mouthRollLower": -0.1, "mouthRollUpper": -0.11, "mouthShrugLower": -0.14, "mouthShrugUpper": 0.13,
    "mouthSmileLeft": -0.04, "mouthSmileRight": -0.04, "cheekPuff": -0.03, "jawForward": 0.04, "mouthPucker": -0.01,
}  # fmt: skip


def lip_opening(expression: Tensor) -> Tensor:
    """Map expression (..., 52) -> (...) opening of the inner lips, 1 = jawOpen alone at 1; closed at 0 and below."""
    weights = torch.zeros(N_EXPRESSIONS, dtype=expression.dtype, device=expression.device)
    for name, weight in _LIP_OPENING.items():
        weights[ARKIT_INDEX[name]] = weight
    return expression @ weights


def frame_times(frames: int, fps: float = FPS) -> Tensor:
    """Return the middle (T,) of each frame in seconds."""
    return (torch.arange(frames, dtype=torch.float32) + 0.5) / fps


def mouth(
    phones: tuple[Phone, ...], frames: int, style: str = "neutral", emotion: str = "neutral", intensity: float = 1.0
) -> Tensor:
    """Return the mouth coefficients (frames, 52) of an utterance, without randomness; other coefficients are zero.

    phones: what is said, with times; frames: T; style, emotion: how, which changes the jaw; intensity: of the emotion,
    0..1."""
    times = frame_times(frames)
    amount = (1 + intensity * (_EMOTION_JAW[emotion] - 1)) * _STYLE_JAW[style]
    blended = _blend(phones, times, amount)  # (T, C)
    out = torch.zeros(frames, N_EXPRESSIONS)
    for i, channel in enumerate(CHANNELS):
        for name in (channel, f"{channel}Left", f"{channel}Right"):
            if name in ARKIT_INDEX:
                out[:, ARKIT_INDEX[name]] = blended[:, i]
    return _contacts(out, phones, times)


def _blend(phones: tuple[Phone, ...], times: Tensor, amount: float) -> Tensor:
    targets, weights, centres, halves = [], [], [], []
    for name, start, end, stress in phones:
        parts = _GLIDES.get(name, (_LIKE.get(name, name),))
        step = (end - start) / len(parts)
        for k, part in enumerate(parts):
            shape = list(_SHAPES[part])
            if name in VOWELS:  # reduced vowels open less
                shape[0] *= amount * (1.12 if stress == 1 else 1.0 if stress == 2 else 0.85)
            targets.append(shape)
            weights.append(_dominance(name))
            centres.append(start + (k + 0.5) * step)
            # silence holds its whole length, a sounding phone is reached in its middle
            halves.append(step / 2 if name == SILENCE else step / 4)
    distance = ((times[:, None] - torch.tensor(centres)).abs() - torch.tensor(halves)).clamp_min(0)  # (T, P)
    pull = torch.exp(-distance / _FADE)[..., None] * torch.tensor(weights)  # (T, P, C)
    return (pull * torch.tensor(targets)).sum(1) / pull.sum(1)


def _dominance(phone: str) -> list[float]:
    if phone == SILENCE:
        table = {"jaw": 0.8, "round": 0.5, "spread": 0.5, "lip": 0.8}
    elif phone in VOWELS:
        table = {"jaw": 1.0, "round": 1.0, "spread": 1.0, "lip": 0.8}
    elif phone in ("w", "r"):
        table = {"jaw": 0.6, "round": 1.6, "spread": 1.0, "lip": 0.6}
    elif phone in VISEME_CLASSES["postalveolar"]:
        table = {"jaw": 0.9, "round": 1.2, "spread": 0.8, "lip": 0.8}
    elif phone in VISEME_CLASSES["sibilant"]:
        table = {"jaw": 1.3, "round": 0.25, "spread": 0.6, "lip": 0.8}
    elif phone in VISEME_CLASSES["velar"]:
        table = {"jaw": 0.35, "round": 0.15, "spread": 0.2, "lip": 0.2}
    else:  # consonants leave rounding and spreading to their vowels
        table = {"jaw": 0.8, "round": 0.25, "spread": 0.3, "lip": 0.6}
    return [table[group] for group in _GROUPS]


def _contacts(out: Tensor, phones: tuple[Phone, ...], times: Tensor) -> Tensor:
    """Impose closures, lip-teeth contacts and the tongue on a mouth (T, 52), in place -> the same tensor.

    out: the mouth after blending; phones: what is said, with times; times: (T,) s of the frames."""
    closed = _envelope(phones, times, CLOSURES)
    bite = _envelope(phones, times, frozenset(VISEME_CLASSES["labiodental"])) * (1 - closed)
    tongue = _envelope(phones, times, frozenset(VISEME_CLASSES["dental"])) * (1 - closed)
    at = ARKIT_INDEX
    for name in ("mouthFunnel", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight"):
        out[:, at[name]] *= 1 - closed
    out[:, at["mouthPucker"]] *= 1 - 0.5 * closed
    out[:, at["jawOpen"]] *= 1 - 0.6 * closed  # the jaw rises with the lips but does not shut
    out[:, at["mouthClose"]] = out[:, at["jawOpen"]] * closed
    for name, weight in (("mouthPressLeft", 0.3), ("mouthPressRight", 0.3), ("mouthRollLower", 0.15)):
        out[:, at[name]] = weight * closed
    out[:, at["mouthRollUpper"]] = 0.12 * closed
    out[:, at["mouthRollLower"]] += 0.55 * bite
    for name in ("mouthLowerDownLeft", "mouthLowerDownRight", "mouthFunnel"):
        out[:, at[name]] *= 1 - 0.8 * bite
    out[:, at["jawOpen"]] *= 1 - 0.35 * bite
    out[:, at["tongueOut"]] = 0.18 * tongue
    return out


def _envelope(phones: tuple[Phone, ...], times: Tensor, members: frozenset[str]) -> Tensor:
    """Return (T,) in [0, 1]: 1 during the phones that are in `members`, for at least one frame each, with smooth
    flanks."""
    out = torch.zeros_like(times)
    for i, (name, start, end, _) in enumerate(phones):
        if name in members:
            nearest = times[(times - (start + end) / 2).abs().argmin()].item()  # a phone may lie between two frames
            low, high = min(start, nearest), max(end, nearest)
            # a flank leaves the middle of the neighbour free, else a short vowel between two closures never opens
            before, after = (_flank(phones[k]) if 0 <= k < len(phones) else _RAMP for k in (i - 1, i + 1))
            distance = torch.maximum((low - times) / before, (times - high) / after).clamp(0, 1)
            out = torch.maximum(out, 0.5 + 0.5 * torch.cos(torch.pi * distance))
    return out


def _flank(neighbour: Phone) -> float:
    return min(max(0.6 * (neighbour[2] - neighbour[1]), 0.03), _RAMP)


def emotion_face(emotion: str, amount: Tensor) -> Tensor:
    """Return the static expression of an emotion, scaled by amount (T,) -> (T, 52)."""
    looks: dict[str, dict[str, float]] = {
        "neutral": {"mouthSmile": 0.05},
        "happy": {"mouthSmile": 0.32, "cheekSquint": 0.25, "browOuterUp": 0.1},
        "sad": {"browInnerUp": 0.5, "mouthFrown": 0.35, "eyeSquint": 0.1, "mouthShrugLower": 0.05},
        "angry": {"browDown": 0.55, "noseSneer": 0.15, "eyeSquint": 0.25, "mouthFrown": 0.15},
        "surprised": {"browInnerUp": 0.45, "browOuterUp": 0.45, "eyeWide": 0.35},
        "fear": {"browInnerUp": 0.55, "browDown": 0.15, "eyeWide": 0.4, "mouthStretch": 0.22},
        "disgusted": {"noseSneer": 0.5, "browDown": 0.3, "eyeSquint": 0.3, "cheekSquint": 0.3},
        "contempt": {"mouthSmileLeft": 0.3, "mouthDimpleLeft": 0.35, "browOuterUpRight": 0.25, "eyeSquint": 0.15},
    }
    out = torch.zeros(len(amount), N_EXPRESSIONS)
    for stem, weight in looks[emotion].items():
        for i, name in enumerate(ARKIT):
            if name in (stem, f"{stem}Left", f"{stem}Right"):
                out[:, i] = weight * amount
    return out


def check_expression(expression: Tensor) -> Tensor:
    """Clamp expressions (T, 52) to [0, 1] and mouthClose to at most jawOpen, where the mesh is valid."""
    dims(expression, f"T {N_EXPRESSIONS}")
    out = expression.clamp(0, 1)
    out[:, ARKIT_INDEX["mouthClose"]] = torch.minimum(out[:, ARKIT_INDEX["mouthClose"]], out[:, ARKIT_INDEX["jawOpen"]])
    return out
