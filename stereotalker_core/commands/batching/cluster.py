"""The batch on a Ray cluster: actors hold the networks, long clips are spread as frame ranges, lost work is done again.

Needs `pip install '.[ray]'` on all machines, and a folder that all of them see (inputs and results).
"""

import argparse
import copy
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...shapes import FPS
from ...video.rendering.ranges import shares
from ...video.writing.containers import STREAMED
from ...video.writing.join import join_parts
from ...video.writing.parts import GRID
from ..talking.line import FAULTS, message, refuse_devices
from ..talking.speech import sound_of
from .jobs import Job, attempt, mark_done

TRIES = 3  # of one piece of work that takes its worker down
AHEAD = 2  # pieces a worker has waiting: the list is not poured into the cluster at once


@dataclass
class Work:
    """The piece of work for one worker: a whole job, or one range of its frames.

    job: the job that it belongs to; args: options of `talk` for this piece; tries: how many workers have died because
        of it; turn: its number in the order in which pieces were handed to workers."""

    job: Job
    args: argparse.Namespace
    tries: int = 0
    turn: int = 0  # number of this piece in the order in which workers got them


@dataclass
class JobProgress:
    """The state of one job.

    pieces: number of its pieces; reports: of those that ended, {} for a failed one; paths: files they wrote; fault: why
    the job failed, else ""."""

    pieces: int
    reports: list[dict] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    fault: str = ""


class Worker:
    """The maker of clips in a process of its own, with networks that it loads once (a Ray actor)."""

    def __init__(self) -> None:
        from ..talking.progress import ProgressLine
        from ..talking.workshop import Workshop

        os.environ.setdefault("OMP_NUM_THREADS", "1")
        self.workshop, self.silent = Workshop(), ProgressLine(enabled=False)

    def process(self) -> int:
        """Return the process id (PID) of the worker."""
        return os.getpid()

    def make(self, args: argparse.Namespace) -> tuple[dict | None, str]:
        """Make a clip or a part of one -> (report of `make_clip`, ""), or (None, the reason why it failed)."""
        from ..talking.talk import make_clip

        try:
            refuse_devices(args)
            return make_clip(args, self.workshop, self.silent), ""
        except (*FAULTS, RuntimeError) as error:
            return None, message(error)


