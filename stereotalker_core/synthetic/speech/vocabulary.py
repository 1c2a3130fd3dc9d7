"""Words for the sentence generator: word lists, and the classes of words that have a meaning gesture."""

from pathlib import Path

# class -> (words that trigger a gesture in training data, held-out synonyms that are spoken but never trigger)
GESTURE_WORDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    name: (tuple(used.split()), tuple(held.split()))
    for name, used, held in (
        ("you", "you your yours yourself folks everybody anybody anyone", "yourselves everyone"),
        ("me", "me my mine myself ourselves ours we", "us our"),
        ("no", "no not never none nothing nobody nope cannot refuse deny", "neither nowhere"),
        ("yes", "yes yeah sure certainly absolutely agree indeed alright correct yep", "definitely okay"),
        ("big", "big large huge enormous giant massive immense colossal tremendous grand", "gigantic vast"),
        ("small", "small tiny little miniature microscopic slight mini compact teeny wee", "petite minuscule"),
        ("up", "up above rise climb high upward raise ascend upstairs upwards", "lift overhead"),
        ("down", "down below fall drop low downward beneath descend downstairs bottom", "sink underneath"),
        ("many", "many all everything lots plenty countless several dozens hundreds millions", "numerous thousands"),
        ("think", "think wonder consider idea remember imagine suppose assume reflect understand", "believe ponder"),
        ("stop", "stop halt wait pause freeze quit end cancel enough prevent", "cease hold"),
        ("greet", "hello hi hey welcome greetings goodbye farewell hiya cheers", "howdy bye"),
    )
}
TRAINING_WORDS: dict[str, str] = {word: name for name, (used, _) in GESTURE_WORDS.items() for word in used}
HELD_OUT_WORDS: dict[str, str] = {word: name for name, (_, held) in GESTURE_WORDS.items() for word in held}


def _sections(path: Path) -> dict[str, list[str]]:
    """Return {section: its lines} of the word file."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            lines = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return sections


_WORDS = _sections(Path(__file__).parents[1] / "assets" / "words.txt")
NOUNS, PLACES, PEOPLE, ADJECTIVES, ADVERBS, NUMBERS = (
    " ".join(_WORDS[name]).split() for name in ("nouns", "places", "people", "adjectives", "adverbs", "numbers")
)
# base form, third person, past, -ing; verbs take an object, moves do not
VERBS, MOVES = ([tuple(line.split()) for line in _WORDS[name]] for name in ("verbs", "moves"))
# A speaker gestures on content words: these never carry a beat
FUNCTION_WORDS = frozenset(" ".join(_WORDS["function words"]).split())
