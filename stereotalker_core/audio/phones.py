"""The phone inventory of the project: silence, then the 39 ARPAbet phones of General American without stress marks."""

PHONES: tuple[str, ...] = (
    *("sil", "aa", "ae", "ah", "ao", "aw", "ay", "b", "ch", "d", "dh", "eh", "er", "ey", "f", "g", "hh", "ih", "iy"),
    *("jh", "k", "l", "m", "n", "ng", "ow", "oy", "p", "r", "s", "sh", "t", "th", "uh", "uw", "v", "w", "y", "z", "zh"),
)
PHONE_INDEX: dict[str, int] = {phone: index for index, phone in enumerate(PHONES)}
VOWELS = frozenset(("aa", "ae", "ah", "ao", "aw", "ay", "eh", "er", "ey", "ih", "iy", "ow", "oy", "uh", "uw"))
CLOSURES = frozenset("pbm")  # the lips close
