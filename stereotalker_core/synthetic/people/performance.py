"""A random smooth upper-body performance for the renderer's training frames, without speech."""

from dataclasses import fields

import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody
from ...records import Motion
from ...shapes import FPS, N_EXPRESSIONS
from ..movement.poses import ArmAngles, arm_pose, head_pose, spine_pose
from .template import uniform

# ranges in degrees of ArmAngles, one row a family of poses, drawn with the given weight
_ARM_FAMILIES = (
    (0.24, dict(lower=(28, 35), forward=(-6, 10), elbow=(-30, -8), twist=(-8, 8), roll=(-15, 15), curl=(5, 25))),
    (0.20, dict(lower=(20, 32), forward=(2, 26), elbow=(15, 60), twist=(5, 40), roll=(-40, 40), curl=(0, 40))),
    (0.28, dict(lower=(16, 32), forward=(0, 28), elbow=(0, 70), twist=(-25, 40), roll=(-60, 50), curl=(0, 45))),
    (0.16, dict(lower=(8, 28), forward=(12, 50), elbow=(50, 95), twist=(-20, 30), roll=(-70, 60), curl=(0, 70))),
    (0.12, dict(lower=(-5, 25), forward=(-5, 30), elbow=(-10, 60), twist=(-40, 0), roll=(-60, 40), curl=(0, 30))),
)
_ARM_COMMON = dict(flex=(-25, 25), side=(-12, 12), thumb=(0, 40), spread=(-4, 10), shrug=(0, 6))
_CURL = 0.35  # of the curl range that the fingers differ by
_MOUTH = {  # (probability of being used at a key, largest value)
    "jawOpen": (0.75, 0.55),
    "mouthFunnel": (0.25, 0.7),
    "mouthPucker": (0.25, 0.7),
    "mouthRollLower": (0.2, 0.6),
    "mouthRollUpper": (0.2, 0.6),
    "mouthShrugUpper": (0.1, 0.4),
    "mouthSmile": (0.35, 0.6),
    "mouthStretch": (0.25, 0.5),
    "mouthLowerDown": (0.3, 0.6),
    "mouthUpperUp": (0.3, 0.5),
    "mouthPress": (0.2, 0.5),
    "mouthFrown": (0.08, 0.3),
    "mouthDimple": (0.1, 0.4),
}
_UPPER = {
    "browInnerUp": (0.35, 0.6),
    "browOuterUp": (0.3, 0.5),
    "browDown": (0.2, 0.4),
    "eyeSquint": (0.2, 0.4),
    "eyeWide": (0.12, 0.4),
    "cheekSquint": (0.15, 0.4),
    "noseSneer": (0.06, 0.3),
}
_SMILE_BIAS = 0.08  # the neutral face of many shapes looks sullen


def _keyed(rng: torch.Generator, keys: Tensor, frames: int, step: float) -> Tensor:
    """Interpolate keys (K, C), `step` frames apart, from a random phase -> (T, C), with smooth (quintic) transitions.
    """
    at = torch.arange(frames, dtype=torch.float32) / step + uniform(rng, 0, 1)
    low = at.long().clamp(max=len(keys) - 2)
    t = (at - low).clamp(0, 1)
    t = (t**3 * (t * (6 * t - 15) + 10))[:, None]
    return torch.lerp(keys[low], keys[low + 1], t)


def _key_count(frames: int, step: float) -> int:
    return int(frames / step) + 3


def _rand(rng: torch.Generator, n: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=rng)


def random_arm(rng: torch.Generator, frames: int, step: float = 18.0) -> ArmAngles:
    """Return the angles (T,) of one arm that moves between random plausible poses, `step` frames per move."""
    n = _key_count(frames, step)
    family = torch.multinomial(torch.tensor([w for w, _ in _ARM_FAMILIES]), n, replacement=True, generator=rng)
    columns: dict[str, Tensor] = {}
    for name in (f.name for f in fields(ArmAngles)):
        spans = [_ARM_COMMON.get(name) or ranges[name] for _, ranges in _ARM_FAMILIES]
        low, high = torch.tensor(spans, dtype=torch.float32)[family].unbind(1)
        columns[name] = low + (high - low) * torch.rand(n, generator=rng)
    curl = columns.pop("curl")[:, None] + _CURL * 30 * torch.randn(n, 4, generator=rng) * (family > 0)[:, None]
    pointing = (torch.rand(n, generator=rng) < 0.12)[:, None]  # index out, the rest closed
    curl = torch.where(pointing, torch.tensor([2.0, 55.0, 60.0, 60.0]), curl).clamp(-4, 75)
    keys = torch.cat([torch.stack(list(columns.values()), 1), curl], 1)
    track = _keyed(rng, keys, frames, step)
    return ArmAngles(**dict(zip(columns, track[:, :-4].unbind(1), strict=True)), curl=track[:, -4:])


