"""Camera keyframes as one line of text, the way a node's widget writes them."""

import math
import re

_ENTRY = re.compile(r"(?P<at>[^:\s]+)\s*(?P<unit>%|s)\s*:\s*(?P<values>[^:]+)")
HELP = 'write "0%: -40, 50%: 20, 100%: -10" (or seconds, "1.5s: 20"), each: yaw [pitch [distance]]'


def parse_keyframes(text: str, frames: int, fps: float, pitch: float = 0.0) -> list[tuple[int, float, float, float]]:
    """Text -> [(frame, yaw, pitch, distance factor), ...] in order of time, for `trajectories.keyframes`.

    Entries are separated by commas, semicolons or lines; a time is a percentage of the clip or seconds. A later entry
    wins where two fall on one frame. ValueError names the entry that cannot be read.
    """
    found: dict[int, tuple[float, float, float]] = {}
    entries = [entry.strip() for entry in re.split(r"[,;\n]", text) if entry.strip()]
    if not entries:
        raise ValueError(f"no keyframes; {HELP}")
    for entry in entries:
        match = _ENTRY.fullmatch(entry)
        numbers = [] if match is None else [_number(word) for word in (match["at"], *match["values"].split())]
        if not 2 <= len(numbers) <= 4 or not all(map(math.isfinite, numbers)) or numbers[0] < 0:
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


def view_of(camera: dict) -> tuple[float, float]:
    """(yaw, pitch) degrees of a camera dictionary {"position": {x, y, z}, "target": {x, y, z}} with y up.

    The convention of ComfyUI's camera nodes: azimuth atan2(x, z), 0 in front. ValueError for another dictionary.
    """
    try:
        position, target = camera["position"], camera.get("target") or {"x": 0.0, "y": 0.0, "z": 0.0}
        x, y, z = (float(position[axis]) - float(target[axis]) for axis in "xyz")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"camera_info must hold position and target with x, y, z; got {camera!r}") from error
    if math.hypot(x, y, z) < 1e-6:
        raise ValueError("camera_info has its camera in its target; move one of them")
    return math.degrees(math.atan2(x, z)), math.degrees(math.atan2(y, math.hypot(x, z)))
