"""Words out of the sound, where the optional recogniser is installed."""

import numpy as np
import pytest

from stereotalker_core.audio.listening import recogniser
from stereotalker_core.audio.listening.recogniser import can_recognise, quietest, recognised_words
from stereotalker_core.audio.load import load_audio, make_audio
from stereotalker_core.commands.talking.inputs import HEARD, read_transcript
from stereotalker_core.synthetic.example import SPEECH


def test_without_it_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(recogniser, "can_recognise", lambda: False)
    with pytest.raises(ValueError, match=r"pip install '\.\[recognition\]'"):
        read_transcript(HEARD, load_audio(SPEECH))


def test_long_recordings_are_cut_where_it_is_quiet():
    piece = np.ones(20 * 16_000, np.float32)
    piece[12 * 16_000 : 12 * 16_000 + 4000] = 0
    assert 12 * 16_000 <= quietest(piece) <= 12 * 16_000 + 4000
    piece[:] = np.linspace(0, 1, len(piece))
    assert quietest(piece) >= 8 * 16_000


@pytest.mark.skipif(not can_recognise(), reason="pocketsphinx is not installed")
def test_words_come_in_order_within_the_recording():
    audio = load_audio(SPEECH)
    words = recognised_words(audio)
    assert len(words) > 5 and all(0 <= w.start < w.end <= audio.seconds + 0.05 for w in words)
    assert [w.start for w in words] == sorted(w.start for w in words)
    assert recognised_words(make_audio(np.zeros((1, 16_000), np.float32) + 1e-4, 16_000)) == []
