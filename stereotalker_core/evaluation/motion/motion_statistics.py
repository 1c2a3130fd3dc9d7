"""The motions of a set compared with the teacher's as a whole: Frechet distance, beat alignment, diversity."""

import numpy as np
import torch
from torch import Tensor

from ...geometry.skeleton import HEAD_JOINTS, JOINT_INDEX
from ...motion.arkit import ARKIT_INDEX
from ...motion.edit import PARTS
from ...motion.representation import smooth_time
from ...records import Motion
from ...shapes import FPS
from ...synthetic.movement.gestures import accents
from ...synthetic.speech.utterance import Utterance

WINDOW, STEP = 50, 25  # frames of a feature window and between two
BEAT_SIGMA = 0.1  # s; a motion beat this far from a stress counts 0.6
_FACE = ("jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthStretchLeft", "browInnerUp", "eyeBlinkLeft")


def motion_features(motion: Motion) -> Tensor:
    """Return (N, F): mean, deviation and mean speed of arms, head and face in windows of 2 s; N = 0 for a shorter
    motion."""
    joints = [*PARTS["hands"], *(JOINT_INDEX[name] for name in HEAD_JOINTS)]
    face = motion.expression[:, [ARKIT_INDEX[name] for name in _FACE]]
    x = torch.cat([motion.rotations[:, joints].flatten(1), face], 1)
    rows = []
    for first in range(0, len(x) - WINDOW + 1, STEP):
        piece = x[first : first + WINDOW]
        rows.append(torch.cat([piece.mean(0), piece.std(0), 3 * piece.diff(dim=0).abs().mean(0)]))
    return torch.stack(rows) if rows else x.new_zeros(0, 3 * x.shape[1])


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Return the Frechet distance of Gaussians fitted to (N, F) and (M, F): |m - n|^2 + tr(A + B - 2 (A B)^(1/2))."""
    mean_a, mean_b = a.double().mean(0), b.double().mean(0)
    cov_a, cov_b = torch.cov(a.double().T), torch.cov(b.double().T)
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    return float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross)


class FeatureSpace:
    """The principal components of a reference set of features, in which distances are measured.

    reference: (N, F) features of the set.
    size: number of components.

    Features that hardly vary in the reference (by less than about 3 degrees) are not amplified."""

    def __init__(self, reference: Tensor, size: int = 10):
        self.mean, self.scale = reference.mean(0), reference.std(0).clamp_min(0.05)
        normal = (reference - self.mean) / self.scale
        self.basis = torch.linalg.eigh(normal.T @ normal)[1].flip(1)[:, :size]
        self.reference = normal @ self.basis

    def distance(self, features: Tensor) -> float:
        """Return the Frechet distance of features (N, F) to the reference set."""
        return frechet_distance(((features - self.mean) / self.scale) @ self.basis, self.reference)


def nearest_neighbour_motion(sound: Tensor, library: list[tuple[Tensor, Motion]], step: int = 10) -> Motion:
    """Return the nearest-neighbour baseline: a motion of pieces, each copied from where the library's sound is most
    similar.

    sound: (T, F) audio channels of the utterance.
    library: (sound, motion) pairs to copy from.
    step: frames per piece."""
    windows = [(index, first) for index, (x, _) in enumerate(library) for first in range(0, len(x) - step + 1, step)]
    keys = torch.stack([library[index][0][first : first + step].flatten() for index, first in windows])
    pieces = []
    for first in range(0, len(sound), step):
        piece = sound[first : first + step]
        query = torch.cat([piece, piece[-1:].expand(step - len(piece), -1)]).flatten()
        index, start = windows[int(torch.cdist(query[None], keys).argmin())]
        pieces.append(library[index][1][start : start + len(piece)])
    return Motion(torch.cat([p.rotations for p in pieces]), torch.cat([p.expression for p in pieces]), pieces[0].fps)


def motion_beats(motion: Motion, least: float = 0.6, rest: float = 0.3) -> list[float]:
    """Return the times (s) at which a moving arm stops: its speed falls below `rest` times a peak of at least `least`
    rad/s."""
    beats = []
    for side in "LR":
        joints = [JOINT_INDEX[name] for name in _ARMS[side]]
        velocity = motion.rotations[:, joints].diff(dim=0).flatten(1).norm(dim=1) * motion.fps
        peak = 0.0
        for t, value in enumerate(smooth_time(velocity[:, None], 1.0)[:, 0].tolist()):
            peak = max(peak, value)
            if peak > least and value < rest * peak:
                beats.append((t + 0.5) / motion.fps)
                peak = 0.0
    return sorted(beats)


_ARMS = {side: tuple(f"{name}.{side}" for name in ("upperarm01", "lowerarm01", "lowerarm02")) for side in "LR"}


def beat_alignment(motion: Motion, utterance: Utterance) -> tuple[float, int]:
    """Return how close the motion's beats are to stressed syllables, and the number of beats; (0, 0) without either.

    The closeness is the mean over beats of exp(-d^2 / 2 sigma^2), d being the time to the nearest stressed syllable."""
    stresses = np.array([mark.time for mark in accents(utterance) if mark.stressed])
    beats = motion_beats(motion)
    if not beats or not len(stresses):
        return 0.0, 0
    distance = np.abs(np.array(beats)[:, None] - stresses).min(1)
    return float(np.exp(-((distance / BEAT_SIGMA) ** 2) / 2).mean()), len(beats)


def spread(motions: list[Motion]) -> float:
    """Return how much several performances of the same speech differ: the mean standard deviation of arm rotations
    (rad)."""
    return float(torch.stack([m.rotations[:, list(PARTS["hands"])] for m in motions]).std(0).mean())


def lag_milliseconds(ours: Tensor, theirs: Tensor, fps: float = FPS, most: int = 6) -> float:
    """Return by how many milliseconds the curve ours (T,) lags behind theirs (T,): the shift of largest correlation.

    fps: frames per second; most: largest shift in frames. The peak is interpolated between frames."""
    a, b = ours - ours.mean(), theirs - theirs.mean()
    scores = []
    for shift in range(-most, most + 1):
        x, y = (a[shift:], b[: len(b) - shift]) if shift >= 0 else (a[:shift], b[-shift:])
        scores.append(float((x * y).sum() / (x.norm() * y.norm()).clamp_min(1e-9)))
    best = int(np.argmax(scores))
    between = 0.0
    if 0 < best < 2 * most:
        low, top, high = scores[best - 1 : best + 2]
        between = 0.5 * (low - high) / min(low - 2 * top + high, -1e-9)
    return (best - most + between) * 1000 / fps
