"""Pronunciation guesses and forced alignment, on phone probabilities made from a known time line."""

import itertools
import logging

import numpy as np
import pytest
import torch

from stereotalker_core.audio import align
from stereotalker_core.audio.align import align_words, best_path, chain, confusable
from stereotalker_core.audio.phones import PHONE_INDEX
from stereotalker_core.audio.pronounce import pronounce, spell_number
from stereotalker_core.records import SpeechFeatures

TEXT = "Good morning, the river runs slowly under 42 old bridges and nobody knows why."


def spoken(text: str, seed: int = 0, pause: int = 6, certainty: float = 0.8) -> tuple[SpeechFeatures, list]:
    """Features of a made-up reading of the text (2..4 frames a phone, a pause every third word), and the true spans."""
    rng = np.random.default_rng(seed)
    labels, spans = [0] * pause, []
    for n, word in enumerate(text.split()):
        start = len(labels)
        for phone in pronounce(word):
            labels += [PHONE_INDEX[phone]] * int(rng.integers(2, 5))
        spans.append((start / 25, len(labels) / 25))
        labels += [0] * (pause if n % 3 == 2 else 0)
    noise = rng.dirichlet(np.full(40, 0.3), len(labels))
    probability = certainty * np.eye(40)[labels] + (1 - certainty) * noise
    phones = torch.from_numpy(np.log(probability + 1e-9)).float()
    return SpeechFeatures(torch.zeros(len(labels), 4), phones, len(labels) / 25), spans


@pytest.mark.parametrize("certainty", [0.9, 0.5])
def test_finds_the_words(certainty):
    speech, spans = spoken(TEXT, certainty=certainty)
    words = align_words(speech, TEXT)
    assert [w.text for w in words] == TEXT.split()
    errors = np.abs(np.array([w[1:] for w in words]) - np.array(spans))
    assert np.median(errors) <= 0.04 and errors.max() <= 0.13
    assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(words)) and words[-1].end <= speech.seconds


def test_wrong_guesses_are_passed_over():
    """The reader leaves out a phone of every word and says another vowel in each: the words are still found."""
    speech, spans = spoken(TEXT)
    phones = speech.phones.clone()
    ae, iy = PHONE_INDEX["ae"], PHONE_INDEX["iy"]
    phones[:, [ae, iy]] = phones[:, [iy, ae]]
    words = align_words(SpeechFeatures(speech.features, phones, speech.seconds), TEXT)
    assert np.abs(np.array([w[1:] for w in words]) - np.array(spans)).max() <= 0.2


def test_a_wrong_transcript_gives_no_words_and_a_warning(caplog):
    speech, _ = spoken(TEXT)
    with caplog.at_level(logging.WARNING):
        assert align_words(speech, "Please leave your message after the tone, thank you very much for calling.") == []
        assert "does not fit" in caplog.text
        assert align_words(speech, TEXT * 20) == []  # far more words than the recording can hold
        assert align_words(speech, " ... ?! ") == [] and "no words" in caplog.text


def test_windows_equal_one_pass(monkeypatch):
    text = " ".join([TEXT] * 8)
    speech, spans = spoken(text)
    whole = align_words(speech, text)
    monkeypatch.setattr(align, "WINDOW", 300)
    monkeypatch.setattr(align, "COMMIT", 200)
    monkeypatch.setattr(align, "AHEAD", 60)
    pieces = align_words(speech, text)
    assert len(whole) == len(pieces) == len(spans)
    difference = np.abs(np.array([w[1:] for w in whole]) - np.array([w[1:] for w in pieces]))
    assert difference.max() <= 0.12 and (difference > 0).mean() < 0.05


def test_a_long_pause_in_the_middle(monkeypatch):
    monkeypatch.setattr(align, "WINDOW", 150)
    monkeypatch.setattr(align, "COMMIT", 100)
    speech, spans = spoken(TEXT, pause=320)
    words = align_words(speech, TEXT)
    assert np.abs(np.array([w[1:] for w in words]) - np.array(spans)).max() <= 0.2


def test_viterbi_against_all_paths():
    rng = np.random.default_rng(1)
    states = chain([("b", "iy"), ("s",)])
    emission = confusable(np.log(rng.dirichlet(np.ones(40), 6)))
    path, likelihood = best_path(emission, states, open_end=False)
    best = -np.inf
    for candidate in itertools.combinations_with_replacement(range(len(states.phones)), 6):
        steps = np.diff(candidate)
        if candidate[0] > 1 or candidate[-1] < len(states.phones) - 2 or (steps > 2).any():
            continue
        over = [candidate[t] + 1 for t in range(5) if steps[t] == 2]
        cost = sum(0.0 if states.optional[j] else align.SKIP_COST for j in over)
        best = max(best, sum(emission[t, states.phones[c]] for t, c in enumerate(candidate)) - cost)
    over = [path[t] + 1 for t in range(5) if path[t + 1] - path[t] == 2]
    mine = likelihood.sum() - sum(0.0 if states.optional[j] else align.SKIP_COST for j in over)
    assert mine == pytest.approx(best)


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("Speech,", "s p iy ch"), ("nation", "n ey sh ah n"), ("the", "dh ah"), ("night", "n ay t"),
        ("talked", "t ao k t"),
        ("boxes", "b aa k s ih z"), ("name", "n ey m"), ("don't", "d ow n t"), ("singing", "s ih ng ih ng"),
        ("knee", "n iy"), ("phone", "f ow n"), ("table", "t ey b ah l"), ("PBX", "p iy b iy eh k s"), ("z", "z iy"),
        ("21", "t w eh n t iy w ah n"), ("cat\u2019s", "k ae t z"), ("...", ""), ("well-known", "w eh l n ow n"),
    ],
)  # fmt: skip
def test_pronunciations(word, phones):
    assert " ".join(pronounce(word)) == phones


def test_every_word_has_known_phones():
    for word in ("rhythm", "queue", "aisle", "xylophone", "psychology", "naïve", "1,234", "e-mail", "O'Brien", "qwz"):
        assert pronounce(word) and set(pronounce(word)) < set(PHONE_INDEX)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "zero"), (13, "thirteen"), (80, "eighty"), (42, "forty two"), (100, "one hundred"),
     (2_000_099, "two million ninety nine")],
)  # fmt: skip
def test_numbers(number, text):
    assert spell_number(number) == text
