"""Command-line words -> the values that the pipeline takes; every fault is a ValueError before work starts."""

import re
from pathlib import Path

from torch import Tensor

from ...audio.listening.recogniser import recognised_words
from ...audio.spool import SpooledAudio
from ...audio.words import Word, read_words
from ...image import Portrait, load_background
from ...perception.keypoints import Keypoints, load_keypoints
from ...records import Audio

HEARD = "@heard"  # in place of a transcript: the words that a recogniser finds


def parse_orbit(text: str) -> tuple[float, float]:
    """Parse an orbit: "-40:40" -> (-40.0, 40.0), degrees."""
    parts = text.split(":")
    try:
        start, end = map(float, parts)
    except ValueError:
        raise ValueError(f"--orbit takes two yaws like -40:40, got {text!r}") from None
    return start, end


def parse_size(text: str) -> int | tuple[int, int]:
    """Parse a size: "512" -> 512, "576x1024" (width x height, the usual order) -> (1024, 576), height and width in px.
    """
    found = re.fullmatch(r"(\d+)(?:[xX](\d+))?", text.strip())
    if not found:
        raise ValueError(f"--size takes a number of pixels like 512, or WIDTHxHEIGHT like 576x1024, got {text!r}")
    first, second = found.groups()
    return int(first) if second is None else (int(second), int(first))


def parse_background(text: str, size: tuple[int, int]) -> str | tuple[float, float, float] | Tensor:
    """Parse a background: "portrait" -> itself, "#rrggbb" -> (r, g, b) in 0..1, a picture file -> (3, H, W).

    size: (H, W) px of the canvas."""
    if text == "portrait":
        return text
    if text.startswith("#"):
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
            raise ValueError(f"a background colour has six hex digits like #00b140, got {text!r}")
        red, green, blue = (int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return red, green, blue
    return load_background(text, size)


def read_transcript(text: str | None, audio: Audio | SpooledAudio | None = None) -> str | list[Word] | None:
    """Return a transcript given as text, as @FILE, or as @heard; None where there is none.

    A .json, .srt or .TextGrid file gives words with their times, any other file its text. "@heard" gives the words that
    the recogniser finds in `audio`."""
    if text is None or not text.startswith("@"):
        return text
    if text == HEARD and audio is not None:
        return recognised_words(audio) or None
    path = Path(text[1:])
    if path.suffix.lower() in (".json", ".srt", ".textgrid"):
        return read_words(path)
    if not path.is_file():
        raise FileNotFoundError(f"no transcript at {path}")
    try:
        return path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error})") from error


def read_keypoints(path: str | None, portrait: Portrait, person: int | None = None) -> Keypoints | None:
    """Read the keypoints of a person from a file -> keypoints in px of the image that is processed; None without a
    file.

    path: the file, with px of the portrait file; portrait: its image may be smaller than the file; person: number of
        the person in the file, None for the largest."""
    if path is None:
        return None
    height, width = portrait.source_size
    keypoints = load_keypoints(path, width, height, person)
    keypoints.check_inside(height, width)
    return keypoints.scaled(portrait.image.shape[-1] / width)
