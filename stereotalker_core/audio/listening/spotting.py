"""Words found in the encoder's own phones: a decoder that knows common words, and reports those that have a gesture.

A frame is either in a word, in silence, or in sound that is no known word; the likeliest sequence is found by Viterbi
(token passing: Young et al., 1989). Common words are in the lexicon so that a gesture word is reported only where no
common word fits better. `spoken_words.txt` is made by `python -m stereotalker_core.synthetic.speech.spoken_words`."""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...records import SpeechFeatures
from ...shapes import FPS, dims
from ..align import SKIP_COST, Word, confusable
from ..phones import PHONE_INDEX, PHONES

SPOKEN_WORDS = Path(__file__).parent / "spoken_words.txt"
VARIANT_COST = 0.5  # nats beyond the word's own, of another way to say it
UNKNOWN, UNKNOWN_COST = 1.2, 2.0  # nats a frame below the best phone, and once, of sound that is no known word
PAUSE_COST = 0.5
BLOCK = 512  # frames whose probabilities are prepared at a time
_SILENCE, _UNKNOWN = -1, -2
_NEVER = np.float32(-1e9)


class Lexicon(NamedTuple):
    """The pronunciations of all words (W of them), laid end to end as one row of phone states (N of them).

    names: the word of each pronunciation.
    gestures: the words that have a gesture.
    costs: (W,) added to the score when a word begins.
    phones: (N,) phone index of each state.
    first, last: (W,) first and last state of a pronunciation.
    early: (N,) bool, the first two states of each pronunciation."""

    names: tuple[str, ...]  # (W,)
    gestures: frozenset[str]  # the words that are reported
    costs: np.ndarray  # (W,) nats of beginning the word
    phones: np.ndarray  # (N,) phone of each state
    first: np.ndarray  # (W,) first state of each word
    last: np.ndarray  # (W,)
    early: np.ndarray  # (N,) bool: the first two states of a word, which cannot be reached by skipping a phone of it


def spotted_words(speech: SpeechFeatures) -> list[Word]:
    """Find the words with a gesture in phone log-probabilities (T, 40), in order, with their times.

    Words said unclearly are mostly missed; few of the words that are found are wrong."""
    dims(speech.phones, f"T {len(PHONES)}")
    if len(speech.phones) == 0:
        return []
    words, phones = lexicon(), speech.phones.cpu()
    blocks = (confusable(phones[i : i + BLOCK].double().numpy()) for i in range(0, len(phones), BLOCK))
    return [
        Word(words.names[word], start / FPS, min(stop / FPS, speech.seconds))
        for word, start, stop in decoded(blocks, words)
        if word >= 0 and words.names[word] in words.gestures
    ]


@functools.cache
def lexicon(path: Path = SPOKEN_WORDS) -> Lexicon:
    """Read the lexicon file. Each line is one of

    `gesture COST: words` or `common COST: words`, where every word is written word=its-phones;
    `as WORD: phones`, another pronunciation of a word."""
    costs: dict[str, float] = {}
    gestures: set[str] = set()
    spoken: list[tuple[str, tuple[str, ...], float]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        head, _, body = line.partition(":")
        if line.startswith("#") or not body:
            continue
        kind, value = head.split()
        if kind == "as":
            spoken.append((value, tuple(body.split()), costs[value] + VARIANT_COST))
            continue
        for name, _, phones in (word.partition("=") for word in body.split()):
            costs[name] = float(value)
            gestures |= {name} if kind == "gesture" else set()
            spoken.append((name, tuple(phones.split("-")), float(value)))
    return chained(spoken, frozenset(gestures))


def chained(spoken: list[tuple[str, tuple[str, ...], float]], gestures: frozenset[str]) -> Lexicon:
    """Build the lexicon.

    spoken: (word, phones, cost) of every pronunciation, where the cost is added to the score when the word begins.
    gestures: the words that have a gesture."""
    lengths = np.array([len(phones) for _, phones, _ in spoken])
    first = np.concatenate([[0], lengths.cumsum()[:-1]])
    early = np.zeros(int(lengths.sum()), bool)
    early[first] = early[np.minimum(first + 1, first + lengths - 1)] = True
    index = np.array([PHONE_INDEX[p] for _, phones, _ in spoken for p in phones])
    costs = np.array([cost for _, _, cost in spoken], np.float32)
    return Lexicon(tuple(w for w, _, _ in spoken), gestures, costs, index, first, first + lengths - 1, early)


def decoded(blocks: Iterable[np.ndarray], words: Lexicon) -> list[tuple[int, int, int]]:
    """Decode log-probabilities (T, P), given in blocks, into a list of (pronunciation, first frame, frame after the
    last).

    words: the lexicon. The number of the pronunciation is -1 in pauses and -2 in sound that is no known word."""
    score = np.full(len(words.phones), _NEVER)
    begun = np.zeros(len(score), np.int32)  # frame in which the word began that is in this state
    shifted, earlier = np.empty_like(score), np.empty_like(begun)
    other = np.array([_NEVER, _NEVER])  # silence, no known word
    other_begun, entry = np.zeros(2, np.int32), np.float32(0)
    fees = np.array([PAUSE_COST, UNKNOWN_COST], np.float32)
    ended: list[tuple[int, int]] = []  # what ends in each frame, and when it began
    for t, frame in enumerate(row for block in blocks for row in block.astype(np.float32)):
        for leap, cost in ((2, SKIP_COST), (1, 0.0)):  # over a phone, then on: both from the frame before
            shifted[leap:], earlier[leap:] = score[:-leap] - cost, begun[:-leap]
            if leap == 2:
                shifted[:2] = _NEVER
                shifted[words.early] = _NEVER
                over, over_begun = shifted.copy(), earlier.copy()
            else:
                shifted[words.first], earlier[words.first] = entry - words.costs, t
        for ahead, since in ((shifted, earlier), (over, over_begun)):
            better = ahead > score
            np.copyto(score, ahead, where=better)
            np.copyto(begun, since, where=better)
        score += frame[words.phones]
        fresh = entry - fees > other
        other = np.where(fresh, entry - fees, other) + (frame[0], frame.max() - UNKNOWN)
        other_begun[fresh] = t
        ends = score[words.last]
        best = int(ends.argmax())
        end, entry = (best, int(begun[words.last[best]])), ends[best]
        for number, kind in ((0, _SILENCE), (1, _UNKNOWN)):
            if other[number] > entry:
                end, entry = (kind, int(other_begun[number])), other[number]
        ended.append(end)
    return _traced(ended)


def _traced(ended: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    found, stop = [], len(ended)
    while stop > 0:
        word, start = ended[stop - 1]
        found.append((word, start, stop))
        stop = start
    return found[::-1]
