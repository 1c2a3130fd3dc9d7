"""Speed and memory of the main job: `python benchmarks/talk.py [--size N] [--long SECONDS] [--json F]`.

Runs `talk` on a synthetic person in processes of their own, for a short and a long recording, and prints compute per
second of video, peak memory of both, and what the longer recording costs in memory.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SPEECH = ROOT / "stereotalker_core" / "synthetic" / "assets" / "demo_speech.flac"


def main() -> int:
    """Measure, print the figures, and write them as JSON -> exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="pixels of a side")
    parser.add_argument("--short", type=float, default=6.0, help="seconds of the short recording")
    parser.add_argument("--long", type=float, default=60.0, help="seconds of the long recording")
    parser.add_argument("--json", help="file for the figures")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        portrait = Path(folder) / "portrait.png"
        run("synth", "portrait", "--seed", "11", "--out", str(portrait))
        short, long = (measure(Path(folder), portrait, seconds, args.size) for seconds in (args.short, args.long))
    extra = long["peak_memory_mb"] - short["peak_memory_mb"]
    figures = {"short": short, "long": long, "extra_memory_mb": extra,
               "speed_ratio": long["seconds_per_second"] / short["seconds_per_second"]}  # fmt: skip
    for name, row in (("short", short), ("long", long)):
        print(f"{name:<6} {row['seconds']:6.2f} s of video  {row['seconds_per_second']:6.2f} s compute per second"
              f"  {row['wall_seconds']:7.1f} s in all  peak {row['peak_memory_mb']:6.0f} MB")  # fmt: skip
    print(f"the longer recording uses {extra:+.0f} MB; compute per second {figures['speed_ratio']:.2f} times")
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(folder: Path, portrait: Path, seconds: float, size: int) -> dict:
    """Run `talk` once in a fresh process -> its report."""
    audio, report = folder / f"{seconds}.wav", folder / f"{seconds}.json"
    write_speech(audio, seconds)
    run(
        "talk", "--portrait", str(portrait), "--audio", str(audio), "--out", str(folder / f"{seconds}.mp4"),
        "--orbit=-40:40", "--size", str(size), "--json", str(report),
    )  # fmt: skip
    return json.loads(report.read_text(encoding="utf-8"))


def write_speech(path: Path, seconds: float) -> None:
    """Write the demo speech, repeated or cut to `seconds`."""
    with av.open(str(SPEECH)) as file:
        rate = file.streams.audio[0].rate
        resampler = av.AudioResampler("s16", "mono", rate)
        parts = [out.to_ndarray()[0] for frame in file.decode(audio=0) for out in resampler.resample(frame)]
    samples = np.resize(np.concatenate(parts), round(seconds * rate))
    with av.open(str(path), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate = rate
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def run(*words: str) -> None:
    """Run one command of the package."""
    subprocess.run([sys.executable, "-m", "stereotalker_core", *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
