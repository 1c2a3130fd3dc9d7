"""Forced alignment: where in the recording each word of a transcript is spoken, from the encoder's phone probabilities.

Viterbi over a left-to-right chain of guessed phones with optional pauses between words. One frame is 40 ms: word times
are good to about that. A phone may be passed over: guesses are wrong at times and short phones fall between frames.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..records import SpeechFeatures
from ..shapes import FPS, dims
from .phones import CLOSURES, PHONE_INDEX, PHONES, VOWELS
from .pronounce import pronounce

logger = logging.getLogger(__name__)
SKIP_COST = 2.0  # of passing over a guessed phone, in nats
FEW, FEW_ALLOWANCE = 20, 0.04  # for each phone below 20: a few that fit score lower by chance ("ten of clubs" -1.46)
WRONG_SCORE = -1.1  # nats a spoken frame below the best phones; measured: right ones above -0.9, most wrong ones below
_CLOSED = sorted(PHONE_INDEX[name] for name in CLOSURES)
WINDOW, COMMIT, AHEAD = 1500, 1000, 400  # frames aligned at a time, frames kept of them, words tried in them


class Word(NamedTuple):
    """The word of the transcript and its time in seconds."""

    text: str
    start: float
    end: float


class Chain(NamedTuple):
    """The states of some words in order, with a pause state before each word and after the last."""

    phones: np.ndarray  # (N,) phone of each state
    words: np.ndarray  # (N,) index of its word, -1 in a pause
    optional: np.ndarray  # (N,) whether it is a pause


def align_words(speech: SpeechFeatures, transcript: str) -> list[Word]:
    """Return the words of the transcript with start and end, in order; spoken noises around them are silence to it.

    Returns no words, with a warning, when the transcript does not fit the sound: it is a hint, never worth an error.
    Words that cannot be spoken (punctuation alone) are left out.
    """
    dims(speech.phones, f"T {len(PHONES)}")
    tokens = [(text, phones) for text in transcript.split() if (phones := pronounce(text))]
    if not tokens:
        logger.warning("the transcript %r has no words; going on without it", transcript[:60])
        return []
    emission = confusable(speech.phones.double().cpu().numpy())
    spans, score = _all_spans(emission, [phones for _, phones in tokens])
    few = max(0, FEW - sum(len(phones) for _, phones in tokens))
    if score < WRONG_SCORE - FEW_ALLOWANCE * few or len(spans) < len(tokens):
        logger.warning(
            "the transcript (%d words) does not fit the %.1f s of sound (score %.2f, below %.1f); going on without it",
            *(len(tokens), speech.seconds, score, WRONG_SCORE),
        )
        return []
    return [
        Word(text, start / FPS, min(max(stop, start + 1) / FPS, speech.seconds))
        for (text, _), (start, stop) in zip(tokens, spans, strict=True)
    ]


def sharpened(speech: SpeechFeatures, words: Iterable[tuple[str, float, float]]) -> SpeechFeatures:
    """The features with every p, b and m of the given words made certain: half of the belief at its loudest moment goes
    to it.

    words: (text, start s, end s), aligned or given. The phones of a word are looked for in its own time, and a frame
    to either side; what the alignment passes over stays as it was heard.
    """
    phones = speech.phones.exp()
    emission = confusable(speech.phones.double().cpu().numpy())
    for text, start, end in words:
        spoken = pronounce(text)
        if not CLOSURES.intersection(spoken):
            continue
        first, last = max(0, int(start * FPS) - 1), min(len(emission), int(end * FPS) + 2)
        if last - first < 2:
            continue
        states = chain([spoken])
        path, _ = best_path(emission[first:last], states, open_end=False)
        for state in np.flatnonzero(np.isin(states.phones, _CLOSED)):
            frames = first + np.flatnonzero(path == state)
            if len(frames):
                frame = int(frames[speech.phones[frames][:, _CLOSED].exp().sum(1).argmax()])
                phones[frame] *= 0.5
                phones[frame, states.phones[state]] += 0.5
    return replace(speech, phones=phones.clamp_min(1e-10).log())


def confusable(phones: np.ndarray) -> np.ndarray:
    """Map (T, P) log-probabilities -> (T, P), forgiving: a third of the belief in other vowels counts for each vowel.
    """
    vowel = np.array([p in VOWELS for p in PHONES])
    probability = np.exp(phones)
    shared = probability[:, vowel].sum(1, keepdims=True) / 3
    forgiven = np.where(vowel, np.maximum(probability, shared), probability)
    return np.log(np.maximum(forgiven, 1e-4))


def chain(words: list[tuple[str, ...]]) -> Chain:
    """Return the states: pause, phones of word 0, pause, phones of word 1, ..., pause."""
    phones, owner = [0], [-1]
    for index, word in enumerate(words):
        phones += [*(PHONE_INDEX[p] for p in word), 0]
        owner += [*([index] * len(word)), -1]
    owner_array = np.array(owner)
    return Chain(np.array(phones), owner_array, owner_array < 0)


def best_path(emission: np.ndarray, states: Chain, open_end: bool) -> tuple[np.ndarray, np.ndarray]:
    """Find the Viterbi path: (T, P) emissions -> state of each frame (T,) and the path's log-likelihood of each frame
    (T,).

    From a state one stays, goes on, or passes over the next state: free over a pause, at SKIP_COST over a phone.
    The path begins in one of the first two states; it ends in one of the last two where it can, anywhere if open_end.
    """
    scores = emission[:, states.phones]
    over = -np.where(states.optional[1:-1], 0.0, SKIP_COST)
    total = np.full(scores.shape[1], -np.inf)
    total[:2] = scores[0, :2]
    back = np.zeros(scores.shape, np.int8)
    for t in range(1, len(scores)):
        stay, step, leap = total, np.full_like(total, -np.inf), np.full_like(total, -np.inf)
        step[1:] = total[:-1]
        leap[2:] = total[:-2] + over
        options = np.stack([stay, step, leap])
        back[t] = options.argmax(0)
        total = options.max(0) + scores[t]
    last = len(total) - 2 + int(total[-1] >= total[-2])
    if open_end or total[last] == -np.inf:  # too many words for the frames: their end cannot be reached
        last = int(total.argmax())
    path = np.zeros(len(scores), int)
    for t in range(len(scores) - 1, -1, -1):
        path[t] = last
        last -= int(back[t, last])
    return path, scores[np.arange(len(scores)), path]


def _all_spans(emission: np.ndarray, words: list[tuple[str, ...]]) -> tuple[list[tuple[int, int]], float]:
    """Return the frames (start, stop) of each word and the mean score of spoken frames; long recordings window by
    window."""
    spans: list[tuple[int, int]] = []
    lost, spoken = 0.0, 0
    begin = 0
    while len(spans) < len(words) and begin < len(emission):
        ahead = words[len(spans) : len(spans) + AHEAD]
        piece = emission[begin : begin + WINDOW]
        final = begin + len(piece) == len(emission) and len(spans) + len(ahead) == len(words)
        path, likelihood = best_path(piece, states := chain(ahead), open_end=not final)
        arrived = final and path[-1] >= len(states.words) - 2
        found = _word_spans(states.words[path], len(ahead) if arrived else 0, begin)
        kept = found if final else [s for s in found if s[1] <= begin + COMMIT]
        stop = kept[-1][1] if kept else begin + COMMIT  # without a word it is a long pause: look on after it
        if final:
            stop = len(emission)
        loud = states.words[path[: stop - begin]] >= 0
        missed = likelihood[: stop - begin] - piece[: stop - begin].max(1)
        lost, spoken = lost + float(missed.sum()), spoken + int(loud.sum())
        spans += kept
        begin = stop
    return spans, lost / max(spoken, 1)


def _word_spans(owner: np.ndarray, count: int, begin: int) -> list[tuple[int, int]]:
    """Return (start, stop) frames of the words up to the last that a path visits, at least `count`.

    A word that the path passes over gets the empty moment between its neighbours.
    """
    spans, cursor = [], 0
    for index in range(max(count, int(owner.max()) + 1)):
        frames = np.flatnonzero(owner == index)
        start, stop = (int(frames[0]), int(frames[-1]) + 1) if len(frames) else (cursor, cursor)
        spans.append((begin + start, begin + stop))
        cursor = stop
    return spans
