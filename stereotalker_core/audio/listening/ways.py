"""Which way words are found in the sound where nobody gave them."""

from ...records import Audio, SpeechFeatures
from ..align import Word
from ..spool import SpooledAudio
from .recogniser import can_recognise, recognised_words
from .spotting import spotted_words

WAYS = ("spotted", "recognised", "off")
AUTO = "auto"


def best_way(way: str) -> str:
    """The way itself; for "auto" the recogniser where it is installed, else spotting. ValueError for any other."""
    if way == AUTO:
        return "recognised" if can_recognise() else "spotted"
    if way not in WAYS:
        raise ValueError(f"words {way!r} is unknown; use one of {', '.join((AUTO, *WAYS))}")
    return way


def found_words(audio: Audio | SpooledAudio, speech: SpeechFeatures, way: str) -> tuple[list[Word], list[Word]]:
    """Return (all words of the sound, single words in it): one of them is empty, both where `way` is "off".

    ValueError with the remedy for "recognised" without the recogniser.
    """
    if way == "recognised":
        return recognised_words(audio), []
    return [], spotted_words(speech) if way == "spotted" else []
