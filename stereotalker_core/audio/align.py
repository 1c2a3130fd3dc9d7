"""Forced alignment: where in the recording each word of a transcript is spoken, from the encoder's phone probabilities.

Viterbi over a left-to-right chain of guessed phones with optional pauses between words. A frame is 40 ms, and word
times are accurate to about one frame. The path may skip a phone, because guesses can be wrong and short phones fall
between frames."""

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
    """The word of a transcript with its start and end in seconds."""

    text: str
    start: float
    end: float


class Chain(NamedTuple):
    """The chain of states for some words: phone states in order, with a pause before each word and after the last.

    phones: (N,) phone index of each state.
    words: (N,) index of the word that a state belongs to, -1 for a pause.
    optional: (N,) bool, true for pauses."""

    phones: np.ndarray  # (N,) phone of each state
    words: np.ndarray  # (N,) index of its word, -1 in a pause
    optional: np.ndarray  # (N,) whether it is a pause


def align_words(speech: SpeechFeatures, transcript: str) -> list[Word]:
    """Return the words of the transcript in order, with start and end in seconds; other sounds count as silence.

    speech: the encoder's output for the recording.
    transcript: the words; those without any phones (punctuation alone) are left out.

    Returns an empty list, with a warning, where the transcript does not fit the sound: a wrong transcript is no error.
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
    """Return the features with every p, b and m of the given words made visible: in its loudest frame the phone gets
    half of the probability.

    speech: the encoder's output for the recording.
    words: (text, start s, end s), aligned or given. Each word is aligned again within its own time and one frame on
        either side; phones that this alignment skips are left as the encoder heard them."""
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
    """Map (T, P) log-probabilities -> (T, P) in which a vowel has at least a third of the probability of all vowels
    together."""
    vowel = np.array([p in VOWELS for p in PHONES])
    probability = np.exp(phones)
    shared = probability[:, vowel].sum(1, keepdims=True) / 3
    forgiven = np.where(vowel, np.maximum(probability, shared), probability)
    return np.log(np.maximum(forgiven, 1e-4))


def chain(words: list[tuple[str, ...]]) -> Chain:
    """Return the chain of states for words given as phones: pause, phones of word 0, pause, phones of word 1, ...,
    pause."""
    phones, owner = [0], [-1]
    for index, word in enumerate(words):
        phones += [*(PHONE_INDEX[p] for p in word), 0]
        owner += [*([index] * len(word)), -1]
    owner_array = np.array(owner)
    return Chain(np.array(phones), owner_array, owner_array < 0)


def best_path(emission: np.ndarray, states: Chain, open_end: bool) -> tuple[np.ndarray, np.ndarray]:
    """Find the likeliest path (Viterbi) -> the state of each frame (T,), and the path's log-likelihood in each frame
    (T,).

    emission: (T, P) log-probabilities of the phones; states: the chain of words; open_end: the path may end anywhere.

    Each step stays in a state, moves to the next one, or skips one: a pause for free, a phone at SKIP_COST. The path
    starts in one of the first two states and, without open_end, ends in one of the last two if possible."""
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
    """Return the frames (start, stop) of each word, and the mean log-likelihood of the spoken frames.

    emission: (T, P) log-probabilities; words: the phones of each. Long recordings are aligned window by window."""
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
    """Return the (start, stop) frames of words 0, 1, ... up to the last one that owns a frame, and of at least `count`
    words.

    owner: (T,) index of the word that each frame belongs to, negative in pauses.
    count: the least number of words to return.
    begin: the frame number of owner[0].

    A word without a frame of its own gets an empty span after the word before it."""
    spans, cursor = [], 0
    for index in range(max(count, int(owner.max()) + 1)):
        frames = np.flatnonzero(owner == index)
        start, stop = (int(frames[0]), int(frames[-1]) + 1) if len(frames) else (cursor, cursor)
        spans.append((begin + start, begin + stop))
        cursor = stop
    return spans
