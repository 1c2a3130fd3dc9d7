"""Write the words that `audio.listening.spotting` knows: `python -m stereotalker_core.synthetic.speech.spoken_words`.

The cost of a word, in nats, is what the decoder pays to begin it: low for the most frequent words of English, higher
for gesture words, highest for short gesture words, which fit somewhere in every sentence.
"""

from ...audio.listening.spotting import SPOKEN_WORDS
from ...audio.pronounce import pronounce
from . import vocabulary
from .vocabulary import FUNCTION_WORDS, HELD_OUT_WORDS, TRAINING_WORDS

FREQUENT = frozenset(("you", "your", "not"))  # gesture words among the fifty most frequent words of English
# frequent words of English that the sentence generator has no use for
USUAL = """
about actually address after again ago alone along already also although always another answer any area around ask
asked audio away back became because become been before began begin being best better between both business but call
called came case change come comes could country course day days did different does doing done during each early
easy either else even every example face fact family far feel few first five follow following form four full gave
general get getting give given go going gone good got great group had half happen hard has have he head hear heard
help her here herself him himself his home house how however if important incorrect information instead interest
into it its itself just kind knew know known last late later least leave left less let life like line list live
local long look looking lose lost love made mail main make making man matter may maybe mean men menu might minute
minutes moment money month more most move much must name near need new news next night nine now number of off offer
often old on once one only open or order other others out over own page paper part past pay people per perhaps
person personal place play please point power present press problem public put question quite read ready real really
reason remain report right room run said same saw say second see seem seen send sent service set seven several shall
she should show side simple since six so some someone something sometimes soon sound space speak start state still
such system take taken talk tell ten than thank thanks that their them themselves then there these they thing things
this those though thought three through time times to today together told tomorrow too took toward true try turn two
type under unknown until upon use used user users using usually very view voice want wanted was water way week well
went were what when where whether which while white who whole whose why will with within without word words work
world would write wrong year years yesterday yet young
"""
LONG = 5  # phones from which on a word is seldom heard by mistake
COSTS = {"frequent": 2.0, "no": 3.0, "long": 4.0, "short": 7.0, "function": 2.0, "other": 3.0}
# how they sound in running speech, beside what the letters say
SAID_AS = {
    "your": ("y er", "y uh r", "y r"), "you": ("y ah", "y ih w", "y w"), "yours": ("y er z", "y uh r z"),
    "our": ("aa r", "aw r"), "not": ("n aa d", "d aa t", "n ah t"), "no": ("n ow l", "n ih l"),
    "hold": ("ow l d", "ow l"), "cannot": ("k ih n aa t", "k ae n aa"), "all": ("ow l",), "many": ("m eh d iy",),
    "cancel": ("k eh n s ow l",), "correct": ("k r eh k t", "k r ae t"), "nothing": ("n ah th ih n",),
    "okay": ("ow k ey",), "yeah": ("y ae",), "alright": ("er ay t", "aa r ay t", "ah r ay t"), "me": ("n iy",),
}  # fmt: skip


def text() -> str:
    """Return the text of the word file: one line per kind of words, then one line per alternative pronunciation."""
    gestures = sorted(word for word in TRAINING_WORDS | HELD_OUT_WORDS if pronounce(word))
    lists = ("NOUNS", "PLACES", "PEOPLE", "ADJECTIVES", "ADVERBS", "NUMBERS")
    common = {word.lower() for name in lists for word in getattr(vocabulary, name)} | FUNCTION_WORDS
    common |= {form for row in (*vocabulary.VERBS, *vocabulary.MOVES) for form in row}
    common = {word for word in common | set(USUAL.split()) if pronounce(word)} - set(gestures)
    rare = [word for word in gestures if word not in FREQUENT and word != "no"]
    rows = [
        ("gesture", COSTS["frequent"], [word for word in gestures if word in FREQUENT]),
        ("gesture", COSTS["no"], ["no"]),
        ("gesture", COSTS["long"], [word for word in rare if len(pronounce(word)) >= LONG]),
        ("gesture", COSTS["short"], [word for word in rare if len(pronounce(word)) < LONG]),
        ("common", COSTS["function"], sorted(common & FUNCTION_WORDS)),
        ("common", COSTS["other"], sorted(common - FUNCTION_WORDS)),
    ]
    lines = ["# made by python -m stereotalker_core.synthetic.speech.spoken_words"]
    lines += [f"{kind} {cost}: {' '.join(map(_told, words))}" for kind, cost, words in rows]
    lines += [f"as {word}: {phones}" for word, ways in sorted(SAID_AS.items()) for phones in ways]
    return "\n".join(lines) + "\n"


def _told(word: str) -> str:
    return f"{word}={'-'.join(pronounce(word))}"


if __name__ == "__main__":
    SPOKEN_WORDS.write_text(text(), encoding="utf-8")
