import pytest

from stereotalker_core.audio.phones import CLOSURES, PHONES
from stereotalker_core.synthetic.speech.phones import VISEME_CLASSES, VISEME_OF, from_espeak, from_flite, from_ipa


def test_inventory_is_silence_and_39_phones_each_in_one_viseme_class():
    assert PHONES[0] == "sil" and len(PHONES) == 40 == len(set(PHONES))
    assert sorted(p for phones in VISEME_CLASSES.values() for p in phones) == sorted(PHONES)
    assert {p for p, name in VISEME_OF.items() if name == "bilabial"} == set(CLOSURES)


@pytest.mark.parametrize(
    ("name", "phones"),
    [("b", ("b",)), ("@L", ("ah", "l")), ("I2", ("ih",)), ("_:", ("sil",)), ("tS", ("ch",)), (";", ())],
)
def test_espeak_names(name, phones):
    assert from_espeak(name) == phones


def test_other_alphabets():
    assert [from_flite(n) for n in ("pau", "ax", "AA1", "dx", "hh")] == ["sil", "ah", "aa", "t", "hh"]
    assert from_ipa("ʧ") == "ch" and from_ipa("ˈ") is None


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="no ARPAbet phone"):
        from_espeak("Я9")
    with pytest.raises(ValueError, match="US English"):
        from_flite("qq")
