"""A list of clips to make: rows of a CSV or JSON Lines file as `talk` command lines, and which of them are done."""

import argparse
import csv
import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...checkpoint import write_atomically
from ..talking import outputs
from ..talking.inputs import HEARD
from ..talking.line import FAULTS, message, refuse_devices, talk_parser

OWN = ("out", "json", "resume", "quiet", "shard")  # options that the batch sets itself


@dataclass(frozen=True)
class Job:
    """The job of making one clip.

    number: place in the list.
    name: name of the file it makes.
    args: the parsed options of `talk`; None where the row cannot be parsed, and `fault` says why."""

    number: int
    name: str
    args: argparse.Namespace | None
    fault: str = ""

    @property
    def line(self) -> argparse.Namespace:
        """Return the parsed options of `talk`. ValueError where the row could not be parsed."""
        if self.args is None:
            raise ValueError(self.fault)
        return self.args

    @property
    def out(self) -> Path:
        """Return the path of the file that the job makes."""
        return Path(self.line.out)

    @property
    def note(self) -> Path:
        """Return the path of the note beside that file, which records that the job is done."""
        return self.out.with_name(f"{self.out.name.replace('%', '_')}.job.json")


def read_jobs(path: str | Path, folder: str | Path, common: Sequence[str] = ()) -> list[Job]:
    """Read a list of jobs from a .csv (a header with option names) or a .jsonl (one object per line).

    path: the file with the list; file names in it are relative to its folder.
    folder: where results go.
    common: command-line words of `talk` for all jobs; options in the list come later and override them.

    FileNotFoundError without a list; ValueError for an empty one, or columns that are no options. A fault in one line
    makes only that job fail."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no list of jobs at {path}")
    rows = _csv(path) if path.suffix.lower() == ".csv" else _json_lines(path)
    if not rows:
        raise ValueError(f"{path} holds no job")
    parser = talk_parser()
    jobs = [_job(parser, number, row, path.parent, Path(folder), common) for number, row in enumerate(rows, 1)]
    seen: dict[str, int] = {}
    for i, job in enumerate(jobs):
        if job.fault:
            continue
        first = seen.setdefault(job.name.lower(), job.number)
        if first != job.number:
            jobs[i] = Job(job.number, job.name, None, f"writes {job.name}, as job {first} does")
    return jobs


def _csv(path: Path) -> list[dict]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if any(v and v.strip() for v in row.values() if isinstance(v, str))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV in UTF-8 ({error})") from error
    _check_columns(path, reader.fieldnames or ())
    return rows


def _json_lines(path: Path) -> list[dict]:
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        raise ValueError(f"{path} must end in .csv or .jsonl")
    rows = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text ({error})") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row: dict = {None: f"line {number} is no JSON"}
        if not isinstance(row, dict):
            row = {None: f"line {number} is no JSON object"}
        if None not in row:
            _check_columns(path, row)
        rows.append(row)
    return rows


def _check_columns(path: Path, names: Collection[str]) -> None:
    known = {action.dest for action in _talk_actions(talk_parser()) if action.option_strings}
    if len(set(names)) < len(names):
        raise ValueError(f"{path} names a column twice")
    for name in names:
        word = str(name).strip().lstrip("-").replace("-", "_")
        if word not in known - {"help", "json", "quiet", "resume", "shard"}:
            raise ValueError(f"{path}: {name!r} is no option of talk (see talk --help)")


def _talk_actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return commands.choices["talk"]._actions


def _job(parser, number: int, row: dict, base: Path, folder: Path, common: Sequence[str]) -> Job:
    if None in row:  # a CSV row with more cells than columns, or a line that is no JSON object
        fault = row[None] if isinstance(row[None], str) else "more cells than columns"
        return Job(number, f"{number:04d}", None, fault)
    flags = {a.dest for a in _talk_actions(parser) if a.nargs == 0}
    words, name = ["talk", *common], ""
    for key, value in row.items():
        option = str(key).strip().lstrip("-").replace("-", "_")
        text = "" if value is None else str(value).strip()
        if option == "out":
            name = text
        elif option in flags:
            words += [f"--{option.replace('_', '-')}"] if text.lower() in ("1", "true", "yes", "x") else []
        elif text:
            words.append(f"--{option.replace('_', '-')}={_relative_to_list(option, text, base)}")
    name = name or _name(number, row)
    out = folder / name
    try:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"out {name!r} must be a name inside of the folder --out")
        args = parser.parse_args([*words, f"--out={out}", "--quiet", "--resume"])
        args.resume = out.suffix.lower() != ".gif"
        if args.shard or args.json:
            raise ValueError("--shard and --json belong to the batch, not to its jobs")
        return Job(number, name, args)
    except ValueError as error:
        return Job(number, name, None, " ".join(str(error).split()))


def _relative_to_list(option: str, text: str, base: Path) -> str:
    """Return the value of an option of `talk` from a list of jobs, with a file name in it made relative to the list's
    folder.

    option: name of the option; text: its value as written in the list; base: folder of the list. Values that name no
        file are returned unchanged."""
    if option in outputs.TOLD:
        return f"@{base / text[1:]}" if text.startswith("@") and text != HEARD else text
    names_file = option in outputs.INPUTS or option in outputs.RESULTS
    if option == "background" and (text in ("portrait", "transparent") or text.startswith("#")):
        names_file = False
    return str(base / text) if names_file else text


def _name(number: int, row: dict) -> str:
    """Return the default file name of a job, such as 0007_portrait_recording.mp4; row: {option: value} in the list."""
    stems = [Path(str(row[key])).stem for key in ("identity", "portrait", "audio", "motion") if row.get(key)]
    return "_".join([f"{number:04d}", *stems[:2]]) + ".mp4"


def is_done(job: Job) -> bool:
    """Tell whether an earlier run finished this job: its note has the same digest of all that the frames depend on."""
    try:
        note = json.loads(job.note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    there = job.out.exists() or job.out.suffix.lower() == ".png"
    return there and note.get("job") == state_of(job)


def state_of(job: Job) -> str:
    """Return a digest of everything that the job's frames depend on, and of which frames are requested."""
    known = outputs.fingerprint(job.line) | {"frames": str(job.line.frames)}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def mark_done(job: Job, report: dict) -> None:
    """Write the note of a finished job: the report of `talk`, and the digest of its inputs."""
    text = json.dumps(report | {"job": state_of(job)}, indent=1) + "\n"
    write_atomically(job.note, lambda name: Path(name).write_text(text, encoding="utf-8"))


def share_of(jobs: list[Job], shard: tuple[int, int] | None) -> list[Job]:
    """Return every N-th job, beginning with the I-th, so that long and short jobs are mixed in each shard.

    jobs: all of them; shard: (I, N), the number of the shard and how many there are; None returns all jobs."""
    return jobs if shard is None else jobs[shard[0] - 1 :: shard[1]]


def attempt(job: Job, make: Callable[[Job], dict]) -> tuple[str, str]:
    """Do one job -> ("done" or "failed", one line of text). Its errors do not affect other jobs."""
    if job.fault:
        return "failed", job.fault
    try:
        refuse_devices(job.line)
        report = make(job)
    except (*FAULTS, RuntimeError) as error:
        return "failed", message(error)
    if not report["complete"]:
        raise KeyboardInterrupt
    mark_done(job, report)
    return "done", f"{report['frames']} frames"
