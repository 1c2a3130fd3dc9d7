"""The fate of every key of a weight file: loaded, missing, unexpected, left out for a stated reason, or made new."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

Reason = Callable[[str], str | None]  # key -> why it may be left out (or made new); None: it may not


@dataclass
class Report:
    """The report of one conversion.

    kind, source: what was loaded, from where; loaded: number of keys; dtype: of most weights.
    missing, unexpected, wrong: unexplained keys (wrong: of another shape).
    ignored, new: {reason: keys}, explained ones that were left out or made new."""

    kind: str
    source: str
    loaded: int = 0
    dtype: str = ""
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # "key: shape in the file, shape expected"
    ignored: dict[str, list[str]] = field(default_factory=dict)
    new: dict[str, list[str]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return the report as lines of text: counts, then one line per reason."""
        out = [
            f"{self.kind} from {self.source} ({self.dtype}): {self.loaded} loaded, {len(self.missing)} missing, "
            f"{len(self.unexpected)} unexpected"
        ]
        out += [f"  {len(keys)} left out: {why}" for why, keys in self.ignored.items()]
        return out + [f"  {len(keys)} new: {why}" for why, keys in self.new.items()]

    def refuse(self) -> None:
        """Raise ValueError that names the first unexplained keys, if there are any."""
        problems = []
        for name in ("missing", "unexpected", "wrong"):
            keys = getattr(self, name)
            if keys:
                more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
                problems.append(f"{len(keys)} {name}: {', '.join(keys[:3])}{more}")
        if problems:
            raise ValueError(f"{self.source} is no {self.kind} ({'; '.join(problems)}); nothing was loaded")


def compare(
    kind: str,
    source: str,
    given: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    *,
    ignore: Reason = lambda key: None,
    fresh: Reason = lambda key: None,
) -> tuple[dict[str, Tensor], Report]:
    """Match given tensors with expected ones -> (those that match, Report).

    kind, source: for the report.
    given: tensors of the file.
    expected: tensors of the model.
    ignore: maps a given key that the model lacks to the reason why it may be left out, or None.
    fresh: maps an expected key that the file lacks to the reason why it may be new, or None.

    A different shape is always an unexplained fault."""
    report = Report(kind, source)
    state = {}
    for key, tensor in given.items():
        if key not in expected:
            _file(report.ignored, report.unexpected, ignore(key), key)
        elif tensor.shape != expected[key].shape:
            report.wrong.append(f"{key} is {tuple(tensor.shape)} where {tuple(expected[key].shape)} is expected")
        else:
            state[key] = tensor
    for key in expected:
        if key not in given:
            _file(report.new, report.missing, fresh(key), key)
    report.loaded = len(state)
    report.dtype = "/".join(sorted({str(t.dtype).removeprefix("torch.") for t in state.values()}))
    return state, report


def _file(explained: dict[str, list[str]], unexplained: list[str], why: str | None, key: str) -> None:
    if why is None:
        unexplained.append(key)
    else:
        explained.setdefault(why, []).append(key)
