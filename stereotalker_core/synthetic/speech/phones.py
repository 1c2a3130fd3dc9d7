"""Phones of the speech engines mapped to the project's inventory (audio/phones.py), and their effect on the lips.

The names of every engine (espeak-ng, flite and festival, Kokoro's IPA, CMU dictionary) are mapped, so that speech of
different engines has the same labels. Stress is stored with the phone: 0 none, 1 primary, 2 secondary."""

import re

from ...audio.phones import PHONE_INDEX, PHONES, VOWELS  # noqa: F401  one inventory: audio owns it

SILENCE = "sil"

# What the lips do; "neutral" phones are shaped by their neighbours.
VISEME_CLASSES: dict[str, tuple[str, ...]] = {
    "silence": ("sil",),
    "bilabial": ("p", "b", "m"),
    "labiodental": ("f", "v"),
    "dental": ("th", "dh"),
    "alveolar": ("t", "d", "n", "l"),
    "sibilant": ("s", "z"),
    "postalveolar": ("ch", "jh", "sh", "zh"),
    "velar": ("k", "g", "ng", "hh"),
    "rounded": ("uw", "uh", "ow", "oy", "ao", "w", "r", "er"),
    "open": ("aa", "ae", "ah", "aw", "ay"),
    "spread": ("iy", "ih", "ey", "eh", "y"),
}
VISEME_OF: dict[str, str] = {phone: name for name, phones in VISEME_CLASSES.items() for phone in phones}
CLOSURES = frozenset(VISEME_CLASSES["bilabial"])

_ESPEAK = {
    "a": "ae", "aa": "ae", "&": "ae", "a#": "ah", "A": "aa", "0": "aa", "V": "ah", "@": "ah", "3": "er", "O": "ao",
    "o": "ow", "aU": "aw", "aI": "ay", "b": "b", "tS": "ch", "d": "d", "D": "dh", "E": "eh", "e": "eh", "eI": "ey",
    "f": "f", "g": "g", "h": "hh", "I": "ih", "i": "iy", "dZ": "jh", "k": "k", "l": "l", "m": "m", "n": "n", "N": "ng",
    "oU": "ow", "OI": "oy", "p": "p", "r": "r", "s": "s", "S": "sh", "t": "t", "?": "t", "T": "th", "U": "uh",
    "u": "uw", "v": "v", "w": "w", "j": "y", "z": "z", "Z": "zh", "x": "k", "R": "r", "Q": "g",
}  # fmt: skip
# one espeak phoneme that is two of ours; the time is halved
_ESPEAK_PAIRS = {
    "A@": ("aa", "r"), "O@": ("ao", "r"), "o@": ("ao", "r"), "e@": ("eh", "r"), "i@": ("iy", "ah"), "i@3": ("ih", "r"),
    "U@": ("uh", "r"), "@L": ("ah", "l"), "aI@": ("ay", "ah"), "aI3": ("ay", "r"), "aU@": ("aw", "ah"),
    "I@": ("ih", "r"), "n-": ("ah", "n"), "l-": ("ah", "l"), "m-": ("ah", "m"), "VR": ("er",), "3:": ("er",),
    "@r": ("er",), "r-": ("r",), "w#": ("w",), "ju:": ("y", "uw"),
}  # fmt: skip
_FLITE = {
    "pau": "sil", "h#": "sil", "brth": "sil", "sp": "sil", "+noise+": "sil", "+spn+": "sil", "ax": "ah", "axr": "er",
    "dx": "t", "el": "l", "em": "m", "en": "n", "hv": "hh", "nx": "n", "ix": "ih", "ux": "uw",
}  # fmt: skip
_IPA = {
    "ɑ": "aa", "ɒ": "aa", "a": "ae", "æ": "ae", "ʌ": "ah", "ə": "ah", "ᵊ": "ah", "ɔ": "ao", "W": "aw",
    "I": "ay", "b": "b", "ʧ": "ch", "d": "d", "ð": "dh", "ɛ": "eh", "ɜ": "er", "ɚ": "er", "A": "ey", "f": "f",
    "ɡ": "g", "h": "hh", "ɪ": "ih", "ᵻ": "ih", "i": "iy", "ʤ": "jh", "k": "k", "l": "l", "m": "m", "n": "n",
    "ŋ": "ng", "O": "ow", "Q": "ow", "Y": "oy", "p": "p", "ɹ": "r", "s": "s", "ʃ": "sh", "t": "t", "ɾ": "t",
    "ʔ": "t", "T": "t", "θ": "th", "ʊ": "uh", "u": "uw", "v": "v", "w": "w", "j": "y", "z": "z", "ʒ": "zh",
    "c": "k", "x": "k",
}  # fmt: skip


def from_espeak(name: str) -> tuple[str, ...]:
    """Return the phones of an espeak-ng phoneme of an English voice: one, two, or none for a modifier.

    ValueError for an unknown phoneme."""
    if not name or name[0] in "_|":
        return (SILENCE,)
    if not re.search(r"[A-Za-z0-9@&?]", name):
        return ()  # a modifier (";" palatal glide): it colours its neighbour
    plain = re.sub(r"[0-9#:;\-^~\"*!'%,]+$", "", name) or name
    for candidate in (name, plain, plain[:3], plain[:2], plain[:1]):
        if candidate in _ESPEAK_PAIRS:
            return _ESPEAK_PAIRS[candidate]
        if candidate in _ESPEAK:
            return (_ESPEAK[candidate],)
    raise ValueError(f"espeak-ng phoneme {name!r} has no ARPAbet phone; use an English voice (en-us, en-gb, ...)")


def from_flite(name: str) -> str:
    """Return the phone of a flite, festival (radio set) or CMU dictionary name; a stress digit is ignored.

    ValueError for an unknown name."""
    plain = re.sub(r"[0-2]$", "", name.lower())
    phone = _FLITE.get(plain, plain)
    if phone not in PHONE_INDEX:
        raise ValueError(f"phone name {name!r} is not of the US English set")
    return phone


def from_ipa(symbol: str) -> str | None:
    """Return the phone of a symbol of Kokoro's phoneme alphabet, None for stress, length and punctuation marks."""
    return _IPA.get(symbol)
