"""The flite voices slt, rms, awb and kal16, through a small C helper that is compiled once into the user's cache."""

import functools
import hashlib
import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch

from .phones import VOWELS, from_flite
from .utterance import EngineMissing, Phone, Utterance, resample, tile

# mean and deviation of F0, Hz
VOICES = {"slt": (170.0, 20.0), "rms": (95.0, 12.0), "awb": (130.0, 18.0), "kal16": (105.0, 14.0)}
INSTALL = "flite is not installed: apt-get install flite1-dev gcc libc6-dev"
_SOURCE = Path(__file__).with_name("flite_labels.c")
_LIBRARIES = ["cmu_us_slt", "cmu_us_rms", "cmu_us_awb", "cmu_us_kal16", "usenglish", "cmulex"]


@functools.lru_cache(maxsize=1)
def _helper() -> Path:
    """Return the path of the compiled helper; EngineMissing without a C compiler or flite."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stereotalker"
    binary = cache / f"flite_labels-{hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]}"
    if binary.exists():
        return binary
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise EngineMissing(f"no C compiler for the flite helper; {INSTALL}")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        built = Path(folder) / "flite_labels"
        flags = [f"-lflite_{name}" for name in _LIBRARIES] + ["-lflite", "-lm"]
        command = [compiler, "-O1", "-o", str(built), str(_SOURCE), *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise EngineMissing(f"the flite helper does not compile ({done.stderr.strip()[:200]}); {INSTALL}")
        built.replace(binary)
    return binary


def require() -> None:
    """Raise EngineMissing where the engine does not work."""
    _helper()


def speak(text: str, voice: str, speed: float, pitch: float, seed: int) -> Utterance:
    """Speak one utterance with voice "slt" (the default), "rms", "awb" or "kal16" (diphones); see `tts.synthesise`."""
    voice = voice or "slt"
    if voice not in VOICES:
        raise ValueError(f"flite voice {voice!r} is not one of {', '.join(VOICES)}")
    mean, deviation = VOICES[voice]
    liveliness = random.Random(seed).uniform(0.8, 1.5)
    arguments = [f"{1 / speed:.4f}", f"{mean * 2 ** (pitch / 3):.2f}", f"{deviation * liveliness:.2f}"]
    done = subprocess.run([_helper(), voice, text, *arguments], capture_output=True, check=False)
    if done.returncode:
        raise ValueError(f"flite could not speak {text!r} (exit status {done.returncode})")
    header, _, body = done.stdout.partition(b"\nS ")
    counts, _, samples = body.partition(b"\n")
    count, rate = (int(v) for v in counts.split())
    wave = np.frombuffer(samples[: 2 * count], np.int16).astype(np.float32) / 32768
    lines = [line.split(" ") for line in header.decode().splitlines()]
    phones = tile([_phone_of_line(line) for line in lines if line[0] == "P"], count / rate)
    words = tuple((w, float(s), float(e)) for k, w, s, e in (x for x in lines if x[0] == "W") if float(e) > float(s))
    return Utterance(torch.from_numpy(resample(wave, rate)), words, phones, text, "flite", voice)


def _phone_of_line(line: list[str]) -> Phone:
    name = from_flite(line[1])
    return name, float(line[2]), float(line[3]), int(line[4] == "1" and name in VOWELS)
