"""The phone inventory of the project: silence and the 39 ARPAbet phones of General American, without stress marks."""

PHONES = (
    "sil",
    *("AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY", "JH"),
    *("K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH"),
)
PHONE_INDEX = {phone: index for index, phone in enumerate(PHONES)}
VOWELS = frozenset({"AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"})
CLOSURES = frozenset({"P", "B", "M"})  # the lips close
