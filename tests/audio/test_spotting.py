"""Gesture words out of the phones: what is clearly said is found at its time, what is not said is not."""

import math

import numpy as np
import pytest
import torch

from stereotalker_core.audio.align import SKIP_COST
from stereotalker_core.audio.listening import ways
from stereotalker_core.audio.listening.spotting import (
    PAUSE_COST,
    SPOKEN_WORDS,
    UNKNOWN,
    UNKNOWN_COST,
    chained,
    decoded,
    lexicon,
    spotted_words,
)
from stereotalker_core.audio.listening.ways import best_way, found_words
from stereotalker_core.audio.phones import PHONE_INDEX, PHONES
from stereotalker_core.records import SpeechFeatures
from stereotalker_core.synthetic.speech.spoken_words import text


def heard(said: str, frames: int = 3, sure: float = 0.8) -> SpeechFeatures:
    """Features of phones that are each heard so surely for some frames."""
    names = [name for name in said.split() for _ in range(frames)]
    phones = torch.full((len(names), len(PHONES)), (1 - sure) / (len(PHONES) - 1))
    for t, name in enumerate(names):
        phones[t, PHONE_INDEX[name]] = sure
    return SpeechFeatures(torch.zeros(len(names), 0), phones.log(), len(names) / 25)


def test_the_file_is_what_its_script_writes():
    assert SPOKEN_WORDS.read_text(encoding="utf-8") == text()
    assert len(lexicon().gestures) > 120 and len(lexicon().names) > 1500


def test_words_that_are_said_are_found_at_their_time():
    speech = heard("sil sil p l iy z sil n aa t y uh r k ae n s ah l sil")
    found = spotted_words(speech)
    assert [w.text for w in found] == ["not", "your", "cancel"]
    for word, start, count in zip(found, (7, 10, 13), (3, 3, 6), strict=True):
        assert word.start == pytest.approx(3 * start / 25, abs=0.05)
        assert word.end == pytest.approx(3 * (start + count) / 25, abs=0.05)


@pytest.mark.parametrize("said", ["sil " * 9, "s t ow n sil b r ih jh", "hh ih m sil w ih ch", "n aw sil n uw z"])
def test_nothing_is_found_where_no_gesture_word_is_said(said):
    assert spotted_words(heard(said)) == []


def test_an_empty_recording_has_no_words():
    assert spotted_words(SpeechFeatures(torch.zeros(0, 0), torch.zeros(0, len(PHONES)), 0.0)) == []


def test_the_decoder_finds_the_likeliest_of_all_sequences():
    """Against every sequence of words, pauses and unknown sound, written out."""
    rng = np.random.default_rng(3)
    words = chained([("ab", ("aa", "b", "s"), 0.4), ("s", ("s",), 0.7)], frozenset(["ab"]))
    for _ in range(8):
        emission = np.log(rng.dirichlet(np.full(len(PHONES), 0.05), 5) + 1e-4).astype(np.float32)
        best = max(_score(emission, path) for path in _paths(5))
        found = [(kind, stop - start) for kind, start, stop in decoded([emission[:2], emission[2:]], words)]
        assert sum(count for _, count in found) == 5
        assert _score(emission, found) == pytest.approx(best, abs=1e-3)


def _paths(frames: int):
    if frames == 0:
        yield []
    for count in range(1, frames + 1):
        for kind in (0, 1, -1, -2):
            for rest in _paths(frames - count):
                yield [(kind, count), *rest]


def _score(emission: np.ndarray, path: list[tuple[int, int]]) -> float:
    """Log-likelihood of (kind, frames) one after the other; a word by the best split of its frames over its phones."""
    total, at = 0.0, 0
    for kind, count in path:
        piece = emission[at : at + count].astype(float)
        at += count
        if kind == -1:
            total += piece[:, 0].sum() - PAUSE_COST
        elif kind == -2:
            total += (piece.max(1) - UNKNOWN).sum() - UNKNOWN_COST
        elif kind == 1:
            total += piece[:, PHONE_INDEX["s"]].sum() - 0.7
        else:
            total += max(_splits(piece, ("aa", "b", "s")), _splits(piece, ("aa", "s")) - SKIP_COST) - 0.4
    return total


def _splits(piece: np.ndarray, phones: tuple[str, ...]) -> float:
    if len(phones) == 1:
        return float(piece[:, PHONE_INDEX[phones[0]]].sum()) if len(piece) else -math.inf
    return max(
        (piece[:k, PHONE_INDEX[phones[0]]].sum() + _splits(piece[k:], phones[1:]) for k in range(1, len(piece))),
        default=-math.inf,
    )


def test_auto_is_the_recogniser_where_it_is_installed(monkeypatch):
    for installed, way in ((True, "recognised"), (False, "spotted")):
        monkeypatch.setattr(ways, "can_recognise", lambda installed=installed: installed)
        assert best_way("auto") == way
    assert [best_way(way) for way in ways.WAYS] == list(ways.WAYS)
    with pytest.raises(ValueError, match="spotted, recognised, off"):
        best_way("guess")


def test_found_words_are_single_ones_or_all():
    speech = heard("sil n aa t sil")
    alone = found_words(None, speech, "spotted")
    assert alone[0] == [] and [w.text for w in alone[1]] == ["not"]
    assert found_words(None, speech, "off") == ([], [])
