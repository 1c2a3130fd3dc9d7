"""Speed, memory and seams of ProbTalk3D: the embedded model on a long recording, the full-size one on a short one.

    python benchmarks/face.py [--minutes 30] [--full-seconds 10] [--full-minutes 2] [--threads 2]

Speech is repeated up to the length; the recording itself, which the caller holds, is 3.8 MB a minute of the memory.
The full-size model has random weights: its time does not depend on them.
"""

import argparse
import time
from pathlib import Path

import torch

from stereotalker_core.audio.load import load_audio
from stereotalker_core.commands.talking.measure import peak_memory_mb
from stereotalker_core.face.model import ProbTalk3D
from stereotalker_core.face.sampling import OVERLAP, FaceModels, sample_face
from stereotalker_core.records import Audio
from stereotalker_core.synthetic.example import SPEECH


def repeated(path: Path, seconds: float) -> Audio:
    """Return the recording of a file, repeated and cut to a length in seconds."""
    wave = load_audio(path).waveform
    count = round(seconds * 16000)
    wave = wave.repeat(count // len(wave) + 1)[:count]
    return Audio(wave, wave[None], 16000)


def seam_ratio(motion: torch.Tensor, hop: int) -> float:
    """Return the 99th percentile of the motion's second difference inside the windows' cross-fades, relative to
    elsewhere.

    motion: (T, 53) face parameters; hop: frames between the starts of windows."""
    change = (motion[2:] - 2 * motion[1:-1] + motion[:-2]).norm(dim=-1)
    place = (torch.arange(len(change)) + 1) % hop
    fading = (place < OVERLAP + 1) & (torch.arange(len(change)) >= hop)
    return float(torch.quantile(change[fading], 0.99) / torch.quantile(change[~fading], 0.99))


def measure(models: FaceModels, audio: Audio) -> tuple[float, float]:
    """Sample one performance of a face -> (seconds of speech per second of work, `seam_ratio`).

    models: the networks; audio: the recording; the second number is NaN where it is too short to have seams."""
    start = time.perf_counter()
    motion = sample_face(models, audio).parameters[0]
    speed = audio.seconds / (time.perf_counter() - start)
    hop = models.model.config.window - OVERLAP
    return speed, seam_ratio(motion, hop) if len(motion) > 3 * hop else float("nan")


def main() -> None:
    """Run the command line of this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speech", type=Path, default=Path(SPEECH))
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--full-seconds", type=float, default=10.0)
    parser.add_argument("--full-minutes", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    models = FaceModels.load_nano()
    print("| model | speech | x real time | recording MB | peak memory MB | seams |\n|---|---|---|---|---|---|")
    for seconds in (60.0, 60 * options.minutes):
        audio = repeated(options.speech, seconds)
        speed, seams = measure(models, audio)
        own, peak = audio.waveform.nbytes / 2**20, peak_memory_mb()
        print(f"| nano | {seconds:.0f} s | {speed:.0f} | {own:.0f} | {peak:.0f} | {seams:.2f} |", flush=True)
    torch.manual_seed(0)
    full = FaceModels(ProbTalk3D().eval(), None)
    for seconds in (options.full_seconds, 60 * options.full_minutes):
        audio = repeated(options.speech, seconds)
        speed, _ = measure(full, audio)
        own = audio.waveform.nbytes / 2**20
        print(f"| full size | {seconds:.0f} s | {speed:.1f} | {own:.0f} | {peak_memory_mb():.0f} | - |", flush=True)


if __name__ == "__main__":
    main()
