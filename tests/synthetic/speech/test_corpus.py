import json
import random

import numpy as np
import pytest
import torch

from stereotalker_core.synthetic.speech import corpus
from stereotalker_core.synthetic.speech.phones import PHONE_INDEX
from stereotalker_core.synthetic.speech.tts import available_engines, play_at, synthesise
from stereotalker_core.synthetic.speech.utterance import Utterance, tile

ENGINES = [name for name in available_engines() if name != "kokoro"]
needs_engine = pytest.mark.skipif(not ENGINES, reason="neither espeak-ng nor flite is installed")
TEXT = "Bob gave the big banana to me, of the two."


@pytest.mark.parametrize("engine", ["espeak", "flite"])
def test_times_tile_the_sound_and_words_follow_the_text(engine):
    if engine not in ENGINES:
        pytest.skip(f"{engine} is not installed")
    u = synthesise(TEXT, engine, seed=3)
    assert [w.lower() for w, _, _ in u.words] == TEXT.lower().replace(",", "").replace(".", "").split()
    assert u.phones[0][1] == 0 and u.phones[-1][2] == pytest.approx(u.seconds, abs=0.02)
    assert all(a[2] == pytest.approx(b[1], abs=1e-6) for a, b in zip(u.phones, u.phones[1:], strict=False))
    word = dict((w.lower(), (s, e)) for w, s, e in u.words)["banana"]
    inside = [p[0] for p in u.phones if word[0] - 1e-6 <= p[1] < word[1] - 1e-6]
    assert inside == ["b", "ah", "n", "ae", "n", "ah"]
    assert [p[3] for p in u.phones if word[0] - 1e-6 <= p[1] < word[1] - 1e-6][3] == 1  # ba-NA-na
    loud = u.waveform[int(word[0] * 16000) : int(word[1] * 16000)].std()
    assert loud > 3 * u.waveform[-int(0.05 * 16000) :].std()


@needs_engine
def test_write_and_read(tmp_path):
    table = corpus.write_corpus(tmp_path / "val", "val", 0.25, 1, tuple(ENGINES))
    data = corpus.Corpus(tmp_path / "val")
    assert (tmp_path / "val" / "DONE").exists() and not (tmp_path / "val" / "waveforms.raw").exists()
    assert len(data) == table["utterances"] > 1 and table["hours"] >= 0.25 / 60
    assert np.load(tmp_path / "val" / "waveforms.npy").shape == (sum(e["samples"] for e in data.entries),)
    assert all(corpus.in_validation(u.text) for u in data)
    assert float(data[1].waveform.abs().max()) == pytest.approx(0.7, abs=0.01)


@needs_engine
def test_same_seed_same_choices():
    a = corpus.speak_random("train", ENGINES[0], random.Random(5))[0]
    b = corpus.speak_random("train", ENGINES[0], random.Random(5))[0]
    assert (a.text, a.voice) == (b.text, b.voice) and abs(len(a.waveform) - len(b.waveform)) < 50


def test_voices_of_the_splits_are_apart():
    rng = random.Random(0)
    for engine in ("espeak", "flite"):
        names = {
            split: {corpus.draw_voice(engine, split, rng).split("+")[-1].split("@")[0] for _ in range(500)}
            for split in corpus.SPLITS
        }
        assert not names["train"] & names["val"] and names["val"]


def test_tile_fills_gaps_and_drops_overlaps():
    tiled = tile([("b", 0.1, 0.2, 0), ("sil", 0.2, 0.3, 0), ("aa", 0.35, 0.5, 1)], 0.6)
    assert [p[0] for p in tiled] == ["sil", "b", "sil", "aa", "sil"]
    assert [p[1] for p in tiled] == [0.0, 0.1, 0.2, 0.35, 0.5] and tiled[-1][2] == 0.6


def test_playing_faster_scales_everything():
    u = Utterance(torch.zeros(16000), (("a", 0.2, 0.6),), (("sil", 0.0, 0.2, 0), ("ey", 0.2, 1.0, 1)), "a", "x", "v")
    fast = play_at(u, 1.25)
    assert fast.seconds == pytest.approx(0.8, abs=1e-3) and fast.words[0][2] == pytest.approx(0.48)


def test_phone_labels_match_a_plain_loop():
    phones = (("sil", 0.0, 0.11, 0), ("b", 0.11, 0.17, 0), ("aa", 0.17, 0.4, 1))
    labels = corpus.phone_labels(phones, 20)
    for i in range(20):
        t = (i + 0.5) / 50
        assert int(labels[i]) == PHONE_INDEX[next(p for p, s, e, _ in phones if s <= t < e)]


def test_bad_requests_are_refused_before_work(tmp_path):
    with pytest.raises(ValueError, match="split"):
        corpus.write_corpus(tmp_path / "x", "dev", 1, 1, ("espeak",))
    with pytest.raises(ValueError, match="minutes"):
        corpus.write_corpus(tmp_path / "x", "val", 0, 1, ("espeak",))
    with pytest.raises(ValueError, match="engines"):
        corpus.write_corpus(tmp_path / "x", "val", 1, 1, ("siri",))
    assert not (tmp_path / "x").exists()
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "index.jsonl").write_text(json.dumps({}) + "\n")
    with pytest.raises(ValueError, match="no complete corpus"):
        corpus.Corpus(tmp_path / "y")
    with pytest.raises(ValueError, match="empty"):
        synthesise("  ")
