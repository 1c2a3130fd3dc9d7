"""The choice of the method that finds words in the sound when the user gives none."""

from ...records import Audio, SpeechFeatures
from ..align import Word
from ..spool import SpooledAudio
from .recogniser import can_recognise, recognised_words
from .spotting import spotted_words

WAYS = ("spotted", "recognised", "off")
AUTO = "auto"


def best_way(way: str) -> str:
    """Return the name of the method; "auto" becomes "recognised" if the recogniser is installed, else "spotted".

    ValueError for an unknown name."""
    if way == AUTO:
        return "recognised" if can_recognise() else "spotted"
    if way not in WAYS:
        raise ValueError(f"words {way!r} is unknown; use one of {', '.join((AUTO, *WAYS))}")
    return way


def found_words(audio: Audio | SpooledAudio, speech: SpeechFeatures, way: str) -> tuple[list[Word], list[Word]]:
    """Return (all words of the recording, single gesture words spotted in it).

    One of the lists is empty, and both are where `way` is "off". ValueError with the remedy for "recognised" where the
    recogniser is not installed."""
    if way == "recognised":
        return recognised_words(audio), []
    return [], spotted_words(speech) if way == "spotted" else []
