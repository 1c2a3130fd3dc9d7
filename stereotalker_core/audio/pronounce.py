"""A guess at how an English word is spoken: letter-to-sound rules and a short list of frequent exceptions.

Good enough to place words in a recording (align.py tolerates wrong and missing phones), not for speech synthesis.
"""

import re

# Rules are tried in order at each letter; the first that matches speaks its letters. (?<!..) and (?=..) look around.
_RULES_TEXT = r"""
^x                                    | z
^(kn|gn|pn)                           | n
^wr                                   | r
^ps                                   | s
^who(?!a)                             | hh uw
^wh                                   | w
^one(?=$|s$)                          | w ah n
tion(?=s?$|[aei])                     | sh ah n
ssion(?=s?$|a)                        | sh ah n
sion(?=s?$|a)                         | zh ah n
cious                                 | sh ah s
tious                                 | sh ah s
(ci|ti)(?=al|an|ent|enc)              | sh
(?<=[a-z]{2})ous(?=$|ly)              | ah s
ture(?=s?$|d)                         | ch er
sure(?=s?$|d)                         | zh er
ough(?=t)                             | ao
augh(?=t)                             | ao
igh                                   | ay
eigh                                  | ey
tch                                   | ch
sch                                   | s k
(?<=s)ch(?=[eo]l|em)                  | k
ch(?=r|[aeiou]?[lr]?os$)              | k
ch                                    | ch
ck                                    | k
sh                                    | sh
ph                                    | f
gh(?=$|[bcdfghklmnpqrstvwz])          |
gh                                    | g
ng(?=$|s$|ing|ed$|er$|th)             | ng
ng(?=[lr]|[aou])                      | ng g
n(?=k|x|c[^eiyh])                     | ng
mb(?=$|s$|ing|ed$)                    | m
mn$                                   | m
th(?=e$|es$|er|ing$|is$|ose|at$|ey|em|en$|ere|an$|us$) | dh
th                                    | th
qu                                    | k w
q                                     | k
dge                                   | jh
dg(?=[iy])                            | jh
gg                                    | g
g(?=e|i(?!ft|rl|v)|y)                 | jh
g(?=n$|ns$)                           |
g                                     | g
cc(?=[eiy])                           | k s
sc(?=[eiy])                           | s
c(?=[eiy])                            | s
c                                     | k
x                                     | k s
(?<=[aeiou])s(?=[aeiou]|m$|y$)        | z
(?<=[bdglmnrvwy])s$                   | z
(?<=e)s$                              | z
ss                                    | s
s                                     | s
(?<=[pkfsxc])ed$                      | t
(?<=sh)ed$                            | t
(?<=ch)ed$                            | t
(?<=[td])ed$                          | ih d
(?<=[a-z]{2})ed$                      | d
(?<=[sxz])es$                         | ih z
(?<=sh)es$                            | ih z
(?<=ch)es$                            | ih z
(?<=[cg])es$                          | ih z
(?<=[a-z]{2})es$                      | z
dd|d                                  | d
tt|t(?=ch)                            | t
t                                     | t
bb|b                                  | b
ff|f                                  | f
(?<=[aeou])h(?![aeiou])               |
h                                     | hh
j                                     | jh
kk|k                                  | k
(?<=a)l(?=[kf])                       |
(?<=ou)l(?=d)                         |
(?<=[bcdfgkpstz])le(?=s?$)            | ah l
ll|l                                  | l
mm|m                                  | m
nn|n                                  | n
pp|p                                  | p
rr|r                                  | r
vv|v                                  | v
(?<=[aeo])w(?![aeiou])                |
w(?=r)                                |
w                                     | w
zz|z                                  | z
^y(?=[aeiou])                         | y
(?<=^[bcdfghjklmnpqrstvwxyz])y$       | ay
y$                                    | iy
y(?=[bcdfghjklmnpqrstvwxz]e$)         | ay
(?<=[aeo])y                           |
y(?=[aeiou])                          | y
y                                     | ih
air(?=$|[^aeiou])                     | eh r
are$                                  | eh r
arr?(?=[aeiouy])                      | eh r
(?<=w)ar                              | ao r
ard$                                  | er d
ar                                    | aa r
ai                                    | ey
ay                                    | ey
au|aw                                 | ao
(?<=w)a(?=sh|tc|nt|nd|s$|t)           | aa
a(?=lk|ll$|lls$|lt|ld)                | ao
(?<=[a-z]{2})able(?=s?$)              | ah b ah l
age(?=s?$)                            | ih jh
ate(?=d$|s$|$)                        | ey t
a(?=ng[e])                            | ey
a(?=ste)                              | ey
a(?=[bcdfghjklmnpqstvz]e[sd]?$)       | ey
a(?=[bcdfgkpst]les?$)                 | ey
a(?=ti|ci|ble|vi)                     | ey
(?<=[a-z]{2})a(?=l$|ls$|n$|nt$|nce$)  | ah
a$                                    | ah
a                                     | ae
ear(?=[nthlc])                        | er
ear|eer|ere$                          | ih r
eir                                   | eh r
er(?=[iy])                            | eh r
er                                    | er
ee|ea(?!d$|d[y]|th$|v[eiy]|lth|s[u]|nt) | iy
ea                                    | eh
ei|ie(?=[lfvcgn]|ld)                  | iy
ey$|ie$|ies$                          | iy
eu|ew                                 | y uw
eo                                    | iy ow
e(?=[bcdfghjklmnpqstvz]e[sd]?$)       | iy
(?<=^[bdhmswy])e$                     | iy
(?<=^sh)e$                            | iy
(?<=^th)e$                            | ah
(?<=[a-z])e$                          |
(?<=[a-z]{2})e(?=ly$|ment|less|ful)   |
(?<=[a-z]{2})e(?=l$|ls$|n$|ns$|nt|nce) | ah
e                                     | eh
ire(?=$|d$|s$)                        | ay er
ir(?=[^aeiou]|$)                      | er
i(?=nd$|nds$|ld$|gn)                  | ay
i(?=[bcdfghjklmnpqstvz]e[sd]?$)       | ay
ia(?=$|n|l)                           | iy ah
io                                    | iy ow
i$                                    | iy
(?<=^[a-z])ie(?=[sd]?$)               | ay
i                                     | ih
oor|ore|our$|oar                      | ao r
or(?=$|s$)                            | ao r
(?<=w)or                              | er
(?<=[a-z]{2})(?:ors?|our)$             | er
or                                    | ao r
ook                                   | uh k
oo                                    | uw
ould                                  | uh d
ou(?=p|th)                            | uw
ou                                    | aw
(?<=kn)ow                             | ow
ow(?=n$|d|er|l$|ns$)                  | aw
ow                                    | ow
oy|oi                                 | oy
oa                                    | ow
oe(?=$|s$)                            | ow
o(?=ld|st$|lls?$|th$)                 | ow
o(?=[bcdfghjklmnpqstvz]e[sd]?$)       | ow
o(?=ther|ve[rdnl]|nth|ney|me$)        | ah
(?<=[a-z]{2})o(?=n$|ns$|m$)           | ah
o$                                    | ow
o                                     | aa
ur(?=[aeiou])                         | y uh r
ur                                    | er
(?<=[gb])u(?=[iey])                   |
ui                                    | uw
ue$                                   | uw
(?<=[rljsc])u(?=[bcdfghjklmnpqstvz][aeiou]) | uw
u(?=[bcdfghjklmnpqstvz][aeiou])       | y uw
ul(?=l|$)                             | ah l
u                                     | ah
"""

