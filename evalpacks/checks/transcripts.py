"""The texts of a pack, read: are they what is said, and nothing else?

Boundary: pure; a table in, findings out.
Invariants: no text is in a finding; a language whose script is not known here is not judged by its letters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from evalpacks.checks.findings import Finding, grouped

if TYPE_CHECKING:
    import pandas as pd

FASTEST = 35.0
"""Letters and digits a second of audio; a fast reader says 25."""
SLOWEST = 0.5
"""Letters and digits a second of audio, below which most of a recording has no text."""
_LONG_ENOUGH_S = 3.0
"""Recordings below this length may hold one short word and a pause."""

SCRIPTS = {
    "LATIN": "af ca cs cy da de en es et eu fi fr ga gl hr hu id is it lt lv ms mt nb nl nn no pl pt ro sk sl sq sr sv "
    "sw tl tr vi",
    "CYRILLIC": "be bg kk ky mk mn ru sr uk",
    "ARABIC": "ar fa ps ur",
    "ARMENIAN": "hy",
    "BENGALI": "bn",
    "CJK": "ja ko zh",
    "DEVANAGARI": "hi mr ne",
    "GEORGIAN": "ka",
    "GREEK": "el",
    "HANGUL": "ko",
    "HEBREW": "he",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAI": "th",
}
"""Script, as the names of its letters begin in Unicode -> ISO 639-1 codes of languages written in it."""

_WRITTEN_IN = {
    code: frozenset(script for script, codes in SCRIPTS.items() if code in codes.split())
    for code in " ".join(SCRIPTS.values()).split()
}
_MARKUP = re.compile(r"<[^<>]+>|\[[^\[\]]*\]|\{[^{}]*\}|&(?:#\d+|[a-z]+);")
_TIMESTAMP = re.compile(r"\d{1,2}:\d{2}:\d{2}|\d{1,2}:\d{2}[.,]\d|-->")


def findings(table: pd.DataFrame, *, says_numbers: bool) -> list[Finding]:
    """What is suspicious about the texts of a pack.

    Args:
        table: of a pack.
        says_numbers: whether every normaliser that scores the pack turns digits and words for numbers into one form.
    """
    rows = table[["utterance_id", "text", "language", "duration_s"]].itertuples(index=False, name=None)
    return grouped(
        (str(name), code)
        for name, text, language, duration_s in rows
        for code in faults(text, language=language, duration_s=duration_s, says_numbers=says_numbers)
    )


def faults(text: str, *, language: str, duration_s: float, says_numbers: bool) -> Iterator[str]:
    """Codes of what is suspicious about one text; of one that is no plain text, the first thing only.

    >>> list(faults("[laughs] 36", language="en", duration_s=2.0, says_numbers=False))
    ['markup']
    >>> list(faults("36 degrees", language="en", duration_s=2.0, says_numbers=False))
    ['digits']
    """
    if any(unicodedata.category(character) in ("Cc", "Co", "Cs") or character == "\ufffd" for character in text):
        yield "broken_text"
        return
    said = sum(map(str.isalnum, text))
    if not said:
        yield "no_words"
        return
    if _TIMESTAMP.search(text):
        yield "timestamps"
        return
    if _MARKUP.search(text):
        yield "markup"
        return
    if not unicodedata.is_normalized("NFC", text):
        yield "not_composed"
    if has_foreign_letters(text, language):
        yield "foreign_letters"
    if not says_numbers and any(map(str.isdecimal, text)):
        yield "digits"
    if said > FASTEST * duration_s:
        yield "too_fast"
    elif duration_s > _LONG_ENOUGH_S and said < SLOWEST * duration_s:
        yield "too_slow"


def has_foreign_letters(text: str, language: str) -> bool:
    """Whether a letter is of a script that none of the language's codes is written in (`en-hi` has two).

    >>> has_foreign_letters("caf\u00e9", "en"), has_foreign_letters("\u043c\u0438\u0440", "en-us")
    (False, True)
    """
    codes = [code for code in language.lower().split("-") if code in _WRITTEN_IN]
    if not codes:
        return False
    foreign = set(SCRIPTS).difference(*(_WRITTEN_IN[code] for code in codes))
    return any(_script(character) in foreign for character in text)


@lru_cache(maxsize=1 << 14)
def _script(character: str) -> str:
    """The first word of a letter's name, which is its script for every script that is known here."""
    return unicodedata.name(character, "").split(" ")[0] if character.isalpha() else ""
