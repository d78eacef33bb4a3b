"""Markdown that stays what was meant: escaped text, tables that line up, digests that copy whole.

Boundary: no I/O. Invariants: text of a document cannot open a tag, a link, a table cell or a code span.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from contracts.verdict import Value
from pages.figures import plain

_SPECIAL = re.compile(r"([\\`*_{}\[\]#~])")
_SIGNS = {Value.PASS: "\u2713", Value.INCONCLUSIVE: "?", Value.ERROR: "!", Value.FAIL: "\u2717"}


def text(value: object) -> str:
    """Text of a document, inert in Markdown and in the HTML that is made of it."""
    inert = plain(value).replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;")
    return re.sub(r"^(>|[-+]|\d+[.)])(?=\s|$)", r"\\\1", _SPECIAL.sub(r"\\\1", inert).replace("&\\#", "&#"))


def code(value: object) -> str:
    """A code span, for digests, slices and commands."""
    return f"`{plain(value).replace('`', chr(39)).replace('|', '/')}`"


def verdict(value: Value) -> str:
    """A sign and a word: colour is never alone."""
    return f"{_SIGNS[value]} {value.upper()}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Lines of a table; `right` names the columns that hold numbers. No row gives no table."""
    body = [f"| {' | '.join(row)} |" for row in rows]
    if not body:
        return []
    rule = " | ".join("--:" if number in right else ":--" for number in range(len(header)))
    return [f"| {' | '.join(header)} |", f"| {rule} |", *body, ""]


def bullets(sentences: Iterable[str]) -> list[str]:
    """A list of sentences and an empty line; nothing for none."""
    lines = [f"- {sentence}" for sentence in sentences]
    return [*lines, ""] if lines else []
