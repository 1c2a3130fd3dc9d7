"""Words with their times, given by the user: JSON, SubRip subtitles (.srt) or a Praat TextGrid."""

import json
import re
from pathlib import Path

from .align import Word
from .textgrid import read_textgrid

FORMATS = (".json", ".srt", ".TextGrid")
_CUE = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})\s*-->\s*(\d+):(\d\d):(\d\d)[,.](\d{1,3})")
_WORD_TIERS = ("words", "word", "transcript")


def read_words(path: str | Path) -> list[Word]:
    """Read the words of a file in order, with start and end in seconds.

    .json: a list of {"word", "start", "end"} or [word, start, end], or a recogniser's output ({"words": ...} or
    {"segments": [{"words": ...}]}). .srt: the words of a cue share its time in proportion to their length. .TextGrid:
    the tier named words. FileNotFoundError where there is no file; ValueError names the entry that is wrong."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file with words at {path}")
    kind = path.suffix.lower()
    if kind not in (".json", ".srt", ".textgrid"):
        raise ValueError(f"{path} is no file of timed words; give {', '.join(FORMATS)}")
    try:
        if kind == ".textgrid":
            return checked(_of_textgrid(path), path)
        text = path.read_text(encoding="utf-8-sig")
        return checked(_of_json(json.loads(text), path) if kind == ".json" else _of_srt(text), path)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({error})") from error


def checked(words: list[Word], source: object = "the words") -> list[Word]:
    """Return the words unchanged after a check.

    ValueError where there are none, a time is below 0, an end is before its start, or words are out of order.
    source: what the error message names."""
    if not words:
        raise ValueError(f"{source}: there are no timed words in it")
    latest = 0.0
    for number, word in enumerate(words, 1):
        if not 0 <= word.start <= word.end < float("inf"):
            raise ValueError(f"{source}: word {number} ({word.text!r}) lasts from {word.start} to {word.end} s")
        if word.start < latest:
            raise ValueError(f"{source}: word {number} ({word.text!r}) starts before the word in front of it")
        latest = word.start
    return words


def _of_json(found: object, path: Path) -> list[Word]:
    if isinstance(found, dict):
        segments = found.get("segments")
        if isinstance(segments, list):
            return [word for segment in segments for word in _of_json(segment, path)]
        found = found.get("words")
    if not isinstance(found, list):
        raise ValueError(f'{path}: expected a list of {{"word", "start", "end"}}')
    words = []
    for number, row in enumerate(found, 1):
        try:
            values = (row.get("word", row.get("text")), row["start"], row["end"]) if isinstance(row, dict) else row
            text, start, end = values
            words.append(Word(str(text).strip(), float(start), float(end)))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f'{path}: entry {number} ({row!r}) is no {{"word", "start", "end"}}') from error
    return words


def _of_srt(text: str) -> list[Word]:
    words: list[Word] = []
    cues = list(_CUE.finditer(text))
    for cue, following in zip(cues, [*cues[1:], None], strict=False):
        body = text[cue.end() : following.start() if following else len(text)]
        if following:
            body = re.sub(r"\n\s*\d+\s*$", "", body.rstrip())  # the number of the next cue
        spoken = re.sub(r"<[^>]*>|\{[^}]*\}|\[[^\]]*\]", " ", body).split()
        at, until = _parse_time(cue.groups()[:4]), _parse_time(cue.groups()[4:])
        share = (until - at) / max(1, sum(len(w) for w in spoken))
        for word in spoken:
            words.append(Word(word, at, at + share * len(word)))
            at += share * len(word)
    return words


def _parse_time(parts: tuple[str, ...]) -> float:
    hours, minutes, seconds, thousandths = parts
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(thousandths.ljust(3, "0")) / 1000


def _of_textgrid(path: Path) -> list[Word]:
    tiers = {name.lower(): rows for name, rows in read_textgrid(path).items()}
    for name in _WORD_TIERS:
        if name in tiers:
            return [Word(*row) for row in tiers[name]]
    if len(tiers) == 1:
        return [Word(*row) for row in next(iter(tiers.values()))]
    raise ValueError(f"{path} has the tiers {', '.join(sorted(tiers)) or 'none'}; one must be called words")
