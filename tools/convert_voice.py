"""Put Silero VAD's 16 kHz network into a speech encoder's file: `python tools/convert_voice.py JIT ENCODER OUT`.

JIT: silero_vad/data/silero_vad.jit of the PyPI package silero-vad 6.2.0 (MIT).
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from stereotalker_core import checkpoint
from stereotalker_core.audio.encoder import SpeechEncoder
from stereotalker_core.audio.voice import VoiceDetector


def converted(path: Path) -> VoiceDetector:
    """Return the detector with the weights of a TorchScript file; ValueError where they do not fit."""
    state = torch.jit.load(str(path), map_location="cpu").state_dict()
    prefix = "_model.decoder.rnn."
    named = {f"memory.{name}_l0": state[prefix + name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    for i in range(4):
        for part in ("weight", "bias"):
            named[f"convolutions.{i}.{part}"] = state[f"_model.encoder.{i}.reparam_conv.{part}"]
    named |= {
        "head.weight": state["_model.decoder.decoder.2.weight"][:, :, 0],
        "head.bias": state["_model.decoder.decoder.2.bias"],
    }
    detector = VoiceDetector().eval()
    detector.load_state_dict(named)
    return detector


def main(jit: str, encoder: str, out: str) -> None:
    """Write the speech encoder of a file, with the detector added, to `out`; other metadata of the file is kept."""
    known = checkpoint.load(SpeechEncoder, encoder)
    own = SpeechEncoder(replace(known.config, voice=True))
    voice = {f"voice.{k}": v for k, v in converted(Path(jit)).state_dict().items()}
    own.load_state_dict(known.state_dict() | voice)
    told = {k: v for k, v in checkpoint.load_tensors(encoder)[1].items() if k not in ("model", "config")}
    checkpoint.save(own, out, **told | {"voice": "Silero VAD 6.2.0, Copyright Silero Team, MIT; converted"})


if __name__ == "__main__":
    main(*sys.argv[1:])
