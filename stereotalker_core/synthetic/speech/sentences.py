"""Sentences from a small grammar: reproducible from a seed, varied, with meaning-gesture words and emotions."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from .vocabulary import ADJECTIVES, ADVERBS, GESTURE_WORDS, MOVES, NOUNS, NUMBERS, PEOPLE, PLACES, VERBS

EMOTIONS = ("neutral", "happy", "sad", "angry", "surprised", "fear", "disgusted", "contempt")  # those of MEAD
INTENSITIES = (1, 2, 3)  # low, medium, high
STYLES = ("neutral", "lively", "calm")

# {n} noun, {pl} place, {w} person, {v} {vs} {vd} {vg} forms of a verb with an object, {m} {ms} {md} {mg} without,
# {a} adjective, {A} an adjective with a or an, {d} adverb, {c} number, {e} short ending, {NP} a noun phrase,
# {class} a word of a gesture class
_PLAIN = """{w} {vd} {NP} {e}.
{NP} {ms} {e}.
{w} and {w} {md} {e}.
The {n} was {a}, but the {n} was {a}.
{d} the {n} {vd} {NP}.
Did {w} {v} {NP} {e}?
Who {vd} the {a} {n} {e}?
There were {c} {a} chairs and {c} tables {e}.
{w} is {vg} {NP}, because the {n} is {a}.
When {w} {md}, {NP} {vd} the {n}.
The {n} from the {pl} {vd} {NP} and {md} {e}.
Please {v} the {n}, and {v} the {n} too.
It takes {c} minutes to {v} {NP}.
What {A} {n}!
How {a} the {n} looks {e}!
She {d} {vs} {NP}, and he {vs} the {n}.
They have {vg} and {mg} to do before the {n} can {m}.
The price of the {n} is {c} dollars and {c} cents.
If the {n} {ms}, {w} will {v} {NP}.
He put the {n} beside the {n}, {d}.
Between the {n} and the {n} there is {A} {n}.
{w}, the {a} {n}, {vd} the {n} {e}.
Bob brought the {a} {n} from the {pl} back home.
The {a} {n} {md} past the {n} {e}.
Some people {v} {NP}; other people only {v} the {n}.
{w} bought purple pepper and brown bread {e}.
My {n} and her {n} both {md}."""

_MEANING: dict[str, str] = {
    "you": """This {n} is for {you}, {w}.
I {vd} {NP} for {you}.
The {n} can {v} {you} {e}.
That {a} {n} belongs to {you}.""",
    "me": """The {n} {vd} {me} {e}.
{w} gave the {n} to {me}.
That was for {me}, and the {n} was for {w}.
The {a} {n} is {me}.""",
    "no": """{no} {ms} in the {pl}.
There is {no} to {v} in the {pl}.
{no}, the {n} is {a}.
{w} said {no} when the {n} {md}.""",
    "yes": """{yes}, the {n} is {a}.
{yes}, {w} {vd} {NP}.
{w} said {yes} and {md}.
The {n} is {yes} {a}.""",
    "big": """The {n} in the {pl} is {big}.
{w} {vd} the {big} {n}.
What {vs} the {big} {a} {n}?
A {big} {n} {md} {e}.""",
    "small": """The {n} in the {pl} is {small}.
{w} {vd} the {small} {n}.
A {small} {a} {n} {md} {e}.
He {vs} a {small} {n} {d}.""",
    "up": """The {n} went {up} {e}.
{w} saw the {n} {up} the {pl}.
Watch the {n} go {up} the {n}.
It is {up} the {a} {n}.""",
    "down": """The {n} went {down} {e}.
{w} saw the {n} {down} the {pl}.
Watch the {n} go {down} the {n}.
It is {down} the {a} {n}.""",
    "many": """There are {many} of them in the {pl}.
{w} {vd} {many} for the {n}.
{many} in the {pl} {md}.
The {n} and {many} of the people {md}.""",
    "think": """People {think} the {n} is {a}.
Let us {think} the {n} {e}.
They {think} about the {a} {n}.
{w} had to {think} before the {n} {md}.""",
    "stop": """{stop}, the {n} is {a}!
