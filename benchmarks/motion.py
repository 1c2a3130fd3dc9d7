"""Memory and speed of stage 1 against the length of the recording, each length in a process of its own.

`python benchmarks/motion.py 1 30 180` repeats the demo speech for so many minutes, streams its motion from a file and
prints the largest resident memory, and the seconds of speech a second of processor time makes. `--keep` gathers the
motion and saves it, as the command `motion` does. `--steps 1 --guidance 1`: a sixteenth of the time, the same memory.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))


def write_speech(path: Path, minutes: float) -> None:
    """Write the demo speech, repeated up to a number of minutes, at 16 kHz."""
    from stereotalker_core.audio.load import load_audio
    from stereotalker_core.synthetic.example import SPEECH

    samples = (load_audio(SPEECH).waveform.numpy() * 32767).astype(np.int16)
    left = int(minutes * 60 * 16_000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        while left > 0:
            file.writeframes(samples[:left].tobytes())
            left -= len(samples)


def measure(path: str, steps: int, guidance: float, keep: bool) -> dict[str, float]:
    """Measure one recording in this process -> its figures."""
    import torch

    from stereotalker_core.audio.spool import spool_audio
    from stereotalker_core.commands.talking.measure import peak_memory_mb
    from stereotalker_core.motion.edit import concat
    from stereotalker_core.motion.generation.sampling import MotionModels, MotionOptions, stream_motion

    torch.set_num_threads(1)
    models, started, kept, frames = MotionModels.load_nano(), time.process_time(), [], 0
    audio = spool_audio(path)
    for chunk in stream_motion(models, audio, options=MotionOptions(steps=steps, guidance_prior=guidance)):
        frames += len(chunk)
        if keep:
            kept.append(chunk)
    if keep:
        concat(kept).save(f"{path}.safetensors")
    assert frames == audio.frame_count()
    spent = time.process_time() - started
    return {"minutes": audio.seconds / 60, "peak_mb": peak_memory_mb(), "speed": audio.seconds / spent}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("minutes", nargs="*", type=float, default=[1, 30])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--keep", action="store_true", help="gather the motion and save it")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.steps, options.guidance, options.keep)))
        return
    print("| minutes | peak memory, MB | seconds of speech a second |")
    print("|---|---|---|")
    for minutes in options.minutes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            write_speech(path, minutes)
            settings = ["--steps", str(options.steps), "--guidance", str(options.guidance)]
            command = [sys.executable, __file__, "--one", str(path), *settings, *["--keep"] * options.keep]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"| {found['minutes']:.0f} | {found['peak_mb']:.0f} | {found['speed']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
