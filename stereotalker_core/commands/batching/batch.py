"""`batch`: a list of clips in one go: networks loaded once, portraits fitted once, finished clips left alone."""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ...checkpoint import write_atomically
from ..talking.outputs import parse_shard
from ..talking.progress import ProgressLine
from .jobs import Job, attempt, is_done, read_jobs, share_of

EXAMPLES = """examples:
  batch jobs.csv --out clips
  batch jobs.jsonl --out clips -- --size 512 --aspect 9:16 --quality good
  batch jobs.csv --out clips --shard 2/8
  batch jobs.csv --out clips --ray auto

jobs.csv has a header with names of options of `talk`, any of them:
  portrait,audio,yaw,out
  anna.jpg,hello.wav,0,anna.mp4
  anna.jpg,hello.wav,40,anna_side.mp4
jobs.jsonl has an object a line: {"portrait": "anna.jpg", "audio": "hello.wav", "yaw": 40}

Paths are relative to the list. Without `out` a clip is called NUMBER_PORTRAIT_AUDIO.mp4. What is done is skipped when
the same line is run again; failed jobs are listed, and again in OUT/failed.txt; the exit status is then 1.
"""


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Declare `batch`."""
    batch = commands.add_parser(
        "batch", help="a list of clips", description=__doc__, epilog=EXAMPLES,
        usage="%(prog)s JOBS --out DIR [options] [-- options of talk for all clips]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    batch.add_argument("jobs", help=".csv or .jsonl, one clip per row; see below")
    batch.add_argument("--out", required=True, metavar="DIR", help="folder of the clips")
    batch.add_argument("--shard", metavar="I/N", help="only every N-th job, from the I-th on; 1..N")
    ray = "spread over a Ray cluster: auto, local, or ADDRESS (pip install '.[ray]')"
    batch.add_argument("--ray", metavar="A", help=ray)
    batch.add_argument(
        "--workers", type=int, metavar="N", help="with --ray: workers, 1..1000; default: all CPUs or GPUs"
    )
    parts = "with --ray: clips longer than this many seconds are spread over workers; 5..3600, default 60"
    batch.add_argument("--split", type=float, default=60.0, metavar="S", help=parts)
    batch.add_argument("--quiet", action="store_true", help="no progress line")
    batch.set_defaults(run=run, rest=[])


def run(args: argparse.Namespace) -> int:
    """Run all jobs that are not done yet -> exit status: 0, or 1 where jobs failed."""
    shard = parse_shard(args.shard) if args.shard else None
    if args.workers is not None and (not args.ray or not 1 <= args.workers <= 1000):
        raise ValueError(f"--workers goes with --ray and must be 1..1000, got {args.workers}")
    if not 5 <= args.split <= 3600:
        raise ValueError(f"--split must be 5..3600 seconds, got {args.split}")
    folder = Path(args.out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; --out of batch is a folder")
    jobs = share_of(read_jobs(args.jobs, folder, args.rest), shard)
    folder.mkdir(parents=True, exist_ok=True)
    done = [job for job in jobs if job.args is not None and is_done(job)]
    skipped = {job.number for job in done}
    waiting = [job for job in jobs if job.number not in skipped]
    results = on_ray(args, waiting) if args.ray and waiting else one_after_another(waiting)
    failed: list[tuple[Job, str]] = []
    line, started = Line(len(waiting), len(done), not args.quiet), time.perf_counter()
    line.show(0, 0, "")
    count = 0
    try:
        for count, (job, state, text) in enumerate(results, 1):
            if state == "failed":
                failed.append((job, text))
            line.show(count, len(failed), f"job {job.number} {job.name}: {text}")
    except KeyboardInterrupt:
        line.close()
        sys.stderr.write(f"\nstopped: {count} of {len(waiting)} clips were dealt with; the same command goes on\n")
        return 130
    line.close()
    note = folder / ("failed.txt" if shard is None else f"failed.{shard[0]}-of-{shard[1]}.txt")
    rows = [f"job {job.number} ({job.name}): {text}" for job, text in failed]
    if rows:
        write_atomically(note, lambda name: Path(name).write_text("\n".join(rows) + "\n", encoding="utf-8"))
    else:
        note.unlink(missing_ok=True)
    for row in rows:
        sys.stderr.write(f"failed: {row}\n")
    made = len(waiting) - len(failed)
    elapsed = time.perf_counter() - started
    print(f"{made} made, {len(done)} done before, {len(failed)} failed, in {elapsed:.0f} s: {folder}")
    return 1 if failed else 0


def one_after_another(jobs: list[Job]) -> Iterator[tuple[Job, str, str]]:
    """Run the jobs in this process; yield each with its state ("done" or "failed") and a message."""
    from ..talking.talk import make_clip
    from ..talking.workshop import Workshop

    workshop, silent = Workshop(), ProgressLine(enabled=False)
    for job in jobs:
        yield job, *attempt(job, lambda job: make_clip(job.line, workshop, silent))


def on_ray(args: argparse.Namespace, jobs: list[Job]) -> Iterator[tuple[Job, str, str]]:
    """Run the jobs on a Ray cluster; yield each with its state ("done" or "failed") and a message, in the order of the
    list.

    args: the options of `batch`, which name the cluster; jobs: the jobs to run."""
    from .cluster import spread

    return spread(jobs, args.ray, args.workers, args.split)


class Line:
    """The progress line of a batch: rewritten in place on a terminal; in a file, one line per job.

    total: number of jobs; before: how many of them earlier runs have done; enabled: False shows nothing."""

    def __init__(self, total: int, before: int, enabled: bool):
        self.total, self.before, self.enabled = total, before, enabled
        self.start, self.terminal = time.perf_counter(), sys.stderr.isatty()

    def show(self, count: int, failed: int, text: str) -> None:
        """Rewrite the line: how many jobs are done, how many failed, and a text."""
        if not self.enabled:
            return
        elapsed = time.perf_counter() - self.start
        left = f"  eta {elapsed / count * (self.total - count):.0f} s" if 0 < count < self.total else ""
        bad = f", {failed} failed" if failed else ""
        head = f"batch {count}/{self.total}{bad}{left}" + (f" ({self.before} done before)" if self.before else "")
        sys.stderr.write(f"\r\x1b[K{head}  {text}"[:150] if self.terminal else f"{head}  {text}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """End the rewritten line, so that what is printed next begins on a new one."""
        if self.enabled and self.terminal:
            sys.stderr.write("\n")
