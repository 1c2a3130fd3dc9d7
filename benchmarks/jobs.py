"""Many clips three ways: `python benchmarks/jobs.py [--size N] [--seconds S] [--folder F]` (Linux).

20 jobs, 3 synthetic portraits x 6 recordings and 2 bad ones, as one process, as three shards and on Ray with two
workers of which one is killed in the middle; then all of it once more, which must make nothing. Clips are written as
PNG files, because x264 is not the same to the bit from run to run: every frame must be. Status 1 where one is not.
Needs `pip install '.[ray]'`.
"""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.talk import SPEECH  # noqa: E402
from stereotalker_core.audio.load import load_audio  # noqa: E402

LINE = [sys.executable, "-W", "ignore", "-m", "stereotalker_core"]
BAD = {"no recording": 4, "no such angle": 11}  # which rows


def main() -> int:
    """Make the clips in all ways, compare them and print the result -> exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=160, help="pixels of a side")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a recording")
    parser.add_argument("--folder", help="to work in and keep; without it a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        jobs = write_jobs(folder, args.size, args.seconds)
        told = {"one": [batch(jobs, folder / "one")]}
        told["three"] = [batch(jobs, folder / "three", "--shard", f"{i}/3") for i in (1, 2, 3)]
        told["ray"], killed = on_ray(jobs, folder / "ray")
        again = {"one": [batch(jobs, folder / "one")]}
        again["three"] = [batch(jobs, folder / "three", "--shard", f"{i}/3") for i in (1, 2, 3)]
        again["ray"] = [batch(jobs, folder / "ray", "--ray", "local", "--workers", "2")]
        print(json.dumps({"killed": killed, "told": told, "again": again}, indent=2), flush=True)
        frames, differing = compared(folder)
        faults = checked(told, again, killed, frames, differing, args.seconds)
    print(f"{frames} frames three times, {differing} differ; {'; '.join(faults) or 'all as it should be'}")
    return 1 if faults else 0


def write_jobs(folder: Path, size: int, seconds: float) -> Path:
    """Write the portraits, the recordings and the list of jobs -> its path.

    size: px of a side of the clips; seconds: of a recording."""
    sound = load_audio(SPEECH).waveform.numpy()
    for i in range(3):
        run("synth", "portrait", "--seed", str(21 + i), "--out", str(folder / f"p{i}.png"))
    for i in range(6):
        begin = int((0.3 + 0.7 * i) * 16000) % max(1, len(sound) - int(seconds * 16000))
        write_wav(folder / f"a{i}.wav", sound[begin : begin + int(seconds * 16000)])
    rows = [
        {"portrait": f"p{p}.png", "audio": f"a{a}.wav", "yaw": 15 * a - 40, "size": size, "out": f"p{p}a{a}/%05d.png"}
        for p in range(3) for a in range(6)
    ]  # fmt: skip
    rows.insert(BAD["no recording"], rows[0] | {"audio": "none.wav", "out": "bad/%05d.png"})
    rows.insert(BAD["no such angle"], rows[0] | {"yaw": 999, "out": "worse/%05d.png"})
    with open(folder / "jobs.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "jobs.csv"


def write_wav(path: Path, samples: np.ndarray) -> None:
    """Write samples in [-1, 1] as a mono WAV file, 16 bit at 16 kHz."""
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def run(*words: str) -> None:
    """Run a command of the package; CalledProcessError if it fails."""
    subprocess.run([*LINE, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def batch(jobs: Path, out: Path, *more: str) -> str:
    """Run a batch -> its last line with the exit status, then a line for each failed job."""
    line = [*LINE, "batch", str(jobs), "--out", str(out), "--quiet", *more]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    named = [row for row in done.stderr.splitlines() if row.startswith("failed: ")]
    end = [row for row in done.stdout.splitlines() if " made, " in row]  # Ray's own lines are of no interest
    return "\n".join([f"status {done.returncode}: {''.join(end) or done.stderr[-300:]}", *named])


def on_ray(jobs: Path, out: Path) -> tuple[list[str], int]:
    """Run the batch on two Ray workers, and kill the first busy one after four clips -> [output], process id of the
    killed worker (0 = none)."""
    killed, before = [], set(workers())

    def kill_one() -> None:
        end = time.monotonic() + 1800
        while not killed and time.monotonic() < end:
            busy = [pid for pid in workers() if pid not in before]
            if busy and len(list(out.rglob("*.job.json"))) >= 4:
                os.kill(busy[0], signal.SIGKILL)
                killed.append(busy[0])
            time.sleep(0.05)

    watcher = threading.Thread(target=kill_one, daemon=True)
    watcher.start()
    said = batch(jobs, out, "--ray", "local", "--workers", "2")
    return [said], killed[0] if killed else 0


def workers() -> list[int]:
    """Return the process ids of the Ray workers that are drawing at the moment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"Worker.make" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:  # gone already
            continue
    return found


def compared(folder: Path) -> tuple[int, int]:
    """Compare the frames of the three ways -> the number of frames, and how many differ in any of them."""
    names = sorted(p.relative_to(folder / "one") for p in (folder / "one").rglob("*.png"))
    differing = 0
    for name in names:
        first, *others = (folder / way / name for way in ("one", "three", "ray"))
        pixels = np.asarray(Image.open(first))
        differing += not all(o.is_file() and np.array_equal(pixels, np.asarray(Image.open(o))) for o in others)
    return len(names), differing


def checked(told: dict, again: dict, killed: int, frames: int, differing: int, seconds: float) -> list[str]:
    """Return the list of faults, empty if everything is as expected.

    told: {way: output of its runs}; again: the same for second runs, which must make nothing; killed: process id or 0;
    frames, differing: from `compared`; seconds: of a clip."""
    faults = [] if killed else ["no worker was killed"]
    for way, said in told.items():
        text = "\n".join(said)
        for number in BAD.values():
            faults += [] if f"failed: job {number + 1} " in text else [f"{way}: job {number + 1} is not named"]
        made = sum(int(line.partition(": ")[2].split()[0]) for line in said)
        faults += [] if made == 18 else [f"{way} made {made} clips, not 18"]
    for way, said in again.items():
        faults += [f"{way} made something again" for line in said if ": 0 made" not in line]
    wanted = 18 * int(np.ceil(25 * seconds))
    faults += [] if frames == wanted else [f"{frames} frames, not {wanted}"]
    return faults + ([f"{differing} frames differ"] if differing else [])


if __name__ == "__main__":
    sys.exit(main())
