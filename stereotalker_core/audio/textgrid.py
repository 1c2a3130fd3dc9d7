"""Praat TextGrid files (long and short form) -> timed intervals of each tier."""

import re
from pathlib import Path

Interval = tuple[str, float, float]  # text, start s, end s
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(-?\d+(?:\.\d+)?(?:[eE]-?\d+)?)|(<exists>|<absent>)')


def read_textgrid(path: str | Path) -> dict[str, list[Interval]]:
    """Return {tier name: intervals with text, in order}; point tiers are left out. ValueError for another kind of file.

    Both forms hold the same values in the same order; the long form only adds names, which are skipped.
    """
    path = Path(path)
    raw = path.read_bytes()
    text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    if "ooTextFile" not in text[:200] or "TextGrid" not in text[:200]:
        raise ValueError(f"{path} is no TextGrid file (its header is missing)")
    # "item [1]:" and "intervals [2]:" of the long form look like numbers: drop all brackets and names
    body = re.sub(r"\[\d*\]", "", text[text.index("TextGrid") + len('TextGrid"') :])
    tokens = iter(_values(body))
    try:
        _number(tokens), _number(tokens)  # xmin, xmax
        next(tokens)  # <exists>
        tiers = {}
        for _ in range(int(_number(tokens))):  # no comprehension: it would hide the end of the file
            tier = _tier(tokens)
            if tier is not None:
                tiers[tier[0]] = tier[1]
        return tiers
    except (StopIteration, TypeError, ValueError) as error:
        raise ValueError(f"{path} ends early or is damaged ({error}); export it again") from error


def _values(body: str):
    for match in _TOKEN.finditer(body):
        quoted, number, flag = match.groups()
        yield float(number) if number is not None else flag if flag is not None else quoted.replace('""', '"')


def _number(tokens) -> float:
    value = next(tokens)
    if not isinstance(value, float):
        raise TypeError(f"a number was expected, not {value!r}")
    return value


def _tier(tokens) -> tuple[str, list[Interval]] | None:
    kind, name = next(tokens), next(tokens)
    _number(tokens), _number(tokens)
    count = int(_number(tokens))
    if kind != "IntervalTier":
        for _ in range(count):
            _number(tokens), next(tokens)
        return None
    intervals = []
    for _ in range(count):
        start, end, label = _number(tokens), _number(tokens), next(tokens)
        if str(label).strip():
            intervals.append((str(label).strip(), start, end))
    return str(name), intervals
