"""One clip in four parts on two processes: `python benchmarks/parts.py [--size N] [--seconds S] [--json F]` (Linux).

Draws a clip of a synthetic person with one process of one thread, then its four parts with two such processes (a batch
of two parts each, which loads the networks once), joins them, and compares: decoded frames, sound sample by sample,
seconds by the clock and of the processor, of which those of the busier process count. On a busy machine the clock
favours two processes; processor time does not.
The motion is sampled once, before.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.live import fitted  # noqa: E402
from benchmarks.talk import write_speech  # noqa: E402
from stereotalker_core.shapes import frame_count  # noqa: E402
from stereotalker_core.video.writing.parts import GRID  # noqa: E402

LINE = [sys.executable, "-W", "ignore", "-m", "stereotalker_core"]
PARTS = 4


def main() -> int:
    """Measure, print the figures, and write them as JSON -> exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="pixels of a side")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the clip")
    parser.add_argument("--identity", help="a saved person; without it a synthetic one is fitted")
    parser.add_argument("--json", help="file for the figures")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        identity = Path(args.identity).resolve() if args.identity else fitted(folder)
        write_speech(folder / "a.wav", args.seconds)
        motion = timed([[*LINE, "motion", "--audio", str(folder / "a.wav"), "--out", str(folder / "m.safetensors")]])
        talk = [*LINE, "talk", "--identity", str(identity), "--audio", str(folder / "a.wav"), "--quiet"]
        talk += ["--motion", str(folder / "m.safetensors"), "--size", str(args.size)]
        one = timed([[*talk, "--out", str(folder / "one.mp4")]])
        jobs, count = folder / "parts.csv", frame_count(args.seconds)
        cuts = [round(count * i / PARTS / GRID) * GRID for i in range(PARTS)] + [count]
        rows = [f"{a}:{b},{i}.mp4" for i, (a, b) in enumerate(zip(cuts, cuts[1:], strict=False))]
        jobs.write_text("\n".join(["frames,out", *rows]) + "\n", encoding="utf-8")
        given = [word for word in talk[len(LINE) + 1 :] if word != "--quiet"]
        batch = [*LINE, "batch", str(jobs), "--out", str(folder / "parts"), "--quiet", "--shard"]
        two = timed([[*batch, f"{i}/2", "--", *given] for i in (1, 2)], at_once=2)
        parts = sorted(map(str, (folder / "parts").glob("*.mp4")))
        join = timed([[*LINE, "join", *parts, "--out", str(folder / "joined.mp4")]])
        figures = {
            "motion": motion, "one": one, "parts_on_two": two, "join": join, "load": os.getloadavg()[0],
            "clock_ratio": round((two["clock_s"] + join["clock_s"]) / one["clock_s"], 3),
            "processor_ratio": round((two["busiest_s"] + join["processor_s"]) / one["processor_s"], 3),
        } | compared(folder / "one.mp4", folder / "joined.mp4")  # fmt: skip
    text = json.dumps(figures, indent=2)
    print(text)
    if args.json:
        Path(args.json).write_text(text + "\n", encoding="utf-8")
    return 0


def timed(lines: list[list[str]], at_once: int = 1) -> dict[str, float]:
    """Run commands with one thread each, `at_once` at the same time -> {"clock_s", "processor_s", "busiest_s"}.

    busiest_s: processor time of the busiest command."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    waiting, running, used, start = list(lines), 0, [], time.perf_counter()
    while waiting or running:
        while waiting and running < at_once:
            subprocess.Popen(waiting.pop(0), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
            running += 1
        _, status, usage = os.wait4(-1, 0)
        if status:
            raise RuntimeError("a command failed")
        running -= 1
        used.append(usage.ru_utime + usage.ru_stime)
    seconds = {"clock_s": time.perf_counter() - start, "processor_s": sum(used), "busiest_s": max(used)}
    return {name: round(value, 1) for name, value in seconds.items()}


def compared(one: Path, joined: Path) -> dict:
    """Compare two videos -> number of frames, PSNR over all of them (dB; inf if equal), largest difference, and whether
    the sound is identical."""
    a, b = pictures(one), pictures(joined)
    frames, total, worst = 0, 0.0, 0
    for first, second in zip(a, b, strict=True):
        difference = np.abs(first.astype(np.int16) - second)
        frames, worst = frames + 1, max(worst, int(difference.max()))
        total += float((difference.astype(np.float64) ** 2).mean())
    psnr = float("inf") if total == 0 else 10 * np.log10(255**2 / (total / frames))
    same = np.array_equal(sound(one), sound(joined))
    return {"frames": frames, "psnr_db": psnr, "largest_step": worst, "sound_same": same}


def pictures(path: Path):
    """Yield the decoded frames (H, W, 3) of a video."""
    import av

    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def sound(path: Path) -> np.ndarray:
    """Return the decoded samples (channels, S)."""
    import av

    with av.open(str(path)) as file:
        return np.concatenate([frame.to_ndarray() for frame in file.decode(audio=0)], 1)


if __name__ == "__main__":
    sys.exit(main())
