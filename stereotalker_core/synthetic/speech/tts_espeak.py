"""espeak-ng through its C library: phoneme and word events give exact times (the error is below a millisecond)."""

import ctypes
import difflib
import functools
import random
import re

import numpy as np
import torch

from .phones import SILENCE, from_espeak
from .utterance import EngineMissing, Phone, Utterance, Word, resample, tile

INSTALL = "espeak-ng is not installed: apt-get install espeak-ng (or brew install espeak-ng)"
_LIBRARIES = ("libespeak-ng.so.1", "libespeak-ng.dylib", "libespeak-ng.dll", "espeak-ng.dll")
_WORD, _END, _PHONEME = 1, 6, 7
_SYNCHRONOUS, _PHONEME_EVENTS, _UTF8, _END_PAUSE = 2, 1, 1, 0x1000
_RATE, _PITCH, _RANGE = 1, 3, 4
WORDS_PER_MINUTE = 165
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029", "en-us-nyc")


# spoken alone, these words get the full form that running speech never has
_WEAK = {"a": "ɐ", "an": "ɐn", "the": "ðə", "to": "tə", "of": "əv", "and": "ænd", "for": "fɚ", "than": "ðən"}


class _Identity(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Espeak:
    """The C library and the events that its callback collected; one per process, because its state is global."""

    def __init__(self) -> None:
        self.library = _load()
        self.rate = self.library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS)
        if self.rate <= 0:
            raise EngineMissing(f"espeak-ng could not start, its data folder is missing; {INSTALL}")
        self.library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self.samples: list[np.ndarray] = []
        self.events: list[tuple[int, float, str, int, int]] = []
        self.callback = _Callback(self._collect)  # kept alive: the library holds only a pointer
        self.library.espeak_SetSynthCallback(self.callback)

    def _collect(self, wave, count: int, events) -> int:
        if count > 0:
            self.samples.append(np.ctypeslib.as_array(wave, shape=(count,)).copy())
        i = 0
        while events[i].type:
            e = events[i]
            name = e.id.string.decode("latin1") if e.type == _PHONEME else ""
            self.events.append((e.type, e.audio_position / 1000, name, e.text_position, e.length))
            i += 1
        return 0

    def run(self, text: str, voice: str, parameters: dict[int, int]) -> np.ndarray:
        self.samples.clear()
        self.events.clear()
        if self.library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"espeak-ng has no voice {voice!r}; list them: espeak-ng --voices=en, --voices=variant")
        for key, value in parameters.items():
            self.library.espeak_SetParameter(key, value, 0)
        raw = text.encode()
        self.library.espeak_Synth(raw, len(raw) + 1, 0, 0, 0, _UTF8 | _END_PAUSE, None, None)
        self.library.espeak_Synchronize()
        if not self.samples:
            raise ValueError(f"espeak-ng spoke nothing for {text!r}; give words, not only punctuation")
        return np.concatenate(self.samples).astype(np.float32) / 32768

    def marks(self, text: str) -> list[tuple[str, int, bool]]:
        """Return (phoneme, stress 0..2, whether it begins a word) for each phoneme of the text.

        The events of the spoken audio have exact times, but neither stress nor words."""
        pointer = ctypes.c_char_p(text.encode())
        out: list[tuple[str, int, bool]] = []
        while pointer.value:
            clause = self.library.espeak_TextToPhonemes(ctypes.byref(pointer), _UTF8, ord("_") << 8) or b""
            for word in clause.decode("latin1").split():
                for k, token in enumerate(word.split("_")):
                    plain = token.lstrip("',%=|")
                    if plain and not plain.startswith("("):
                        out.append((plain, 1 if "'" in token else 2 if "," in token else 0, k == 0))
        return out


def _load() -> ctypes.CDLL:
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise EngineMissing(INSTALL)


@functools.lru_cache(maxsize=1)
def _espeak() -> _Espeak:
    return _Espeak()


def require() -> None:
    """Raise EngineMissing where the engine does not work."""
    _espeak()