The {n} had to {stop} {e}.
Please {stop} before the {pl}.
{w} told the {n} to {stop}.""",
    "greet": """{greet}, {w}, the {n} is {a}.
{greet}, the {pl} is {a}.
{w} said {greet} to the {n}.
{greet}! The {n} {md} {e}.""",
}
_ENDINGS = [
    "in the {pl}", "near the {pl}", "behind the {n}", "under the {n}", "at the {pl}", "with {w}", "{d}",
    "every morning", "last week", "on Monday", "on Friday", "this afternoon", "before breakfast", "by the {pl}",
    "after supper", "without the {n}", "for {c} days", "again",
]  # fmt: skip
_NOUN_PHRASES = [
    "the {n}", "the {a} {n}", "{A} {n}", "every {n}", "another {n}", "this {n}", "that {a} {n}", "some {a} {n}",
    "the {n} of the {n}", "{c} boxes", "his {n}", "her {a} {n}", "their {n}", "the {a}, {a} {n}",
]  # fmt: skip


@dataclass(frozen=True)
class Sentence:
    """The text to speak and how: emotion of EMOTIONS, intensity of INTENSITIES (3 when neutral), style of STYLES."""

    text: str
    emotion: str
    style: str
    intensity: int = 3


def sentence(rng: random.Random, meaning: float = 0.7) -> Sentence:
    """Draw a sentence; with probability `meaning` it has a gesture word, in one of five cases a held-out one."""
    if rng.random() < meaning:
        template = rng.choice(_MEANING[rng.choice(list(GESTURE_WORDS))].splitlines())
    else:
        template = rng.choice(_PLAIN.splitlines())
    text = _fill_template(template, rng)
    if rng.random() < 0.25:
        text = f"{text} {_fill_template(rng.choice(_PLAIN.splitlines()), rng)}"
    emotion = rng.choices(EMOTIONS, (8, 3, 2, 2, 2, 1, 1, 1))[0]
    style = rng.choices(STYLES, (2, 1, 1))[0]
    return Sentence(text, emotion, style, INTENSITIES[-1] if emotion == "neutral" else rng.choice(INTENSITIES))


def sentences(seed: int, count: int, exclude: frozenset[str] = frozenset()) -> list[Sentence]:
    """Return `count` different sentences of a seed, none of them in `exclude`."""
    rng, out, seen = random.Random(seed), [], set(exclude)
    while len(out) < count:
        new = sentence(rng)
        if new.text not in seen:
            seen.add(new.text)
            out.append(new)
    return out


def _fill_template(template: str, rng: random.Random) -> str:
    text = template
    while match := re.search(r"\{(\w+)\}", text):
        text = text[: match.start()] + _word(match.group(1), rng) + text[match.end() :]
    text = re.sub(r"\s+", " ", text)
    return re.sub(r"(^|[.!?] )([a-z])", lambda m: m.group(1) + m.group(2).upper(), text)


def _word(slot: str, rng: random.Random) -> str:
    if slot in GESTURE_WORDS:
        used, held = GESTURE_WORDS[slot]
        return rng.choice(held if rng.random() < 0.2 else used)
    if slot == "A":
        adjective = rng.choice(ADJECTIVES)
        return ("an " if adjective[0] in "aeiou" and adjective not in ("useful", "usual") else "a ") + adjective
    return _SLOTS[slot](rng)


def _form(table: list[tuple[str, ...]], form: int) -> Callable[[random.Random], str]:
    return lambda rng: rng.choice(table)[form]


def _any(words: list[str]) -> Callable[[random.Random], str]:
    return lambda rng: rng.choice(words)


_SLOTS: dict[str, Callable[[random.Random], str]] = {
    "n": _any(NOUNS), "pl": _any(PLACES), "w": _any(PEOPLE), "a": _any(ADJECTIVES), "d": _any(ADVERBS),
    "c": _any(NUMBERS), "e": _any(_ENDINGS), "NP": _any(_NOUN_PHRASES),
    "v": _form(VERBS, 0), "vs": _form(VERBS, 1), "vd": _form(VERBS, 2), "vg": _form(VERBS, 3),
    "m": _form(MOVES, 0), "ms": _form(MOVES, 1), "md": _form(MOVES, 2), "mg": _form(MOVES, 3),
}  # fmt: skip