def work_of(job: Job, split: float) -> list[Work]:
    """Split a job into pieces of work: frame ranges of about `split` seconds for a long clip whose parts can be joined,
    else one piece."""
    args = copy.copy(job.line)
    args.out = str(Path(args.out).absolute())
    if args.frames or job.out.suffix.lower() not in STREAMED or not (args.audio or args.motion):
        return [Work(job, args)]
    count, fps = _length_of_job(args)
    parts = min(-(-count // max(GRID, round(split * fps))), -(-count // GRID))
    if parts < 2:
        return [Work(job, args)]
    found = []
    for first, stop in shares(count, parts, GRID):
        part = copy.copy(args)
        out = Path(args.out)
        part.out = str(out.with_name(f".{out.stem}.{first:07d}-{stop:07d}{out.suffix}"))
        part.frames, part.save_motion, part.save_identity = f"{first}:{stop}", None, None
        found.append(Work(job, part))
    return found


def _length_of_job(args: argparse.Namespace) -> tuple[int, float]:
    """Return (number of frames, frames per second) of the clip; no frame where its input cannot be read, which the
    worker will report."""
    from ...audio.load import load_audio
    from ...motion.files.io import load_motion

    try:
        refuse_devices(args)
        if args.motion:
            motion = load_motion(args.motion)
            return len(motion), motion.fps
        return load_audio(args.audio, *sound_of(args)).frame_count(args.fps), float(args.fps)
    except (ValueError, OSError):
        return 0, FPS


def connect(address: str, ray) -> None:
    """Connect this process to a Ray cluster. ValueError where there is none.

    address: "auto" for a cluster that runs already, "local" to start one on this machine, else its address; ray: the
        module.

    A cluster may ask for a token. Ray sends the machine's token by itself to a cluster found by "auto"; with an address
    only where RAY_AUTH_MODE=token is set, which the error message then says."""
    settings = {"log_to_driver": False, "logging_level": "error", "include_dashboard": False}
    try:
        if address == "local":
            ray.init(**settings)
        else:
            ray.init(address=address, **{k: v for k, v in settings.items() if k != "include_dashboard"})
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        untold = address not in ("auto", "local") and not os.environ.get("RAY_AUTH_MODE")
        hint = "set RAY_AUTH_MODE=token if it asks for a token, or give" if untold else "give"
        raise ValueError(
            f"no Ray cluster at {address!r} ({' '.join(str(error).split())[:120]}); {hint} --ray local"
        ) from error


def spread(jobs: list[Job], address: str, workers: int | None, split: float) -> Iterator[tuple[Job, str, str]]:
    """Run the jobs on a Ray cluster; yield each job with its state and a message, in the order of the list.

    jobs: the list of jobs.
    address: where the cluster is, see `connect`.
    workers: number of actors; None for as many as the cluster has room for.
    split: seconds of the frame ranges that long clips are split into.

    ValueError where Ray or its cluster is missing."""
    try:
        import ray
    except ImportError as error:
        raise ValueError("--ray needs Ray: pip install '.[ray]' in the clone") from error
    connect(address, ray)
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    count = workers or gpus or int(resources.get("CPU", 1))
    needs = {"num_gpus": 1} if gpus and count <= gpus else {"num_cpus": 1}
    environment = {"env_vars": {"OMP_NUM_THREADS": "1"}}
    make = ray.remote(max_restarts=0, runtime_env=environment, **needs)(Worker).remote
    try:
        yield from _scheduled(ray, make, count, jobs, split)
    finally:
        ray.shutdown()


def _scheduled(ray, make, count: int, jobs: list[Job], split: float) -> Iterator[tuple[Job, str, str]]:
    """Hand out the pieces, at most AHEAD per worker; yield results in order; repeat pieces whose worker died.

    ray: the module.
    make: starts an actor.
    count: number of actors.
    jobs: the list of jobs.
    split: seconds of the frame ranges that long clips are split into."""
    todo: deque[Work] = deque()
    source, ready = iter(jobs), {}
    progress: dict[int, JobProgress] = {}
    actors = [make() for _ in range(count)]
    running: dict = {}  # reference -> (work, place of the actor, the actor)
    load = dict.fromkeys(range(len(actors)), 0)
    order, more, turn = iter(jobs), True, 0
    expected = next(order, None)
    while more or todo or running:
        while more and len(todo) < len(actors) and len(ready) < 8 * len(actors):
            job = next(source, None)
            more = job is not None
            if job is None:
                break
            pieces = [] if job.fault else work_of(job, split)
            progress[job.number] = JobProgress(len(pieces), paths=[Path(work.args.out) for work in pieces])
            todo.extend(pieces)
            if job.fault:
                ready[job.number] = ("failed", job.fault)
        while todo and min(load.values()) < AHEAD:
            chosen = min(load, key=lambda place: load[place])
            work = todo.popleft()
            work.turn = turn = turn + 1
            running[actors[chosen].make.remote(work.args)] = (work, chosen, actors[chosen])
            load[chosen] += 1
        if running:
            (reference, *_), _ = ray.wait(list(running), num_returns=1)
            work, place, actor = running.pop(reference)
            load[place] -= 1
            others = [other.turn for other, _, same in running.values() if same is actor]
            waited = actors[place] is not actor or any(turn < work.turn for turn in others)
            lost = _take(ray, reference, work, waited, todo, progress[work.job.number], ready)
            if lost and actors[place] is actor:  # once, though all that waited there has failed
                actors[place] = make()  # one that Ray restarts refuses work until it is up again
        while expected is not None and expected.number in ready:
            yield expected, *ready.pop(expected.number)
            expected = next(order, None)


def _take(ray, reference, work: Work, waited: bool, todo: deque, progress: JobProgress, ready: dict) -> bool:
    """Record the result of a piece of work, or queue it again if its worker died -> whether the worker died.

    ray: the module.
    reference: Ray's reference to the result.
    work: the piece of work.
    waited: whether the worker was busy with another piece when it died, so that this one did not cause it.
    todo: the queue of pieces.
    progress: state of the piece's job.
    ready: {job number: (state, message)} of finished jobs, extended here."""
    died = False
    try:
        report, fault = ray.get(reference)
    except ray.exceptions.RayActorError as error:
        died = True
        tries = work.tries + (not waited)
        if tries < TRIES:
            todo.appendleft(replace(work, tries=tries))
            return died
        report, fault = None, f"its worker died {TRIES} times ({str(error).splitlines()[0][:80]})"
    except ray.exceptions.RayTaskError as error:
        report, fault = None, " ".join(str(error.cause).split())
    progress.fault = progress.fault or fault
    progress.reports.append(report or {})
    if len(progress.reports) == progress.pieces:
        failed = ("failed", progress.fault)
        ready[work.job.number] = failed if progress.fault else _finished(work.job, progress)
    return died


def _finished(job: Job, progress: JobProgress) -> tuple[str, str]:
    """Join the parts of a job and mark it as done -> (state, message)."""
    if progress.pieces == 1:
        mark_done(job, progress.reports[0])
        return "done", f"{progress.reports[0]['frames']} frames"

    def join(job: Job) -> dict:
        made, count = sum(report["frames"] for report in progress.reports), progress.reports[0]["part"][2]
        if made != count:
            raise ValueError(f"its parts hold {made} of the clip's {count} frames")
        whole = join_parts(progress.paths, job.out)
        for path in progress.paths:
            path.unlink(missing_ok=True)
        return progress.reports[0] | {"out": str(job.out), "frames": whole.count, "complete": True}

    return attempt(job, join)