_EXCEPTIONS_TEXT = """
a ah; the dh ah; of ah v; to t uw; two t uw; too t uw; do d uw; does d ah z; done d ah n; one w ah n; once w ah n s
was w ah z; were w er; are aa r; is ih z; his hh ih z; as ae z; has hh ae z; have hh ae v; had hh ae d; i ay; i'm ay m
i'll ay l; i've ay v; you y uw; your y ao r; you're y ao r; he hh iy; she sh iy; we w iy; me m iy; be b iy; they dh ey
their dh eh r; there dh eh r; they're dh eh r; this dh ih s; that dh ae t; these dh iy z; those dh ow z; then dh eh n
than dh ae n; them dh eh m; with w ih dh; what w ah t; who hh uw; whose hh uw z; whole hh ow l; where w eh r; why w ay
said s eh d; says s eh z; any eh n iy; many m eh n iy; some s ah m; come k ah m; comes k ah m z; from f r ah m
so s ow; go g ow; no n ow; know n ow; now n aw; how hh aw; our aw er; out aw t; or ao r; for f ao r; four f ao r
more m ao r; could k uh d; would w uh d; should sh uh d; been b ih n; people p iy p ah l; great g r ey t
very v eh r iy; again ah g eh n; water w ao t er; other ah dh er; another ah n ah dh er; mother m ah dh er
brother b r ah dh er; nothing n ah th ih ng; something s ah m th ih ng; every eh v r iy; ever eh v er; never n eh v er
only ow n l iy; over ow v er; under ah n d er; give g ih v; live l ih v; lives l ih v z; love l ah v; move m uw v
above ah b ah v; gone g ao n; eye ay; eyes ay z; world w er l d; word w er d; words w er d z; work w er k; hour aw er
heart hh aa r t; put p uh t; push p uh sh; pull p uh l; full f uh l; good g uh d; today t ah d ey
tomorrow t ah m aa r ow; woman w uh m ah n; women w ih m ah n; friend f r eh n d; because b ih k ah z
before b ih f ao r; behind b ih hh ay n d; please p l iy z; hello hh ah l ow; isn't ih z ah n t; don't d ow n t
won't w ow n t; can't k ae n t; it's ih t s; that's dh ae t s; what's w ah t s; let's l eh t s; i'd ay d
you'll y uw l; we'll w iy l; there's dh eh r z; didn't d ih d ah n t; doesn't d ah z ah n t; zero z ih r ow
twenty t w eh n t iy; seven s eh v ah n; eight ey t; eleven ih l eh v ah n; twelve t w eh l v; both b ow th
most m ow s t; money m ah n iy; young y ah ng; country k ah n t r iy; touch t ah ch; enough ih n ah f; though dh ow
through th r uw; thought th ao t; laugh l ae f; door d ao r; floor f l ao r; blood b l ah d; busy b ih z iy
minute m ih n ah t; sure sh uh r; sugar sh uh g er; use y uw z; used y uw z d; right r ay t; here hh ih r; by b ay
my m ay; try t r ay; fly f l ay; sky s k ay; dry d r ay; cry k r ay; buy b ay; die d ay; lie l ay; about ah b aw t
away ah w ey
"""
_LETTERS_TEXT = """
b b iy; c s iy; d d iy; e iy; f eh f; g jh iy; h ey ch; j jh ey; k k ey; l eh l; m eh m; n eh n; o ow; p p iy; q k y uw
r aa r; s eh s; t t iy; u y uw; v v iy; w d ah b ah l y uw; x eh k s; y w ay; z z iy
"""
_RULES = [
    (re.compile(pattern.strip()), tuple(phones.split()))
    for pattern, phones in (line.rsplit("|", 1) for line in _RULES_TEXT.strip().splitlines())
]
_EXCEPTIONS = {
    word: tuple(phones)
    for word, *phones in (
        entry.split()
        for entry in (_EXCEPTIONS_TEXT + _LETTERS_TEXT).replace("\n", ";").split(";")
        if entry.strip()
    )
}
_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def pronounce(word: str) -> tuple[str, ...]:
    """Return the phones of a written word, number or abbreviation; empty where nothing in it can be pronounced."""
    text = word.lower().replace("\u2019", "'")
    if number := re.fullmatch(r"\d{1,9}", text.replace(",", "")):
        return tuple(p for part in spell_number(int(number[0])).split() for p in pronounce(part))
    if re.fullmatch(r"[^\W\daeiouyAEIOUY_]{2,6}s?\W*", word) and word[:2].isupper():
        return tuple(p for letter in text for p in pronounce(letter))  # an abbreviation that can only be spelled
    phones: list[str] = []
    for part in re.findall(r"[a-z]+(?:'[a-z]+)?|\d", text):
        phones += pronounce(part) if part.isdigit() else _EXCEPTIONS.get(part) or _by_rules(part)
    return tuple(phones)


def spell_number(n: int) -> str:
    """Spell a number from 0 to 999 999 999 in words."""
    for size, name in ((1_000_000, "million"), (1000, "thousand"), (100, "hundred")):
        if n >= size:
            rest = f" {spell_number(n % size)}" if n % size else ""
            return f"{spell_number(n // size)} {name}{rest}"
    if n < 20:
        return _ONES[n]
    return _TENS[n // 10] + (f" {_ONES[n % 10]}" if n % 10 else "")


def _by_rules(word: str) -> list[str]:
    if "'" in word:
        stem, ending = word.split("'", 1)
        tail = {"s": ["z"], "t": ["t"], "d": ["d"], "m": ["m"], "ll": ["l"], "re": ["er"], "ve": ["v"]}
        return list(_EXCEPTIONS.get(stem) or _by_rules(stem)) + tail.get(ending, [])
    phones: list[str] = []
    at = 0
    while at < len(word):
        for pattern, sounds in _RULES:
            found = pattern.match(word, at)
            if found and found.end() > at:
                phones += sounds
                at = found.end()
                break
        else:
            at += 1  # a letter without a sound of its own
    return phones
