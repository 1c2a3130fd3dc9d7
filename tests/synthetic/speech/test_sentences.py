import random
import re

from stereotalker_core.synthetic.speech.sentences import EMOTIONS, STYLES, sentence, sentences
from stereotalker_core.synthetic.speech.vocabulary import GESTURE_WORDS, HELD_OUT_WORDS, TRAINING_WORDS


def words(texts):
    return {w for s in texts for w in re.findall(r"[a-z']+", s.text.lower())}


def test_rich_and_reproducible():
    some = sentences(1, 4000)
    assert [s.text for s in some[:50]] == [s.text for s in sentences(1, 50)]
    assert len({s.text for s in some}) == 4000 and len(words(some)) >= 1500
    assert {s.text for s in sentences(2, 50)}.isdisjoint({s.text for s in some[:50]})


def test_sentences_are_plain_text():
    for s in sentences(3, 300):
        assert re.fullmatch(r"[A-Z][A-Za-z', ;!?.]*[.!?]", s.text), s.text
        assert s.emotion in EMOTIONS and s.style in STYLES


def test_exclusion():
    first = sentences(4, 20)
    again = sentences(4, 20, exclude=frozenset(s.text for s in first))
    assert not {s.text for s in first} & {s.text for s in again}


def test_every_gesture_word_is_spoken_and_held_out_words_are_apart():
    assert len(GESTURE_WORDS) >= 12
    assert all(len(used) >= 6 and len(held) == 2 for used, held in GESTURE_WORDS.values())
    assert not set(TRAINING_WORDS) & set(HELD_OUT_WORDS)
    rng = random.Random(0)
    spoken = words(sentence(rng, meaning=1.0) for _ in range(4000))
    assert set(TRAINING_WORDS) | set(HELD_OUT_WORDS) <= spoken