def _channels(body: HalfBody, rng: torch.Generator, table: dict, frames: int, step: float) -> Tensor:
    """Return random coefficients (T, 52) of a table, mostly zero; left and right move together, slightly asymmetric.

    table: {name: (probability of a key, largest value)}; frames: T; step: frames between keys."""
    out = torch.zeros(frames, N_EXPRESSIONS)
    n = _key_count(frames, step)
    for name, (chance, largest) in table.items():
        value = _rand(rng, n, 0, largest) * (torch.rand(n, generator=rng) < chance)
        track = _keyed(rng, value[:, None], frames, step)[:, 0]
        if name in body.expression_index:
            out[:, body.expression_index[name]] = track
            continue
        for side in ("Left", "Right"):
            out[:, body.expression_index[name + side]] = track * uniform(rng, 0.8, 1.0)
    return out


def _blinks(rng: torch.Generator, frames: int, fps: float) -> Tensor:
    """Return the closure of the lids (T,) in 0..1: about one blink of 0.2 s in three seconds."""
    starts = torch.rand(frames, generator=rng) < 1 / (3 * fps)
    pulse = torch.tensor([0.45, 1.0, 0.8, 0.4, 0.1])
    full = F.conv1d(starts.float()[None, None], pulse.flip(0)[None, None], padding=4)[0, 0]
    return full[:frames].clamp(0, 1)


def random_expression(body: HalfBody, rng: torch.Generator, frames: int, fps: float = FPS) -> Tensor:
    """Return a random talking face (T, 52) in [0, 1]: mouth, blinks, gaze and brows."""
    mouth = _channels(body, rng, _MOUTH, frames, 4.0 * fps / FPS)
    upper = _channels(body, rng, _UPPER, frames, 14.0 * fps / FPS)
    out = mouth + upper
    index = body.expression_index
    closed = _keyed(rng, (torch.rand(_key_count(frames, 5), generator=rng) < 0.12).float()[:, None], frames, 5)[:, 0]
    out[:, index["jawOpen"]] *= 1 - closed
    for side in ("Left", "Right"):
        out[:, index["mouthSmile" + side]] += _SMILE_BIAS
        out[:, index["eyeBlink" + side]] = _blinks_for(rng, frames, fps) if side == "Left" else 0.0
    out[:, index["eyeBlinkRight"]] = out[:, index["eyeBlinkLeft"]]
    gaze = _keyed(rng, torch.randn(_key_count(frames, 12), 2, generator=rng) * 0.2, frames, 12).clamp(-0.45, 0.45)
    left, up = gaze.unbind(1)
    for name, value in (
        ("eyeLookOutLeft", left), ("eyeLookInRight", left), ("eyeLookInLeft", -left), ("eyeLookOutRight", -left),
        ("eyeLookUpLeft", up), ("eyeLookUpRight", up), ("eyeLookDownLeft", -up), ("eyeLookDownRight", -up),
    ):  # fmt: skip
        out[:, index[name]] = value.clamp_min(0)
    return out.clamp(0, 1)


def _blinks_for(rng: torch.Generator, frames: int, fps: float) -> Tensor:
    still = uniform(rng, 0, 1)  # some clips begin with the eyes partly closed: more closed eyes than time gives
    base = torch.zeros(frames)
    if still < 0.1:
        base = torch.full((frames,), uniform(rng, 0.3, 1.0)) * torch.linspace(1, 0, frames)
    return torch.maximum(base, _blinks(rng, frames, fps))


def random_motion(body: HalfBody, heads: Tensor, frames: int, rng: torch.Generator, fps: float = FPS) -> Motion:
    """Return a random smooth performance of `frames` frames, deterministic in rng; heads (49, 3): from `joint_heads`.
    """
    if frames < 1:
        raise ValueError(f"a motion needs at least one frame, got {frames}")
    pace = fps / FPS
    step = 16.0 * pace
    n = _key_count(frames, step)
    amount = uniform(rng, 0.4, 1.0)
    spread = torch.tensor([[7.0, 14.0, 5.0]]) * amount
    pitch, yaw, roll = _keyed(rng, torch.randn(n, 3, generator=rng) * spread, frames, step).unbind(1)
    head = head_pose((pitch + 1).clamp(-14, 18), yaw.clamp(-28, 28), roll.clamp(-11, 11))
    lean = _keyed(rng, torch.randn(n, 3, generator=rng) * torch.tensor([[2.5, 4.0, 2.0]]), frames, step)
    trunk = spine_pose(*lean.clamp(-8, 8).unbind(1))
    arms = [arm_pose(heads, side, random_arm(rng, frames, 18.0 * pace)) for side in "LR"]
    return Motion(head + trunk + arms[0] + arms[1], random_expression(body, rng, frames, fps), fps)
