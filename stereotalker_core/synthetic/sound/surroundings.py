"""Acoustic surroundings of a voice: music, noise, other voices, a room or a telephone; the nearest voice is labelled.
"""

import functools
from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from ...shapes import SAMPLE_RATE
from .ambience import ambience
from .augment import reverberate, telephone

POOL, SECONDS = 300, 8  # different pieces of ambience, and how long each is


class Surroundings:
    """The pool of sounds around speech.

    Piece i depends on (seed, i) alone, so that a resumed training hears the same pieces."""

    def __init__(self, seed: int) -> None:
        self.piece = functools.lru_cache(POOL)(
            lambda i: ambience(SECONDS * SAMPLE_RATE, np.random.default_rng((seed, 77, i)))
        )

    def cut(self, samples: int, rng: Generator) -> np.ndarray:
        """Return a random excerpt (samples,) of a random piece. ValueError where it is longer than a piece."""
        if samples > SECONDS * SAMPLE_RATE:
            raise ValueError(f"a piece has {SECONDS} s, {samples / SAMPLE_RATE:.1f} s were asked for")
        piece = self.piece(int(rng.integers(0, POOL)))
        first = int(rng.integers(0, len(piece) - samples + 1))
        return piece[first : first + samples]

    def alone(self, samples: int, rng: Generator) -> np.ndarray:
        """Return sound (samples,) without speech: one piece, or two at once."""
        out = self.cut(samples, rng)
        if rng.random() < 0.3:
            out = out + self.cut(samples, rng) * 10 ** rng.uniform(-1, 0)
        return (out * 10 ** rng.uniform(-1, 0.1)).astype(np.float32)

    def beside(self, wave: np.ndarray, rng: Generator, voice: Callable[[Generator], np.ndarray]) -> np.ndarray:
        """Place speech in random surroundings -> (S,) samples of unchanged loudness.

        A room may be added, then another sound 0 to 25 dB below the speech or some other voices at least 10 dB below
        it, and a telephone line.
        wave: (S,) the speech; rng: random generator; voice: called with rng, returns speech (S,) of somebody else; one
            to four of these are mixed in."""
        loudness = float(np.sqrt(np.square(wave).mean()))
        if loudness < 1e-5:
            return wave
        out = wave
        if rng.random() < 0.5:
            out = reverberate(out, rng.uniform(0.2, 0.9), rng.uniform(-3, 8), rng)
        drawn = rng.random()
        if drawn < 0.6:
            out = out + _scaled(self.cut(len(wave), rng), loudness, rng.uniform(0, 25))
        elif drawn < 0.75:
            crowd = np.sum([voice(rng) for _ in range(int(rng.integers(1, 5)))], 0)
            out = out + _scaled(reverberate(crowd, 0.4, 0.0, rng), loudness, rng.uniform(10, 25))
        if rng.random() < 0.2:
            out = telephone(out, rng.uniform(200, 350), rng.uniform(3200, 3700))
        return (out * (loudness / max(float(np.sqrt(np.square(out).mean())), 1e-6))).astype(np.float32)


def _scaled(wave: np.ndarray, loudness: float, below_db: float) -> np.ndarray:
    """Scale a wave to `below_db` dB below a loudness (RMS)."""
    own = float(np.sqrt(np.square(wave).mean()))
    return wave * (loudness * 10 ** (-below_db / 20) / own) if own > 1e-3 * loudness else wave