def phonemes_ipa(words: list[str], accent: str) -> list[str]:
    """Return the IPA of each word, as it is spoken within the sentence where espeak-ng keeps the words apart, else on
    its own.

    words: of one sentence; accent: name of an espeak-ng voice, such as "en-us". ValueError for an unknown one."""
    engine = _espeak()
    if engine.library.espeak_SetVoiceByName(accent.encode()):
        raise ValueError(f"espeak-ng has no voice {accent!r}")

    def ipa(text: str) -> list[str]:
        pointer, out = ctypes.c_char_p(text.encode()), []
        while pointer.value:
            clause = engine.library.espeak_TextToPhonemes(ctypes.byref(pointer), _UTF8, 2) or b""
            out += re.sub("[\u0361\u0329\u200d]", "", clause.decode("utf-8")).split()
        return out

    together = ipa(" ".join(words))
    if len(together) == len(words):
        return together
    return [_WEAK.get(word.lower()) or "".join(ipa(word)) for word in words]


def speak(text: str, voice: str, speed: float, pitch: float, seed: int) -> Utterance:
    """Speak one utterance; see `tts.synthesise`.

    voice: an accent ("en" is British) and a variant, such as "en-us+f3"; "" for "en-us"."""
    voice, engine = voice or "en-us", _espeak()
    rng = random.Random(seed)
    parameters = {
        _RATE: max(80, round(WORDS_PER_MINUTE * speed)),
        _PITCH: round(50 + 40 * pitch),
        _RANGE: round(rng.uniform(35, 75)),
    }
    wave = engine.run(text, voice, parameters)
    seconds = len(wave) / engine.rate
    events = [(name, time) for kind, time, name, *_ in engine.events if kind == _PHONEME]
    stress, starts = _stresses(events, engine.marks(text))
    phones = _phones(events, stress, seconds)
    waveform = torch.from_numpy(resample(wave, engine.rate))
    return Utterance(waveform, _words(engine, text, phones, starts), phones, text, "espeak", voice)


def _stresses(events: list[tuple[str, float]], marks: list[tuple[str, int, bool]]) -> tuple[list[int], list[float]]:
    """Return the stress of each phoneme event, and the times at which words begin.

    events: (phoneme, s) as spoken; marks: (phoneme, stress, first of a word) of the text; the two are aligned."""
    spoken = [i for i, (name, _) in enumerate(events) if name and name[0] != "_"]
    stress, starts = [0] * len(events), []
    matcher = difflib.SequenceMatcher(None, [events[i][0] for i in spoken], [m[0] for m in marks], autojunk=False)
    for a, b, size in matcher.get_matching_blocks():
        for k in range(size):
            stress[spoken[a + k]] = marks[b + k][1]
            if marks[b + k][2]:
                starts.append(events[spoken[a + k]][1])
    return stress, starts or [0.0]


def _phones(events: list[tuple[str, float]], stress: list[int], seconds: float) -> tuple[Phone, ...]:
    phones: list[Phone] = []
    for i, (name, start) in enumerate(events):
        end = events[i + 1][1] if i + 1 < len(events) else seconds
        parts = from_espeak(name)
        if not parts:
            if phones:
                phones[-1] = (*phones[-1][:2], end, phones[-1][3])
            continue
        step = (end - start) / len(parts)
        phones += [(p, start + k * step, start + (k + 1) * step, 0 if k else stress[i]) for k, p in enumerate(parts)]
    return tile(phones, seconds)


def _words(engine: _Espeak, text: str, phones: tuple[Phone, ...], starts: list[float]) -> tuple[Word, ...]:
    """Return the words with times, each snapped to the first phone of a word, without the pauses between words.

    engine: holds the word events; text: what is said; starts: times (s) at which words begin, from `_stresses`.

    An event of espeak-ng ends only where the next word begins. Some pairs ("of the") are spoken as one word with one
    event; its phones are divided between them in proportion to their letters."""
    begins = {
        p - 1: min(starts, key=lambda start: abs(start - time))  # the events are some tens of ms off the phones
        for kind, time, _, p, _ in engine.events
        if kind == _WORD
    }
    groups: list[tuple[float, list[str]]] = []
    for token in re.finditer(r"[\w']+", text):
        if token.start() in begins or not groups:
            groups.append((begins.get(token.start(), 0.0), []))
        groups[-1][1].append(token.group())
    spoken = [(s, e) for name, s, e, _ in phones if name != SILENCE]
    words: list[Word] = []
    for i, (time, group) in enumerate(groups):
        limit = groups[i + 1][0] if i + 1 < len(groups) else float("inf")
        inside = [(s, e) for s, e in spoken if time <= (s + e) / 2 < limit]
        letters, taken = [len(word) for word in group], 0
        for k, word in enumerate(group):
            until = round(len(inside) * sum(letters[: k + 1]) / sum(letters))
            if until > taken:
                words.append((word, inside[taken][0], inside[until - 1][1]))
            taken = until
    return tuple(words)
