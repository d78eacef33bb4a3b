"""Normalisers: tables of what counts as the same words, and the laws that every version keeps."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import WrongCall
from evalpacks.normalize import VERSIONS, normalize, normalize_all

NAMES = sorted(VERSIONS)
NUMBERS = ("one", "thirty", "six", "oh", "o", "zero", "hundred", "thousand", "half", "007", "-5", "1,234.50", "0", "8")
GLUE = ("and", "a", "point", "double", "dollars", "cents", "minus", "plus", "percent", "$2", "\u00a27", "%", "\u00a3")
WORDS = ("it's", "can't", "gone", "dr.", "colour", "1st", "ones", "'d", "[x]")
SPOKEN = st.lists(st.sampled_from(NUMBERS + GLUE + WORDS), max_size=8).map(" ".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello,  World!", "hello world"),
        ("don't", "dont"),
        ("l\u2019homme", "lhomme"),
        ("well-known", "well known"),
        ("STRASSE straße", "strasse strasse"),
        ("\ufb01ne \uff11\uff12", "fine 12"),
        ("हिन्दी की", "हिन्दी की"),
        ("น้ำ", unicodedata.normalize("NFKC", "น้ำ")),
        ("cafe\u0301", "café"),
        ("soft\u00adhyphen zero\u200bwidth", "softhyphen zerowidth"),
        ("$5 + 3%", "5 3"),
        ("", ""),
        (" ... ", ""),
    ],
)
def test_basic(text: str, expected: str) -> None:
    assert normalize(text, "basic") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("thirty six", "36"),
        ("Thirty-six.", "36"),
        ("one hundred and thirty six", "136"),
        ("one thirty six", "136"),
        ("twenty twenty six", "2026"),
        ("$20 million", "$20000000"),
        ("Dr. Smith won't favour it", "doctor smith will not favor it"),
        ("um, he's gone", "he has gone"),
        ("double oh seven", "007"),
        ("007", "007"),
        ("minus five degrees", "-5 degrees"),
        ("-5 degrees", "-5 degrees"),
        ("seventy five percent", "75%"),
        ("[noise] hello (laughs)", "hello"),
        ("", ""),
    ],
)
def test_english(text: str, expected: str) -> None:
    assert normalize(text, "english") == expected


def test_none_changes_nothing() -> None:
    assert normalize(" As  it IS. ", "none") == " As  it IS. "


def test_unknown_normaliser_is_a_wrong_call() -> None:
    with pytest.raises(WrongCall) as error:
        normalize("x", "fancy")
    assert str(error.value) == "unknown normaliser\n  got: 'fancy'\n  expected: none or basic or english"


@pytest.mark.parametrize("name", NAMES)
@given(text=st.one_of(st.text(max_size=40), SPOKEN))
@settings(deadline=None, max_examples=150)
def test_normalising_twice_changes_nothing(name: str, text: str) -> None:
    once = normalize(text, name)
    assert normalize(once, name) == once


@given(text=st.text(alphabet=st.characters(categories=["Lo", "Mn", "Mc"]), max_size=20))
@settings(deadline=None)
def test_basic_keeps_every_mark(text: str) -> None:
    kept = normalize(text, "basic")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())

    def marks(value: str) -> list[str]:
        return sorted(c for c in unicodedata.normalize("NFD", value) if unicodedata.category(c) in ("Mn", "Mc"))

    assert marks(kept) == marks(folded)


@given(text=st.text(max_size=40))
def test_basic_leaves_no_outer_and_no_double_space(text: str) -> None:
    assert normalize(text, "basic") == " ".join(normalize(text, "basic").split())


@pytest.mark.parametrize("name", NAMES)
def test_many_texts_are_each_text(name: str) -> None:
    texts = ["Thirty six!", "colour", "", "colour"]
    assert normalize_all(texts, name) == [normalize(text, name) for text in texts]
