import gzip

import pytest

from stereotalker_core.synthetic.speech.real_speech import plain_words, transcripts


def test_transcripts_and_words(tmp_path):
    file = tmp_path / "list.txt.gz"
    lines = b"; comment: no\nagent-pass: Please enter 'your' password.\ndigits: Press 1, or 20.\n"
    file.write_bytes(gzip.compress(lines))
    texts = transcripts(file)
    assert set(texts) == {"agent-pass", "digits"}
    assert plain_words(texts["agent-pass"]) == ["please", "enter", "your", "password"]
    assert plain_words(texts["digits"]) == ["press", "one", "or", "two", "zero"]


def test_missing_package_is_named(tmp_path):
    with pytest.raises(ValueError, match="apt-get install asterisk"):
        transcripts(tmp_path / "none.gz")
