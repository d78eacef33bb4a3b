"""Versioned text normalisers: what counts as the same words.

Boundary: text in, text out; no I/O but the English library's own word list, read once.
Invariants: every normaliser is idempotent (`normalize(normalize(t)) == normalize(t)`); a change of behaviour is a new
version in `VERSIONS`, and reports name the version; combining marks (Mn, Mc) survive `basic`, so that Hindi, Arabic or
Thai vowel signs are not lost.
Source: `english` is the English text standardisation of Radford et al. 2023 (Whisper), appendix C, by the package
whisper-normalizer, with two corrections: written signs and leading zeros are read aloud first ("007", "-5"), because a
second pass would drop them, and the result is a fixed point.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache

from contracts.errors import WrongCall

VERSIONS = {"none": "none/1", "basic": "basic/1", "english": "english/1+whisper-normalizer/0.1.15"}
"""Name -> version; the version is what a report and a bundle carry."""

_CACHED_TEXTS = 1 << 17
_MAX_PASSES = 16
_APOSTROPHES = frozenset("'\u2019\u02bc\uff07")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_LEADING_ZERO = re.compile(r"(?<!\S)0\d+(?![\d,]|\.\d)")
_SIGN = re.compile(r"(?<!\S)([+\-\u2212])(?=\d)")


def normalize(text: str, name: str) -> str:
    """The text as scoring sees it; raises WrongCall for a normaliser that does not exist.

    >>> normalize("Don't stop -- at the CAFE\u0301!", "basic")
    'dont stop at the café'
    >>> normalize("Um, it's thirty-six degrees, colour red.", "english")
    'it is 36 degrees color red'
    """
    if name not in _NORMALIZERS:
        raise WrongCall("unknown normaliser", got=repr(name), expected=" or ".join(VERSIONS))
    return _cached(text, name)


def normalize_all(texts: Iterable[str], name: str) -> list[str]:
    """`normalize` of each text, in order; a text that is said often is normalised once."""
    listed = list(texts)
    if name == "none":
        return listed
    found = {text: normalize(text, name) for text in set(listed)}
    return [found[text] for text in listed]


@lru_cache(maxsize=_CACHED_TEXTS)
def _cached(text: str, name: str) -> str:
    return _fixed_point(_NORMALIZERS[name], text)


def _fixed_point(rule: Callable[[str], str], text: str) -> str:
    """Apply a rule until nothing changes; of texts that the rule turns into each other, the smallest."""
    passes = [text]
    for _ in range(_MAX_PASSES):
        changed = rule(passes[-1])
        if changed in passes:
            return min(passes[passes.index(changed) :])
        passes.append(changed)
    return passes[-1]


def _none(text: str) -> str:
    return text


def _basic(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.translate(_BASIC_CHARACTERS).split())


class _BasicCharacters(dict[int, str]):
    """What `basic` makes of a character, by its code, found when it is first seen.

    Punctuation and symbols part words, apostrophes and invisible format characters vanish, the rest stays.
    """

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        gone = character in _APOSTROPHES or category == "Cf"
        self[code] = "" if gone else " " if category[0] in "PSC" else character
        return self[code]


_BASIC_CHARACTERS = _BasicCharacters()


def _english(text: str) -> str:
    aloud = _SIGN.sub(lambda match: "plus " if match[1] == "+" else "minus ", text)
    aloud = _LEADING_ZERO.sub(lambda match: " ".join(_DIGITS[int(digit)] for digit in match[0]), aloud)
    return _english_library()(aloud).strip()


@lru_cache(maxsize=1)
def _english_library() -> Callable[[str], str]:
    from whisper_normalizer.english import EnglishTextNormalizer

    library: Callable[[str], str] = EnglishTextNormalizer()
    return library


_NORMALIZERS: dict[str, Callable[[str], str]] = {"none": _none, "basic": _basic, "english": _english}
