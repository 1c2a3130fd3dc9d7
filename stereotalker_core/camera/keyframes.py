"""Camera keyframes as one line of text, as a node's widget holds them."""

import math
import re

_ENTRY = re.compile(r"(?P<at>[^:\s]+)\s*(?P<unit>%|s)\s*:\s*(?P<values>[^:]+)")
HELP = 'write "0%: -40, 50%: 20, 100%: -10" (or seconds, "1.5s: 20"), each: yaw [pitch [distance]]'


def parse_keyframes(text: str, frames: int, fps: float, pitch: float = 0.0) -> list[tuple[int, float, float, float]]:
    """Read keyframes from text -> [(frame, yaw, pitch, distance factor), ...] in order of time, for
    `trajectories.keyframes`.

    text: entries "time: yaw [pitch [distance factor]]", separated by commas, semicolons or line breaks; a time is a
        percentage of the clip (50%) or seconds (1.5s).
    frames: length of the clip.
    fps: frames per second.
    pitch: degrees, for entries without one.

    Where two entries fall on one frame the later one wins. ValueError names the entry that cannot be read."""
    found: dict[int, tuple[float, float, float]] = {}
    entries = [entry.strip() for entry in re.split(r"[,;\n]", text) if entry.strip()]
    if not entries:
        raise ValueError(f"no keyframes; {HELP}")
    for entry in entries:
        match = _ENTRY.fullmatch(entry)
        numbers = [] if match is None else [_number(word) for word in (match["at"], *match["values"].split())]
        if match is None or not 2 <= len(numbers) <= 4 or not all(map(math.isfinite, numbers)) or numbers[0] < 0:
            raise ValueError(f"keyframe {entry!r} cannot be read; {HELP}")
        last = frames - 1
        frame = round(numbers[0] / 100 * last) if match["unit"] == "%" else round(numbers[0] * fps)
        yaw, own_pitch, distance = (*numbers[1:], *(pitch, 1.0)[len(numbers) - 2 :])
        found[min(frame, last)] = (yaw, own_pitch, distance)
    return [(frame, *found[frame]) for frame in sorted(found)]


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan
